"""The tables: medians of rounds, and ratios taken inside each round."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from statistics import median

OURS = "countersign"
# A sidecar stands before an application: that is what a check inside the application is compared with.
CHAIN = "countersign+fastapi"


RATIOS = (
    "Figures are medians over the rounds. Ratios are taken inside each round, then the median: more than 1 is better "
    "for what is counted by the second, worse for the rest."
)


@dataclass(frozen=True)
class Section:
    """What was measured of one scenario: round by round, by contestant, by column."""

    name: str
    what: str
    columns: list
    rounds: list
    names: list
    plotted: object
    # Who is set against whom.
    pairs: list
    # Of the contestants that everybody is measured with, in rounds they share.
    is_usual: bool = False


def section_tables(section):
    figures = figures_table(section.rounds, section.names, section.columns)
    ratios = ratio_table(section.rounds, section.pairs, section.columns)
    return [table for table in (figures, ratios) if table]


def median_of(rounds, name, key):
    """The median of a figure of one contestant over the rounds, or nothing."""
    values = [entry[name][key] for entry in rounds if key in entry.get(name, {})]
    return median(values) if values else None


def ratios_of(rounds, name, other, key):
    """Ours to theirs, round by round."""
    return [
        entry[name][key] / entry[other][key]
        for entry in rounds
        if entry.get(name, {}).get(key) and entry.get(other, {}).get(key)
    ]


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


def figures_table(rounds, names, columns):
    rows = []
    for name in names:
        figures = [(median_of(rounds, name, column.key), column.digits) for column in columns]
        if any(value is not None for value, _ in figures):
            rows.append([name, *(cell(value, digits) for value, digits in figures)])
    return table(["", *(column.heading for column in columns)], rows) if rows else ""


def cell(value, digits):
    return "-" if value is None else f"{value:,.{digits}f}"


def pairs(names):
    """Who is set against whom."""
    proxies = [(OURS, other) for other in names if other not in (OURS, CHAIN) and not other.startswith("fastapi")]
    applications = [(CHAIN, other) for other in names if other.startswith("fastapi")]
    return [(name, other) for name, other in proxies + applications if name in names]


def ratio_table(rounds, pairs, columns):
    """More than 1 is better for what is counted by the second, worse for everything else."""
    columns = [column for column in columns if column.better is not None]
    rows = []
    for name, other in pairs:
        cells = [ratios_of(rounds, name, other, column.key) for column in columns]
        if any(cells):
            rows.append([f"{name} / {other}", *(f"{median(values):.2f}" if values else "-" for values in cells)])
    return table(["", *(column.heading for column in columns)], rows) if rows else ""


def machine():
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{model}, {os.cpu_count()} CPUs, Linux {platform.release()}"
