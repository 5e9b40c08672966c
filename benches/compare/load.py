"""One measurement: wrk against a contestant, its CPU time, and whether anybody else used the machine meanwhile."""

import json
import os
import subprocess
import threading
import time

from checks import signed
from contestants import PATH
from processes import Failure, clean_environment, cpu_seconds, machine_seconds, own_seconds, resident_kib

# CPUs' worth of other work during a measurement, above which it is done again.
DISTURBED = 0.1

SCRIPT = """
wrk.method = "{method}"
{headers}
{body}
function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format(
        'RESULT {{"requests":%d,"microseconds":%d,"errors":%d,"p50":%d,"p90":%d,"p99":%d}}\\n',
        summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
        latency:percentile(50), latency:percentile(90), latency:percentile(99)))
end
"""


def measure(wrk, contestants, name, directory, cpu, connections, seconds, body, watched, scheme="http", more=None):
    """Loads one contestant; gives its figures. `watched`: every process of ours, whose work is no disturbance. `more`:
    further headers."""
    running = contestants[name]
    method = "POST" if body else "GET"
    script = directory / "load.lua"
    headers = ({} if running.signs else signed(method)) | (more or {})
    lines = [f'wrk.headers["{key}"] = "{value}"' for key, value in headers.items()]
    script.write_text(
        SCRIPT.format(
            method=method, headers="\n".join(lines), body=f'wrk.body = string.rep("x", {body})' if body else ""
        )
    )
    command = [
        "taskset",
        "-c",
        str(cpu),
        wrk,
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "-s",
        str(script),
        f"{scheme}://127.0.0.1:{running.port}{PATH}",
    ]

    tree = running.tree()
    serving = running.serving()
    everyone = list(watched())
    before, all_before, machine_before, own_before = (
        cpu_seconds(tree),
        cpu_seconds(everyone),
        machine_seconds(),
        own_seconds(),
    )
    began = time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment()
    )
    memory = Memory(serving)
    output, errors = process.communicate(timeout=seconds + 60)
    elapsed = time.monotonic() - began
    peak = memory.stop()
    after, all_after, machine_after, own_after = (
        cpu_seconds(tree),
        cpu_seconds(everyone),
        machine_seconds(),
        own_seconds(),
    )

    line = next((line for line in output.splitlines() if line.startswith("RESULT ")), None)
    if process.returncode != 0 or line is None:
        raise Failure(f"wrk failed against {name}: {(errors or output).strip()[:200]}")
    result = json.loads(line.removeprefix("RESULT "))
    if result["requests"] == 0:
        raise Failure(f"{name} answered nothing")
    user, system = after[0] - before[0], after[1] - before[1]
    # `own` holds wrk too: it is our child, and has been waited for.
    ours = sum(all_after) - sum(all_before) + own_after - own_before
    million = 1_000_000
    return {
        "rate": result["requests"] * million / result["microseconds"],
        "cpu": (user + system) * million / result["requests"],
        "user": user * million / result["requests"],
        "system": system * million / result["requests"],
        "p50": result["p50"],
        "p99": result["p99"],
        "busy": (user + system) / elapsed,
        "memory": peak / 1024,
        "errors": result["errors"],
        "requests": result["requests"],
        "other": max(0.0, machine_after - machine_before - ours) / elapsed,
    }


class Memory:
    """The most that processes held while it watched, in KiB."""

    def __init__(self, pids):
        self.pids = pids
        self.peak = 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while not self.ended.wait(0.25):
            self.peak = max(self.peak, resident_kib(self.pids))

    def stop(self):
        self.ended.set()
        self.thread.join()
        return max(self.peak, resident_kib(self.pids))


def undisturbed(measure_once, retries):
    """Measures again while something else used the machine; gives the least disturbed result."""
    best = None
    for _ in range(retries + 1):
        result = measure_once()
        if best is None or result["other"] < best["other"]:
            best = result
        if best["other"] <= DISTURBED:
            break
    return best


def load_of_machine():
    return os.getloadavg()[0]
