//! One service's rotation, step by step; what to do is [`rotation::plan`]'s word, what there is the store's.
//!
//! 1. Take the lease, read the keys, plan.
//! 2. Stage a new key, or find the one that an interrupted run staged. From here on a crash costs nothing: the next run goes on.
//! 3. Wait until every running verifier takes it. In Redis verifiers say so, in a directory the sidecar on this machine. While one that
//!    runs does not, nothing is switched: it would refuse every signer; the next run goes on from there. Verifiers nobody knows of are
//!    given `--settle`.
//! 4. Switch, in one step.
//!
//! Each change says what it expects to find. Where something else is there (a revocation, a program that writes keys too) nothing is changed
//! any more. While Redis fails over, the wait goes on for as long as the lease may still be ours.

use super::super::{KeyPlace, words};
use crate::cli::output::Output;
use crate::clock;
use crate::keys::record::{KeyRecord, KeyText};
use crate::keys::rotation::{self, Asked, Overlap, Plan, Rules};
use crate::keys::store::{Awareness, KeyStore, Lease, RENEW, StoreFault};
use crate::keys::usage::TOLD_WITHIN;
use crate::signature::key::{Fingerprint, ServiceId};
use std::time::{Duration, Instant};

/// What a run is to do.
pub(super) struct Run<'r> {
    pub(super) place: &'r KeyPlace,
    pub(super) output: &'r Output,
    pub(super) asked: Asked,
    pub(super) force: bool,
    /// Seconds.
    pub(super) overlap: u64,
    pub(super) settle: Duration,
    /// How long verifiers in Redis are waited for.
    pub(super) longest: Duration,
    pub(super) rules: Rules,
}

/// What came of one service.
pub(super) enum Outcome {
    Rotated {
        old: Fingerprint,
        new: Fingerprint,
        until: u64,
        resumed: bool,
        unaware: Vec<String>,
    },
    OverlapEnded {
        old: Fingerprint,
    },
    NotDue {
        left: Option<i64>,
    },
    /// Somebody else has the lease.
    Busy,
    Refused(Overlap),
    Overdue(Overlap),
    NoKey,
    Failed {
        why: String,
    },
}

/// How long the sidecar on this machine is waited for: it sees a change within two seconds, on a network file system within four.
const LOCAL_LONGEST: Duration = Duration::from_secs(15);

const POLL: Duration = Duration::from_millis(100);

impl Run<'_> {
    /// All of it for one service.
    pub(super) async fn one(&self, id: &ServiceId) -> Result<Outcome, StoreFault> {
        let store = &self.place.store;
        let lease = match store.lease(id).await {
            Ok(lease) => lease,
            Err(StoreFault::Leased(_)) => return Ok(Outcome::Busy),
            Err(fault) => return Err(fault),
        };
        let outcome = self.leased(id, &lease).await;
        if let Err(fault) = store.release(lease).await {
            // It ends by itself; what was done counts.
            self.say(id, format_args!("the lease could not be given back: {fault}"));
        }
        outcome
    }

    async fn leased(&self, id: &ServiceId, lease: &Lease) -> Result<Outcome, StoreFault> {
        let store = &self.place.store;
        let Some(record) = store.read(id).await? else { return Ok(Outcome::NoKey) };
        match self.plan(id, &record).await? {
            Plan::Nothing => Ok(Outcome::NotDue { left: record.left(self.rules.ttl, clock::unix_seconds()) }),
            Plan::Refuse(overlap) => Ok(Outcome::Refused(overlap)),
            Plan::Overdue(overlap) => Ok(Outcome::Overdue(overlap)),
            Plan::EndOverlap { old } => {
                let ended = store.swap(id, &record, &rotation::settled(&record), clock::unix_seconds()).await?;
                Ok(if ended { Outcome::OverlapEnded { old } } else { changed_meanwhile() })
            }
            Plan::Resume { next } => {
                self.say(id, format_args!("{next} was staged before: going on with it"));
                store.tell(id).await?;
                self.finish(id, lease, record, true).await
            }
            Plan::Rotate { ends } => {
                if let Some(old) = ends {
                    self.say(id, format_args!("{old} is no longer taken"));
                }
                let next = match KeyText::generate() {
                    Ok(next) => next,
                    Err(error) => return Ok(Outcome::Failed { why: format!("no random bytes: {error}") }),
                };
                let now = clock::unix_seconds();
                let staged = rotation::staged(&record, &next, now);
                if !store.swap(id, &record, &staged, now).await? {
                    return Ok(changed_meanwhile());
                }
                self.say(
                    id,
                    format_args!("{} is staged: verifiers take it, nobody signs with it", next.fingerprint()),
                );
                self.finish(id, lease, staged, false).await
            }
        }
    }

    /// What to do. Before a key is let go of, what verifiers saw a moment ago is waited for: they tell it now and then.
    async fn plan(&self, id: &ServiceId, record: &KeyRecord) -> Result<Plan, StoreFault> {
        let mut has_waited = self.force;
        loop {
            let usage = self.place.store.usage(id).await?;
            let now = clock::unix_seconds();
            let plan = rotation::plan(record, usage.as_ref(), &self.rules, self.asked, self.force, now);
            match plan {
                Plan::EndOverlap { .. } | Plan::Rotate { ends: Some(_) } if !has_waited => {
                    tokio::time::sleep(TOLD_WITHIN).await;
                    has_waited = true;
                }
                Plan::EndOverlap { .. }
                | Plan::Rotate { .. }
                | Plan::Resume { .. }
                | Plan::Nothing
                | Plan::Refuse(_)
                | Plan::Overdue(_) => return Ok(plan),
            }
        }
    }

    /// From the staged record on.
    async fn finish(
        &self,
        id: &ServiceId,
        lease: &Lease,
        staged: KeyRecord,
        resumed: bool,
    ) -> Result<Outcome, StoreFault> {
        let Some(next) = staged.next.as_ref().map(|next| next.key.fingerprint()) else {
            return Ok(Outcome::Failed { why: "no key is staged".to_owned() });
        };
        let Some(Awareness { running, unaware }) = self.wait(id, lease, &staged, next).await? else {
            return Ok(changed_meanwhile());
        };
        if !unaware.is_empty() {
            let who = unaware.join(", ");
            if !self.force {
                let why = format!(
                    "{who} has not taken {next} within {}, so nothing was switched: its log says why; once it has, \
                     rotate again, or with --force now",
                    words::span(self.longest().as_secs())
                );
                return Ok(Outcome::Failed { why });
            }
            self.say(id, format_args!("going on although these have not said that they take {next}: {who}"));
        } else if running > 0 {
            self.say(id, format_args!("every running verifier takes it ({running})"));
        } else {
            self.say(id, format_args!("no running verifier is known"));
        }
        self.place.store.renew(id, lease).await?;
        let now = clock::unix_seconds();
        let Some(after) = rotation::switched(&staged, self.overlap, self.rules.ttl, now) else {
            return Ok(Outcome::Failed { why: "no key is staged".to_owned() });
        };
        if !self.place.store.swap(id, &staged, &after, now).await? {
            return Ok(changed_meanwhile());
        }
        let old = staged.current.fingerprint();
        Ok(Outcome::Rotated { old, new: next, until: now.saturating_add(self.overlap), resumed, unaware })
    }

    fn longest(&self) -> Duration {
        let longest = match self.place.store {
            KeyStore::Directory(_) => LOCAL_LONGEST,
            KeyStore::Redis(_) => self.longest,
        };
        longest.max(self.settle)
    }

    /// Until every running verifier takes the key, or it has been long enough. `None`: the keys are others by now.
    async fn wait(
        &self,
        id: &ServiceId,
        lease: &Lease,
        staged: &KeyRecord,
        next: Fingerprint,
    ) -> Result<Option<Awareness>, StoreFault> {
        let store = &self.place.store;
        let longest = self.longest();
        let always_settles = matches!(store, KeyStore::Directory(_));
        let start = clock::monotonic();
        let mut renewed = start;
        loop {
            let now = clock::monotonic();
            let waited = now.duration_since(start);
            let renew = now.duration_since(renewed) >= RENEW;
            match self.look(id, renew.then_some(lease), staged, next).await {
                Ok(None) => return Ok(None),
                Ok(Some(awareness)) => {
                    if renew {
                        renewed = now;
                    }
                    let settled = waited >= self.settle;
                    let all = awareness.unaware.is_empty();
                    let unknown = awareness.running == 0;
                    if (all && settled) || (all && !unknown && !always_settles) || waited >= longest {
                        return Ok(Some(awareness));
                    }
                }
                Err(fault) if fault.is_outage() && may_still_be_ours(renewed, now) => {}
                Err(fault) => return Err(fault),
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn look(
        &self,
        id: &ServiceId,
        renew: Option<&Lease>,
        staged: &KeyRecord,
        next: Fingerprint,
    ) -> Result<Option<Awareness>, StoreFault> {
        let store = &self.place.store;
        if let Some(lease) = renew {
            store.renew(id, lease).await?;
        }
        // A revocation would have the verifiers forget the staged key too: nobody would ever say that it is taken.
        match store.read(id).await? {
            Some(there) if there.has_keys_of(staged) => store.awareness(id, next).await.map(Some),
            Some(_) | None => Ok(None),
        }
    }

    /// A step, for a person who waits. What cannot be printed stops no rotation.
    fn say(&self, id: &ServiceId, step: std::fmt::Arguments<'_>) {
        if !self.output.is_json() {
            let _ = self.output.text(format_args!("{id}: {step}"));
        }
    }
}

/// A lease lives five times as long as it is held for at once.
fn may_still_be_ours(renewed: Instant, now: Instant) -> bool {
    now.duration_since(renewed) < RENEW * 4
}

fn changed_meanwhile() -> Outcome {
    Outcome::Failed {
        why: "its keys were changed by somebody else meanwhile; nothing more was done, rotate again".into(),
    }
}
