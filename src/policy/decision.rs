//! [`Decision`], [`Refusal`] and their codes: words, no logic.

use super::grants::GrantId;
use crate::rules::classify::Classification;
use crate::rules::percentage::Percentage;
use crate::signature::headers::PresentedFault;
use crate::signature::verify::{AuthenticatedService, VerifyFailure};
use std::time::Duration;

/// What came of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Exempt or open: nothing was asked.
    Allow,
    /// A valid signature of an allowed caller.
    Authenticated,
    /// A valid override token.
    Override,
    /// Refused.
    Refuse,
    /// Would have been refused; mode or percentage let it pass.
    WouldRefuse,
}

/// Why a request is, or would be, refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No two servers read it alike: 400 in both modes.
    MalformedRequest,
    /// None or only some of the signature headers.
    MissingSignature,
    /// A signature header is repeated or not of the exact form.
    MalformedSignature,
    /// The caller's clock is off, or the request is old.
    TimestampOutsideWindow,
    /// No such service.
    UnknownService,
    /// The MAC is another.
    InvalidSignature,
    /// A valid signature seen before, with `replay = "refuse"`.
    Replayed,
    /// A valid signature of a caller the rule does not name.
    CallerNotAllowed,
    /// Too many refusals from this client address.
    RateLimited,
    /// Keys cannot be read and none is cached.
    KeysUnavailable,
    /// The audit sink is full and the operator chose to block.
    AuditUnavailable,
}

impl From<PresentedFault> for Refusal {
    fn from(fault: PresentedFault) -> Refusal {
        match fault {
            PresentedFault::Missing => Refusal::MissingSignature,
            PresentedFault::Malformed(_) => Refusal::MalformedSignature,
        }
    }
}

impl From<VerifyFailure> for Refusal {
    fn from(failure: VerifyFailure) -> Refusal {
        match failure {
            VerifyFailure::TimestampOutsideWindow { .. } => Refusal::TimestampOutsideWindow,
            VerifyFailure::UnknownService => Refusal::UnknownService,
            VerifyFailure::InvalidSignature => Refusal::InvalidSignature,
            VerifyFailure::KeysUnavailable => Refusal::KeysUnavailable,
        }
    }
}

impl Outcome {
    /// The word in audit records and metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Outcome::Allow => "allow",
            Outcome::Authenticated => "authenticated",
            Outcome::Override => "override",
            Outcome::Refuse => "refuse",
            Outcome::WouldRefuse => "would_refuse",
        }
    }
}

impl Refusal {
    /// The word in audit records and metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Refusal::MalformedRequest => "malformed_request",
            Refusal::MissingSignature => "missing_signature",
            Refusal::MalformedSignature => "malformed_signature",
            Refusal::TimestampOutsideWindow => "timestamp_outside_window",
            Refusal::UnknownService => "unknown_service",
            Refusal::InvalidSignature => "invalid_signature",
            Refusal::Replayed => "replayed",
            Refusal::CallerNotAllowed => "caller_not_allowed",
            Refusal::RateLimited => "rate_limited",
            Refusal::KeysUnavailable => "keys_unavailable",
            Refusal::AuditUnavailable => "audit_unavailable",
        }
    }

    /// The word the caller sees: an unknown service and a wrong signature read alike.
    pub const fn public_code(self) -> &'static str {
        match self {
            Refusal::UnknownService | Refusal::InvalidSignature => "invalid_credentials",
            other => other.code(),
        }
    }

    /// Every refusal, for tables and metrics.
    pub const ALL: [Refusal; 11] = [
        Refusal::MalformedRequest,
        Refusal::MissingSignature,
        Refusal::MalformedSignature,
        Refusal::TimestampOutsideWindow,
        Refusal::UnknownService,
        Refusal::InvalidSignature,
        Refusal::Replayed,
        Refusal::CallerNotAllowed,
        Refusal::RateLimited,
        Refusal::KeysUnavailable,
        Refusal::AuditUnavailable,
    ];
}

/// All that follows from the checks of one request. Response, audit record and metric are views of this value.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What came of it.
    pub outcome: Outcome,
    /// Why it is or would be refused; `Replayed` also beside `Authenticated` when replays are only reported.
    pub reason: Option<Refusal>,
    /// The refusal that `RateLimited` stands in for.
    pub cause: Option<Refusal>,
    /// The class and the rules that decided it.
    pub classification: Classification,
    /// The proved caller, whatever the outcome (`CallerNotAllowed` has one too).
    pub service: Option<AuthenticatedService>,
    /// The caller's clock minus ours, as far as a well-formed timestamp says.
    pub skew_seconds: Option<i64>,
    /// The effective percentage: the global one and the rules' own, combined.
    pub percentage: Percentage,
    /// Would a refusal of this request be carried out? `false` in `log`, for exempt and open, and for what the draw
    /// leaves out. Its share of service-class requests is the actual percentage.
    pub drawn_in: bool,
    /// Did the request carry an override token that is not ours? Counted against its address.
    pub wrong_override: bool,
    /// Was it an announced test? Then it is counted nowhere.
    pub is_probe: bool,
    /// The grant whose token let it pass; none beside the static token.
    pub grant: Option<GrantId>,
    /// How long the caller should wait, for `RateLimited` and `KeysUnavailable`.
    pub retry_after: Option<Duration>,
}
