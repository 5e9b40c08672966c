"""Which handlers and files does a raw path reach, in servers that read paths differently?

Reads one JSON object from standard input: `handlers`, the plain paths that have a handler and a second one for all that
lies below, and `raw`, request paths as they are on the wire. Answers a JSON array with an object for each raw path:
`decoded` as urllib reads it, and `reached`: pairs of a server and the plain path of what ran there, which is PATH,
PATH/* for the handler below it, or PATH/index.html for a file.

The servers are real, but for the socket:
- FastAPI routes, routers and mounts under uvicorn, which splits a target differently with each of its parsers;
- Starlette's StaticFiles, which resolves dots, over a tree with a file for each handler;
- aiohttp's router, which keeps escapes that other servers decode;
- the standard library's http.server over the same tree.
"""

import asyncio
import json
import os
import sys
import tempfile
from http.server import SimpleHTTPRequestHandler
from urllib.parse import unquote

import httptools
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from yarl import URL

reached = set()


def handler_of(plain, server):
    async def handler():
        reached.add((server, plain))
        return {}

    return handler


def routes(handlers):
    app = FastAPI()
    router = APIRouter(prefix="/api")
    for number, plain in enumerate(handlers):
        if number % 4 == 3:
            inner = FastAPI()
            inner.get("/")(handler_of(plain, "mount"))
            inner.get("/{rest:path}")(handler_of(plain + "/*", "mount"))
            app.mount(plain, inner)
        elif number % 4 == 2 and plain.startswith("/api/"):
            router.get(plain.removeprefix("/api"))(handler_of(plain, "router"))
            router.get(plain.removeprefix("/api") + "/{task}")(handler_of(plain + "/*", "router"))
        else:
            app.get(plain)(handler_of(plain, "route"))
            app.get(plain + "/{rest:path}")(handler_of(plain + "/*", "route"))
    app.include_router(router)
    return app


def targets(raw):
    """The path in the scope, as each of uvicorn's parsers gives it."""
    yield unquote(raw)
    try:
        parsed = httptools.parse_url(raw.encode("ascii"))
    except httptools.HttpParserInvalidURLError:
        return
    path = (parsed.path or b"").decode("ascii")
    yield unquote(path) if "%" in path else path


async def ask(app, path, raw):
    messages = [{"type": "http.disconnect"}, {"type": "http.request", "body": b"", "more_body": False}]

    async def receive():
        return messages.pop() if len(messages) > 1 else messages[0]

    async def send(message):
        pass

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8001),
        "client": ("127.0.0.1", 1),
        "scheme": "http",
        "method": "GET",
        "root_path": "",
        "path": path,
        "raw_path": raw.encode("ascii"),
        "query_string": b"",
        "headers": [(b"host", b"backend")],
        "state": {},
    }
    try:
        await app(scope, receive, send)
    except (ValueError, OSError):
        pass  # a NUL in a file's name: no file was reached


def tree_of(handlers, root):
    for plain in handlers:
        os.makedirs(root + plain, exist_ok=True)
        with open(f"{root}{plain}/index.html", "w") as file:
            file.write("x")


def note_file(server, root, path):
    reached.add((server, "/" + os.path.relpath(path, root)))


def files(root):
    class Noting(StaticFiles):
        def file_response(self, full_path, *arguments, **named):
            note_file("StaticFiles", root, os.path.realpath(full_path))
            return super().file_response(full_path, *arguments, **named)

    return Starlette(routes=[Mount("/", Noting(directory=root, html=True))])


def ask_library(root, raw):
    handler = object.__new__(SimpleHTTPRequestHandler)
    handler.directory = root
    path = handler.translate_path(raw)
    try:
        path = os.path.join(path, "index.html") if os.path.isdir(path) else path
        if os.path.isfile(path):
            note_file("http.server", root, path)
    except ValueError:
        pass


def aiohttp_router(handlers):
    app = web.Application()
    for plain in handlers:
        app.router.add_get(plain, handler_of(plain, "aiohttp"))
        app.router.add_get(plain + "/{rest:.*}", handler_of(plain + "/*", "aiohttp"))
    app.freeze()
    return app.router


async def ask_aiohttp(router, raw):
    request = make_mocked_request("GET", "/")
    request._rel_url = URL.build(path=raw, encoded=True)  # as its parser makes it
    match = await router.resolve(request)
    if match.http_exception is None:
        await match.handler()


async def answer(question):
    handlers = question["handlers"]
    app, router = routes(handlers), aiohttp_router(handlers)
    answers = []
    with tempfile.TemporaryDirectory() as root:
        root = os.path.realpath(root)
        tree_of(handlers, root)
        static = files(root)
        for raw in question["raw"]:
            reached.clear()
            for path in set(targets(raw)):
                await ask(app, path, raw)
                await ask(static, path, raw)
            await ask_aiohttp(router, raw)
            ask_library(root, raw)
            answers.append({"decoded": unquote(raw), "reached": sorted(reached)})
    return answers


json.dump(asyncio.run(answer(json.load(sys.stdin))), sys.stdout)
