#!/usr/bin/env python3
"""Slow connections: each sends the head of a request a byte at a time, and never ends it; closed ones come again.

    slow.py PORT COUNT

Prints, twice a second, a line of JSON: how many are open, how many were closed by the other side so far. Until killed.
"""

import sys

sys.dont_write_bytecode = True

import asyncio
import json
import random
import time

# Per address: far from the limit on connections of one address (1000 as shipped), which is not what is to help here.
PER_ADDRESS = 100
# Seconds between two bytes.
PAUSE = 2.5
HEAD = b"GET /api/npu/heartbeat HTTP/1.1\r\nHost: bench\r\nX-Slow: " + b"x" * 4096


class Slow:
    def __init__(self, port):
        self.port = port
        self.open = 0
        self.closed = 0

    async def hold(self, number):
        await asyncio.sleep(PAUSE * random.random())
        while True:
            try:
                local = (f"127.0.0.{2 + number // PER_ADDRESS}", 0)
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=local)
            except OSError:
                await asyncio.sleep(PAUSE)
                continue
            self.open += 1
            try:
                await self.dribble(reader, writer)
            except OSError:
                pass
            self.open -= 1
            self.closed += 1
            writer.close()

    async def dribble(self, reader, writer):
        """Until the other side has had enough."""
        for place in range(len(HEAD)):
            writer.write(HEAD[place : place + 1])
            try:
                await asyncio.wait_for(reader.read(4096), PAUSE)
                return
            except TimeoutError:
                continue

    async def run(self, count):
        tasks = [asyncio.create_task(self.hold(number)) for number in range(count)]
        while True:
            print(json.dumps({"at": time.monotonic(), "open": self.open, "closed": self.closed}), flush=True)
            await asyncio.sleep(0.5)
            for task in tasks:
                if task.done():
                    task.result()


if __name__ == "__main__":
    port, count = map(int, sys.argv[1:])
    asyncio.run(Slow(port).run(count))
