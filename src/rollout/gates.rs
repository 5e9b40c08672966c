//! [`Gate`]: may the next step of the rollout be taken? Go or no-go from figures already gathered ([`figures`]), criterion by criterion.
//!
//! 1. Which criteria a gate has is the table in [`Criterion::gates`]; no other question decides it.
//! 2. A criterion *passes* when its figure is known and within its limit, *fails* when it is known and not, and is *unknown* otherwise.
//!    **Unknown is no-go**: no evidence is no pass. So a figure of zero is only good where the evidence is whole.
//! 3. Limits are the fleet's ([`limits`]): what a gate wants to be none must be none; of what operators watch as a rate, the mark at which they are
//!    warned is the limit. The worst hour counts, not the average of a day.
//! 4. A criterion can be waived by name, with a reason that is shown: then it is told and does not count.
//!
//! What breaks is counted for *known services* where the fleet says so: whoever else calls with a forged signature must not be able to keep a
//! rollout from going on. What strangers do has limits of its own, per hour, that are about attacks.

use std::fmt;

pub mod figures;
pub mod history;
mod judged;
pub mod limits;
mod observed;
pub mod phase;
mod prepared;

#[cfg(test)]
mod tests;

pub use figures::Figures;
pub use limits::Limits;

/// Before which step?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Gate {
    /// Before log-only begins.
    Start,
    /// From log-only to soft enforcement.
    Soft,
    /// From there to the ramp by percentages.
    Ramp,
    /// To full enforcement.
    Full,
}

impl Gate {
    /// In the order of the rollout.
    pub const ALL: [Gate; 4] = [Gate::Start, Gate::Soft, Gate::Ramp, Gate::Full];

    /// The word on the command line.
    pub const fn code(self) -> &'static str {
        match self {
            Gate::Start => "start",
            Gate::Soft => "soft",
            Gate::Ramp => "ramp",
            Gate::Full => "full",
        }
    }

    /// What it leads to.
    pub const fn leads_to(self) -> &'static str {
        match self {
            Gate::Start => "log-only",
            Gate::Soft => "soft enforcement",
            Gate::Ramp => "the ramp",
            Gate::Full => "full enforcement",
        }
    }
}

/// What has to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "`code` and `title` say what each is")]
pub enum Criterion {
    Keys,
    EnvFiles,
    RedisClock,
    UpstreamAround,
    Ready,
    Upstream,
    Configuration,
    StateDurable,
    NoHold,
    Monitoring,
    Baseline,
    InForce,
    Elapsed,
    Evidence,
    Uptime,
    NoRollback,
    NoCritical,
    Drilled,
    Signed,
    Signatures,
    Timestamps,
    Callers,
    Overrides,
    CallerClocks,
    ExemptReachable,
    ServiceRefused,
    SuccessRate,
    Availability,
    UpstreamErrors,
    Overhead,
    RequestLatency,
    RateLimited,
    Unauthorized,
    InvalidSignatures,
    LateTimestamps,
    Blocked,
}

impl Criterion {
    /// In the order in which they are shown.
    pub const ALL: [Criterion; 36] = [
        Criterion::Keys,
        Criterion::EnvFiles,
        Criterion::RedisClock,
        Criterion::UpstreamAround,
        Criterion::Ready,
        Criterion::Upstream,
        Criterion::Configuration,
        Criterion::StateDurable,
        Criterion::NoHold,
        Criterion::Monitoring,
        Criterion::Baseline,
        Criterion::InForce,
        Criterion::Elapsed,
        Criterion::Evidence,
        Criterion::Uptime,
        Criterion::NoRollback,
        Criterion::NoCritical,
        Criterion::Drilled,
        Criterion::Signed,
        Criterion::Signatures,
        Criterion::Timestamps,
        Criterion::Callers,
        Criterion::Overrides,
        Criterion::CallerClocks,
        Criterion::ExemptReachable,
        Criterion::ServiceRefused,
        Criterion::SuccessRate,
        Criterion::Availability,
        Criterion::UpstreamErrors,
        Criterion::Overhead,
        Criterion::RequestLatency,
        Criterion::RateLimited,
        Criterion::Unauthorized,
        Criterion::InvalidSignatures,
        Criterion::LateTimestamps,
        Criterion::Blocked,
    ];

    /// The word for programs, and for waiving it.
    pub const fn code(self) -> &'static str {
        match self {
            Criterion::Keys => "keys",
            Criterion::EnvFiles => "env_files",
            Criterion::RedisClock => "redis_clock",
            Criterion::UpstreamAround => "upstream_around",
            Criterion::Ready => "ready",
            Criterion::Upstream => "upstream",
            Criterion::Configuration => "configuration",
            Criterion::StateDurable => "state_durable",
            Criterion::NoHold => "no_hold",
            Criterion::Monitoring => "monitoring",
            Criterion::Baseline => "baseline",
            Criterion::InForce => "in_force",
            Criterion::Elapsed => "elapsed",
            Criterion::Evidence => "evidence",
            Criterion::Uptime => "uptime",
            Criterion::NoRollback => "no_rollback",
            Criterion::NoCritical => "no_critical",
            Criterion::Drilled => "drilled",
            Criterion::Signed => "signed",
            Criterion::Signatures => "signatures",
            Criterion::Timestamps => "timestamps",
            Criterion::Callers => "callers",
            Criterion::Overrides => "overrides",
            Criterion::CallerClocks => "caller_clocks",
            Criterion::ExemptReachable => "exempt_reachable",
            Criterion::ServiceRefused => "service_refused",
            Criterion::SuccessRate => "success_rate",
            Criterion::Availability => "availability",
            Criterion::UpstreamErrors => "upstream_errors",
            Criterion::Overhead => "overhead",
            Criterion::RequestLatency => "request_latency",
            Criterion::RateLimited => "rate_limited",
            Criterion::Unauthorized => "unauthorized",
            Criterion::InvalidSignatures => "invalid_signatures",
            Criterion::LateTimestamps => "late_timestamps",
            Criterion::Blocked => "blocked",
        }
    }

    /// For people.
    pub const fn title(self) -> &'static str {
        match self {
            Criterion::Keys => "every service in use has a key that lasts",
            Criterion::EnvFiles => ".env files with secrets are not world-readable",
            Criterion::RedisClock => "our clock and Redis's agree",
            Criterion::UpstreamAround => "nobody reaches the upstream around the sidecar",
            Criterion::Ready => "the sidecar is ready",
            Criterion::Upstream => "the upstream is healthy",
            Criterion::Configuration => "the configuration on disk is the one that runs",
            Criterion::StateDurable => "enforcement and audit records are on disk",
            Criterion::NoHold => "no rollback holds",
            Criterion::Monitoring => "somebody scrapes /metrics",
            Criterion::Baseline => "a baseline was measured",
            Criterion::InForce => "enforcement is as far as its last stage",
            Criterion::Elapsed => "the phase has lasted",
            Criterion::Evidence => "its audit records are whole",
            Criterion::Uptime => "the sidecar was up",
            Criterion::NoRollback => "no rollback",
            Criterion::NoCritical => "no critical alert",
            Criterion::Drilled => "a rollback was drilled",
            Criterion::Signed => "every service called, and signed every call",
            Criterion::Signatures => "no signature of a known service failed",
            Criterion::Timestamps => "no timestamp of a known service was outside the window",
            Criterion::Callers => "no known service called what it may not",
            Criterion::Overrides => "no known service needed the override",
            Criterion::CallerClocks => "the callers' clocks and ours agree",
            Criterion::ExemptReachable => "exempt paths are reachable",
            Criterion::ServiceRefused => "service paths are refused without a signature",
            Criterion::SuccessRate => "calls of known services that authenticated",
            Criterion::Availability => "good calls of known services that were served",
            Criterion::UpstreamErrors => "errors of the upstream",
            Criterion::Overhead => "our own time, authentication included",
            Criterion::RequestLatency => "the whole time of a service call",
            Criterion::RateLimited => "rate limiting",
            Criterion::Unauthorized => "unauthorized attempts of strangers",
            Criterion::InvalidSignatures => "invalid signatures, of anybody",
            Criterion::LateTimestamps => "timestamps outside the window, of anybody",
            Criterion::Blocked => "refusals carried out",
        }
    }

    /// Before which steps it has to hold.
    pub const fn gates(self) -> &'static [Gate] {
        match self {
            Criterion::Keys
            | Criterion::EnvFiles
            | Criterion::RedisClock
            | Criterion::UpstreamAround
            | Criterion::Ready
            | Criterion::Upstream
            | Criterion::Configuration
            | Criterion::StateDurable
            | Criterion::NoHold
            | Criterion::Monitoring => &Gate::ALL,
            Criterion::InForce => &[Gate::Full],
            Criterion::Baseline
            | Criterion::Elapsed
            | Criterion::Evidence
            | Criterion::Uptime
            | Criterion::NoRollback
            | Criterion::NoCritical
            | Criterion::Drilled
            | Criterion::Signed
            | Criterion::Signatures
            | Criterion::Timestamps
            | Criterion::Callers
            | Criterion::Overrides
            | Criterion::CallerClocks
            | Criterion::ExemptReachable
            | Criterion::ServiceRefused
            | Criterion::SuccessRate
            | Criterion::Availability
            | Criterion::UpstreamErrors
            | Criterion::Overhead
            | Criterion::RequestLatency
            | Criterion::RateLimited
            | Criterion::Unauthorized
            | Criterion::InvalidSignatures
            | Criterion::LateTimestamps
            | Criterion::Blocked => &[Gate::Soft, Gate::Ramp, Gate::Full],
        }
    }

    /// Is its figure one of the records of the phase?
    pub fn is_of_phase(self) -> bool {
        self.gates().len() == 3 && self != Criterion::Baseline
    }

    /// The one of this code.
    pub fn parse(code: &str) -> Option<Criterion> {
        Criterion::ALL.into_iter().find(|criterion| criterion.code() == code)
    }
}

/// Does a criterion hold?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Pass,
    /// No.
    Fail,
    /// Nobody can tell: as good as no.
    Unknown,
}

impl Verdict {
    /// The word for it.
    pub const fn code(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// One criterion, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub criterion: Criterion,
    /// Does it hold?
    pub verdict: Verdict,
    /// The figure, or why there is none.
    pub measured: String,
    /// What it may be.
    pub limit: String,
    /// What to do; nothing where it holds.
    pub remedy: Option<String>,
    /// Why it does not count, if somebody said so.
    pub waived: Option<String>,
}

/// Every criterion of this gate, in their order.
pub fn judge(gate: Gate, figures: &Figures, limits: &Limits) -> Vec<Finding> {
    let of_the_gate = Criterion::ALL.into_iter().filter(|criterion| criterion.gates().contains(&gate));
    of_the_gate.map(|criterion| judged::finding(criterion, gate, figures, limits)).collect()
}

/// Go? Only if everything that counts holds.
pub fn is_go(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.verdict == Verdict::Pass || finding.waived.is_some())
}
