"""What the command line asks for, and what follows from it."""

import argparse
from pathlib import Path

from entries import CONTESTANTS
from scenarios import SCENARIOS

NAMES = [contestant.name for contestant in CONTESTANTS]
DEFAULT = [contestant.name for contestant in CONTESTANTS if contestant.is_default]
# Measured before the rounds, on a fresh instance of each.
IDLE = "idle"
ALL = [*SCENARIOS, IDLE]


def parser_of(description):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="one short round: shows that everything works, measures nothing"
    )
    parser.add_argument(
        "--install", action="store_true", help="install what is missing (apt, and a virtual environment)"
    )
    parser.add_argument("--scenarios", metavar="NAME,NAME", help=f"of {', '.join(ALL)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement; 2 at most where little is counted")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--body", type=int, default=0, metavar="BYTES", help="send POST with a body instead of GET")
    parser.add_argument("--idle", type=int, default=5000, help="idle connections held for the memory figure; 0: none")
    parser.add_argument("--no-single", action="store_true", help="leave out the runs with one connection on one CPU")
    parser.add_argument("--only", metavar="NAME,NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--with", dest="more", metavar="NAME,NAME", help="contestants beside the usual ones")
    parser.add_argument("--binary", help="another countersign than target/release/countersign")
    parser.add_argument("--before", metavar="BINARY", help="measure this countersign too, as countersign-before")
    parser.add_argument("--proxy-cpu", type=int, default=1)
    parser.add_argument("--load-cpu", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write every round to this file")
    return parser


def options_of(description):
    parser = parser_of(description)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds, options.idle = 1, 1, min(options.idle, 200)
    options.contestants = options.only.split(",") if options.only else list(DEFAULT)
    options.contestants += options.more.split(",") if options.more else []
    if unknown := set(options.contestants) - set(NAMES):
        parser.error(f"no such contestant: {', '.join(sorted(unknown))}")
    if options.before:
        options.contestants.append("countersign-before")
    wanted = options.scenarios.split(",") if options.scenarios else list(ALL)
    if unknown := set(wanted) - set(ALL):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    if options.no_single:
        wanted = [name for name in wanted if name != "single"]
    if IDLE not in wanted:
        options.idle = 0
    options.scenarios = [scenario for name, scenario in SCENARIOS.items() if name in wanted]
    options.seconds_of = lambda scenario: min(2, options.seconds) if scenario.is_short else options.seconds
    return options
