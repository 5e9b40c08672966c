"""A service of the fleet as its callers see it: FastAPI, knows nothing of signatures or of any proxy.

`/__seen` tells what ran; tests ask for it directly, on the port behind the sidecar.
"""

from collections import Counter

from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse

app = FastAPI()
# (method, path, proved caller, mark) -> count
seen: Counter = Counter()


def note(scope, headers) -> str | None:
    service = headers.get("x-authenticated-service")
    seen[(scope.get("method", "WEBSOCKET"), scope["path"], service, headers.get("x-mark"))] += 1
    return service


@app.get("/__seen")
def tell():
    names = ("method", "path", "service", "mark", "count")
    return [dict(zip(names, (*call, count))) for call, count in seen.items()]


@app.get("/health")
@app.get("/api/health")
def health():
    return {"status": "healthy"}


@app.post("/api/browser/screenshots")
async def screenshot(request: Request):
    service = note(request.scope, request.headers)
    form = await request.form()
    return {"service": service, "size": len(await form["file"].read())}


@app.post("/api/chat/stream")
async def stream(request: Request):
    note(request.scope, request.headers)
    return StreamingResponse((f"data: {n}\n\n" for n in range(3)), media_type="text/event-stream")


@app.websocket("/ws")
async def socket(websocket: WebSocket):
    note(websocket.scope, websocket.headers)
    await websocket.accept()
    await websocket.send_text(await websocket.receive_text())
    await websocket.close()


@app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "DELETE", "PATCH"])
async def anything(request: Request):
    return {"service": note(request.scope, request.headers), "size": len(await request.body())}
