"""Scenarios with contestants of their own: who is up for them, in rounds of their own."""

from dataclasses import dataclass, field

import http2
import sizes
import workers
from matchup import MatchUp
from processes import Failure
from report import OURS, Section, pairs
from scenarios import Scenario


@dataclass(frozen=True)
class Group:
    scenario: Scenario
    # Name to (setting, port of the upstream) to what is running.
    starts: dict
    # Names to who is set against whom.
    pairs: object
    # (running, CPU of the load) to what it does wrong, beyond what everybody is asked.
    faults: object = lambda running, cpu: []
    missing: object = lambda setting: None
    # By which other name of a contestant some are known, wanted and missing.
    known_as: dict = field(default_factory=dict)
    # What can be told only of all contestants of a round.
    finish: object = lambda rounds: None


GROUPS = {
    group.scenario.name: group
    for group in (
        Group(http2.SCENARIO, http2.STARTS, pairs, http2.faults, http2.missing),
        Group(sizes.OF_RULES, sizes.RULES, sizes.pairs),
        Group(sizes.OF_SERVICES, sizes.SERVICES, sizes.pairs),
        Group(
            workers.SCENARIO,
            workers.STARTS,
            lambda names: [(two, one) for one, two in workers.PAIRS.items() if {one, two} <= set(names)],
            known_as=workers.KNOWN_AS,
            finish=workers.finish,
        ),
    )
}


def is_here(name, known, setting, options):
    """Whether a contestant is wanted and can be started: one of `known` by its name, any other because it is ours."""
    if name in known and name not in options.contestants:
        return False
    reason = known.get(name, known[OURS]).missing(setting)
    if reason:
        print(f"left out: {name}: {reason}")
    return not reason


def run_group(group, options, setting, wrk, backend, known):
    """Starts everybody of it, checks, measures, stops; gives the section and the doubts, and whether anybody failed."""
    if reason := group.missing(setting):
        print(f"left out: {group.scenario.name}: {reason}")
        return None, [], False
    print(f"{group.scenario.name}: {group.scenario.what}", flush=True)
    started, failed = {}, False
    try:
        for name, start in group.starts.items():
            if not is_here(group.known_as.get(name, name), known, setting, options):
                continue
            started[name] = start(setting, backend.port)
            found = basic_faults(group, name, started[name], known) + group.faults(started[name], options.load_cpu)
            for fault in found:
                print(f"FAULT: {group.scenario.name}: {name}: {fault}")
                failed = True
            if found:
                started.pop(name).stop()
        if not started:
            return None, [], failed
        match_up = MatchUp(options, setting, wrk, backend, started, [group.scenario])
        rounds = match_up.rounds()
        group.finish(rounds)
        doubts = match_up.doubts(rounds)
        failed |= any(figures["errors"] for entry in rounds for figures in entry.values())
    finally:
        for running in started.values():
            running.stop()
    scenario, names = group.scenario, list(started)
    columns = {column.key: column for column in scenario.columns}
    section = Section(
        scenario.name, scenario.what, scenario.columns, rounds, names, columns[scenario.plotted], group.pairs(names)
    )
    return section, doubts, failed


def basic_faults(group, name, running, known):
    """A peer that speaks nothing but HTTP/2 is asked by h2load alone."""
    if name in known and name != OURS:
        return []
    try:
        return known[group.known_as.get(name, OURS)].faults(running)
    except (OSError, ValueError) as error:
        raise Failure(f"{name} did not answer: {error}") from error
