//! [`Phase`]: what the audit records of a period say that a gate asks for; taken in one record after the other, kept in a size that does
//! not grow with their number.
//!
//! - *Calls of known services* are those of the services that the records know ([`peers`](crate::rollout::recorded::peers)): a refused call from an
//!   address of theirs is theirs, whatever it claims. Everybody else is a *stranger*.
//! - What is watched as a rate is counted by the hour, from the beginning of the period; the last hour may be shorter.
//! - A percentile is at most a hundredth above the true one: times are kept to two significant digits and a half.
//! - Refusals count whether they were carried out or not, except where it is about refusals carried out. Requests that no two servers
//!   read alike are refused in every mode, and are no matter of authentication.

use crate::policy::decision::{Outcome, Refusal};
use crate::rollout::baseline::BasisPoints;
use crate::rollout::recorded::Seen;
use crate::rollout::recorded::drift::Drift;
use crate::rollout::recorded::peers::{PeerIndex, Peers};
use crate::rules::classify::Class;
use std::collections::BTreeMap;

/// What the records of a period say.
#[derive(Debug, Clone)]
pub struct Phase {
    /// When it begins, microseconds since the epoch.
    pub from: u64,
    /// Why its records are not whole; `None`: they are.
    pub not_whole: Option<String>,
    /// Each service that the configuration or a signature names.
    pub services: Vec<Service>,
    /// By the hour.
    pub hours: Vec<Hour>,
    /// Our own time on service paths.
    pub own: Times,
    /// The whole time on service paths.
    pub whole: Times,
    /// Exempt requests.
    pub exempt: u64,
    /// Service calls without a valid signature, of anybody.
    pub unsigned: u64,
    /// Of those, the ones that were neither refused nor recorded as such.
    pub let_in: u64,
    /// Rollbacks, in words.
    pub rollbacks: Vec<String>,
    /// Microseconds down, restarts.
    pub down: (u64, u64),
    /// How long it is, microseconds.
    pub length: u64,
}

/// One service.
#[derive(Debug, Clone, Default)]
pub struct Service {
    /// Who.
    pub id: String,
    /// Is it all right that it never calls?
    pub may_be_silent: bool,
    /// Calls that authenticated.
    pub authenticated: u64,
    /// Of those, answered 5xx.
    pub errors: u64,
    /// Calls without a signature.
    pub unsigned: u64,
    /// Calls whose signature is malformed, wrong, or of an unknown service.
    pub bad_signatures: u64,
    /// Calls whose timestamp was outside the window.
    pub late: u64,
    /// Signed, and not allowed there.
    pub not_allowed: u64,
    /// Passed by an override alone.
    pub overrides: u64,
    /// Refused for another reason: ours.
    pub not_served: u64,
    /// Its clock minus ours.
    pub drift: Drift,
}

impl Service {
    /// Checks that failed.
    pub fn failed(&self) -> u64 {
        self.unsigned + self.bad_signatures + self.late + self.not_allowed
    }
}

/// Sixty minutes of the period.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hour {
    /// Calls of known services: authenticated.
    pub authenticated: u64,
    /// And failing.
    pub failed: u64,
    /// Answered 429.
    pub rate_limited: u64,
    /// Refusals of strangers.
    pub unauthorized: u64,
    /// Signatures that are wrong or of nobody, of anybody.
    pub invalid: u64,
    /// Timestamps outside the window, of anybody.
    pub late: u64,
    /// Refusals carried out.
    pub blocked: u64,
    /// Exempt requests answered 401.
    pub exempt_unauthorized: u64,
    /// Requests that went upstream.
    pub answered: u64,
    /// Of those, 5xx, or no answer.
    pub errors: u64,
}

/// Times, in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Times {
    counts: BTreeMap<u64, u64>,
    total: u64,
}

impl Times {
    /// One more.
    pub fn add(&mut self, micros: u64) {
        *self.counts.entry(coarse(micros)).or_default() += 1;
        self.total += 1;
    }

    /// So many of a hundred took no longer; `None` of nothing.
    pub fn percentile(&self, percent: u64) -> Option<u64> {
        let wanted = (self.total * percent).div_ceil(100).max(1);
        let mut passed = 0;
        self.counts.iter().find_map(|(micros, count)| {
            passed += count;
            (passed >= wanted).then_some(*micros)
        })
    }
}

/// Rounded up to a 128th of its order of magnitude.
fn coarse(micros: u64) -> u64 {
    let step = micros.checked_ilog2().map_or(1, |order| 1u64 << order.saturating_sub(7));
    micros.div_ceil(step).saturating_mul(step)
}

const HOUR: u64 = 3_600_000_000;
/// A year, and some.
const MOST_HOURS: usize = 10_000;
const SERVER_ERRORS: u16 = 500;
/// With these we answer in the place of an upstream that did not.
const IN_ITS_PLACE: [u16; 3] = [502, 503, 504];
const UNAUTHORIZED: u16 = 401;

impl Phase {
    /// From here to there, nothing seen yet.
    pub fn of(from: u64, until: u64, peers: &Peers) -> Phase {
        let services =
            (0..peers.len()).map(|at| Service { id: peers.id(PeerIndex(at)).to_owned(), ..Service::default() });
        Phase {
            from,
            not_whole: None,
            services: services.collect(),
            hours: vec![Hour::default()],
            own: Times::default(),
            whole: Times::default(),
            exempt: 0,
            unsigned: 0,
            let_in: 0,
            rollbacks: Vec::new(),
            down: (0, 0),
            length: until.saturating_sub(from),
        }
    }

    /// One inbound decision. `own_us`, `upstream_us`: what it took.
    pub fn add(&mut self, seen: &Seen<'_>, own_us: Option<u64>, upstream_us: Option<u64>, peers: &Peers) {
        let hour = self.hour(seen.unix_micros);
        if !seen.is_refusal() || seen.outcome == Outcome::WouldRefuse {
            hour.went_up(seen);
        }
        if seen.is_malformed() {
            return;
        }
        match seen.class {
            Some(Class::Exempt) => {
                hour.exempt_unauthorized += u64::from(seen.status == Some(UNAUTHORIZED));
                self.exempt += 1;
                return;
            }
            Some(Class::Open) => return,
            Some(Class::Service) | None => {}
        }
        if let Some(own) = own_us {
            self.own.add(own);
            self.whole.add(own + upstream_us.unwrap_or(0));
        }
        let callers = peers.callers(seen);
        let refusal = seen.cause.or(seen.reason).and_then(of_code);
        let hour = self.hour(seen.unix_micros);
        hour.count(seen, refusal, callers.is_empty());
        match seen.outcome {
            Outcome::Allow => self.let_in += 1,
            Outcome::Refuse | Outcome::WouldRefuse => self.unsigned += 1,
            Outcome::Authenticated | Outcome::Override => {}
        }
        for PeerIndex(caller) in callers {
            if let Some(service) = self.services.get_mut(caller) {
                service.count(seen, refusal);
            }
        }
    }

    /// Calls of known services that authenticated, of all.
    pub fn success(&self) -> (u64, u64) {
        let authenticated: u64 = self.services.iter().map(|service| service.authenticated).sum();
        let failed: u64 = self.services.iter().map(Service::failed).sum();
        (authenticated, authenticated + failed)
    }

    /// Calls of known services that were served, of those that nothing was wrong with.
    pub fn served(&self) -> (u64, u64) {
        let served: u64 = self.services.iter().map(|service| service.authenticated - service.errors).sum();
        (served, self.services.iter().map(|service| service.authenticated + service.not_served).sum())
    }

    /// Errors of the upstream, of all requests that went there.
    pub fn upstream(&self) -> (u64, u64) {
        let all = self.hours.iter();
        all.fold((0, 0), |(errors, answered), hour| (errors + hour.errors, answered + hour.answered))
    }

    /// The share of the period that the process was up.
    pub fn uptime(&self) -> BasisPoints {
        let (down, _) = self.down;
        match self.length {
            0 => BasisPoints::of(u64::from(down == 0), 1),
            length => BasisPoints::of(length.saturating_sub(down), length),
        }
    }

    /// In its worst hour.
    pub fn worst(&self, of: impl Fn(&Hour) -> u64) -> u64 {
        self.hours.iter().map(of).max().unwrap_or(0)
    }

    fn hour(&mut self, unix_micros: u64) -> &mut Hour {
        let at =
            usize::try_from(unix_micros.saturating_sub(self.from) / HOUR).unwrap_or(usize::MAX).min(MOST_HOURS - 1);
        if self.hours.len() <= at {
            self.hours.resize_with(at + 1, Hour::default);
        }
        &mut self.hours[at]
    }
}

impl Hour {
    fn went_up(&mut self, seen: &Seen<'_>) {
        let Some(status) = seen.status else { return };
        let ours = !seen.upstream_answered && IN_ITS_PLACE.contains(&status);
        let is_error = ours || (seen.upstream_answered && status >= SERVER_ERRORS);
        self.answered += u64::from(seen.upstream_answered || ours);
        self.errors += u64::from(is_error);
    }

    fn count(&mut self, seen: &Seen<'_>, refusal: Option<Refusal>, is_stranger: bool) {
        let is_refusal = seen.is_refusal();
        self.authenticated += u64::from(!is_stranger && seen.outcome == Outcome::Authenticated);
        self.failed += u64::from(!is_stranger && is_refusal && refusal.is_some_and(is_failed_check));
        self.unauthorized += u64::from(is_stranger && is_refusal && refusal.is_some_and(is_failed_check));
        self.blocked += u64::from(seen.outcome == Outcome::Refuse);
        self.rate_limited += u64::from(seen.reason == Some(Refusal::RateLimited.code()));
        let is = |these: &[Refusal]| u64::from(is_refusal && refusal.is_some_and(|refusal| these.contains(&refusal)));
        self.invalid += is(&[Refusal::InvalidSignature, Refusal::UnknownService]);
        self.late += is(&[Refusal::TimestampOutsideWindow]);
    }
}

impl Service {
    fn count(&mut self, seen: &Seen<'_>, refusal: Option<Refusal>) {
        let late = refusal == Some(Refusal::TimestampOutsideWindow);
        if let Some(skew) = seen.skew_seconds.filter(|_| seen.proves_address() || late) {
            self.drift.add(skew);
        }
        match seen.outcome {
            Outcome::Allow => {}
            Outcome::Authenticated => {
                self.authenticated += 1;
                self.errors += u64::from(seen.status.is_some_and(|status| status >= SERVER_ERRORS));
            }
            Outcome::Override => self.overrides += 1,
            Outcome::Refuse | Outcome::WouldRefuse => {
                *match refusal {
                    Some(Refusal::MissingSignature) => &mut self.unsigned,
                    Some(
                        Refusal::MalformedSignature
                        | Refusal::UnknownService
                        | Refusal::InvalidSignature
                        | Refusal::Replayed,
                    ) => &mut self.bad_signatures,
                    Some(Refusal::TimestampOutsideWindow) => &mut self.late,
                    Some(Refusal::CallerNotAllowed) => &mut self.not_allowed,
                    // A word of a newer version is a failure of some kind.
                    Some(
                        Refusal::MalformedRequest
                        | Refusal::RateLimited
                        | Refusal::KeysUnavailable
                        | Refusal::AuditUnavailable,
                    )
                    | None => &mut self.not_served,
                } += 1;
            }
        }
    }
}

fn of_code(code: &str) -> Option<Refusal> {
    Refusal::ALL.into_iter().find(|refusal| refusal.code() == code)
}

fn is_failed_check(refusal: Refusal) -> bool {
    crate::policy::known_peers::is_breakage(refusal)
}
