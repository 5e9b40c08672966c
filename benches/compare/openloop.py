#!/usr/bin/env python3
"""Requests at a fixed rate, whatever becomes of the ones before (open loop).

    openloop.py PORT RATE SECONDS CONNECTIONS < the bytes of a request

A request's time counts from the moment it was due: when all connections wait for an answer, it waits for one of them,
and that is part of its time. Each connection has one request on it. What is still not answered some time after the last
was due counts as answered then, and is told. How late requests were *sent* while a connection was free is told too:
that is the generator's own doing. Prints one line of JSON.

Sleeping is by select(), whose timeout has microseconds, on one epoll: epoll's own has milliseconds.
"""

import sys

sys.dont_write_bytecode = True

import json
import os
import select
import socket
import time
from collections import deque

# Answers that are still missing so long after the last request was due are not waited for.
PATIENCE = 2.0


class Generator:
    def __init__(self, port, message, connections):
        self.message = message
        self.poll = select.epoll()
        self.sockets = {}
        self.free = deque()
        # When the request on a connection was due.
        self.due = {}
        self.buffers = {}
        self.times = []
        self.late = []
        self.errors = 0
        for _ in range(connections):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)
            self.sockets[connection.fileno()] = connection
            self.buffers[connection.fileno()] = b""
            self.poll.register(connection, select.EPOLLIN)
            self.free.append(connection.fileno())

    def run(self, rate, seconds):
        count, began = int(rate * seconds), time.perf_counter()
        sent, waiting, answered_until = 0, deque(), began + seconds + PATIENCE
        while len(self.times) + self.errors < count and (now := time.perf_counter()) < answered_until:
            while sent < count and began + sent / rate <= now:
                due = began + sent / rate
                # One that had to wait for a connection is late through no fault of ours.
                if self.free and not waiting:
                    self.late.append(now - due)
                waiting.append(due)
                sent += 1
            while waiting and self.free:
                self.send(self.free.popleft(), waiting.popleft())
            until = began + sent / rate - time.perf_counter() if sent < count else 0.01
            if select.select([self.poll], [], [], max(0.0, until))[0]:
                for descriptor, _ in self.poll.poll(0):
                    self.receive(descriptor)
        ended = time.perf_counter()
        unanswered = [*self.due.values(), *waiting, *(began + number / rate for number in range(sent, count))]
        self.times += [ended - due for due in unanswered]
        return len(unanswered)

    def send(self, descriptor, due):
        self.due[descriptor] = due
        try:
            self.sockets[descriptor].sendall(self.message)
        except OSError:
            self.fail(descriptor)

    def receive(self, descriptor):
        try:
            piece = self.sockets[descriptor].recv(65536)
        except OSError:
            piece = b""
        if not piece or descriptor not in self.due:
            self.fail(descriptor)
            return
        self.buffers[descriptor] += piece
        head, end, body = self.buffers[descriptor].partition(b"\r\n\r\n")
        if not end or len(body) < length_of(head):
            return
        self.buffers[descriptor] = b""
        due = self.due.pop(descriptor)
        if head.startswith(b"HTTP/1.1 200"):
            self.times.append(time.perf_counter() - due)
        else:
            self.errors += 1
        self.free.append(descriptor)

    def fail(self, descriptor):
        self.poll.unregister(descriptor)
        self.sockets.pop(descriptor).close()
        self.errors += self.due.pop(descriptor, None) is not None


def length_of(head):
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.split(b"\r\n")[0]) if found else 0


def percentile(values, share):
    return values[min(len(values) - 1, int(len(values) * share))] * 1_000_000 if values else 0.0


def main():
    port, rate, seconds, connections = (int(argument) for argument in sys.argv[1:])
    try:
        # Below the upstream, above everything else on this CPU: sent when due.
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(5))
    except PermissionError:
        pass
    generator = Generator(port, sys.stdin.buffer.read(), connections)
    unanswered = generator.run(rate, seconds)
    times, late = sorted(generator.times), sorted(generator.late)
    told = {
        "requests": len(times) - unanswered,
        "errors": generator.errors,
        "open_unanswered": unanswered,
        "open_p50": percentile(times, 0.5),
        "open_p99": percentile(times, 0.99),
        "open_p999": percentile(times, 0.999),
        "open_late": percentile(late, 0.99),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
