"""The fleet's present way: the check is a middleware inside the backend, of the form everybody writes.

`plain:app` has no check at all, `guarded:app` verifies hmac-v1. Key and lists are in memory, as a cached key would be.
"""

import hashlib
import hmac
import os
import time

from fastapi import FastAPI
from fastapi.responses import JSONResponse

EXEMPT = tuple(os.environ["BENCH_EXEMPT"].split())
SERVICE = tuple(os.environ["BENCH_SERVICE"].split())
KEYS = {os.environ["BENCH_ID"]: os.environ["BENCH_KEY"].encode()}
WINDOW = 300


def application():
    app = FastAPI()

    @app.api_route("/{rest:path}", methods=["GET", "POST"])
    async def answer(rest: str):
        return {"status": "ok", "worker": "npu-worker", "next_heartbeat_seconds": 30, "backlog": 0}

    return app


plain = application()
guarded = application()


def verified(request):
    service = request.headers.get("x-service-id")
    timestamp = request.headers.get("x-service-timestamp")
    signature = request.headers.get("x-service-signature")
    if not service or not timestamp or not signature or service not in KEYS:
        return False
    try:
        if abs(time.time() - int(timestamp)) > WINDOW:
            return False
    except ValueError:
        return False
    text = f"{service}:{request.method}:{request.url.path}:{timestamp}"
    expected = hmac.new(KEYS[service], text.encode(), hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, signature)


@guarded.middleware("http")
async def service_auth(request, call_next):
    path = request.url.path
    if not path.startswith(EXEMPT) and path.startswith(SERVICE) and not verified(request):
        return JSONResponse({"detail": "Authentication required", "authenticated": False}, status_code=401)
    return await call_next(request)
