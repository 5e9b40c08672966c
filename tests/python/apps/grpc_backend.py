"""A gRPC backend that knows nothing of any proxy: every kind of call, raw bytes for messages, what it saw told as JSON.

Arguments: the port, and with TLS the files of a certificate and its key.
"""

import json
import sys
import threading
import time
from concurrent import futures

import grpc

began: list[str] = []
cancelled: list[str] = []


def seen(context) -> bytes:
    metadata = [[name, value if isinstance(value, str) else value.hex()] for name, value in context.invocation_metadata()]
    return json.dumps({"metadata": metadata, "peer": context.peer(), "deadline": context.time_remaining()}).encode()


def unary(request, context):
    context.set_trailing_metadata((("x-trailer", "behind"), ("bytes-bin", b"\x00\xff")))
    return request


def meta(_request, context):
    return seen(context)


def server_stream(request, _context):
    for number in range(int(request)):
        yield b"%d" % number


def client_stream(requests, _context):
    return b"%d" % sum(len(request) for request in requests)


def bidi(requests, _context):
    for request in requests:
        yield b"echo " + request


def fail(request, context):
    context.set_trailing_metadata((("x-why", "asked for"),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, request.decode() + " \u00fc%")


def slow(request, context):
    gone = threading.Event()

    def note():
        cancelled.append(request.decode())
        gone.set()

    context.add_callback(note)
    began.append(request.decode())
    gone.wait(20)
    return b"late"


def who_began(_request, _context):
    return json.dumps(began).encode()


def who_cancelled(_request, _context):
    return json.dumps(cancelled).encode()


def big(request, _context):
    """So many MiB, a MiB a message."""
    part = b"m" * (1 << 20)
    for _ in range(int(request)):
        yield part


METHODS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Meta": grpc.unary_unary_rpc_method_handler(meta),
    "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
    "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
    "Bidi": grpc.stream_stream_rpc_method_handler(bidi),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Slow": grpc.unary_unary_rpc_method_handler(slow),
    "WhoBegan": grpc.unary_unary_rpc_method_handler(who_began),
    "WhoCancelled": grpc.unary_unary_rpc_method_handler(who_cancelled),
    "Big": grpc.unary_stream_rpc_method_handler(big),
}

server = grpc.server(futures.ThreadPoolExecutor(max_workers=32))
for service in ("fleet.Echo", "fleet.Guarded"):
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, METHODS),))
address = f"127.0.0.1:{sys.argv[1]}"
if len(sys.argv) > 3:
    with open(sys.argv[2], "rb") as certificate, open(sys.argv[3], "rb") as key:
        pair = (key.read(), certificate.read())
    server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
else:
    server.add_insecure_port(address)
server.start()
while True:
    time.sleep(3600)
