//! [`Evidence`]: why was enforcement taken back by itself? What audit, notification and status show, and nothing that was not counted.

use super::baseline::BasisPoints;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Which figure went over its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// A backend fails its health check.
    UpstreamDown,
    /// Most services' calls fail their checks.
    MostCallsFailing,
    /// One service's do.
    ServiceFailing,
    /// Authenticated calls are answered 5xx.
    ErrorRate,
}

impl Signal {
    /// Every signal.
    pub const ALL: [Signal; 4] =
        [Signal::UpstreamDown, Signal::MostCallsFailing, Signal::ServiceFailing, Signal::ErrorRate];

    /// The word in audit records, notifications and metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Signal::UpstreamDown => "upstream_down",
            Signal::MostCallsFailing => "most_calls_failing",
            Signal::ServiceFailing => "service_failing",
            Signal::ErrorRate => "error_rate",
        }
    }
}

/// Which row of the table it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Priority {
    /// Immediately.
    P0,
    /// Within minutes.
    P1,
    /// A limit of `rollback_when`.
    #[serde(rename = "limit")]
    Limit,
}

/// Why. What does not belong to a signal is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Which signal won.
    pub signal: Signal,
    /// By which row.
    pub priority: Priority,
    /// How far the samples reach back.
    pub window_seconds: u64,
    /// Calls that were counted.
    pub samples: u64,
    /// Of those, failed.
    pub failed: u64,
    /// Their share, in hundredths of a percent.
    #[serde(rename = "rate_basis_points", skip_serializing_if = "Option::is_none", default)]
    pub rate: Option<BasisPoints>,
    /// What it may be.
    #[serde(rename = "limit_basis_points", skip_serializing_if = "Option::is_none", default)]
    pub limit: Option<BasisPoints>,
    /// How long an outage may last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limit_seconds: Option<u64>,
    /// The usual rate that the limit was made of.
    #[serde(rename = "usual_basis_points", skip_serializing_if = "Option::is_none", default)]
    pub usual: Option<BasisPoints>,
    /// Whose calls fail, the worst first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub services: Vec<String>,
    /// Under which rules they did, the first one's first; none where one of them failed under none.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub rules: Vec<String>,
    /// Which backend is down, by its listener.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub upstream: Option<String>,
    /// The other signals that were over their limits too.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub also: Vec<Signal>,
}

impl Evidence {
    pub(super) fn new(signal: Signal, priority: Priority) -> Evidence {
        Evidence {
            signal,
            priority,
            window_seconds: 0,
            samples: 0,
            failed: 0,
            rate: None,
            limit: None,
            limit_seconds: None,
            usual: None,
            services: Vec::new(),
            rules: Vec::new(),
            upstream: None,
            also: Vec::new(),
        }
    }
}

/// One sentence, with every figure it rests on.
impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Evidence { window_seconds: window, samples, failed, .. } = self;
        let rate = self.rate.unwrap_or(BasisPoints(0));
        let limit = self.limit.unwrap_or(BasisPoints(0));
        let services = self.services.join(", ");
        match self.signal {
            Signal::UpstreamDown => {
                let (upstream, limit) = (self.upstream.as_deref().unwrap_or("?"), self.limit_seconds.unwrap_or(0));
                write!(f, "the backend of {upstream} has failed its health check for {window} s (limit {limit} s)")
            }
            Signal::MostCallsFailing => write!(
                f,
                "{rate} of the calls of known services fail their checks, each service counted once ({failed} of {samples} in {window} s, \
                 limit {limit}): {services}"
            ),
            Signal::ServiceFailing => {
                let first = self.services.first().map_or("?", String::as_str);
                write!(
                    f,
                    "{failed} of {samples} calls of {first} failed their checks in {window} s ({rate}, limit {limit})"
                )?;
                match &self.services[1.min(self.services.len())..] {
                    [] => Ok(()),
                    others => write!(f, "; also {}", others.join(", ")),
                }
            }
            Signal::ErrorRate => {
                let usual = self.usual.unwrap_or(BasisPoints(0));
                write!(
                    f,
                    "{failed} of {samples} authenticated calls were answered 5xx in {window} s ({rate}, limit {limit}, usually {usual})"
                )
            }
        }
    }
}
