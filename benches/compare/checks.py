"""Is it worth measuring? Signing as the contract says, and what every contestant must do before it takes part."""

import hashlib
import hmac
import http.client
import time

from contestants import KEY, PATH, SERVICE


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


def faults(port, verifies):
    """What a contestant does wrong, as sentences. Fewer refusals than the failure limit allows."""
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
    wrong = signed()
    last = wrong["X-Service-Signature"][-1]
    wrong["X-Service-Signature"] = wrong["X-Service-Signature"][:-1] + ("0" if last != "0" else "1")
    bad = [
        ("no signature", {}),
        ("a wrong signature", wrong),
        ("a signature of another key", signed(key="b" * 64)),
        ("a stale signature", signed(at=now - 400)),
        ("a signature from the future", signed(at=now + 400)),
        ("a signature for another path", signed(path=PATH + "/7")),
        ("a signature for another method", signed("POST")),
        ("an unknown service", signed(service="nobody")),
    ]
    for what, headers in bad if verifies else []:
        status, _ = status_of(port, headers)
        if status != 401:
            found.append(f"{what} was answered {status}, not 401")
    return found
