//! `report --readiness` for people: the verdicts, then what would break and why, then what speaks for nobody.

use super::readiness::{Judged, Report};
use super::words::{at, evidence_text, period, plain, table};
use crate::rollout::recorded::Few;
use crate::rollout::recorded::readiness::Verdict;
use std::fmt::Write as _;

pub(super) fn to_text(report: &Report<'_>) -> String {
    let mut text = format!("Readiness for enforcement, {}\n", period(report.evidence));
    for line in evidence_text(report.evidence, &report.continuity, report.beyond_us) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{line}");
    }
    if report.unlearned > 0 {
        let _ = writeln!(text, "{} calls of services came from more addresses than are kept apart", report.unlearned);
    }
    let _ = writeln!(text);
    verdicts(&mut text, report);
    for service in &report.services {
        reasons(&mut text, service);
    }
    nobody(&mut text, report);
    let _ = writeln!(
        text,
        "\nNot counted: {} exempt and {} open requests.\n\n{}",
        report.readiness.exempt,
        report.readiness.open,
        conclusion(report)
    );
    text.trim_end().to_owned()
}

fn verdicts(text: &mut String, report: &Report<'_>) {
    if report.services.is_empty() {
        text.push_str("No service is configured, and none proved itself.\n");
        return;
    }
    let mut lines =
        vec![["SERVICE", "VERDICT", "GOOD", "FAILED", "OVERRIDDEN", "LAST GOOD CALL"].map(str::to_owned).to_vec()];
    for service in &report.services {
        let conduct = &service.conduct;
        let refused: u64 = conduct.refusals.values().map(|refused| refused.all.count).sum();
        let last = if conduct.authenticated.count > 0 { at(conduct.authenticated.last) } else { "never".to_owned() };
        lines.push(vec![
            plain(&service.id),
            service.verdict.code().replace('_', " "),
            conduct.authenticated.count.to_string(),
            refused.to_string(),
            conduct.overrides.count.to_string(),
            last,
        ]);
    }
    text.push_str(&table(&lines, ""));
}

/// What stands against one service, and what to do about it.
fn reasons(text: &mut String, service: &Judged) {
    let conduct = &service.conduct;
    if !conduct.refusals.is_empty() || conduct.overrides.count > 0 {
        let _ = writeln!(text, "\n{}:", plain(&service.id));
    }
    for ((rule, reason, cause), refused) in &conduct.refusals {
        let rule = rule.as_ref().map_or("no rule".to_owned(), |rule| format!("rule \"{}\"", plain(rule)));
        let cause = cause.as_ref().map_or(String::new(), |cause| format!(" ({})", plain(cause)));
        let done = match (refused.carried_out, refused.all.count - refused.carried_out) {
            (0, _) => "would be refused".to_owned(),
            (_, 0) => "refused".to_owned(),
            (carried_out, _) => format!("{carried_out} of them refused"),
        };
        let _ = writeln!(text, "  {} x {}{cause} at {rule}, {done}", refused.all.count, plain(reason));
        let claimed = match few(&refused.claimed) {
            names if names.is_empty() => String::new(),
            names => format!(", as {names}"),
        };
        let (first, last) = (at(refused.all.first), at(refused.all.last));
        let _ = writeln!(text, "    from {}{claimed}, first {first}, last {last}", few(&refused.clients));
        if &**reason == "malformed_request" {
            text.push_str("    refused in log mode too: enforcement changes nothing about it\n");
        }
    }
    if conduct.overrides.count > 0 {
        let (count, last) = (conduct.overrides.count, at(conduct.overrides.last));
        let _ = writeln!(text, "  {count} x passed only by an override, last {last}: refused once it is gone");
    }
    if service.verdict == Verdict::Silent {
        let _ = writeln!(text, "\n{}: not one call; nothing is known of it", plain(&service.id));
        if !service.may_call {
            let _ = writeln!(
                text,
                "  no rule lets it call: `unused = true` in [services.{}] says that it need not",
                plain(&service.id)
            );
        }
        if conduct.claimed_elsewhere.count > 0 && !service.has_addresses {
            let _ = writeln!(
                text,
                "  {} refused calls claimed to be it, from addresses of nobody: set [services.{}].addresses",
                conduct.claimed_elsewhere.count,
                plain(&service.id)
            );
        }
    }
}

fn nobody(text: &mut String, report: &Report<'_>) {
    let strangers = &report.readiness.strangers;
    if strangers.all.count == 0 && strangers.overrides.count == 0 {
        return;
    }
    let _ = writeln!(
        text,
        "\nFrom addresses of nobody (browsers, strangers), part of no verdict: {} refused or would be, {} passed by an override",
        strangers.all.count, strangers.overrides.count
    );
    let mut lines = vec![["RULE", "REASON", "COUNT", "LAST"].map(str::to_owned).to_vec()];
    for ((rule, reason), times) in &strangers.by_rule {
        let rule = rule.as_ref().map_or("-".to_owned(), |rule| plain(rule));
        lines.push(vec![rule, plain(reason), times.count.to_string(), at(times.last)]);
    }
    if lines.len() > 1 {
        text.push_str(&table(&lines, "  "));
    }
    let (top, addresses, calls) = strangers.top(report.top);
    let mut lines = vec![["ADDRESS", "COUNT", "LAST"].map(str::to_owned).to_vec()];
    lines.extend(top.into_iter().map(|(name, times)| vec![plain(name), times.count.to_string(), at(times.last)]));
    if lines.len() > 1 {
        text.push_str(&table(&lines, "  "));
    }
    if calls > 0 {
        let _ = writeln!(text, "  and {calls} calls of {addresses} or more other addresses");
    }
}

fn conclusion(report: &Report<'_>) -> String {
    if report.is_ready() {
        return "Ready: enforcement would refuse nothing that a service was seen doing.".to_owned();
    }
    let of = |verdict: Verdict| {
        let ids = report.services.iter().filter(|service| service.verdict == verdict);
        ids.map(|service| plain(&service.id)).collect::<Vec<_>>().join(", ")
    };
    let mut text = "Not ready.".to_owned();
    for (verdict, words) in [
        (Verdict::WouldBreak, "Would break"),
        (Verdict::Silent, "Silent (a longer --since may know more; `unused = true` where silence is right)"),
        (Verdict::Incomplete, "Not certain, because evidence is missing (a shorter --since may avoid the hole)"),
    ] {
        let ids = of(verdict);
        if !ids.is_empty() {
            let _ = write!(text, " {words}: {ids}.");
        }
    }
    text
}

fn few(few: &Few) -> String {
    let names: Vec<String> = few.texts.iter().map(|text| plain(text)).collect();
    names.join(", ") + if few.more { " and others" } else { "" }
}
