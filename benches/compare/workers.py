"""Do two workers do the work of two? On a machine of two CPUs the load needs some of them itself, so it is not the rate
that tells but what a request costs.

One worker is measured on its own CPU, the load on the other; two workers share both CPUs with the load. *Gain* is what two
CPUs would do at the cost a request had there, in workers: twice the one worker's cost by that of two, less the share of
the machine that stood idle although there was work (workers that wait for each other, or an uneven share, show there).
Requests are of two kinds: small ones, and ones that are slow to judge, which leave the load little to do: their rate is
the sidecar's own, and tells the same without arithmetic.
"""

import dataclasses
import sys

from contestants import HERE, start_countersign
from processes import set_of
from scenarios import Column, Scenario, common

sys.path.append(str(HERE.parent / "traffic"))

ONE, TWO = "one worker", "two workers"


def slow_path():
    """The path that is most work to judge, below one that may be called."""
    from bad import LONGEST, TRICKS

    prefix = "/api/npu/results/"
    return prefix + TRICKS * ((LONGEST - len(prefix)) // len(TRICKS))


def both(setting):
    return set_of(setting.proxy_cpu) | set_of(setting.load_cpu)


def start_two(setting, backend):
    return start_countersign(dataclasses.replace(setting, proxy_cpu=both(setting)), backend, workers=2)


STARTS = {ONE: start_countersign, TWO: start_two}


def load(match_up, name, seconds):
    """Small requests for half of the time, slow ones for the other half."""
    upstream, cpus = match_up.backend.programs[0], match_up.options.load_cpu
    if name == TWO:
        upstream.move_to(both(match_up.setting))
        cpus = ",".join(str(cpu) for cpu in sorted(both(match_up.setting)))
    small = match_up.load(name, match_up.options.connections, seconds, cpu=cpus)
    slow = match_up.load(name, match_up.options.connections, seconds, cpu=cpus, path=slow_path())
    upstream.move_to(match_up.options.load_cpu)
    figures = {
        "workers_cpu": small["cpu"],
        "workers_unused": small["unused"] * 100,
        "slow_rate": slow["rate"],
        "slow_cpu": slow["cpu"],
        "slow_load": slow["load_cpu"],
    }
    both_kinds = {"errors": small["errors"] + slow["errors"], "requests": small["requests"] + slow["requests"]}
    return figures | common(both_kinds | {"other": max(small["other"], slow["other"])})


def finish(rounds):
    """What can be told only of both."""
    for entry in rounds:
        one, two = entry.get(ONE, {}), entry.get(TWO, {})
        if "workers_cpu" in one and "workers_cpu" in two:
            at_work = 1 - two["workers_unused"] / 100
            two["gain"] = 2 * one["workers_cpu"] / two["workers_cpu"] * at_work


SCENARIO = Scenario(
    "workers",
    "one worker on one CPU, two workers on two",
    [
        Column("gain", "gain, in workers", 2, None),
        Column("workers_cpu", "CPU us/req", 1, False),
        Column("workers_unused", "idle %", 1, None),
        Column("slow_rate", "slow req/s", 0, True),
        Column("slow_cpu", "CPU us/slow req", 0, False),
        Column("slow_load", "of the load", 0, None),
    ],
    load,
    plotted="slow_rate",
    steady="workers_cpu",
)
