"""What is left of a run: the tables as Markdown, the plot, the configurations, and every round as JSON."""

import json
import time

from peers import TARGET
from plot import plot
from report import RATIOS, section_tables
from targets import targets_table

PLACE = TARGET / "compare"


def write_configurations(setting):
    path = PLACE / "configurations.md"
    PLACE.mkdir(parents=True, exist_ok=True)
    parts = ["# Configuration used\n\nWhat is not said is at its default.\n"]
    parts += [f"## {name}\n\n```\n{text.rstrip()}\n```\n" for name, text in setting.configurations.items()]
    path.write_text("\n".join(parts))
    return path


def write_outputs(about, sections, verdicts, doubts):
    """Markdown and SVG; gives their paths. `about`: lines on the machine, the versions and the method."""
    PLACE.mkdir(parents=True, exist_ok=True)
    day = time.strftime("%Y-%m-%d", time.gmtime())
    parts = [f"# countersign beside others, {day}", "\n".join(f"- {line}" for line in about)]
    parts += [f"**Not to be trusted:** {doubt}" for doubt in doubts]
    parts.append(RATIOS)
    for section in sections:
        parts.append(f"## {section.name}: {section.what}")
        parts += section_tables(section)
    parts += ["## Targets", targets_table(verdicts)]
    table, picture = PLACE / "compare.md", PLACE / "compare.svg"
    table.write_text("\n\n".join(parts) + "\n")
    warning = "NOT TO BE TRUSTED; " if doubts else ""
    picture.write_text(plot(f"countersign beside others, {day}", f"{warning}{about[0]}; medians", sections))
    return table, picture


def write_json(path, about, doubts, sections, verdicts):
    """The rounds of the usual contestants stand at the top, those of other scenarios under their names."""
    told = {
        "machine": about[0],
        "about": about,
        "trusted": not doubts,
        "doubts": doubts,
        "rounds": next((section.rounds for section in sections if section.is_usual), []),
        "scenarios": {section.name: section.rounds for section in sections if not section.is_usual},
        "targets": verdicts,
    }
    path.write_text(json.dumps(told, indent=1))
