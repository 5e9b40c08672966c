"""A backend as a fleet has it: FastAPI, knows nothing of any proxy, remembers what reached its handlers.

`/__seen` tells what ran, by the `X-Mark` of each request; tests ask for it directly, not through the proxy.
"""

import asyncio
import hashlib
import hmac
import time

from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import PlainTextResponse, RedirectResponse, StreamingResponse

app = FastAPI()
seen: list[dict] = []


def note(handler: str, request) -> None:
    scope = request.scope
    seen.append(
        {
            "mark": request.headers.get("x-mark", ""),
            "handler": handler,
            "method": scope.get("method", "WEBSOCKET"),
            "path": scope["path"],
            "raw_path": scope["raw_path"].decode("latin-1"),
            "query": scope["query_string"].decode("latin-1"),
            "client": scope["client"][0],
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
        }
    )


@app.get("/__seen")
def tell(mark: str = ""):
    return [entry for entry in seen if entry["mark"] == mark] if mark else seen


@app.get("/health")
def health():
    return {"status": "healthy"}


@app.api_route("/api/internal", methods=["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
@app.api_route("/api/internal/{rest:path}", methods=["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
async def internal(request: Request):
    note("internal", request)
    return {"handler": "internal", "service": request.headers.get("x-authenticated-service")}


@app.post("/api/upload")
@app.post("/api/internal-upload")
async def upload(request: Request):
    note("upload", request)
    size, digest = 0, hashlib.sha256()
    async for part in request.stream():
        size += len(part)
        digest.update(part)
    return {"size": size, "sha256": digest.hexdigest()}


@app.post("/api/form")
async def form(request: Request):
    note("form", request)
    fields = await request.form()
    return {name: value if isinstance(value, str) else len(await value.read()) for name, value in fields.items()}


@app.get("/api/chat/events")
async def events(request: Request, count: int = 3):
    """Server-sent events: the first at once, each later one only after the client had time to see the one before."""
    note("events", request)

    async def stream():
        for number in range(count):
            yield f"id: {number}\ndata: event {number}\n\n"
            await asyncio.sleep(0.05)

    return StreamingResponse(stream(), media_type="text/event-stream")


@app.get("/api/redirect")
def redirect(request: Request):
    note("redirect", request)
    return RedirectResponse(str(request.url_for("health")))


@app.get("/verify/{rest:path}")
async def verify(request: Request):
    """What a verifying middleware inside a backend makes of a signature: over the path as the framework shows it."""
    path = request.url.path
    names = ("x-service-id", "x-service-timestamp", "x-service-signature")
    service, timestamp, signature = (request.headers.get(name, "") for name in names)
    text = f"{service}:{request.method}:{path}:{timestamp}"
    expected = hmac.new(b"a" * 64, text.encode("utf-8"), hashlib.sha256).hexdigest()
    in_time = timestamp.isdigit() and abs(time.time() - int(timestamp)) <= 300
    return {"path": path, "service": service, "good": in_time and hmac.compare_digest(expected, signature)}


mounted = FastAPI()


@mounted.get("/slash/")
def slash():
    return PlainTextResponse("slash")


app.mount("/mounted", mounted)


@app.websocket("/ws")
@app.websocket("/api/internal/ws")
async def socket(websocket: WebSocket):
    note("websocket", websocket)
    await websocket.accept()
    try:
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if message.get("text") == "please close":
                await websocket.close(code=4001, reason="as asked")
                return
            if message.get("text") is not None:
                await websocket.send_text("echo " + message["text"])
            else:
                await websocket.send_bytes(message["bytes"])
    except WebSocketDisconnect:
        return


@app.api_route("/{rest:path}", methods=["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
async def anything(request: Request):
    note("anything", request)
    return {"handler": "anything"}
