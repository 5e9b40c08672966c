//! The daily report for people: what fits a mail, what matters first.

use super::daily::Report;
use super::words::{at, evidence_text, period, plain, table};
use crate::rollout::recorded::daily::Upstream;
use std::fmt::Write as _;

pub(super) fn to_text(report: &Report<'_>) -> String {
    let mut text = format!("Countersign report, {}\n", period(report.evidence));
    for line in evidence_text(report.evidence, &report.continuity, report.beyond_us) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{line}");
    }
    authentication(&mut text, report);
    services(&mut text, report);
    keys(&mut text, report);
    let _ = writeln!(text, "\nUpstream\n  {}", upstream(&report.daily.upstream));
    outbound(&mut text, report);
    changes(&mut text, report);
    text.trim_end().to_owned()
}

fn authentication(text: &mut String, report: &Report<'_>) {
    let daily = &report.daily;
    let failed = daily.failed();
    let failures = failed.refused + failed.would_refuse;
    let overrides: u64 = daily.overrides.values().map(|times| times.count).sum();
    let _ = writeln!(text, "\nAuthentication");
    let lines = [
        ("successes", daily.successes, share(daily.successes, daily.successes + failures)),
        ("failures", failures, share(failures, daily.successes + failures)),
        ("  refused", failed.refused, String::new()),
        ("  let pass", failed.would_refuse, String::new()),
        ("  of nobody", daily.strangers, "from addresses that are no service's".to_owned()),
        ("rate limited", daily.rate_limited(), String::new()),
        ("overrides", overrides, String::new()),
        ("malformed", daily.malformed, String::new()),
        ("exempt", daily.exempt, String::new()),
        ("open", daily.open, String::new()),
    ];
    let width = lines.iter().map(|(_, count, _)| count.to_string().len()).max().unwrap_or_default();
    for (name, count, note) in lines {
        let _ = writeln!(text, "{}", format!("  {name:<14}{count:>width$}  {note}").trim_end());
    }
    for (reason, counts) in &daily.failures {
        let (refused, passed) = (counts.refused, counts.would_refuse);
        let _ = writeln!(text, "  {}: {refused} refused, {passed} let pass", plain(reason));
    }
    for (grant, times) in &daily.overrides {
        let grant = grant.as_ref().map_or("the static token".to_owned(), |grant| format!("grant {}", plain(grant)));
        let _ = writeln!(text, "  override by {grant}: {} times, last {}", times.count, at(times.last));
    }
}

fn services(text: &mut String, report: &Report<'_>) {
    let _ = writeln!(text, "\nServices (clock: theirs minus ours, seconds)");
    if report.services.is_empty() {
        let _ = writeln!(text, "  none is configured, and none proved itself");
        return;
    }
    let heading = ["SERVICE", "GOOD", "REFUSED", "LET PASS", "OVERRIDDEN", "CLOCK MIN", "MEDIAN", "MAX"];
    let mut lines = vec![heading.map(str::to_owned).to_vec()];
    for (id, calls) in &report.services {
        let drift = calls.drift.figures();
        let shown = |pick: fn((i64, i64, i64)) -> i64| drift.map_or("-".to_owned(), |drift| pick(drift).to_string());
        lines.push(vec![
            plain(id),
            calls.authenticated.to_string(),
            calls.refused.to_string(),
            calls.would_refuse.to_string(),
            calls.overrides.to_string(),
            shown(|(least, _, _)| least),
            shown(|(_, median, _)| median),
            shown(|(_, _, most)| most),
        ]);
    }
    text.push_str(&table(&lines, "  "));
}

fn keys(text: &mut String, report: &Report<'_>) {
    match &report.keys {
        None => {}
        Some(Ok((keys, _))) => {
            let _ = writeln!(text, "\nKeys");
            for line in keys.lines() {
                let _ = writeln!(text, "  {line}");
            }
        }
        Some(Err(error)) => {
            let _ = writeln!(text, "\nKeys\n  NOT KNOWN: {error}");
        }
    }
}

fn upstream(upstream: &Upstream) -> String {
    let list = |counts: &std::collections::BTreeMap<u16, u64>| {
        let list: Vec<String> = counts.iter().map(|(status, count)| format!("{count} x {status}")).collect();
        if list.is_empty() { "none".to_owned() } else { list.join(", ") }
    };
    let rate = upstream.failed_in_10_000().map_or("-".to_owned(), percent);
    format!(
        "{} answers; errors of its own: {}; not answered, ours in its place: {}; error rate {rate}",
        upstream.answered,
        list(&upstream.errors),
        list(&upstream.ours)
    )
}

fn outbound(text: &mut String, report: &Report<'_>) {
    let out = &report.outbound;
    let refused: u64 = out.refused.values().sum();
    if out.signed + out.unsigned + refused == 0 {
        return;
    }
    let _ = writeln!(text, "\nSent from here\n  {} signed, {} tunnels, {refused} refused", out.signed, out.unsigned);
    for (reason, count) in &out.refused {
        let _ = writeln!(text, "  {count} x {}", plain(reason));
    }
    let _ = writeln!(text, "  {}", upstream(&out.upstream));
}

fn changes(text: &mut String, report: &Report<'_>) {
    let changes = &report.changes;
    let _ = writeln!(text, "\nChanges");
    if changes.newest.is_empty() {
        let _ = writeln!(text, "  none");
    }
    if changes.left_out > 0 {
        let _ = writeln!(text, "  {} earlier ones are left out here", changes.left_out);
    }
    for change in &changes.newest {
        let said = &change.said;
        let (event, who, why) = (plain(&said.event), plain(&said.who), plain(&said.why));
        let _ = writeln!(text, "  {}  {event} by {who}: {why}", at(change.unix_micros));
    }
}

fn share(part: u64, whole: u64) -> String {
    (part * 10_000).checked_div(whole).map_or(String::new(), percent)
}

fn percent(of_10_000: u64) -> String {
    format!("{}.{:02}%", of_10_000 / 100, of_10_000 % 100)
}
