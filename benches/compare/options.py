"""What the command line asks for, and what follows from it."""

import argparse
from pathlib import Path

import tls
from entries import CONTESTANTS
from groups import GROUPS
from scenarios import SCENARIOS

NAMES = [contestant.name for contestant in CONTESTANTS]
DEFAULT = [contestant.name for contestant in CONTESTANTS if contestant.is_default]
# Measured before the rounds, on a fresh instance of each.
IDLE = "idle"
USUAL = [*SCENARIOS, IDLE]
ALL = [*USUAL, tls.NAME, *GROUPS]


def parser_of(description):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one short round of every scenario: shows that everything works, measures nothing",
    )
    parser.add_argument(
        "--install",
        nargs="?",
        const="all",
        choices=("all", "apt"),
        help="install what is missing, from apt, PyPI and crates.io; or from apt alone",
    )
    parser.add_argument("--scenarios", metavar="NAME,NAME", help=f"of {', '.join(ALL)} (default: {', '.join(USUAL)})")
    parser.add_argument("--all", action="store_true", help="every scenario")
    parser.add_argument("--churn", type=float, default=0, metavar="MINUTES", help="of connections that come and go")
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
    parser.add_argument("--json", type=Path, help="write every round to this file, trusted or not")
    parser.add_argument("--show-untrusted", action="store_true", help="show figures that are not to be trusted, too")
    parser.add_argument("--require-targets", action="store_true", help="exit 1 when a target does not hold")
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
    usual = ALL if options.all or options.quick else USUAL
    wanted = options.scenarios.split(",") if options.scenarios else list(usual)
    if unknown := set(wanted) - set(ALL):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    if options.no_single:
        wanted = [name for name in wanted if name != "single"]
    if IDLE not in wanted:
        options.idle = 0
    options.scenarios = [scenario for name, scenario in SCENARIOS.items() if name in wanted]
    options.groups = [group for name, group in GROUPS.items() if name in wanted]
    options.tls = tls.NAME in wanted
    options.seconds_of = lambda scenario: min(2, options.seconds) if scenario.is_short else options.seconds
    return options
