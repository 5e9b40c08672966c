#!/usr/bin/env python3
"""Good traffic: signed requests at a fixed rate, from one address, whatever becomes of the ones before (open loop).

    good.py PORT RATE SECONDS

A request's time counts from the moment it was due, so that one that holds up others is not forgotten. Nine of ten go
over kept connections, the tenth opens its own: waiting to be accepted counts. Prints one line of JSON at the end.
"""

import sys

sys.dont_write_bytecode = True

import asyncio
import json
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "compare"))

from checks import signed
from idle import request

# A request that takes longer has failed.
PATIENCE = 10.0
OWN_CONNECTION = 10
# A busy application's connections are open before the attack, as they would be.
KEPT = 8


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def connection_made(self, transport):
        self.transport = transport
        self.buffer = b""
        self.answer = None

    def data_received(self, data):
        self.buffer += data
        head, end, body = self.buffer.partition(b"\r\n\r\n")
        if not end or self.answer is None or self.answer.done():
            return
        _, found, length = head.lower().partition(b"content-length:")
        if found and len(body) >= int(length.split(b"\r\n")[0]):
            self.buffer = b""
            self.answer.set_result(int(head.split()[1]))

    def connection_lost(self, error):
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(error or ConnectionError("closed without an answer"))

    async def ask(self, message):
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(message)
        return await self.answer


class Client:
    def __init__(self, port):
        self.port = port
        self.kept = []
        self.times = []
        self.late = []
        self.failures = Counter()

    async def connect(self):
        _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", self.port)
        return connection

    async def exchange(self, number):
        path = f"/api/npu/results/{number}"
        message = request(signed(path=path), path=path)
        is_kept = number % OWN_CONNECTION != 0
        connection = self.kept.pop() if is_kept and self.kept else await self.connect()
        try:
            status = await connection.ask(message)
        except BaseException:
            connection.transport.abort()
            raise
        if is_kept:
            self.kept.append(connection)
        else:
            connection.transport.close()
        if status != 200:
            raise ConnectionError(f"answered {status}")

    async def one(self, number, due):
        self.late.append(time.monotonic() - due)
        try:
            await asyncio.wait_for(self.exchange(number), PATIENCE)
            self.times.append(time.monotonic() - due)
        except TimeoutError:
            self.failures[f"not answered within {PATIENCE:.0f} s"] += 1
        except OSError as error:
            self.failures[str(error)] += 1

    async def run(self, rate, seconds):
        self.kept = [await self.connect() for _ in range(KEPT)]
        began = time.monotonic()
        tasks = []
        for number in range(int(rate * seconds)):
            due = began + number / rate
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            tasks.append(asyncio.create_task(self.one(number, due)))
        await asyncio.gather(*tasks)
        return {"began": began, "ended": time.monotonic(), "times": self.times, "late": self.late} | {
            "failures": self.failures
        }


if __name__ == "__main__":
    port, rate, seconds = map(int, sys.argv[1:])
    print(json.dumps(asyncio.run(Client(port).run(rate, seconds))))
