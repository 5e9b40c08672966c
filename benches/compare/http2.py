"""HTTP/2 with prior knowledge (h2c), by h2load, to proxies that verify; all of them speak HTTP/1.1 to the upstream."""

import re
import shutil
import subprocess

from accounts import Account
from checks import signed
from contestants import PATH, start_countersign, start_haproxy, start_nginx
from peers import start_envoy_lua
from processes import Failure, clean_environment
from scenarios import Column, Scenario, common

CONNECTIONS, STREAMS = 8, 8


def with_h2c(text):
    return text.replace("[inbound]\n", "[inbound]\nh2c = true\n", 1)


STARTS = {
    "nginx-lua-hmac": lambda setting, backend: start_nginx(setting, backend, "nginx-lua.conf", " http2"),
    "haproxy-hmac": lambda setting, backend: start_haproxy(setting, backend, "haproxy.cfg", " proto h2"),
    # Its codec tells by the first bytes.
    "envoy-lua-hmac": start_envoy_lua,
    "countersign": lambda setting, backend: start_countersign(setting, backend, change=with_h2c),
}


def missing(_setting):
    return None if shutil.which("h2load") else "h2load is not installed (apt: nghttp2-client)"


def h2load(port, cpu, headers, *how):
    """Runs it; gives (requests answered by class of status, requests a second)."""
    command = ["taskset", "-c", str(cpu), "h2load", "-t1", f"-c{CONNECTIONS}", f"-m{STREAMS}", *how]
    command += [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}{PATH}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=clean_environment(),
    )
    codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", done.stdout)
    rate = re.search(r"finished in .*?, ([0-9.]+) req/s", done.stdout)
    requests = re.search(r"requests: (\d+) total.* (\d+) failed, (\d+) errored, (\d+) timeout", done.stdout)
    if done.returncode != 0 or not codes or not rate or not requests:
        raise Failure(f"h2load failed: {(done.stderr or done.stdout).strip()[-200:]}")
    good, _, refused, failed = (int(count) for count in codes.groups())
    return good, refused, failed + int(requests[3]) + int(requests[4]), float(rate[1])


def faults(started, cpu):
    good, *_ = h2load(started.port, cpu, signed(), "-n64")
    _, refused, *_ = h2load(started.port, cpu, {}, "-n64")
    found = [] if good == 64 else [f"{good} of 64 signed requests passed over HTTP/2"]
    # A failure limit may answer 429 in place of 401.
    return found + ([] if refused == 64 else [f"{refused} of 64 unsigned requests were refused over HTTP/2"])


def load(match_up, name, seconds):
    running = match_up.started[name]
    account = Account(running, match_up.ours)
    good, refused, failed, rate = h2load(
        running.port, match_up.options.load_cpu, signed(), f"-D{seconds}", "--warm-up-time=0"
    )
    cost = account.close(good)
    figures = {"h2_rate": rate, "h2_cpu": cost["cpu"], "h2_memory": cost["memory"], "h2_busy": cost["busy"]}
    return figures | common(cost | {"errors": refused + failed, "requests": good})


SCENARIO = Scenario(
    "http2",
    f"HTTP/2, {CONNECTIONS} connections with {STREAMS} requests each",
    [
        Column("h2_rate", "req/s", 0, True),
        Column("h2_cpu", "CPU us/req", 1, False),
        Column("h2_busy", "busy", 2, None),
        Column("h2_memory", "MiB loaded", 1, False),
    ],
    load,
    plotted="h2_cpu",
    steady="h2_cpu",
)
