//! The daily report for programs: the same figures as in the mail, with every count of it under a name of its own.

use super::daily::Report;
use super::words::{at, evidence_json, tally};
use crate::rollout::recorded::daily::{Calls, Outbound, Refusals, Upstream};
use serde_json::{Value, json};

pub(super) fn to_json(report: &Report<'_>) -> Value {
    let daily = &report.daily;
    let failed = daily.failed();
    let reasons: Vec<Value> = daily
        .failures
        .iter()
        .map(|(reason, Refusals { refused, would_refuse })| {
            json!({ "reason": reason, "refused": refused, "would_refuse": would_refuse })
        })
        .collect();
    let overrides: Vec<Value> = daily
        .overrides
        .iter()
        .map(|(grant, times)| {
            let mut value = tally(*times);
            value["grant"] = grant.as_deref().into();
            value
        })
        .collect();
    let keys = match &report.keys {
        None => Value::Null,
        Some(Ok((_, keys))) => keys.clone(),
        Some(Err(error)) => json!({ "error": error.to_string() }),
    };
    json!({
        "from": at(report.evidence.period.from),
        "until": at(report.evidence.period.until),
        "audit": report.evidence.path.display().to_string(),
        "evidence": evidence_json(&report.continuity, report.beyond_us),
        "requests": daily.all.count,
        "successes": daily.successes,
        "failures": {
            "count": failed.refused + failed.would_refuse,
            "refused": failed.refused,
            "would_refuse": failed.would_refuse,
            "of_nobody": daily.strangers,
            "reasons": reasons,
        },
        "rate_limited": daily.rate_limited(),
        "overrides": {
            "count": daily.overrides.values().map(|times| times.count).sum::<u64>(),
            "uses": overrides,
        },
        "malformed": daily.malformed,
        "exempt": daily.exempt,
        "open": daily.open,
        "services": report.services.iter().map(|(id, calls)| service(id, calls)).collect::<Vec<_>>(),
        "keys": keys,
        "upstream": upstream(&daily.upstream),
        "outbound": outbound(&report.outbound),
        "changes": {
            "counts": report.changes.counts,
            "newest": report.changes.newest.iter().map(|change| change.line.clone()).collect::<Vec<_>>(),
            "left_out": report.changes.left_out,
        },
    })
}

fn service(id: &str, calls: &Calls) -> Value {
    let drift = calls.drift.figures().map(|(least, median, most)| {
        json!({ "min": least, "median": median, "max": most, "requests": calls.drift.total() })
    });
    json!({
        "service": id,
        "authenticated": calls.authenticated,
        "refused": calls.refused,
        "would_refuse": calls.would_refuse,
        "overrides": calls.overrides,
        "clock_drift_seconds": drift,
    })
}

fn upstream(upstream: &Upstream) -> Value {
    let Upstream { answered, errors, ours } = upstream;
    let failed = upstream.failed_in_10_000();
    json!({
        "answered": answered,
        "answered_5xx": errors.values().sum::<u64>(),
        "statuses_5xx": errors,
        "not_answered": ours.values().sum::<u64>(),
        "statuses_of_ours": ours,
        "error_rate_percent": failed.map(|of_10_000| of_10_000 as f64 / 100.0),
    })
}

fn outbound(outbound: &Outbound) -> Value {
    json!({
        "signed": outbound.signed,
        "unsigned": outbound.unsigned,
        "refused": outbound.refused,
        "upstream": upstream(&outbound.upstream),
    })
}
