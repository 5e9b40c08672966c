#!/usr/bin/env python3
"""Bad requests at a fixed rate: none may reach the upstream.

    bad.py PORT RATE SEED KIND...

Every other request opens its own connection, from an address of its own; the rest go over kept ones. What cannot be
sent, because too many are without an answer, is left out. Prints, twice a second, a line of JSON with the counts so
far. Until killed.
"""

import sys

sys.dont_write_bytecode = True

import json
import random
import select
import socket
import time
from collections import Counter
from itertools import cycle
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "compare"))

from checks import signed
from contestants import PATH
from idle import request

MOST_OPEN = 1500
TICK = 0.002
# A request without an answer for so long is given up.
PATIENCE = 10.0
# Up to what length a path is read in every way an upstream could (`Readings::LONGEST`).
LONGEST = 2048
# All the ways to write a path at once: read in more ways than are allowed, which is found out as late as can be.
TRICKS = (
    "%0a%252f%5c%25%32%65..%2f//.%252e%25%32%65.%2520%253b%3b"
    "/..%252f%5c%2541/%41%253b%2f A/../%252e.%2f../x%252f\\%5c%20%2f%253b%2520..%2f%2541%2fA;%41 %25%32%65A..%2f%2541"
).replace(" ", "%20")
# Just not too much to be read: `Readings::MOST` readings and all of `Readings::MOST_BYTES`. No other path was found to be
# as much work.
MOST_READINGS = (
    "/api/internal/../..%2f;%252e..%2F%2F%/..%2f.A%5c./%2f.%2e/.;;A/2%2f%252f%%25%5c%20%250a%252fx%2E%2e;"
    "..%32%6%3b2%%25A%2eA..f%5c/../API./a./..%2f..AP%25%2F./"
)


def malformed():
    target, host = PATH.encode(), b"Host: bench\r\n"
    both = b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"
    return [
        b"POST %b HTTP/1.1\r\n%b%b\r\n0\r\n\r\n" % (target, host, both),
        b"POST %b HTTP/1.1\r\n%bContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd" % (target, host),
        b"GET %b#x HTTP/1.1\r\n%b\r\n" % (target, host),
        b"GET %b HTTP/1.1\r\n%bX-Folded: a\r\n b\r\n\r\n" % (target, host),
        b"GET %b HTTP/1.1\r\nHost : bench\r\n\r\n" % target,
        b"GET %b HTTP/1.1\nHost: bench\n\n" % target,
        b"GET http://elsewhere%b HTTP/1.1\r\n%b\r\n" % (target, host),
        # The start of a TLS connection.
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n",
    ]


def unsigned():
    return [request({}), request({}, "POST", body=b"{}"), request({"X-Service-ID": "npu-worker"})]


def forged():
    return [
        request(signed(key="b" * 64)),
        request(signed(path="/another")),
        request(signed(service="nobody")),
        request(signed(at=int(time.time()) - 4000)),
        request(signed() | {"X-Service-Signature": "x" * 64}),
    ]


def unknown():
    """Ids that nobody has, hardly one of them twice: each might be new, and worth a look at where keys are kept."""
    draw = random.Random().getrandbits
    return [request(signed(service=f"stranger-{draw(64):x}")) for _ in range(1500)]


def hostile():
    """Their readings reach guarded paths, so each needs a signature; and the most work."""
    common = "/api/chat/" + "..%2f" * 250 + "api/internal/x"
    doubled = "/api/chat/" + "x%252f..%252f" * 120 + "..%252finternal"
    overlong = "/api/internal/" + TRICKS * ((LONGEST - 20) // len(TRICKS))
    return [*(request({}, path=path) for path in (common, doubled, overlong)), *worst()]


def worst():
    """The path that was found to be the most work."""
    return [request({}, path=MOST_READINGS)]


KINDS = {kind.__name__: kind for kind in (malformed, unsigned, forged, hostile, worst, unknown)}
# `worst` is a part of `hostile`; by itself it tells how many such requests a worker can take.
USUAL = ("malformed", "unsigned", "forged", "hostile")
REFUSED = (401, 429)


class Flow:
    """One connection, with the request that is on it."""

    __slots__ = ("buffer", "is_kept", "kind", "message", "sent_at", "socket")


class Attack:
    def __init__(self, port, chance, kinds):
        self.port = port
        self.chance = chance
        self.poll = select.epoll()
        self.open = {}
        self.free = []
        self.counts = Counter()
        self.unexpected = Counter()
        self.messages = {kind: KINDS[kind]() for kind in kinds}
        # Every kind on both sorts of connection.
        self.plan = cycle([(kind, is_kept) for is_kept in (False, True) for kind in kinds])

    def renew(self):
        """Signatures age; a stale one would be another attack."""
        self.messages |= {kind: KINDS[kind]() for kind in self.messages}

    def send(self):
        kind, is_kept = next(self.plan)
        message = self.chance.choice(self.messages[kind])
        flow = self.free.pop() if is_kept and self.free else None
        if flow is None:
            if len(self.open) >= MOST_OPEN:
                self.counts["left out"] += 1
                return
            flow = self.connect(is_kept)
        flow.kind, flow.message, flow.buffer, flow.sent_at = kind, message, b"", time.monotonic()
        self.counts["sent"] += 1
        if flow.socket.fileno() not in self.open:
            # Still connecting: what is to be sent goes out when it has.
            self.open[flow.socket.fileno()] = flow
            self.poll.register(flow.socket.fileno(), select.EPOLLOUT)
        else:
            self.write(flow)

    def connect(self, is_kept):
        flow = Flow()
        flow.is_kept = is_kept
        flow.socket = socket.socket()
        flow.socket.setblocking(False)
        draw = self.chance.randrange
        flow.socket.bind((f"127.{draw(1, 250)}.{draw(256)}.{draw(1, 255)}", 0))
        flow.socket.connect_ex(("127.0.0.1", self.port))
        return flow

    def write(self, flow):
        try:
            flow.socket.send(flow.message)
        except OSError:
            self.end(flow, "closed")

    def ready(self, number, event):
        flow = self.open.get(number)
        if flow is None:
            return
        if event & select.EPOLLOUT:
            self.poll.modify(number, select.EPOLLIN)
            self.write(flow)
            return
        try:
            piece = flow.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self.end(flow, "closed")
            return
        flow.buffer += piece
        head, end, body = flow.buffer.partition(b"\r\n\r\n")
        if end and flow.kind:
            head = head.lower()
            _, found, length = head.partition(b"content-length:")
            if not found or len(body) >= int(length.split(b"\r\n")[0]):
                self.answered(flow, int(head[9:12]), b"connection: close" in head)

    def answered(self, flow, status, is_last):
        self.counts["answered"] += 1
        self.counts[f"{status}"] += 1
        if status not in ((400,) if flow.kind == "malformed" else REFUSED):
            self.unexpected[f"{flow.kind}: {status}"] += 1
        if flow.is_kept and not is_last:
            flow.kind = None
            self.free.append(flow)
        else:
            self.end(flow, None)

    def end(self, flow, why):
        if flow.kind is None:
            self.free.remove(flow)
        elif why:
            self.unexpected[f"{flow.kind}: {why}"] += 1
        del self.open[flow.socket.fileno()]
        flow.socket.close()

    def give_up_old(self, now):
        for flow in [flow for flow in self.open.values() if flow.kind and now - flow.sent_at > PATIENCE]:
            self.end(flow, "not answered")

    def run(self, rate):
        began = told = time.monotonic()
        due = 0
        while True:
            now = time.monotonic()
            while due < (now - began) * rate:
                due += 1
                self.send()
            for number, event in self.poll.poll(TICK, 256):
                self.ready(number, event)
            if now - told >= 0.5:
                told = now
                self.give_up_old(now)
                self.renew()
                print(json.dumps({"at": now, "unexpected": self.unexpected, **self.counts}), flush=True)


if __name__ == "__main__":
    port, rate, seed = map(int, sys.argv[1:4])
    Attack(port, random.Random(seed), sys.argv[4:]).run(rate)
