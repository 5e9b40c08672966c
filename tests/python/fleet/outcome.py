"""What the programs beside this file tell the test that started them: a line of JSON on standard output every 20 calls,
and one at the end, which SIGTERM asks for."""

import json
import signal
import time

running = True
calls = 0
failed: list[str] = []


def stop(*_):
    global running
    running = False


signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)


def tell(over: bool) -> None:
    print(json.dumps({"calls": calls, "failed": len(failed), "first": failed[:5], "over": over}), flush=True)


def note(what: str, status: int, text: str = "") -> None:
    """One answer; anything but 200 is a failure."""
    global calls
    calls += 1
    if status != 200:
        failed.append(f"{time.strftime('%H:%M:%S')} {what}: {status} {text[:300]}")
    if calls % 20 == 0:
        tell(False)
