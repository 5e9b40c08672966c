"""Do two workers do the work of two? On a machine of two CPUs the load needs some of them itself, so it is not the rate
that tells but what a request costs.

One worker is measured on its own CPU, the load on the other; two workers share both CPUs with the load. *Gain* is what
two CPUs would do at the cost a request had there, in workers: twice the one worker's cost by that of two, less what
of the machine that stood idle although there was work (workers that wait for each other, or share it unevenly).
nginx with Lua stands beside it: what the machine makes of two workers there. No request that is slow to judge could
make the sidecar the larger part: what a path costs is bounded.
"""

import dataclasses
from itertools import product

from contestants import start_countersign, start_nginx, start_nginx_lua
from processes import set_of
from scenarios import ALONE, Column, Scenario, common

ONE, TWO = "one worker", "two workers"
# One and two workers of each.
PAIRS = {ONE: TWO, "nginx-lua, one": "nginx-lua, two"}


def both(setting):
    return set_of(setting.proxy_cpu) | set_of(setting.load_cpu)


def start_two(setting, backend):
    return start_countersign(dataclasses.replace(setting, proxy_cpu=both(setting)), backend, workers=2)


def start_two_of_nginx(setting, backend):
    setting = dataclasses.replace(setting, proxy_cpu=both(setting))
    return start_nginx(setting, backend, "nginx-lua.conf", " reuseport", workers=2)


STARTS = {
    ONE: start_countersign,
    TWO: start_two,
    "nginx-lua, one": start_nginx_lua,
    "nginx-lua, two": start_two_of_nginx,
}
# By whose name they are known, wanted and missing.
KNOWN_AS = {"nginx-lua, one": "nginx-lua-hmac", "nginx-lua, two": "nginx-lua-hmac"}


def load(match_up, name, seconds):
    """Small requests over kept connections, then each on a new one."""
    upstream, cpus = match_up.backend.programs[0], match_up.options.load_cpu
    if name in PAIRS.values():
        upstream.move_to(both(match_up.setting))
        cpus = ",".join(str(cpu) for cpu in sorted(both(match_up.setting)))
    kept = match_up.load(name, match_up.options.connections, seconds, cpu=cpus)
    fresh = match_up.load(name, match_up.options.connections, seconds, cpu=cpus, more=ALONE)
    upstream.move_to(match_up.options.load_cpu)
    figures = {
        "workers_rate": kept["rate"],
        "workers_cpu": kept["cpu"],
        "workers_idle": kept["unused"] * 100,
        "fresh_rate": fresh["rate"],
        "fresh_cpu": fresh["cpu"],
        "fresh_idle": fresh["unused"] * 100,
    }
    counts = {key: kept[key] + fresh[key] for key in ("errors", "requests")}
    return figures | common(counts | {"other": max(kept["other"], fresh["other"])})


def finish(rounds):
    """What can be told only of both."""
    for entry, (first, second) in product(rounds, PAIRS.items()):
        one, two = entry.get(first, {}), entry.get(second, {})
        for kind, gain in (("workers", "gain"), ("fresh", "fresh_gain")):
            if f"{kind}_cpu" in one and f"{kind}_cpu" in two:
                at_work = 1 - two[f"{kind}_idle"] / 100
                two[gain] = 2 * one[f"{kind}_cpu"] / two[f"{kind}_cpu"] * at_work


SCENARIO = Scenario(
    "workers",
    "one worker on one CPU, two workers on two",
    [
        Column("gain", "gain, in workers", 2, None),
        Column("workers_rate", "req/s", 0, True),
        Column("workers_cpu", "CPU us/req", 1, False),
        Column("workers_idle", "idle %", 1, None),
        Column("fresh_gain", "new connections: gain", 2, None),
        Column("fresh_rate", "/s", 0, True),
        Column("fresh_cpu", "CPU us each", 1, False),
        Column("fresh_idle", "idle %", 1, None),
    ],
    load,
    plotted="workers_cpu",
    steady="workers_cpu",
)
