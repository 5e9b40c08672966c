//! What holds when nobody says otherwise? The defaults that `config/countersign.toml` shows line by line (a test
//! compares the two).

use super::{
    Audit, AuditSink, Health, KeySourceKind, Keys, Limits, Log, LogFormat, LogLevel, OnFull, RateLimit, Replay,
    Signature, Timeouts,
};
use crate::policy::enforcement::{Enforcement, Mode, Percentage, Sampling};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// `state_dir` on a VM; without root and without this directory, see `check`.
pub const STATE_DIR: &str = "/var/lib/countersign";
/// `[keys].dir`
pub const KEYS_DIR: &str = "/etc/countersign/keys";
/// `[audit].file`
pub const AUDIT_FILE: &str = "/var/log/countersign/audit.jsonl";
/// `[admin].listen`
pub const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9180);
/// `[admin].socket`, where the state is in [`STATE_DIR`]; else `admin.sock` in the state directory.
pub const ADMIN_SOCKET: &str = "/run/countersign/admin.sock";
/// `[enforcement]`: nothing is refused until somebody says so.
pub const ENFORCEMENT: Enforcement =
    Enforcement { mode: Mode::Log, percentage: Percentage::FULL, sampling: Sampling::Call };

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// `first_byte` of an outbound listener.
pub const OUTBOUND_FIRST_BYTE: Duration = Duration::from_secs(30);

impl Default for Keys {
    fn default() -> Keys {
        Keys {
            dir: KEYS_DIR.into(),
            make_on_start: false,
            sources: vec![KeySourceKind::Files],
            redis: None,
            cache: 5 * MINUTE,
            stale: DAY,
            grace: 3 * DAY,
            sealed_copy: None,
            ttl: 90 * DAY,
            overlap: DAY,
            unused_for: DAY,
            rotate_before: 7 * DAY,
        }
    }
}

impl Default for Signature {
    fn default() -> Signature {
        Signature { window_seconds: 300, replay: Replay::Report }
    }
}

impl Default for RateLimit {
    fn default() -> RateLimit {
        RateLimit { failures: 10, window: 5 * MINUTE, lockout: false, addresses: 100_000 }
    }
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            head: 10 * SECOND,
            idle: 75 * SECOND,
            body_idle: MINUTE,
            write_idle: MINUTE,
            connect: 5 * SECOND,
            first_byte: 5 * MINUTE,
            tunnel_idle: None,
            drain: 30 * SECOND,
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            head: 64 << 10,
            target: 16 << 10,
            headers: 100,
            connections: 10_000,
            connections_per_address: 1000,
            upstream_requests: 1024,
        }
    }
}

impl Default for Audit {
    fn default() -> Audit {
        Audit {
            sink: AuditSink::File(PathBuf::from(AUDIT_FILE)),
            rotate_size: 100_000_000,
            rotate_age: DAY,
            rotate_keep: 14,
            keep_service: 90 * DAY,
            on_full: OnFull::DropAndCount,
        }
    }
}

impl Default for Log {
    fn default() -> Log {
        Log { level: LogLevel::Info, format: LogFormat::Text }
    }
}

impl Health {
    /// How often an upstream is asked.
    pub const INTERVAL: Duration = Duration::from_secs(5);
}
