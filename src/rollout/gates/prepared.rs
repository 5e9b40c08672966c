//! Criteria about what stands ready: keys, files, clocks, ways around, the running sidecar.

use super::Gate;
use super::figures::{Around, Baseline, EnvFiles, Key, Lasts, Offset, Standing, UpstreamIs};
use super::judged::{Judged, few, span};
use super::limits::{self, Limits};

pub(super) fn keys(keys: &[Key], gate: Gate) -> Judged {
    if keys.is_empty() {
        return Judged::unknown("no service is configured");
    }
    let limit = limits::key_seconds(gate);
    let (mut wrong, mut unseen, mut least) = (Vec::new(), Vec::new(), None);
    for Key { service, lasts } in keys {
        match lasts {
            Lasts::Missing(why) => wrong.push(format!("{service}: {why}")),
            Lasts::For(left) => match u64::try_from(*left) {
                Ok(left) if left > limit => least = Some(least.map_or(left, |least: u64| least.min(left))),
                Ok(left) => wrong.push(format!("{service}: {} left", span(left))),
                Err(_) => wrong.push(format!("{service}: over its time by {}", span(left.unsigned_abs()))),
            },
            Lasts::Forever => {}
            Lasts::Unknown => unseen.push(format!("{service}: its age is not known")),
        }
    }
    let least = least.map_or_else(|| "without end".to_owned(), |least| format!("the shortest for {}", span(least)));
    Judged::of_lists(&wrong, &unseen, format!("{}, {least}", counted(keys.len(), "key")))
}

pub(super) fn env_files(files: &EnvFiles) -> Judged {
    Judged::of_lists(&files.open, &[], format!("{} with secrets, none open", counted(files.with_secrets, "file")))
}

pub(super) fn redis_clock(offset: Option<Offset>) -> Judged {
    let Some(Offset { milliseconds, uncertain }) = offset else {
        return Judged::known(true, "no Redis is configured");
    };
    let at_most = milliseconds.unsigned_abs() + uncertain;
    let at_least = milliseconds.unsigned_abs().saturating_sub(uncertain);
    let measured = format!("{milliseconds} ms, give or take {uncertain} ms");
    let limit = limits::CLOCKS * 1_000;
    match (at_most < limit, at_least < limit) {
        (true, _) => Judged::known(true, measured),
        (false, true) => Judged::unknown(format!("{measured}: the round trip took too long")),
        (false, false) => Judged::known(false, measured),
    }
}

pub(super) fn around(around: &Around) -> Judged {
    let wrong: Vec<String> =
        around.open.iter().map(|place| format!("{place} takes connections, past the sidecar")).collect();
    let elsewhere: Vec<String> = around
        .elsewhere
        .iter()
        .map(|upstream| format!("{upstream} is on another machine: who else reaches it cannot be told from here"))
        .collect();
    let good = match &*around.tried {
        [] => "this machine has no address but loopback".to_owned(),
        tried => format!("tried {}: closed", few(tried)),
    };
    Judged::of_lists(&wrong, &elsewhere, good)
}

pub(super) fn upstream(standing: &Standing) -> Judged {
    let (mut wrong, mut unseen) = (Vec::new(), Vec::new());
    for (name, state) in &standing.upstreams {
        match state {
            UpstreamIs::Up => {}
            UpstreamIs::Down(why) => wrong.push(format!("{name} is down: {why}")),
            UpstreamIs::Unknown => unseen.push(format!("{name} has not been asked yet")),
        }
    }
    if standing.upstreams.is_empty() {
        unseen.push("there is no inbound listener".to_owned());
    }
    Judged::of_lists(&wrong, &unseen, format!("{} up", counted(standing.upstreams.len(), "upstream")))
}

pub(super) fn configuration(standing: &Standing) -> Judged {
    let measured = if standing.reload_refused { "the last reload was refused" } else { "the last load was taken" };
    Judged::known(!standing.reload_refused, measured)
}

pub(super) fn durable(standing: &Standing) -> Judged {
    let mut wrong: Vec<String> = standing.not_durable.iter().cloned().collect();
    if standing.records_lost > 0 {
        wrong.push(format!("{} lost since the start", counted_u64(standing.records_lost, "audit record")));
    }
    Judged::of_lists(&wrong, &[], "all")
}

pub(super) fn no_hold(standing: &Standing) -> Judged {
    Judged::known(standing.held.is_none(), standing.held.as_deref().unwrap_or("none"))
}

pub(super) fn monitoring(standing: &Standing, limits: &Limits) -> Judged {
    match standing.scraped {
        Some(ago) => Judged::known(ago <= limits.scraped_within, format!("{} ago", span(ago))),
        None => Judged::known(false, "never since the sidecar's start"),
    }
}

pub(super) fn baseline(baseline: Baseline) -> Judged {
    let Baseline { calls, seconds, is_enough } = baseline;
    Judged::known(is_enough, format!("{} in {} of log mode", counted_u64(calls, "authenticated call"), span(seconds)))
}

pub(super) fn in_force(standing: &Standing, last_stage: u8) -> Judged {
    if !standing.enforces {
        return Judged::known(false, "log mode");
    }
    let below: Vec<String> = standing
        .below
        .iter()
        .filter(|(_, percentage)| *percentage < last_stage)
        .map(|(rule, percentage)| format!("the rule \"{rule}\" at {percentage} %"))
        .collect();
    let measured = format!("enforce at {} %", standing.percentage);
    if below.is_empty() {
        return Judged::known(standing.percentage >= last_stage, measured);
    }
    Judged::known(false, format!("{measured}, {}", few(&below)))
}

pub(super) fn drilled(ago: Option<u64>, limits: &Limits) -> Judged {
    match ago {
        Some(ago) => Judged::known(ago <= limits.drilled_within, format!("{} ago", span(ago))),
        None => Judged::known(false, "never, as far as records go"),
    }
}

/// `1 key`, `6 keys`.
fn counted(count: usize, what: &str) -> String {
    counted_u64(count as u64, what)
}

pub(super) fn counted_u64(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
