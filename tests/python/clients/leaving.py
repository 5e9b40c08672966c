"""leaving.py LIBRARY BASE DIRECT: a service's calls, with one of the usual libraries, and not a word about signatures.

BASE is all that such a program knows of where to call; HTTP_PROXY and NO_PROXY may stand in its environment. DIRECT is a URL
that NO_PROXY excepts. Prints one JSON object: what each call got.
"""

import asyncio
import json
import sys

LIBRARY, BASE, DIRECT = sys.argv[1:4]
SHOT = bytes(range(256)) * 16384  # 4 MiB

CALLS = [
    ("get", "GET", "/api/internal/x", None),
    ("query", "GET", "/api/internal/x?a=1&b=%2F", None),
    ("encoded", "GET", "/api/internal/a%20b%2Fc", None),
    ("umlaut", "GET", "/api/internal/caf%C3%A9", None),
    ("post", "POST", "/api/internal/results", {"task": 1}),
    ("events", "GET", "/api/chat/events", None),
]


def told(status, headers, content):
    names = {name.lower(): value for name, value in headers}
    try:
        body = json.loads(content)
    except ValueError:
        body = content.decode("latin-1")
    return {"status": status, "body": body, "id": names.get("x-request-id"), "location": names.get("location")}


def with_requests():
    import requests

    with requests.Session() as session:
        for name, method, path, body in CALLS:
            answer = session.request(method, BASE + path, json=body, timeout=20)
            yield name, told(answer.status_code, answer.headers.items(), answer.content)
        answer = session.post(BASE + "/api/form", files={"shot": ("s.png", SHOT)}, data={"a": "b"}, timeout=20)
        yield "form", told(answer.status_code, answer.headers.items(), answer.content)
        answer = session.get(BASE + "/api/redirect", timeout=20)
        yield "redirect", told(answer.status_code, answer.headers.items(), answer.content) | {"url": answer.url}
        answer = session.get(DIRECT, timeout=20)
        yield "direct", told(answer.status_code, answer.headers.items(), answer.content)


def with_httpx():
    import httpx

    with httpx.Client(timeout=20) as client:
        for name, method, path, body in CALLS:
            answer = client.request(method, BASE + path, json=body)
            yield name, told(answer.status_code, answer.headers.items(), answer.content)
        answer = client.post(BASE + "/api/form", files={"shot": ("s.png", SHOT)}, data={"a": "b"})
        yield "form", told(answer.status_code, answer.headers.items(), answer.content)
        answer = client.get(BASE + "/api/redirect", follow_redirects=True)
        yield "redirect", told(answer.status_code, answer.headers.items(), answer.content) | {"url": str(answer.url)}
        answer = client.get(DIRECT)
        yield "direct", told(answer.status_code, answer.headers.items(), answer.content)


async def with_aiohttp():
    import aiohttp
    from yarl import URL

    results = []
    timeout = aiohttp.ClientTimeout(total=20)
    # aiohttp reads HTTP_PROXY only when it is told to.
    async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session:

        async def call(name, method, url, **extra):
            async with session.request(method, URL(url, encoded=True), **extra) as answer:
                got = told(answer.status, answer.headers.items(), await answer.read())
                results.append((name, got | {"url": str(answer.url)}))

        for name, method, path, body in CALLS:
            await call(name, method, BASE + path, json=body)
        form = aiohttp.FormData()
        form.add_field("shot", SHOT, filename="s.png")
        form.add_field("a", "b")
        await call("form", "POST", BASE + "/api/form", data=form)
        await call("redirect", "GET", BASE + "/api/redirect")
        await call("direct", "GET", DIRECT)
        async with session.ws_connect(BASE + "/api/internal/ws") as socket:
            await socket.send_str("hello")
            text = (await socket.receive()).data
            await socket.send_bytes(SHOT[: 1 << 19])
            results.append(("socket", {"text": text, "same": (await socket.receive()).data == SHOT[: 1 << 19]}))
    return results


if LIBRARY == "requests":
    got = dict(with_requests())
elif LIBRARY == "httpx":
    got = dict(with_httpx())
else:
    got = dict(asyncio.run(with_aiohttp()))
got["size"] = len(SHOT)
print(json.dumps(got))
