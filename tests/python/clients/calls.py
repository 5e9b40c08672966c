"""calls.py LIBRARY BASE KEY: the calls a service makes, with one of the usual libraries.

Prints one JSON object: what each call got. Connections are kept and reused, as the libraries do by default.
"""

import asyncio
import hashlib
import json
import sys

from signing import headers

LIBRARY, BASE, KEY = sys.argv[1:4]
ME = "npu-worker"
BODY = bytes(range(256)) * 4096  # 1 MiB

# name, method, path, signed, body
CALLS = [
    ("health", "GET", "/health", False, None),
    ("unsigned", "GET", "/api/internal/x", False, None),
    ("signed", "GET", "/api/internal/x", True, None),
    ("signed query", "GET", "/api/internal/x?a=1&b=%2F", True, None),
    ("signed space", "GET", "/api/internal/a%20b", True, None),
    ("signed umlaut", "GET", "/api/internal/caf%C3%A9", True, None),
    ("signed post", "POST", "/api/internal/results", True, b'{"task": 1}'),
    ("open upload", "POST", "/api/upload", False, BODY),
    ("head", "HEAD", "/api/internal/x", True, None),
    ("unsigned post", "POST", "/api/internal/results", False, BODY),
    ("signed again", "PUT", "/api/internal/again", True, b"x" * 70000),
    ("events", "GET", "/api/chat/events", False, None),
]


def sign(method, path, signed):
    return headers(KEY, ME, method, BASE + path) if signed else {}


def told(status, answer_headers, content):
    names = {name.lower(): value for name, value in answer_headers}
    try:
        body = json.loads(content)
    except ValueError:
        body = content.decode("latin-1")
    return {"status": status, "body": body, "request_id": names.get("x-request-id")}


def with_requests():
    import requests

    with requests.Session() as session:
        session.trust_env = False
        for name, method, path, signed, body in CALLS:
            answer = session.request(method, BASE + path, headers=sign(method, path, signed), data=body, timeout=20)
            yield name, told(answer.status_code, answer.headers.items(), answer.content)
        # Streamed in chunks, of a length nobody declares.
        parts = (BODY[at : at + 50000] for at in range(0, len(BODY), 50000))
        answer = session.post(BASE + "/api/upload", data=parts, timeout=20)
        yield "chunked upload", told(answer.status_code, answer.headers.items(), answer.content)
        answer = session.post(BASE + "/api/form", files={"shot": ("s.png", BODY)}, data={"a": "b"}, timeout=20)
        yield "form", told(answer.status_code, answer.headers.items(), answer.content)


def with_httpx():
    import httpx

    with httpx.Client(trust_env=False, timeout=20) as client:
        for name, method, path, signed, body in CALLS:
            answer = client.request(method, BASE + path, headers=sign(method, path, signed), content=body)
            yield name, told(answer.status_code, answer.headers.items(), answer.content)
        parts = (BODY[at : at + 50000] for at in range(0, len(BODY), 50000))
        answer = client.post(BASE + "/api/upload", content=parts)
        yield "chunked upload", told(answer.status_code, answer.headers.items(), answer.content)
        answer = client.post(BASE + "/api/form", files={"shot": ("s.png", BODY)}, data={"a": "b"})
        yield "form", told(answer.status_code, answer.headers.items(), answer.content)


async def with_aiohttp():
    import aiohttp
    from yarl import URL

    results = []
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:

        async def call(name, method, path, **extra):
            url = URL(BASE + path, encoded=True)
            async with session.request(method, url, **extra) as answer:
                results.append((name, told(answer.status, answer.headers.items(), await answer.read())))

        for name, method, path, signed, body in CALLS:
            await call(name, method, path, headers=sign(method, path, signed), data=body)

        async def parts():
            for at in range(0, len(BODY), 50000):
                yield BODY[at : at + 50000]

        await call("chunked upload", "POST", "/api/upload", data=parts())
        form = aiohttp.FormData()
        form.add_field("shot", BODY, filename="s.png")
        form.add_field("a", "b")
        await call("form", "POST", "/api/form", data=form)
    return results


if LIBRARY == "requests":
    got = dict(with_requests())
elif LIBRARY == "httpx":
    got = dict(with_httpx())
else:
    got = dict(asyncio.run(with_aiohttp()))
got["expected"] = {"size": len(BODY), "sha256": hashlib.sha256(BODY).hexdigest()}
print(json.dumps(got))
