"""Does it stay flat? Minutes of connections that come and go; memory and what a request costs, slice by slice."""

import time
from statistics import median

from contestants import start_countersign
from idle import settled_kib
from matchup import MatchUp
from report import Section
from scenarios import ALONE, Column

NAME = "churn"
# Of connections that come and go, and then of a plain load whose cost is compared.
SLICE, SAMPLE = 25, 5
COLUMNS = [
    Column("churn_connections", "connections", 0, None),
    Column("churn_cpu", "CPU us/req", 1, False),
    Column("churn_memory", "MiB afterwards", 1, False),
]


def run_churn(options, setting, wrk, backend):
    """Gives the section, the doubts and whether anybody failed."""
    print(f"{NAME}: {options.churn} minute(s)", flush=True)
    running = start_countersign(setting, backend.port)
    match_up = MatchUp(options, setting, wrk, backend, {"countersign": running}, [])
    slices, errors, deadline = [], 0, time.monotonic() + options.churn * 60
    try:
        while time.monotonic() < deadline or len(slices) < 3:
            left = deadline - time.monotonic() - SAMPLE
            seconds = max(1, min(SLICE, int(left)))
            coming = match_up.load("countersign", options.connections, seconds, more=ALONE)
            kept = match_up.load("countersign", options.connections, 1 if options.quick else SAMPLE)
            match_up.answered["countersign"] += coming["requests"] + kept["requests"]
            errors += coming["errors"] + kept["errors"]
            slices.append(
                {
                    "churn_connections": coming["requests"],
                    "churn_cpu": kept["cpu"],
                    "churn_memory": settled_kib(running.serving()) / 1024,
                    "other": kept["other"],
                }
            )
        doubts = match_up.doubts([])
    finally:
        running.stop()
    if errors:
        print(f"FAULT: {NAME}: {errors} errors")
    return section_of(slices, options.churn), doubts, bool(errors)


def section_of(slices, minutes):
    """The medians of its thirds, as three contestants of one round."""
    third = len(slices) // 3
    parts = {"first": slices[:third], "middle": slices[third:-third], "last": slices[-third:]}
    entry = {
        name: {column.key: median(one[column.key] for one in part) for column in COLUMNS}
        for name, part in parts.items()
    }
    what = f"connections come and go for {minutes:g} minutes, in thirds"
    return Section(NAME, what, COLUMNS, [entry], list(parts), COLUMNS[2], [("last", "first")])
