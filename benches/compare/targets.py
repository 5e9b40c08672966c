"""What we want to reach: data, from the project's plan, and whether a run reached it.

A ratio is ours to theirs, taken inside each round, then the median; an absolute figure is a median over the rounds."""

from dataclasses import dataclass
from statistics import median

from report import ratios_of, table


@dataclass(frozen=True)
class Target:
    what: str
    scenario: str
    key: str
    ours: str
    # Whom a ratio is taken to; none for a figure that stands for itself.
    other: str | None
    limit: float
    unit: str = ""
    is_least: bool = False
    # What we would like, where that is more than what is accepted.
    aim: float | None = None


US, BARE, LUA, HAPROXY = "countersign", "countersign-devnull", "nginx-lua-hmac", "haproxy-hmac"

TARGETS = [
    Target("CPU per request, audit to a file", "small", "cpu", US, LUA, 1.05, aim=0.85),
    Target("CPU per request, audit to a file", "small", "cpu", US, HAPROXY, 0.83, aim=0.68),
    Target("CPU per request, audit not kept", "small", "cpu", BARE, LUA, 0.95, aim=0.85),
    Target("requests/s of one worker", "small", "rate", US, HAPROXY, 1.0, is_least=True),
    Target("p50 with one connection", "single", "one", US, LUA, 1.0),
    Target("CPU per new connection", "connect", "connect_cpu", US, LUA, 1.0),
    Target("CPU per answer of 64 KiB", "answer64k", "large_cpu", US, HAPROXY, 0.65),
    Target("CPU per upload of 10 MiB", "upload", "upload_cpu", US, HAPROXY, 0.6),
    Target("memory with 64 connections", "small", "memory", US, None, 8.0, "MiB"),
    Target("memory that four uploads add", "upload", "upload_added", US, None, 2.0, "MiB"),
    Target("memory of an idle connection", "idle", "each", US, None, 2.5, "KiB"),
    Target("TLS: CPU per kept request", "tls", "cpu", US, "nginx-lua-hmac", 1.0),
    Target("TLS: CPU per kept request", "tls", "cpu", US, "haproxy-hmac", 1.0),
    Target("TLS: CPU per kept request", "tls", "cpu", US, "nginx", 1.0),
    Target("TLS: CPU per kept request", "tls", "cpu", US, "haproxy", 1.0),
    Target("TLS: CPU per full handshake", "tls", "full_cpu", US, "nginx", 1.0),
    Target("TLS: CPU per full handshake", "tls", "full_cpu", US, "haproxy", 1.0),
    Target("what two workers do, in workers", "workers", "gain", "two workers", None, 1.8, is_least=True),
    Target("the same, new connections", "workers", "fresh_gain", "two workers", None, 1.8, is_least=True),
    Target("CPU per request, 10,000 rules to 10", "rules", "many_cpu", "10,000 rules", "10 rules", 1.05),
    Target("CPU per request, 10,000 services to 10", "services", "many_cpu", "10,000 services", "10 services", 1.05),
    Target("CPU per request, last third of a churn to the first", "churn", "churn_cpu", "last", "first", 1.05),
    Target("memory, last third of a churn to the first", "churn", "churn_memory", "last", "first", 1.05),
]
# What is not of this bench.
ELSEWHERE = "classify, verify and decide in 1.5 us with 1,000 rules: `cargo bench --bench decision`"

HOLDS, FAILS, UNMEASURED = "holds", "does not hold", "not measured"


def judged(target, sections):
    """The target with what was measured: a dictionary for the table and for `--json`."""
    rounds = next((section.rounds for section in sections if section.name == target.scenario), [])
    if target.other:
        values = ratios_of(rounds, target.ours, target.other, target.key)
    else:
        values = [entry[target.ours][target.key] for entry in rounds if target.key in entry.get(target.ours, {})]
    told = {
        "what": target.what,
        "of": f"{target.ours} / {target.other}" if target.other else target.ours,
        "limit": f"{'>=' if target.is_least else '<='} {target.limit:g} {target.unit}".rstrip(),
        "aim": f"{target.aim:g}" if target.aim else "",
        "measured": None,
        "verdict": UNMEASURED,
    }
    if values:
        middle = median(values)
        reached = middle >= target.limit if target.is_least else middle <= target.limit
        told |= {"measured": middle, "least": min(values), "most": max(values), "verdict": HOLDS if reached else FAILS}
    return told


def judge(sections):
    return [judged(target, sections) for target in TARGETS]


def targets_table(verdicts):
    """Those that were measured as a table, the others by name."""
    rows = []
    for told in verdicts:
        if told["verdict"] != UNMEASURED:
            measured, spread = f"{told['measured']:.2f}", f"{told['least']:.2f} to {told['most']:.2f}"
            rows.append([told["what"], told["of"], measured, spread, told["limit"], told["aim"], told["verdict"]])
    others = [f"{told['what']} ({told['of']})" for told in verdicts if told["verdict"] == UNMEASURED]
    parts = [table(["target", "of", "measured", "over the rounds", "limit", "aim", ""], rows)] if rows else []
    if others:
        parts.append(f"Targets not measured: {'; '.join(others)}.")
    return "\n\n".join([*parts, f"Not of this bench: {ELSEWHERE}."])
