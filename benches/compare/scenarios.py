"""What is measured: each scenario is one load of one contestant, and the columns that come of it."""

import json
import subprocess
import sys
from dataclasses import dataclass

from accounts import Account
from contestants import HERE, LARGE, LARGE_SIZE, UPLOAD
from idle import good_request
from processes import Failure, clean_environment

MIB = 1024 * 1024
UPLOAD_SIZE = 10 * MIB
UPLOADS_AT_ONCE = 4
# Requests a second of the open loop.
RATE_OF_LOOP = 5000
# A request on a connection of its own.
ALONE = {"Connection": "close"}


@dataclass(frozen=True)
class Column:
    key: str
    heading: str
    digits: int
    # Is more better? `None`: it is no merit at all, and no ratio is taken.
    better: bool | None


@dataclass(frozen=True)
class Scenario:
    name: str
    what: str
    columns: list
    # (match-up, name of the contestant, seconds) to figures by the keys of the columns, with `errors` and `other`.
    load: object
    # What the bars of the plot show.
    plotted: str
    # The figure whose straying from round to round says that the machine was not quiet.
    steady: str | None = None
    # Everything on one CPU: waking another virtual CPU would hide all differences.
    together: bool = False
    # It needs the large answers and bodies of the bench's upstream.
    needs_bodies: bool = False
    # It counts so much in two seconds that more is of no use.
    is_short: bool = False

    def keys(self):
        return [column.key for column in self.columns]


def small(match_up, name, seconds):
    result = match_up.load(name, match_up.options.connections, seconds, body=match_up.options.body)
    match_up.loaded[name] = result["memory"]
    return result


def single(match_up, name, seconds):
    result = match_up.load(name, 1, seconds, body=match_up.options.body)
    return {"one": result["p50"], "one_cpu": result["cpu"]} | common(result)


def connect(match_up, name, seconds):
    result = match_up.load(name, match_up.options.connections, seconds, more=ALONE)
    return {"connect_rate": result["rate"], "connect_cpu": result["cpu"], "connect_busy": result["busy"]} | common(
        result
    )


def large(match_up, name, seconds):
    result = match_up.load(name, match_up.options.connections, seconds, path=LARGE)
    return {"large_mib": result["rate"] * LARGE_SIZE / MIB, "large_cpu": result["cpu"]} | common(result)


def upload(match_up, name, seconds):
    """What it holds is set against what the same process held with all connections, which is seen before."""
    if name not in match_up.loaded:
        match_up.answered[name] += small(match_up, name, 1)["requests"]
    result = match_up.load(name, UPLOADS_AT_ONCE, seconds, body=UPLOAD_SIZE, path=UPLOAD)
    return {
        "upload_mib": result["rate"] * UPLOAD_SIZE / MIB,
        "upload_cpu": result["cpu"],
        "upload_added": result["memory"] - match_up.loaded[name],
    } | common(result)


def open_loop(match_up, name, seconds):
    running, options = match_up.started[name], match_up.options
    message = good_request(running)
    command = ["taskset", "-c", str(options.load_cpu), sys.executable, HERE / "openloop.py"]
    command += [str(value) for value in (running.port, RATE_OF_LOOP, seconds, options.connections)]
    account = Account(running, match_up.ours)
    done = subprocess.run(
        command, input=message, capture_output=True, check=False, timeout=seconds + 60, env=clean_environment()
    )
    if done.returncode != 0:
        raise Failure(f"the open loop failed against {name}: {done.stderr.decode(errors='replace').strip()[-300:]}")
    told = json.loads(done.stdout)
    cost = account.close(told["requests"])
    return told | {"open_cpu": cost["cpu"], "other": cost["other"]}


def common(result):
    return {key: result[key] for key in ("errors", "other", "requests")}


SMALL = Scenario(
    "small",
    "small requests over 64 kept connections",
    [
        Column("rate", "req/s", 0, True),
        Column("cpu", "CPU us/req", 1, False),
        Column("user", "user", 1, False),
        Column("system", "sys", 1, False),
        Column("p50", "p50 us", 0, False),
        Column("p99", "p99 us", 0, False),
        Column("busy", "busy", 2, None),
        Column("memory", "MiB loaded", 1, False),
    ],
    small,
    plotted="cpu",
    steady="cpu",
)
SINGLE = Scenario(
    "single",
    "one kept connection, everything on one CPU",
    [Column("one", "c1 p50 us", 0, False), Column("one_cpu", "c1 CPU us/req", 1, False)],
    single,
    plotted="one",
    together=True,
    is_short=True,
)
CONNECT = Scenario(
    "connect",
    "a new connection for each request",
    [
        Column("connect_rate", "connections/s", 0, True),
        Column("connect_cpu", "CPU us/connection", 1, False),
        Column("connect_busy", "busy", 2, None),
    ],
    connect,
    plotted="connect_cpu",
    steady="connect_cpu",
    is_short=True,
)
ANSWER = Scenario(
    "answer64k",
    "answers of 64 KiB over 64 kept connections",
    [Column("large_mib", "MiB/s down", 0, True), Column("large_cpu", "CPU us/64 KiB", 1, False)],
    large,
    plotted="large_cpu",
    steady="large_cpu",
    needs_bodies=True,
    is_short=True,
)
UPLOADS = Scenario(
    "upload",
    "uploads of 10 MiB, four at once",
    [
        Column("upload_mib", "MiB/s up", 0, True),
        Column("upload_cpu", "CPU us/10 MiB", 0, False),
        Column("upload_added", "MiB added", 1, None),
    ],
    upload,
    plotted="upload_cpu",
    steady="upload_cpu",
    needs_bodies=True,
    is_short=True,
)
RATE = Scenario(
    "rate",
    "5,000 requests a second, as they are due (open loop)",
    [
        Column("open_p50", "p50 us", 0, False),
        Column("open_p99", "p99 us", 0, False),
        Column("open_p999", "p99.9 us", 0, False),
        Column("open_cpu", "CPU us/req", 1, False),
        Column("open_late", "sent late p99 us", 0, None),
        Column("open_unanswered", "unanswered", 0, None),
    ],
    open_loop,
    plotted="open_cpu",
    steady="open_cpu",
)
# Measured before the rounds, on a fresh instance of each.
IDLE_COLUMNS = [
    Column("start", "MiB start", 1, False),
    Column("each", "KiB/idle connection", 1, False),
]
SCENARIOS = {scenario.name: scenario for scenario in (SMALL, SINGLE, CONNECT, ANSWER, UPLOADS, RATE)}
