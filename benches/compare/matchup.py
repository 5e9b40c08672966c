"""The rounds: everybody is up, and loaded in turn, scenario by scenario."""

from functools import partial

from load import DISTURBED, measure, undisturbed
from records import audit_doubts
from trust import straying

# How often a disturbed measurement is done again.
RETRIES = 3


class MatchUp:
    """Contestants that are up, and what is measured of them."""

    def __init__(self, options, setting, wrk, backend, started, scenarios):
        self.options = options
        self.setting = setting
        self.wrk = wrk
        self.backend = backend
        self.started = started
        self.scenarios = scenarios
        self.answered = dict.fromkeys(started, 0)
        # MiB that each held with all connections, for scenarios that ask what comes on top.
        self.loaded = {}
        self.together = False

    def ours(self):
        """Every process whose work is no disturbance."""
        return [pid for entry in [self.backend, *self.started.values()] for pid in entry.tree()]

    def load(self, name, connections, seconds, **how):
        """wrk against one of them. `body`, `more`, `path`: as of `load.measure`."""
        how = {"body": 0} | how
        cpu = how.pop("cpu", self.options.proxy_cpu if self.together else self.options.load_cpu)
        return measure(
            self.wrk,
            self.started,
            name,
            self.setting.directory,
            cpu,
            connections,
            seconds,
            watched=self.ours,
            **how,
        )

    def takes_part(self, scenario, name):
        return not scenario.needs_bodies or self.started[name].has_bodies

    def warm_up(self):
        first = self.scenarios[0]
        for name in self.started:
            if self.takes_part(first, name):
                self.answered[name] += first.load(self, name, 1)["requests"]

    def rounds(self):
        if not self.options.quick:
            self.warm_up()
        return [self.round(number + 1) for number in range(self.options.rounds)]

    def round(self, number):
        entry = {name: {"errors": 0, "other": 0.0} for name in self.started}
        for scenario in self.scenarios:
            if scenario.together:
                self.bring_together(True)
            for name, figures in entry.items():
                if self.takes_part(scenario, name):
                    self.measure(scenario, name, figures, number)
            if scenario.together:
                self.bring_together(False)
        other = max(figures["other"] for figures in entry.values())
        print(f"round {number} of {self.options.rounds}: at most {other:.2f} CPUs of other work", flush=True)
        return entry

    def measure(self, scenario, name, figures, number):
        """What stays disturbed is kept, but apart from what counts (unless it is to be shown all the same)."""
        once = partial(self.once, scenario, name)
        result = undisturbed(once, 0 if self.options.quick else RETRIES)
        if result["errors"]:
            print(f"FAULT: {name}: {result['errors']} errors in round {number} of {scenario.name}")
        figures["errors"] += result["errors"]
        figures["other"] = max(figures["other"], result["other"])
        has_cost = bool(self.started[name].programs)
        told = {key: result[key] for key in scenario.keys() if key in result and (result[key] or has_cost)}
        is_disturbed = result["other"] > DISTURBED and not self.options.quick
        if is_disturbed:
            figures.setdefault("disturbed", {})[scenario.name] = told | {"other": result["other"]}
        if not is_disturbed or self.options.show_untrusted:
            figures |= told

    def once(self, scenario, name):
        result = scenario.load(self, name, self.options.seconds_of(scenario))
        self.answered[name] += result["requests"]
        return result

    def bring_together(self, together):
        self.together = together
        cpu = self.options.proxy_cpu if together else self.options.load_cpu
        self.backend.programs[0].move_to(cpu)

    def doubts(self, rounds):
        """What speaks against the figures."""
        found = []
        for name, contestant in self.started.items():
            if contestant.admin:
                found += audit_doubts(name, contestant.admin, self.answered[name])
        if not self.backend.programs[0].realtime:
            found.append("the upstream is not real-time: it and wrk take turns, and every fast proxy measures the same")
        return found + straying(rounds, list(self.started), self.scenarios)
