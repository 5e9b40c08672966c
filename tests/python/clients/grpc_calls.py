"""Every kind of gRPC call, told as JSON. Arguments: host:port, the key of npu-worker, and with TLS the file of a CA."""

import json
import queue
import sys
import time

import grpc
from signing import headers

address, key = sys.argv[1], sys.argv[2]
options = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", 8 << 20)]
if len(sys.argv) > 3:
    with open(sys.argv[3], "rb") as ca:
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(ca.read()), options)
else:
    channel = grpc.insecure_channel(address, options)


def signed(path, service="npu-worker", with_key=None):
    return [(name.lower(), value) for name, value in headers(with_key or key, service, "POST", path).items()]


def attempt(call):
    """What came of a call: its answer, or how it failed."""
    try:
        return call()
    except grpc.RpcError as error:
        return {
            "code": error.code().name,
            "details": error.details(),
            "trailers": [[name, str(value)] for name, value in error.trailing_metadata() or ()],
        }


def text(path, message, **more):
    return lambda: channel.unary_unary(path)(message, timeout=15, **more).decode()


def unary():
    answer, call = channel.unary_unary("/fleet.Echo/Unary").with_call(b"hello", timeout=15)
    trailers = {name: value if isinstance(value, str) else value.hex() for name, value in call.trailing_metadata()}
    return {"answer": answer.decode(), "trailers": trailers, "code": call.code().name}


def bidi():
    """Each message is sent only when the one before was answered: nothing may wait for the end of anything."""
    to_send: queue.Queue = queue.Queue()
    calls = channel.stream_stream("/fleet.Echo/Bidi")(iter(to_send.get, None), timeout=15)
    got, slowest = [], 0.0
    for number in range(20):
        begun = time.monotonic()
        to_send.put(b"%d" % number)
        got.append(next(calls).decode())
        slowest = max(slowest, time.monotonic() - begun)
    to_send.put(None)
    return {"got": got, "ended": list(calls) == [], "code": calls.code().name, "slowest": slowest}


def told_by(path, wanted):
    """What the server tells in the end."""
    until = time.monotonic() + 10
    while True:
        told = sorted(json.loads(channel.unary_unary(path)(b"", timeout=15)))
        if told == wanted or time.monotonic() > until:
            return told
        time.sleep(0.05)


def cancel():
    call = channel.unary_unary("/fleet.Echo/Slow").future(b"cancelled", timeout=15)
    told_by("/fleet.Echo/WhoBegan", ["cancelled"])
    call.cancel()
    deadline = attempt(lambda: channel.unary_unary("/fleet.Echo/Slow")(b"deadline", timeout=0.5).decode())
    return {"deadline": deadline["code"], "told": told_by("/fleet.Echo/WhoCancelled", ["cancelled", "deadline"])}


def big():
    size = 0
    for part in channel.unary_stream("/fleet.Echo/Big")(b"16", timeout=30):
        size += len(part)
    return size


def upload():
    return int(channel.stream_unary("/fleet.Echo/ClientStream")((b"u" * (1 << 20) for _ in range(16)), timeout=30))


guarded = "/fleet.Guarded/Unary"
print(
    json.dumps(
        {
            "unary": attempt(unary),
            "server stream": attempt(
                lambda: [part.decode() for part in channel.unary_stream("/fleet.Echo/ServerStream")(b"50", timeout=15)]
            ),
            "client stream": attempt(
                lambda: channel.stream_unary("/fleet.Echo/ClientStream")(iter([b"a", b"bc", b"def"]), timeout=15).decode()
            ),
            "bidi": attempt(bidi),
            "fail": attempt(text("/fleet.Echo/Fail", b"reason")),
            "unknown method": attempt(text("/fleet.Echo/Nothing", b"")),
            "cancel": attempt(cancel),
            "big": attempt(big),
            "upload": attempt(upload),
            "unsigned": attempt(text(guarded, b"x")),
            "signed": attempt(text(guarded, b"x", metadata=signed(guarded))),
            "wrong key": attempt(text(guarded, b"x", metadata=signed(guarded, with_key="f" * 64))),
            "other path": attempt(text(guarded, b"x", metadata=signed("/fleet.Guarded/Other"))),
            "identity": attempt(
                text(
                    "/fleet.Guarded/Meta",
                    b"",
                    metadata=[*signed("/fleet.Guarded/Meta"), ("x-authenticated-service", "root"), ("x_service_id", "root")],
                )
            ),
            "spoofed": attempt(
                text("/fleet.Echo/Meta", b"", metadata=[("x-authenticated-service", "root"), ("x-override-token", "t")])
            ),
        }
    )
)
