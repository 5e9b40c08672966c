//! [`Order`]: what somebody with the right to wants of the running sidecar, and what came of it.
//!
//! The admin socket takes them, the control loop carries them out one after the other, and answers when the result is durable.

use super::ramp_shown::RampShown;
use crate::policy::enforcement::{Enforcement, Mode, Percentage};
use crate::policy::grants::{Grant, GrantId, GrantTerms, TableError};
use crate::policy::override_token::TokenHash;
use crate::rollout::baseline::MissingBaseline;
use crate::rollout::ramp::RampRefused;
use crate::rollout::stage::By;
use crate::rollout::state::{EnforcementState, MoveRefused, RollbackKind};
use std::sync::Arc;
use std::time::Duration;
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
    /// Something of the ramp.
    Ramp(RampWish),
}

/// What can be wished of the ramp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RampWish {
    /// That it begins.
    Start(StartRamp),
    /// That it stands still; what is in force stays in force, and is judged.
    Pause {
        /// For people.
        why: Box<str>,
    },
    /// That it goes on.
    Resume {
        /// For people.
        why: Box<str>,
    },
    /// The next stage, now.
    Advance {
        /// For people.
        why: Box<str>,
    },
    /// Its end; what is in force stays in force.
    Abort {
        /// For people.
        why: Box<str>,
    },
    /// No judgement for so long; none: judgement again.
    Maintenance {
        /// For how long.
        lasts: Duration,
        /// For people.
        why: Box<str>,
    },
}

/// How a ramp begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartRamp {
    /// By which list.
    pub by: By,
    /// From the first stage, also where more is in force.
    pub restart: bool,
    /// Also where a rollback holds.
    pub lift: bool,
    /// Also where too little was measured.
    pub without_baseline: bool,
    /// For people.
    pub why: Box<str>,
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
        /// Was the rest of the fleet told? Else why not. `None`: it does not concern the fleet.
        shared: Option<Result<(), String>>,
    },
    /// The ramp did as asked.
    Ramp {
        /// How it stands.
        shown: Arc<RampShown>,
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
    /// The ramp is not there for it.
    #[error("{0}")]
    Ramp(RampRefusal),
    /// The configuration is not good; the running one stays.
    #[error("the configuration was refused, the running one stays: {0}")]
    Reload(String),
    /// There is no room for another override grant.
    #[error("{0}")]
    Grants(TableError),
    /// This sidecar has no fleet.
    #[error(
        "this sidecar shares nothing with others: a grant for the fleet needs `shared = true` under [enforcement]"
    )]
    NotShared,
    /// There is none to revoke.
    #[error("there is no override grant {0}")]
    NoSuchGrant(GrantId),
}

/// Why the ramp does not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RampRefusal {
    /// One runs.
    #[error("a ramp runs already, in stage {0}; `ramp abort` ends it")]
    Running(String),
    /// One runs at another sidecar of the fleet.
    #[error("another sidecar of the fleet drives a ramp (`status --fleet` names it); `ramp abort` there ends it")]
    RunningElsewhere,
    /// None does.
    #[error("no ramp runs")]
    NoRamp,
    /// All of it is in force.
    #[error("no stage is above what is in force; `ramp start --restart` begins at the first one")]
    NothingAbove,
    /// None are configured.
    #[error("there are no groups: name them in the configuration, `groups` under [ramp]")]
    NoGroups,
    /// It could not be judged.
    #[error("{0}; stay in mode log until then, or say --without-baseline: errors are then compared with 0.5 %")]
    NoBaseline(MissingBaseline),
    /// It stands still already, or does not.
    #[error("{0}")]
    Ramp(RampRefused),
}
