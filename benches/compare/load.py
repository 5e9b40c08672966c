"""One measurement: wrk against a contestant, its CPU time, and whether anybody else used the machine meanwhile."""

import json
import os
import subprocess

from accounts import MILLION, Account
from checks import signed
from contestants import PATH
from processes import Failure, clean_environment

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


def measure(
    wrk,
    contestants,
    name,
    directory,
    cpu,
    connections,
    seconds,
    body,
    watched,
    scheme="http",
    more=None,
    path=PATH,
):
    """Loads one contestant; gives its figures. `watched`: every process of ours, whose work is no disturbance. `more`:
    further headers."""
    running = contestants[name]
    method = "POST" if body else "GET"
    script = directory / "load.lua"
    headers = ({} if running.signs else signed(method, path)) | (more or {})
    lines = [f'wrk.headers["{key}"] = "{value}"' for key, value in headers.items()]
    script.write_text(
        SCRIPT.format(
            method=method, headers="\n".join(lines), body=f'wrk.body = string.rep("x", {body})' if body else ""
        )
    )
    command = ["taskset", "-c", str(cpu), wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script)]
    command.append(f"{scheme}://127.0.0.1:{running.port}{path}")

    account = Account(running, watched)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment()
    )
    output, errors = process.communicate(timeout=seconds + 60)
    line = next((line for line in output.splitlines() if line.startswith("RESULT ")), None)
    if process.returncode != 0 or line is None:
        raise Failure(f"wrk failed against {name}: {(errors or output).strip()[:200]}")
    result = json.loads(line.removeprefix("RESULT "))
    if result["requests"] == 0:
        raise Failure(f"{name} answered nothing")
    return account.close(result["requests"]) | {
        "rate": result["requests"] * MILLION / result["microseconds"],
        "p50": result["p50"],
        "p99": result["p99"],
        "errors": result["errors"],
        "requests": result["requests"],
    }


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
