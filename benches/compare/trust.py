"""May the figures be believed? What was left out because others used the machine, and what strays between rounds.

A figure is looked at beside those of all others in its round: a machine that is slower for everybody for a while, as a
virtual one is, changes no ratio."""

from math import prod
from statistics import median

# A typical round that is further from the median than this, as a share, says that the machine was not quiet.
STRAY = 0.05
# Rounds without a disturbance that a median needs, where so many were asked for.
ENOUGH = 3


def straying(rounds, names, scenarios):
    """For each scenario: too few rounds without a disturbance, or figures that the rounds do not agree on."""
    found = []
    for scenario in scenarios:
        for name in names:
            disturbed = sum(scenario.name in entry[name].get("disturbed", {}) for entry in rounds)
            left = len(rounds) - disturbed
            beginning = f"{scenario.name} of {name}:"
            if disturbed and left < min(ENOUGH, len(rounds)):
                found.append(f"{beginning} {disturbed} of {len(rounds)} rounds were disturbed by other work")
            elif scenario.steady and (share := spread(rounds, name, scenario.steady)) > STRAY:
                found.append(f"{beginning} beside the others, a typical round is {share:.0%} off the median")
    return found


def spread(rounds, name, key):
    """How far a typical round (the median one) is from the median of all, as a share."""
    everywhere = [other for other in rounds[0] if all(entry[other].get(key) for entry in rounds)] if rounds else []
    values = [entry[name][key] / level(entry, everywhere, key) for entry in rounds if entry[name].get(key)]
    if len(values) < 2:
        return 0.0
    middle = median(values)
    return median(abs(value - middle) for value in values) / middle


def level(entry, names, key):
    """What those who were measured in every round cost together in this one. One alone stands for itself."""
    values = [entry[name][key] for name in names]
    return prod(values) ** (1 / len(values)) if len(values) > 1 else 1.0
