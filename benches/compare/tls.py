"""TLS: benches/tls, with its own contestants and rounds; its figures stand beside the others."""

import json
import shutil
import subprocess
import sys

from contestants import HERE
from processes import Failure
from report import Section
from scenarios import Column

NAME = "tls"
COLUMNS = [
    Column("rate", "kept: req/s", 0, True),
    Column("cpu", "CPU us/req", 1, False),
    Column("full_rate", "full handshakes/s", 0, True),
    Column("full_cpu", "CPU us/full", 1, False),
    Column("resumed_rate", "resumed, request, close: /s", 0, True),
    Column("resumed_cpu", "CPU us/resumed", 1, False),
]


def run_tls(options, setting):
    """Gives the section, the doubts and whether anybody failed."""
    missing = [name for name in ("openssl", setting.binary) if not shutil.which(name)]
    if missing:
        print(f"left out: {NAME}: {missing[0]} is missing")
        return None, [], False
    path = setting.directory / "tls.json"
    command = [sys.executable, HERE.parent / "tls", "--json", path, "--binary", setting.binary]
    command += ["--quick"] if options.quick else ["--rounds", str(options.rounds), "--seconds", str(options.seconds)]
    print(f"{NAME}: benches/tls", flush=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1) or not path.exists():
        raise Failure(f"benches/tls: {(done.stderr or done.stdout).strip()[-300:]}")
    told = json.loads(path.read_text())
    names = list(told["rounds"][0])
    others = [name for name in names if name != "countersign"]
    section = Section(
        NAME,
        "TLS 1.3 (nginx and haproxy check nothing)",
        COLUMNS,
        told["rounds"],
        names,
        COLUMNS[3],
        [("countersign", other) for other in others],
    )
    failed = any(figures["errors"] for entry in told["rounds"] for figures in entry.values())
    return section, [f"tls: {doubt}" for doubt in told["doubts"]], failed
