//! [`Order`]: what somebody with the right to wants of the running sidecar, and what came of it.
//!
//! The admin socket takes them, the control loop carries them out one after the other, and answers when the result is durable.

use crate::policy::enforcement::{Enforcement, Mode, Percentage};
use crate::policy::grants::{Grant, GrantId, GrantTerms, TableError};
use crate::policy::override_token::TokenHash;
use crate::rollout::state::{EnforcementState, MoveRefused, RollbackKind};
use std::sync::Arc;
use tokio::sync::oneshot;

/// A wish, by whom, and where the answer goes.
#[derive(Debug)]
pub struct Order {
    /// `uid:1000`, or `uid:0 sudo:alice`.
    pub by: Box<str>,
    /// What.
    pub wish: Wish,
    /// What came of it; the one who asked may have gone.
    pub answer: oneshot::Sender<Result<Done, OrderRefused>>,
}

/// What can be wished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Another mode or percentage, of the whole or of a rule.
    Enforce {
        /// `None`: as it is.
        mode: Option<Mode>,
        /// `None`: as it is.
        percentage: Option<Percentage>,
        /// Only the rules of this name.
        rule: Option<Box<str>>,
        /// Also where a rollback holds.
        lift: bool,
        /// For people.
        why: Box<str>,
    },
    /// Back to `log`.
    RollBack {
        /// How.
        kind: RollbackKind,
        /// Only the rules of this name, to 0 %.
        rule: Option<Box<str>>,
        /// For people.
        why: Box<str>,
    },
    /// Everything a rollback does, but for the rollback: is the control loop there, does the disk take it?
    Drill {
        /// For people.
        why: Box<str>,
    },
    /// The end of a rollback's hold.
    Lift {
        /// For people.
        why: Box<str>,
    },
    /// The configuration, loaded anew.
    Reload,
    /// One override grant more, or one less.
    Grants(GrantWish),
}

/// What can be wished of override grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantWish {
    /// A new one. Its token stays with the one who asks.
    Grant {
        /// What may be shown of it.
        id: GrantId,
        /// What is kept of its token.
        hash: TokenHash,
        /// All the rest.
        terms: GrantTerms,
    },
    /// This one no more.
    Revoke {
        /// Which.
        id: GrantId,
        /// For people.
        why: Box<str>,
    },
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// Enforcement moved.
    Moved {
        /// What is in force now.
        state: Arc<EnforcementState>,
        /// What was.
        before: Enforcement,
        /// Would it survive the process? Else why not.
        durable: Result<(), String>,
    },
    /// The configuration took effect.
    Reloaded(Reloaded),
    /// An override was granted or revoked.
    Grants {
        /// Which.
        grant: Arc<Grant>,
        /// Would it survive the process? Else why not.
        durable: Result<(), String>,
    },
}

/// A configuration that took effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// Its number.
    pub generation: u64,
    /// Keys that were edited and take effect with the next start.
    pub needs_restart: Vec<&'static str>,
}

/// Why a wish was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderRefused {
    /// The state of enforcement does not allow it.
    #[error("{0}")]
    Move(MoveRefused),
    /// A rule has no mode of its own.
    #[error("a rule has a percentage and no mode of its own: say `percentage` with `rule`")]
    RuleWithoutPercentage,
    /// The configuration is not good; the running one stays.
    #[error("the configuration was refused, the running one stays: {0}")]
    Reload(String),
    /// There is no room for another override grant.
    #[error("{0}")]
    Grants(TableError),
    /// There is none to revoke.
    #[error("there is no override grant {0}")]
    NoSuchGrant(GrantId),
}
