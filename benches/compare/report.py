"""The table: medians of rounds, and ratios taken inside each round."""

import os
import platform
from pathlib import Path
from statistics import median

COLUMNS = [
    # key, heading, digits, is more better
    ("rate", "req/s", 0, True),
    ("cpu", "CPU us/req", 1, False),
    ("user", "user", 1, False),
    ("system", "sys", 1, False),
    ("p50", "p50 us", 0, False),
    ("p99", "p99 us", 0, False),
    ("busy", "busy", 2, None),
    ("one", "c1 p50 us", 0, False),
    ("memory", "MiB loaded", 1, False),
    ("start", "MiB start", 1, False),
    ("each", "KiB/idle conn", 1, False),
]
OURS = "countersign"
# A sidecar stands before an application: that is what a check inside the application is compared with.
CHAIN = "countersign+fastapi"


def medians(rounds, name):
    """The figures of one contestant: the median of each column over the rounds."""
    figures = {}
    for key, *_ in COLUMNS:
        values = [entry[name][key] for entry in rounds if key in entry.get(name, {})]
        if values:
            figures[key] = median(values)
    return figures


def ratios(rounds, name, other):
    """Ours to theirs, round by round, then the median."""
    figures = {}
    for key, *_ in COLUMNS:
        values = [
            entry[name][key] / entry[other][key]
            for entry in rounds
            if entry.get(name, {}).get(key) and entry.get(other, {}).get(key)
        ]
        if values:
            figures[key] = median(values)
    return figures


def table(headings, rows):
    widths = [max(len(row[column]) for row in [headings, *rows]) for column in range(len(headings))]
    lines = []
    for row in [headings, ["-" * width for width in widths], *rows]:
        cells = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def figures_table(rounds, names):
    rows = []
    for name in names:
        figures = medians(rounds, name)
        rows.append(
            [name, *(f"{figures[key]:,.{digits}f}" if figures.get(key) else "-" for key, _, digits, _ in COLUMNS)]
        )
    return table(["", *(heading for _, heading, _, _ in COLUMNS)], rows)


def pairs(names):
    """Who is set against whom."""
    proxies = [(OURS, other) for other in names if other not in (OURS, CHAIN) and not other.startswith("fastapi")]
    applications = [(CHAIN, other) for other in names if other.startswith("fastapi")]
    return [(name, other) for name, other in proxies + applications if name in names]


def ratio_table(rounds, names):
    """More than 1 is better for req/s, worse for everything else."""
    columns = [column for column in COLUMNS if column[3] is not None]
    rows = []
    for name, other in pairs(names):
        figures = ratios(rounds, name, other)
        rows.append([f"{name} / {other}", *(f"{figures[key]:.2f}" if key in figures else "-" for key, *_ in columns)])
    return table(["", *(heading for _, heading, *_ in columns)], rows)


def machine():
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{model}, {os.cpu_count()} CPUs, Linux {platform.release()}"


def spread(rounds, name):
    """How far the CPU figure of a contestant strays from its median over the rounds, as a share."""
    values = [entry[name]["cpu"] for entry in rounds if entry.get(name, {}).get("cpu")]
    if len(values) < 2:
        return 0.0
    middle = median(values)
    return max(abs(value - middle) for value in values) / middle
