//! Times and uses as a person reads them.

use crate::keys::usage::Used;
use crate::telemetry::time::Rfc3339;
use serde_json::{Value, json};

/// `87d 3h`, `5h 12m`, `40s`: two units at most.
pub(in crate::cli) fn span(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let first = units.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(units.len() - 1);
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (unit, name) in units.iter().skip(first).take(2) {
        if rest >= *unit || parts.is_empty() {
            parts.push(format!("{}{name}", rest / unit));
            rest %= unit;
        }
    }
    parts.join(" ")
}

/// `2026-11-22T05:31:17Z`
pub(in crate::cli) fn time(unix_seconds: u64) -> String {
    let text = Rfc3339::default().print(unix_seconds.saturating_mul(1_000_000)).to_owned();
    text.replacen(".000000", "", 1)
}

/// Of an old key, where no verifier is known that would tell of its use.
pub(super) const UNKNOWN_USE: &str =
    "whether it is used is not known here (--config names the sidecar that reads this directory)";

/// `3m ago by 172.16.168.22, seen by main-backend`
pub(super) fn used(used: &Used, now: u64) -> String {
    format!("{} ago by {}, seen by {}", span(now.saturating_sub(used.at)), used.client, used.verifier)
}

/// The same for programs.
pub(super) fn used_json(used: Option<&Used>) -> Value {
    used.map_or(Value::Null, |used| {
        json!({ "at": time(used.at), "unix_seconds": used.at, "client": used.client, "verifier": used.verifier })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units_at_most() {
        for (seconds, expected) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (61, "1m 1s"),
            (3_600, "1h"),
            (3_601, "1h"),
            (86_399, "23h 59m"),
            (86_400, "1d"),
            (90_000, "1d 1h"),
            (7_776_000, "90d"),
        ] {
            assert_eq!(span(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn times_are_utc_to_the_second() {
        assert_eq!(time(1_759_742_876), "2025-10-06T09:27:56Z");
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert!(time(u64::MAX).starts_with("9999-12-"));
    }
}
