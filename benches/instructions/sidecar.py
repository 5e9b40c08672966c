"""A sidecar that serves so many requests over one connection and ends: what it is sent, by whom, and who answers."""

import contextlib
import hashlib
import hmac
import os
import re
import socket
import subprocess
import threading
import time

KEY = "a" * 64
CALLER = "npu-worker"
# Before the requests that are counted: connections are made, tables grow.
WARM_UP = 100
# To start, to answer, and to end; a program under valgrind is fifty times as slow.
DEADLINE = 120

ANSWER = (
    b"HTTP/1.1 200 OK\r\ndate: Sat, 22 Nov 2025 12:00:00 GMT\r\nserver: uvicorn\r\n"
    b'content-length: 15\r\ncontent-type: application/json\r\n\r\n{"status":"ok"}'
)

CONFIG = """
workers = 1
state_dir = "{directory}/state"
[service]
id = "{caller}"
[keys]
dir = "{directory}/keys"
[audit]
file = "{directory}/audit.jsonl"
[admin]
listen = "127.0.0.1:0"
[inbound]
listen = "127.0.0.1:0"
upstream = "http://127.0.0.1:{upstream}"
[enforcement]
mode = "enforce"
rate_limit = {{ failures = 1000000 }}
[[outbound]]
listen = "127.0.0.1:0"
upstream = "http://127.0.0.1:{upstream}"
[[rule]]
paths = ["/api/npu/results"]
access = "service"
callers = ["{caller}"]
[[rule]]
paths = ["/api/chat"]
access = "exempt"
"""

# By name: method, path, bytes of the body, is it signed, the status of the answer, the listener in the log's word.
REQUESTS = {
    "signed": ("GET", "/api/npu/results/task-{:06}", 0, True, 200, "guarding"),
    "upload": ("POST", "/api/npu/results/task-{:06}", 1024, True, 200, "guarding"),
    "exempt": ("GET", "/api/chat/sessions/{:06}", 0, False, 200, "guarding"),
    "refused": ("GET", "/api/npu/results/task-{:06}", 0, False, 401, "guarding"),
    "outbound": ("GET", "/api/npu/results/task-{:06}", 0, False, 200, "signing"),
}


class Failure(Exception):
    """The sidecar did not do what was asked of it."""


class NotStarted(Failure):
    """It did not even listen."""


def serve(command, name, count, directory):
    """Runs `command`, a way to start the program, until it has answered so many requests of this kind."""
    method, path, body, is_signed, status, listener = REQUESTS[name]
    with upstream() as answering:
        config = prepare(directory, answering)
        log = directory / "log"
        with open(log, "wb") as file:
            program = subprocess.Popen([*command, "run", "--config", config], stdout=file, stderr=file, env=environment())
        try:
            with connect(program, log, listener) as client:
                port = client.getpeername()[1]
                for number in range(WARM_UP + count):
                    client.sendall(request(method, path.format(number), body, is_signed, port))
                    answer = message(client)
                    if not answer.startswith(b"HTTP/1.1 %d " % status):
                        raise Failure(f"{name}: an answer that is not {status}: {answer[:300]!r}")
            program.terminate()
            if code := program.wait(DEADLINE):
                raise Failure(f"the sidecar ended with {code}: {tail(log)}")
        finally:
            program.kill()
            program.wait()


def environment():
    """Nothing of the fleet's, which would be laid over the file."""
    fleet = ("SERVICE_", "AUTH_", "BACKEND_", "REDIS_", "COUNTERSIGN_")
    return {name: value for name, value in os.environ.items() if not name.startswith(fleet)}


def prepare(directory, answering):
    for name in ("state", "keys"):
        (directory / name).mkdir(mode=0o700)
    key = os.open(directory / f"keys/{CALLER}.env", os.O_WRONLY | os.O_CREAT, 0o600)
    with os.fdopen(key, "w") as file:
        file.write(f"SERVICE_KEY={KEY}\n")
    config = directory / "countersign.toml"
    config.write_text(CONFIG.format(directory=directory, caller=CALLER, upstream=answering))
    return config


def connect(program, log, listener):
    """To the port that the log names: the system chose it, so that nobody else can have taken it."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline and program.poll() is None:
        if found := re.search(rf": {listener} listen=127\.0\.0\.1:(\d+) ", log.read_text(errors="replace")):
            client = socket.create_connection(("127.0.0.1", int(found[1])), timeout=DEADLINE)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return client
        time.sleep(0.05)
    raise NotStarted(f"the sidecar does not listen (exit code {program.poll()}): {tail(log)}")


def tail(log):
    return log.read_text(errors="replace")[-4000:]


def request(method, path, body, is_signed, port):
    """As httpx sends it."""
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Accept: */*",
        "Accept-Encoding: gzip, deflate",
        "Connection: keep-alive",
        "User-Agent: python-httpx/0.28.1",
    ]
    if is_signed:
        now = int(time.time())
        signature = hmac.new(KEY.encode(), f"{CALLER}:{method}:{path}:{now}".encode(), hashlib.sha256).hexdigest()
        lines += [f"X-Service-ID: {CALLER}", f"X-Service-Timestamp: {now}", f"X-Service-Signature: {signature}"]
    if body:
        lines += [f"Content-Length: {body}", "Content-Type: application/json"]
    return "\r\n".join([*lines, "", ""]).encode() + b"x" * body


def message(connection):
    """One head and its body of a known length; nothing when the other side has closed."""
    data = b""
    while part := connection.recv(65536):
        data += part
        head, end, body = data.partition(b"\r\n\r\n")
        if not end:
            continue
        lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        if len(body) >= int(lengths[0] if lengths else 0):
            return data
    return b""


@contextlib.contextmanager
def upstream():
    """Answers whatever comes with 200 and a few bytes; gives its port."""
    server = socket.create_server(("127.0.0.1", 0))
    connections = []

    def accept():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connections.append(connection)
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection):
        with contextlib.suppress(OSError):
            while message(connection):
                connection.sendall(ANSWER)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        for connection in connections:
            connection.close()
