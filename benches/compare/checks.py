"""Is it worth measuring? Signing as the contract says, and what every contestant must do before it takes part."""

import hashlib
import hmac
import http.client
import json
import time

from contestants import ECHO, KEY, LARGE, LARGE_SIZE, PATH, SERVICE, UPLOAD


def signed(method=None, path=None, at=None, service=SERVICE, key=KEY):
    """The three headers of hmac-v1."""
    at = int(time.time()) if at is None else at
    text = f"{service}:{method or 'GET'}:{path or PATH}:{at}"
    signature = hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()
    return {"X-Service-ID": service, "X-Service-Timestamp": str(at), "X-Service-Signature": signature}


def status_of(port, headers, method="GET", path=PATH, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    return answer.status, text


def bad_requests():
    """What is refused with 401: (what, headers). Fewer than the failure limit allows."""
    now = int(time.time())
    wrong = signed()
    last = wrong["X-Service-Signature"][-1]
    wrong["X-Service-Signature"] = wrong["X-Service-Signature"][:-1] + ("0" if last != "0" else "1")
    return [
        ("no signature", {}),
        ("a wrong signature", wrong),
        ("a signature of another key", signed(key="b" * 64)),
        ("a stale signature", signed(at=now - 400)),
        ("a signature from the future", signed(at=now + 400)),
        ("a signature for another path", signed(path=PATH + "/7")),
        ("a signature for another method", signed("POST")),
        ("an unknown service", signed(service="nobody")),
    ]


def faults(port, verifies):
    """What a contestant does wrong, as sentences."""
    now = int(time.time())
    found = []
    good = [
        ("a signed request", signed(), "GET", PATH),
        ("a signed POST", signed("POST"), "POST", PATH),
        ("a signed request 290 s old", signed(at=now - 290), "GET", PATH),
        ("another path, signed for it", signed(path=PATH + "/7"), "GET", PATH + "/7"),
    ]
    for what, headers, method, path in good:
        status, text = status_of(port, headers, method, path, b"{}" if method == "POST" else None)
        if status != 200 or b'"status"' not in text:
            found.append(f"{what} was answered {status}: {text[:80]!r}")
    for what, headers in bad_requests() if verifies else []:
        status, _ = status_of(port, headers)
        if status != 401:
            found.append(f"{what} was answered {status}, not 401")
    return found


def faults_of_bodies(port):
    """Whether large answers and bodies come through whole; only the upstream of this bench has them."""
    found = []
    status, text = status_of(port, signed(path=LARGE), path=LARGE)
    if status != 200 or text != b"0123456789abcdef" * (LARGE_SIZE // 16):
        found.append(f"an answer of 64 KiB came as {status} with {len(text)} bytes")
    size = 3 * 1024 * 1024
    status, text = status_of(port, signed("POST", UPLOAD), "POST", UPLOAD, b"x" * size)
    # What the upstream counts is the request with its head.
    if status != 200 or not size < json.loads(text)["taken"] < size + 2048:
        found.append(f"an upload of {size} bytes was answered {status}: {text[:80]!r}")
    return found


def faults_of_recording(started):
    """In mode `log` everything passes, and each request that would be refused is recorded as such."""
    found = []
    bad = bad_requests()
    for what, headers in bad:
        status, _ = status_of(started.port, headers)
        if status != 200:
            found.append(f"{what} was answered {status}, not 200, in mode log")
    deadline, recorded = time.monotonic() + 10, 0
    while recorded != len(bad) and time.monotonic() < deadline:
        time.sleep(0.1)
        recorded = sum(json.loads(line).get("outcome") == "would_refuse" for line in complete_lines(started.audit))
    if recorded != len(bad):
        found.append(f"{recorded} of {len(bad)} requests that would be refused are recorded as such")
    return found


def complete_lines(path):
    text = path.read_text() if path.exists() else ""
    return text[: text.rfind("\n") + 1].splitlines()


def faults_of_signing(port):
    """What leaves the signing side without a signature must arrive with a good one."""
    status, text = status_of(port, {}, path=ECHO)
    if status != 200:
        return [f"an unsigned request to the signing side was answered {status}"]
    got = json.loads(text)
    expected = signed(path=ECHO, at=int(got["at"] or 0))["X-Service-Signature"]
    if got["id"] != SERVICE or abs(time.time() - int(got["at"] or 0)) > 5 or got["signature"] != expected:
        return [f"what was signed arrived as {got}"]
    return []
