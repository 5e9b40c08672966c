//! `keys rotate`: keys are replaced without one refused request; `steps` does one service's, this file all of them, and tells.
//!
//! `--due` is for a timer that stands on every machine: a service whose lease another machine has is that machine's work, and no
//! failure. An overlap that cannot end because its old key is still used is: exit code 1, so that the unit fails and somebody looks.

use super::arguments::Rotate;
use super::{KeyPlace, key_source, service_ids, words};
use crate::cli::output::{Answer, CliError, Output, complain};
use crate::clock;
use crate::keys::redis::verifiers::PRESENCE;
use crate::keys::rotation::{Asked, Overlap, OverlapStage, Rules};
use crate::keys::store::KeyStore;
use crate::signature::key::{Fingerprint, ServiceId};
use serde_json::{Value, json};
use std::time::Duration;

mod steps;

use steps::{Outcome, Run};

pub(super) fn run(arguments: &Rotate, output: &Output) -> Result<Answer, CliError> {
    let ids = service_ids(&arguments.ids)?;
    let place = KeyPlace::of(arguments.place.dir.as_deref(), &arguments.place.config)?;
    let keys = &place.keys;
    let run = Run {
        place: &place,
        output,
        asked: if arguments.due { Asked::WhenDue } else { Asked::Now },
        force: arguments.force,
        overlap: arguments.overlap.unwrap_or(keys.overlap).as_secs(),
        settle: arguments.settle,
        // Later than that every verifier has asked Redis by itself, and one that was killed is no longer said to run.
        longest: keys.cache.max(PRESENCE) + MARGIN,
        rules: Rules {
            ttl: keys.ttl.as_secs(),
            unused_for: keys.unused_for.as_secs(),
            rotate_before: keys.rotate_before.as_secs(),
        },
    };
    key_source::block_on(all(&run, ids))
}

/// How much later than its cache says a verifier may ask.
const MARGIN: Duration = Duration::from_secs(5);

async fn all(run: &Run<'_>, ids: Vec<ServiceId>) -> Result<Answer, CliError> {
    let ids = match run.asked {
        Asked::Now => ids,
        Asked::WhenDue => {
            let there = run.place.store.list().await.map_err(key_source::failed)?;
            there.into_iter().map(|(id, _)| id).filter(|id| ids.is_empty() || ids.contains(id)).collect()
        }
    };
    let mut told = Vec::new();
    let mut answer = Answer::Done;
    for id in ids {
        let outcome = match run.one(&id).await {
            Ok(outcome) => outcome,
            // The next service would fare no better.
            Err(fault) if fault.is_of_all() => return Err(key_source::failed(fault)),
            Err(fault) => Outcome::Failed { why: fault.to_string() },
        };
        if is_no(run, &id, &outcome) {
            answer = Answer::No;
        }
        if run.output.is_json() {
            told.push(to_json(&id, &outcome));
        } else {
            tell(run, &id, &outcome)?;
        }
    }
    if run.output.is_json() {
        run.output.json(&json!({ "store": run.place.store.place(), "keys": told }))?;
    }
    Ok(answer)
}

/// Must somebody do something?
fn is_no(run: &Run<'_>, id: &ServiceId, outcome: &Outcome) -> bool {
    let services = run.place.config.as_ref().map(|config| &config.services);
    let unused = services.and_then(|services| services.get(id)).is_some_and(|service| service.unused);
    match outcome {
        Outcome::Rotated { .. } | Outcome::OverlapEnded { .. } | Outcome::NotDue { .. } => false,
        Outcome::Busy => run.asked == Asked::Now,
        Outcome::Overdue(_) | Outcome::Failed { .. } => !unused,
        Outcome::Refused(_) | Outcome::NoKey => true,
    }
}

fn tell(run: &Run<'_>, id: &ServiceId, outcome: &Outcome) -> Result<(), CliError> {
    let now = clock::unix_seconds();
    match outcome {
        Outcome::Rotated { old, new, until, .. } => {
            run.output.text(format_args!(
                "{id}: rotated to {new}; {old} stays valid until {}, and while it is used",
                words::time(*until)
            ))?;
            if let KeyStore::Directory(_) = run.place.store {
                run.output.text(format_args!(
                    "{id}: copies of its file on other machines hold {old}: bring them the new key (keys export)"
                ))?;
            }
        }
        Outcome::OverlapEnded { old } => run.output.text(format_args!("{id}: {old} is no longer taken"))?,
        Outcome::NotDue { left: None } => run.output.text(format_args!("{id}: not due; nobody knows its age"))?,
        Outcome::NotDue { left: Some(left) } => {
            run.output.text(format_args!("{id}: not due, {} left", words::span(left.unsigned_abs())))?;
        }
        Outcome::Busy if run.asked == Asked::WhenDue => {
            run.output.text(format_args!("{id}: another rotation is under way and sees to it"))?;
        }
        Outcome::Busy => complain(&format!("{id}: another rotation of this key is under way")),
        Outcome::Refused(overlap) => complain(&format!(
            "{id}: not rotated: {}\n--force ends it and goes on: who still uses {} is refused then",
            describe(overlap, now),
            overlap.old
        )),
        Outcome::Overdue(overlap) => complain(&format!(
            "{id}: {}\nit stays valid until nobody uses it any more; --due --force {id} ends it at once",
            describe(overlap, now)
        )),
        Outcome::NoKey => complain(&format!(
            "{id} has no key in {}; make one with `countersign keys generate {id}`",
            run.place.store.place()
        )),
        Outcome::Failed { why } => complain(&format!("{id}: {why}")),
    }
    Ok(())
}

fn describe(overlap: &Overlap, now: u64) -> String {
    let Overlap { old, until, used, known, stage } = overlap;
    let used = match used {
        Some(used) => format!("last used {}", words::used(used, now)),
        None if *known => "not seen used since".to_owned(),
        None => words::UNKNOWN_USE.to_owned(),
    };
    let until = words::time(*until);
    match stage {
        OverlapStage::Running => format!("the key before, {old}, was promised to be valid until {until}; {used}"),
        OverlapStage::StillUsed => {
            format!("the key before, {old}, was to be valid until {until} and is still used; {used}")
        }
        OverlapStage::Unknown => format!("the key before, {old}, was to be valid until {until}; {used}"),
        OverlapStage::Over => format!("the key before, {old}, was valid until {until}; {used}"),
    }
}

fn to_json(id: &ServiceId, outcome: &Outcome) -> Value {
    let print = |key: &Fingerprint| key.to_string();
    let of = |overlap: &Overlap| {
        json!({
            "fingerprint": print(&overlap.old),
            "until": words::time(overlap.until),
            "last_used": words::used_json(overlap.used.as_ref()),
            "use_known": overlap.known,
        })
    };
    let mut value = match outcome {
        Outcome::Rotated { old, new, until, resumed, unaware } => json!({
            "outcome": "rotated",
            "fingerprint": print(new),
            "previous": { "fingerprint": print(old), "until": words::time(*until) },
            "resumed": resumed,
            "unaware": unaware,
        }),
        Outcome::OverlapEnded { old } => json!({ "outcome": "overlap_ended", "ended": print(old) }),
        Outcome::NotDue { left } => json!({ "outcome": "not_due", "ttl_seconds": left }),
        Outcome::Busy => json!({ "outcome": "busy" }),
        Outcome::Refused(overlap) => json!({ "outcome": "refused", "previous": of(overlap) }),
        Outcome::Overdue(overlap) => json!({ "outcome": "overdue", "previous": of(overlap) }),
        Outcome::NoKey => json!({ "outcome": "no_key" }),
        Outcome::Failed { why } => json!({ "outcome": "failed", "problem": why }),
    };
    value["service"] = id.as_str().into();
    value
}
