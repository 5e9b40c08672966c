"""sockets.py BASE KEY: WebSocket calls with the `websockets` library. Prints one JSON object."""

import asyncio
import json
import sys

import websockets
from signing import headers

BASE, KEY = sys.argv[1:3]
BIG = bytes(range(256)) * 2048  # 512 KiB in one message


async def talk(url, extra):
    async with websockets.connect(url, additional_headers=extra, max_size=None, proxy=None) as socket:
        await socket.send("hello")
        text = await socket.recv()
        await socket.send(BIG)
        same = await socket.recv() == BIG
        pong = await socket.ping()
        await asyncio.wait_for(pong, 10)
        await socket.send("please close")
        try:
            await socket.recv()
            closed = None
        except websockets.ConnectionClosed as end:
            closed = [end.rcvd.code, end.rcvd.reason] if end.rcvd else None
        return {"text": text, "same": same, "closed": closed}


async def refused(url):
    try:
        async with websockets.connect(url, proxy=None):
            return {"status": 101}
    except websockets.InvalidStatus as error:
        return {"status": error.response.status_code, "body": json.loads(error.response.body)}


async def main():
    socket = BASE.replace("http://", "ws://")
    guarded = "/api/internal/ws"
    print(
        json.dumps(
            {
                "exempt": await talk(socket + "/ws", {}),
                "signed": await talk(socket + guarded, headers(KEY, "npu-worker", "GET", BASE + guarded)),
                "unsigned": await refused(socket + guarded),
            }
        )
    )


asyncio.run(main())
