//! [`Ahead`]: what the audit log says of those who would be refused, at every percentage at once.

use crate::cli::args::ConfigArgs;
use crate::cli::evidence::{Evidence, EvidenceArgs, inbound};
use crate::policy::decision::Outcome;
use crate::policy::enforcement::{Draw, Sampling};
use crate::request::client::{ClientAddress, LimitKey, Peer};
use crate::request::readings::Readings;
use crate::rollout::recorded::Seen;
use crate::rules::classify::{Class, RuleSet};
use crate::telemetry::time::rfc3339_seconds;
use data_encoding::HEXLOWER;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// One caller, rule and reason.
#[derive(Debug)]
pub(super) struct Ahead {
    /// A service, or an address.
    pub(super) caller: String,
    pub(super) rule: String,
    pub(super) reason: String,
    pub(super) last_seen: String,
    tally: Tally,
    /// The rule's own percentage.
    own: u8,
    is_random: bool,
}

#[derive(Debug, Clone)]
struct Tally {
    /// How many are refused from this percentage on, less one: place 0 holds those refused at 1 %.
    from: [u64; 100],
    last: u64,
}

impl Ahead {
    /// How many of them would have been refused at this percentage.
    pub(super) fn refused_at(&self, percentage: u8) -> u64 {
        let effective = usize::from(percentage.min(self.own).min(100));
        if self.is_random {
            return self.count() * effective as u64 / 100;
        }
        self.tally.from[..effective].iter().sum()
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.tally.from.iter().sum()
    }
}

/// Groups; what is beyond them is one.
const GROUPS: usize = 1_000;

/// Reads the log. `plan`: what the sidecar says of what is in force. The text of an error is for people.
pub(super) fn read(
    config: &ConfigArgs,
    state_dir: &Path,
    since: Duration,
    plan: &Value,
) -> Result<Vec<Ahead>, String> {
    let sampling = [Sampling::Call, Sampling::Caller, Sampling::Random]
        .into_iter()
        .find(|sampling| plan["enforcement"]["sampling"] == sampling.code())
        .ok_or("the sidecar does not say how it samples")?;
    let path = state_dir.join("salt");
    let salt = std::fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let salt = HEXLOWER.decode(salt.trim_ascii_end()).ok().and_then(|salt| <[u8; 32]>::try_from(salt).ok());
    let salt = salt.ok_or_else(|| format!("{} is no salt", path.display()))?;
    let args = EvidenceArgs { config: config.clone(), audit: None, since };
    let evidence = Evidence::of(&args).map_err(|error| error.to_string())?;
    let peers = evidence.peers().map_err(|error| error.to_string())?;
    let mut groups: BTreeMap<[String; 3], Tally> = BTreeMap::new();
    let each = evidence.each(|line| {
        let Some(seen) = inbound(line).filter(is_refused) else { return };
        let service = seen.service.map(str::to_owned).or_else(|| {
            let known: Vec<&str> = peers.callers(&seen).into_iter().map(|index| peers.id(index)).collect();
            (!known.is_empty()).then(|| known.join("/"))
        });
        let caller = service.unwrap_or_else(|| seen.client.to_owned());
        let word = |word: Option<&str>| word.unwrap_or("-").to_owned();
        let mut key = [caller, word(seen.rule), word(seen.cause.or(seen.reason))];
        if !groups.contains_key(&key) && groups.len() >= GROUPS {
            key = ["others".to_owned(), "-".to_owned(), "-".to_owned()];
        }
        let tally = groups.entry(key).or_insert(Tally { from: [0; 100], last: 0 });
        tally.from[threshold(sampling, &salt, &seen)] += 1;
        tally.last = tally.last.max(seen.unix_micros / 1_000_000);
    });
    each.map_err(|error| error.to_string())?;
    let rules = evidence.config.as_ref().map(|config| &config.rules);
    let ahead = groups.into_iter().map(|([caller, rule, reason], tally)| Ahead {
        own: own(&rule, rules, plan),
        last_seen: rfc3339_seconds(tally.last),
        caller,
        rule,
        reason,
        tally,
        is_random: sampling == Sampling::Random,
    });
    let mut ahead: Vec<Ahead> = ahead.collect();
    ahead.sort_by_key(|ahead| std::cmp::Reverse(ahead.count()));
    Ok(ahead)
}

fn is_refused(seen: &Seen<'_>) -> bool {
    seen.class == Some(Class::Service) && matches!(seen.outcome, Outcome::Refuse | Outcome::WouldRefuse)
}

/// The rule's own percentage: what was set beside the configuration, else its word. In a plan by groups it is what the ramp sets.
fn own(rule: &str, rules: Option<&RuleSet>, plan: &Value) -> u8 {
    if plan["by"] == "group" {
        return 100;
    }
    let set = plan["enforcement"]["rules"][rule]["percentage"].as_u64().and_then(|set| u8::try_from(set).ok());
    let written = || rules?.rules().iter().find(|each| &*each.name == rule)?.enforce.map(|own| own.value());
    set.or_else(written).unwrap_or(100)
}

/// From which percentage on, less one, it is refused: its draw in hundredths.
fn threshold(sampling: Sampling, salt: &[u8; 32], seen: &Seen<'_>) -> usize {
    let Some(client) = limit_key(seen.client) else { return 0 };
    let draw = match sampling {
        Sampling::Call => {
            let readings = Readings::of(seen.path.unwrap_or_default());
            Draw::by_call(salt, client, seen.method.unwrap_or_default(), &readings.cleaned())
        }
        Sampling::Caller => Draw::by_caller(salt, client),
        Sampling::Random => return 0,
    };
    usize::try_from((u128::from(draw.0) * 100) >> 64).unwrap_or(0).min(99)
}

/// Of a client as records name it.
fn limit_key(client: &str) -> Option<LimitKey> {
    let peer = match client.strip_prefix("unix:") {
        Some(uid) => Peer::Unix(uid.parse().ok()?),
        None => Peer::Ip(client.parse().ok()?),
    };
    Some(ClientAddress::of(peer, &[], std::iter::empty::<&[u8]>()).limit_key())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::percentage::Percentage;

    fn seen<'s>(client: &'s str, path: &'s str) -> Seen<'s> {
        Seen {
            unix_micros: 5_000_000,
            outcome: Outcome::WouldRefuse,
            reason: Some("missing_signature"),
            cause: None,
            class: Some(Class::Service),
            rule: Some("r"),
            service: None,
            claimed: None,
            grant: None,
            skew_seconds: None,
            method: Some("POST"),
            path: Some(path),
            client,
            status: None,
            upstream_answered: true,
        }
    }

    #[test]
    fn what_is_said_of_a_percentage_is_what_the_draw_does_at_it() {
        let salt = [9; 32];
        for n in 0..200 {
            let (client, path) = (format!("10.0.0.{n}"), format!("/api/x/{n}"));
            for sampling in [Sampling::Call, Sampling::Caller] {
                let from = threshold(sampling, &salt, &seen(&client, &path));
                let key = limit_key(&client).unwrap();
                let draw = match sampling {
                    Sampling::Call => Draw::by_call(&salt, key, "POST", &path),
                    Sampling::Caller | Sampling::Random => Draw::by_caller(&salt, key),
                };
                for percentage in 0..=100_u8 {
                    let refused = draw.is_in(Percentage::new(percentage).unwrap());
                    assert_eq!(usize::from(percentage) > from, refused, "{client} {percentage} %");
                }
            }
        }
    }

    #[test]
    fn a_rules_own_percentage_holds_it_back() {
        let mut from = [0; 100];
        (from[0], from[30], from[99]) = (5, 3, 2);
        let ahead = |own, is_random| Ahead {
            caller: "a".into(),
            rule: "r".into(),
            reason: "x".into(),
            last_seen: String::new(),
            tally: Tally { from, last: 0 },
            own,
            is_random,
        };
        let at = |own, is_random| [0, 1, 30, 31, 100].map(|p| ahead(own, is_random).refused_at(p));
        assert_eq!(at(100, false), [0, 5, 5, 8, 10]);
        assert_eq!(at(30, false), [0, 5, 5, 5, 5]);
        assert_eq!(at(100, true), [0, 0, 3, 3, 10]);
        assert_eq!(ahead(0, false).count(), 10);
    }

    #[test]
    fn clients_are_read_back_as_they_are_recorded() {
        assert_eq!(limit_key("10.0.0.1"), Some(LimitKey::V4([10, 0, 0, 1].into())));
        assert_eq!(limit_key("2001:db8::1"), Some(LimitKey::V6Net(0x2001_0db8_0000_0000)));
        assert_eq!((limit_key("unix:7"), limit_key("x")), (Some(LimitKey::Unix(7)), None));
    }
}
