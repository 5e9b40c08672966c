"""figures.py AUDIT SERVICES: the figures of both reports, from the audit lines alone.

SERVICES is a JSON object of service id to addresses (CIDR). Written from what the reports promise, without a look at how
they are made: every line is kept, everything is sorted and counted at the end.
"""

import glob
import gzip
import ipaddress
import json
import sys
from collections import Counter, defaultdict

AUDIT, SERVICES = sys.argv[1], json.loads(sys.argv[2])


def lines():
    for name in sorted(glob.glob(AUDIT + ".*")) + [AUDIT]:
        opened = gzip.open(name, "rt") if name.endswith(".gz") else open(name)
        with opened as file:
            yield from file


records, torn = [], 0
for line in lines():
    try:
        records.append(json.loads(line))
    except ValueError:
        torn += 1
inbound = [r for r in records if r.get("direction") == "inbound" and not r.get("probe")]

seqs = defaultdict(list)
for record in records:
    seqs[record["boot"]].append(record["seq"])
lost = sum(s[-1] - s[0] + 1 - len(s) for s in map(sorted, seqs.values()))


def replayed(record):
    return "replayed" in (record.get("reason"), record.get("cause"))


proved_at = defaultdict(set)
for record in inbound:
    if record.get("service") and not replayed(record):
        proved_at[record["client"]].add(record["service"])


def configured_at(client):
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return set()
    return {s for s, nets in SERVICES.items() if any(address in ipaddress.ip_network(n, strict=False) for n in nets)}


def callers(record):
    if record.get("service") and not replayed(record):
        return {record["service"]}
    owners = proved_at[record["client"]] | configured_at(record["client"])
    claimed = record.get("claimed_service")
    return {claimed} if claimed in owners else owners


def is_failure(record):
    guarded = record.get("class", "service") == "service"
    return guarded and record["outcome"] in ("refuse", "would_refuse")


everybody = set(SERVICES) | {s for owners in proved_at.values() for s in owners}
services = {}
for service in everybody:
    own = [r for r in inbound if r.get("class", "service") == "service" and service in callers(r)]
    rows = Counter(
        (r.get("rule"), r.get("reason"), r.get("cause"), r["outcome"] == "refuse") for r in own if is_failure(r)
    )
    refusals = defaultdict(lambda: [0, 0])
    for (rule, reason, cause, carried_out), count in rows.items():
        refusals[rule, reason, cause][0] += count
        refusals[rule, reason, cause][1] += count if carried_out else 0
    good = [r for r in own if r["outcome"] == "authenticated"]
    overrides = [r for r in own if r["outcome"] == "override"]
    breaking = [key for key in refusals if key[1] != "malformed_request"]
    if breaking or overrides:
        verdict = "would_break"
    elif not good:
        verdict = "silent"
    elif lost or torn:
        verdict = "incomplete"
    else:
        verdict = "safe"
    skews = sorted(
        r["skew_seconds"]
        for r in own
        if "skew_seconds" in r
        and ((r.get("service") and not replayed(r)) or "timestamp_outside_window" in (r.get("reason"), r.get("cause")))
        and r.get("reason") != "malformed_request"
    )
    real = [r for r in own if r.get("reason") != "malformed_request"]
    services[service] = {
        "verdict": verdict,
        "authenticated": len(good),
        "overrides": len(overrides),
        "refusals": sorted([list(map(str, key)) + counts for key, counts in refusals.items()]),
        "refused": sum(r["outcome"] == "refuse" for r in real),
        "would_refuse": sum(r["outcome"] == "would_refuse" for r in real),
        "last": max((r["time"][:19] + "Z" for r in good), default=None),
        "drift": [skews[0], skews[(len(skews) - 1) // 2], skews[-1]] if skews else None,
    }

nobody = [r for r in inbound if is_failure(r) and not callers(r)]
judged = [r for r in inbound if is_failure(r) and r.get("reason") != "malformed_request"]
answered = [r for r in inbound if r["outcome"] != "refuse" and "status" in r]
print(
    json.dumps(
        {
            "services": services,
            "lost": lost,
            "torn": torn,
            "nobody": len(nobody),
            "nobody_by_rule": sorted(
                [str(rule), reason, count]
                for (rule, reason), count in Counter(
                    (r.get("rule"), r.get("cause") or r["reason"]) for r in nobody
                ).items()
            ),
            "nobody_addresses": Counter(r["client"] for r in nobody),
            "exempt": sum(r.get("class") == "exempt" for r in inbound),
            "open": sum(r.get("class") == "open" for r in inbound),
            "requests": len(inbound),
            "successes": sum(r["outcome"] == "authenticated" for r in inbound),
            "failures": len(judged),
            "reasons": sorted(
                [reason, sum(r["outcome"] == "refuse" for r in judged if r["reason"] == reason)]
                for reason in {r["reason"] for r in judged}
            ),
            "rate_limited": sum(r["reason"] == "rate_limited" for r in judged),
            "overrides": sum(r["outcome"] == "override" for r in inbound),
            "malformed": sum(r.get("reason") == "malformed_request" for r in inbound),
            "answered": sum("upstream_us" in r for r in answered),
            "answered_5xx": sum("upstream_us" in r and r["status"] >= 500 for r in answered),
            "not_answered": sum("upstream_us" not in r and r["status"] in (502, 503, 504) for r in answered),
            "events": Counter(r["event"] for r in records if "event" in r),
        }
    )
)
