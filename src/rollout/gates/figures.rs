//! [`Figures`]: everything a gate is judged by, as it was gathered; or, one by one, why it could not be.

use super::phase::Phase;

/// A figure, or why there is none.
pub type Fact<T> = Result<T, String>;

/// All of it.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Each service's key.
    pub keys: Fact<Vec<Key>>,
    /// What was found on disk.
    pub env_files: Fact<EnvFiles>,
    /// Redis's clock against ours; `None` where no Redis is configured.
    pub redis_clock: Fact<Option<Offset>>,
    /// Ways to the upstream.
    pub around: Fact<Around>,
    /// What the running sidecar says.
    pub standing: Fact<Standing>,
    /// How long the phase has lasted, seconds.
    pub elapsed: Fact<u64>,
    /// What its records say.
    pub phase: Fact<Phase>,
    /// How long ago a rollback was last drilled or made, seconds; `None`: not as far as records go.
    pub drilled: Fact<Option<u64>>,
    /// The highest percentage below 100 of the configured stages; 0 where there is none.
    pub last_stage: u8,
    /// What requests of our own found.
    pub suite: Fact<Suite>,
}

/// One service's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Whose.
    pub service: String,
    /// How long it lasts.
    pub lasts: Lasts,
}

/// How long a key lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lasts {
    /// There is none, or what there is is none: why.
    Missing(String),
    /// Seconds; negative: it should be gone.
    For(i64),
    /// Its store lets it never lapse.
    Forever,
    /// It is there, and nobody knows its age.
    Unknown,
}

/// Files that were looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnvFiles {
    /// How many have secrets.
    pub with_secrets: usize,
    /// Those that everybody may read or write: path and mode.
    pub open: Vec<String>,
}

/// Another clock against ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset {
    /// The other one minus ours, milliseconds, at the middle of the round trip.
    pub milliseconds: i64,
    /// It is known to so much: half the round trip.
    pub uncertain: u64,
}

/// Ways to the upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Around {
    /// Places tried, `host:port`.
    pub tried: Vec<String>,
    /// Those where somebody listens that is not the sidecar.
    pub open: Vec<String>,
    /// Upstreams on other machines: from here nobody can tell who reaches them.
    pub elsewhere: Vec<String>,
}

/// What the running sidecar says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// May traffic be sent there? Else why not.
    pub not_ready: Vec<String>,
    /// Each upstream of an inbound listener: name, and what is wrong (`None`: up).
    pub upstreams: Vec<(String, UpstreamIs)>,
    /// Was the last reload refused?
    pub reload_refused: bool,
    /// Why the state would not survive; `None`: it would.
    pub not_durable: Option<String>,
    /// Audit records dropped or lost since the start.
    pub records_lost: u64,
    /// The rollback that holds, in words.
    pub held: Option<String>,
    /// How long ago `/metrics` was last scraped, seconds.
    pub scraped: Option<u64>,
    /// Alerts that stand now.
    pub alerts: Vec<String>,
    /// What was measured in log mode.
    pub baseline: Baseline,
    /// Is it `enforce`?
    pub enforces: bool,
    /// Percentage in force.
    pub percentage: u8,
    /// Rules held below it: name and percentage.
    pub below: Vec<(String, u8)>,
}

/// What was usual while nothing was refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Baseline {
    /// Authenticated calls seen.
    pub calls: u64,
    /// How long they were watched, seconds.
    pub seconds: u64,
    /// Enough to judge a ramp by?
    pub is_enough: bool,
}

/// Does an upstream answer?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamIs {
    /// It does.
    Up,
    /// It does not: why.
    Down(String),
    /// Not asked yet.
    Unknown,
}

/// What requests of our own found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suite {
    /// They were sent.
    Asked {
        /// On exempt paths.
        exempt: Asked,
        /// On service paths, without a signature.
        unsigned: Asked,
    },
    /// They were not, on purpose: the records of the phase have to do.
    NotAsked,
}

/// Answers to requests of our own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// As they should be.
    pub good: u64,
    /// What is not, in words.
    pub bad: Vec<String>,
    /// What could not be asked.
    pub unknown: Vec<String>,
}
