"""Connections that wait: many keep-alive clients, and what a proxy holds for each."""

import socket
import time

from checks import signed
from contestants import PATH
from processes import Failure, resident_kib

# Per client address, so that a proxy's limit on connections of one address (1000 as shipped) is not met.
PER_ADDRESS = 500


def request(headers, method="GET", path=PATH, body=b"", host="bench"):
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers.items())]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def read_answer(connection):
    """The status and the body of an answer with a Content-Length."""
    buffer = b""
    while b"\r\n\r\n" not in buffer:
        buffer += receive(connection)
    head, _, body = buffer.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        body += receive(connection)
    return status, body


def receive(connection):
    piece = connection.recv(65536)
    if not piece:
        raise Failure("a connection was closed in the middle of an answer")
    return piece


def good_request(running):
    """What a contestant lets pass. A signing one takes it unsigned, and only when it is meant for it."""
    return request({} if running.signs else signed(), host=f"127.0.0.1:{running.port}")


def open_connections(port, count, message):
    """Open connections, each of which has served that request."""
    connections = []
    try:
        for number in range(count):
            connection = socket.socket()
            connections.append(connection)
            connection.settimeout(20)
            connection.bind((f"127.0.0.{2 + number // PER_ADDRESS}", 0))
            connection.connect(("127.0.0.1", port))
            connection.sendall(message)
            status, _ = read_answer(connection)
            if status != 200:
                raise Failure(f"idle connection {number} was answered {status}")
    except OSError as error:
        raise Failure(f"idle connection {len(connections)}: {error}") from error
    return connections


# What is held is read when it has not shrunk for so long: some give memory back some time after it was used.
SETTLED = 2.0
PATIENCE = 10.0
SAMPLES = 200


def settled_kib(pids):
    """What they hold when that has stopped to shrink."""
    least, since, deadline = resident_kib(pids), time.monotonic(), time.monotonic() + PATIENCE
    while (now := time.monotonic()) < deadline and now - since < SETTLED:
        time.sleep(0.25)
        held = resident_kib(pids)
        if held < least * 0.995:
            least, since = held, time.monotonic()
    return resident_kib(pids)


def idle_memory(running, count, is_quick=False):
    """MiB at start, MiB with `count` idle connections, KiB for each, and how many of some still serve. A quick look
    does not wait for what is given back later."""
    message = good_request(running)
    # A first answer, so that every process that will serve is there.
    for connection in open_connections(running.port, 1, message):
        connection.close()
    serving = running.serving()
    start = resident_kib(serving)
    connections = open_connections(running.port, count, message)
    held = resident_kib(serving) if is_quick else settled_kib(serving)
    asked = connections[:: max(1, count // SAMPLES)]
    alive = 0
    for connection in asked:
        connection.sendall(message)
        alive += read_answer(connection)[0] == 200
    for connection in connections:
        connection.close()
    return {
        "start": start / 1024,
        "idle": held / 1024,
        "each": (held - start) / count,
        "alive": alive,
        "dead": len(asked) - alive,
    }
