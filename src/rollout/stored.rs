//! How is an [`EnforcementState`] written down, and when is what was read no state?
//!
//! One JSON object with `version`. What this version cannot understand whole (a newer version, an unknown member, a percentage
//! over 100, half a file) is no state: to guess at it could switch authentication off or on unseen. Who reads says so and
//! holds what the configuration says.

use super::state::{EnforcementState, Hold, Move, RollbackKind, RuleState};
use crate::policy::enforcement::{Enforcement, Mode, Percentage, Sampling};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version that is written and read.
pub const VERSION: u64 = 1;

/// Why a text is no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoredFault {
    /// A later version of Countersign wrote it.
    #[error("was written by a newer version of Countersign (version {0} of the state, this one reads {VERSION})")]
    Newer(u64),
    /// Half a file, or none of ours.
    #[error("is no state of enforcement: {0}")]
    Corrupt(String),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u64,
    in_force: StoredEnforcement,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    rules: BTreeMap<Box<str>, StoredRule>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hold: Option<StoredHold>,
    since: u64,
    by: Box<str>,
    why: Box<str>,
    configured: StoredEnforcement,
    revision: u64,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredEnforcement {
    mode: StoredMode,
    percentage: StoredPercentage,
    sampling: StoredSampling,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRule {
    percentage: StoredPercentage,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    configured: Option<StoredPercentage>,
    #[serde(default)]
    held: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredHold {
    since: u64,
    by: Box<str>,
    why: Box<str>,
    kind: StoredKind,
    before: StoredEnforcement,
}

/// A word of a closed set.
macro_rules! stored_word {
    ($name:ident, $of:ty, $all:expr) => {
        #[derive(Debug, Clone, Copy, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "&'static str")]
        struct $name($of);

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(word: String) -> Result<$name, String> {
                let found = $all.into_iter().find(|one: &$of| one.code() == word);
                found.map($name).ok_or_else(|| format!("`{word}` is none of its words"))
            }
        }

        impl From<$name> for &'static str {
            fn from(stored: $name) -> &'static str {
                stored.0.code()
            }
        }
    };
}

stored_word!(StoredMode, Mode, [Mode::Log, Mode::Enforce]);
stored_word!(StoredSampling, Sampling, [Sampling::Call, Sampling::Caller, Sampling::Random]);
stored_word!(StoredKind, RollbackKind, RollbackKind::ALL);

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub(super) struct StoredPercentage(pub(super) Percentage);

impl TryFrom<u8> for StoredPercentage {
    type Error = String;

    fn try_from(value: u8) -> Result<StoredPercentage, String> {
        Percentage::new(value).map(StoredPercentage).ok_or_else(|| format!("{value} is no percentage"))
    }
}

impl From<StoredPercentage> for u8 {
    fn from(stored: StoredPercentage) -> u8 {
        stored.0.value()
    }
}

impl From<Enforcement> for StoredEnforcement {
    fn from(enforcement: Enforcement) -> StoredEnforcement {
        StoredEnforcement {
            mode: StoredMode(enforcement.mode),
            percentage: StoredPercentage(enforcement.percentage),
            sampling: StoredSampling(enforcement.sampling),
        }
    }
}

impl From<StoredEnforcement> for Enforcement {
    fn from(stored: StoredEnforcement) -> Enforcement {
        Enforcement { mode: stored.mode.0, percentage: stored.percentage.0, sampling: stored.sampling.0 }
    }
}

impl From<&Hold> for StoredHold {
    fn from(hold: &Hold) -> StoredHold {
        let Move { at, by, why } = hold.by.clone();
        StoredHold { since: at, by, why, kind: StoredKind(hold.kind), before: hold.before.into() }
    }
}

impl From<StoredHold> for Hold {
    fn from(stored: StoredHold) -> Hold {
        let by = Move { at: stored.since, by: stored.by, why: stored.why };
        Hold { by, kind: stored.kind.0, before: stored.before.into() }
    }
}

/// The text of this state, with a newline at its end.
pub fn to_text(state: &EnforcementState) -> String {
    let rule = |rule: &RuleState| StoredRule {
        percentage: StoredPercentage(rule.percentage),
        configured: rule.configured.map(StoredPercentage),
        held: rule.held,
    };
    let stored = Stored {
        version: VERSION,
        in_force: state.in_force.into(),
        rules: state.rules.iter().map(|(name, state)| (name.clone(), rule(state))).collect(),
        hold: state.hold.as_ref().map(StoredHold::from),
        since: state.last.at,
        by: state.last.by.clone(),
        why: state.last.why.clone(),
        configured: state.configured.into(),
        revision: state.revision,
    };
    // Maps with text as keys, numbers and text: nothing that JSON cannot hold.
    let mut text = serde_json::to_string_pretty(&stored).unwrap_or_default();
    text.push('\n');
    text
}

/// The state that a text holds.
///
/// # Errors
/// When it is none, or not one that this version understands whole.
pub fn parse(text: &str) -> Result<EnforcementState, StoredFault> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u64,
    }
    let corrupt = |error: serde_json::Error| StoredFault::Corrupt(error.to_string());
    match serde_json::from_str::<Versioned>(text).map_err(corrupt)?.version {
        VERSION => {}
        newer if newer > VERSION => return Err(StoredFault::Newer(newer)),
        other => return Err(StoredFault::Corrupt(format!("version {other}"))),
    }
    let stored: Stored = serde_json::from_str(text).map_err(corrupt)?;
    let hold = stored.hold.map(Hold::from);
    let rule = |(name, rule): (Box<str>, StoredRule)| {
        let configured = rule.configured.map(|configured| configured.0);
        (name, RuleState { percentage: rule.percentage.0, configured, held: rule.held })
    };
    Ok(EnforcementState {
        in_force: stored.in_force.into(),
        rules: stored.rules.into_iter().map(rule).collect(),
        hold,
        last: Move { at: stored.since, by: stored.by, why: stored.why },
        configured: stored.configured.into(),
        revision: stored.revision,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> EnforcementState {
        let percent = |value| Percentage::new(value).unwrap();
        let configured = Enforcement { mode: Mode::Enforce, percentage: percent(100), sampling: Sampling::Caller };
        let by = |by: &str| Move { at: 1_759_742_876, by: by.into(), why: "\"quoted\" \u{1F512}\n".into() };
        let first = EnforcementState::first(configured, by("process"));
        let mut state = first.roll_back(RollbackKind::Emergency, by("uid:0"));
        state.rules.insert("a".into(), RuleState { percentage: percent(10), configured: None, held: true });
        state
            .rules
            .insert("b".into(), RuleState { percentage: percent(0), configured: Some(percent(50)), held: false });
        state
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(parse(&to_text(&state())), Ok(state()));
        let plain = EnforcementState::first(state().configured, state().last);
        assert_eq!(parse(&to_text(&plain)), Ok(plain));
    }

    #[test]
    fn every_shorter_beginning_is_refused() {
        let text = to_text(&state());
        let whole = text.trim_end();
        for end in (0..whole.len()).filter(|end| whole.is_char_boundary(*end)) {
            assert!(matches!(parse(&whole[..end]), Err(StoredFault::Corrupt(_))), "{}", &whole[..end]);
        }
    }

    #[test]
    fn what_is_not_understood_whole_is_no_state() {
        let text = to_text(&state());
        assert_eq!(parse(&text.replace("\"version\": 1", "\"version\": 2")), Err(StoredFault::Newer(2)));
        for (from, to) in [
            ("\"version\": 1", "\"version\": 0"),
            ("\"mode\": \"log\"", "\"mode\": \"Log\""),
            ("\"mode\": \"log\"", "\"mode\": \"off\""),
            ("\"percentage\": 10,", "\"percentage\": 101,"),
            ("\"percentage\": 10,", "\"percentage\": -1,"),
            ("\"percentage\": 10,", "\"percentage\": 10.5,"),
            ("\"kind\": \"emergency\"", "\"kind\": \"other\""),
            ("\"revision\"", "\"revisions\""),
            ("\"by\"", "\"extra\": 1, \"by\""),
        ] {
            let wrong = text.replacen(from, to, 1);
            assert_ne!(wrong, text, "{from}");
            assert!(matches!(parse(&wrong), Err(StoredFault::Corrupt(_))), "{to}");
        }
    }
}
