//! Names of metrics and labels, each with its unit: constants, in one place. Label values come from enums or
//! configured names, never from requests, so the number of series does not depend on what strangers send.
//!
//! Every series of a fixed set of words is there from the start, at zero, so that rates see the first event.

/// One family of series.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// The name; the exposition adds `_total` to counters.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
}

const fn family(name: &'static str, help: &'static str) -> Family {
    Family { name, help }
}

/// By `service_id` and `result`.
pub const ATTEMPTS: Family = family(
    "service_auth_attempts",
    "Decisions about service paths. service_id: a configured id that was proved or claimed, else unknown, or none if nothing \
     was presented. result: success, failed (also when the mode or percentage let it pass) or override",
);
/// Seconds.
pub const AUTH_DURATION: Family =
    family("service_auth_duration_seconds", "What classifying, verifying and deciding took, for service paths");
/// A number of services.
pub const ACTIVE_SERVICES: Family =
    family("service_auth_active_services", "Services that authenticated within the last 15 minutes");
/// Seconds, by `service_id`.
pub const CALLER_SKEW: Family = family(
    "countersign_caller_skew_seconds",
    "The caller's clock minus ours: the median of its last authenticated calls (five on each worker), as long as the last one is not \
     older than 15 minutes",
);
/// Days, by `service_id`.
pub const KEY_TTL: Family = family(
    "service_key_ttl_days",
    "Days until a key lapses; only for keys from a source that knows it (key files never lapse)",
);

/// 0 or 1, by `service_id`.
pub const OVERLAP_OVERDUE: Family = family(
    "countersign_key_overlap_overdue",
    "1: the key before a rotation should be out of use by now and is still taken; while an overlap is in time, 0",
);
/// Seconds.
pub const KEYS_STALE: Family = family(
    "countersign_keys_stale_seconds",
    "For how long Redis could not be asked for keys; 0 while it can. Cached keys serve on for [keys].stale",
);
/// A number.
pub const KEYS_LAPSED: Family =
    family("countersign_keys_lapsed", "Keys that Redis let lapse and that serve on for [keys].grace");
/// A number.
pub const KEYS_LOST: Family =
    family("countersign_keys_lost", "Keys that Redis lost with all its data and that serve on for [keys].stale");
/// A number.
pub const KEYS_UNREADABLE: Family =
    family("countersign_keys_unreadable", "Places of keys in Redis that hold something else");
/// Without labels.
pub const KEYS_DELETED: Family =
    family("countersign_keys_deleted", "Keys that were deleted in Redis before their expiry, and dropped");
/// By `result`.
pub const KEY_REFRESHES: Family =
    family("countersign_key_refreshes", "Times Redis was asked for all keys: ok, or failed");

/// By `class` and `outcome`.
pub const REQUESTS: Family = family(
    "countersign_requests",
    "Requests by class (unreadable: malformed before it could be classified) and outcome, as in the audit log",
);
/// By `reason` and `carried_out`.
pub const REFUSALS: Family =
    family("countersign_refusals", "Refusals by reason; carried_out no: the mode or percentage let the request pass");
/// By `fault`.
pub const MALFORMED: Family =
    family("countersign_malformed_requests", "Requests no two servers read alike, by fault");
/// Without labels.
pub const OVERRIDES: Family = family("countersign_overrides", "Requests an override token let pass");
/// Without labels.
pub const PROBES: Family =
    family("countersign_probes", "Announced tests (countersign validate); they are counted nowhere else");
/// Without labels.
pub const GRANT_USES: Family =
    family("countersign_override_grant_uses", "Requests that the token of an override grant let pass");
/// A number.
pub const GRANTS_OPEN: Family =
    family("countersign_override_grants_open", "Override grants that let requests pass now");
/// Without labels.
pub const WRONG_OVERRIDES: Family =
    family("countersign_wrong_override_tokens", "Requests with an override token that is not ours");
/// Without labels.
pub const REPLAYED: Family = family("countersign_replayed_signatures", "Valid signatures that had been seen before");

/// Without labels.
pub const REPLAY_FORGOTTEN: Family = family(
    "countersign_replay_forgotten",
    "Signatures forgotten before they expired, for want of room: a replay of one passes as new",
);

/// By `class` and `status_class`.
pub const UPSTREAM_ANSWERS: Family = family("countersign_upstream_answers", "Answers of the upstream");
/// By `status`.
pub const OWN_ANSWERS: Family = family("countersign_own_answers", "Answers of our own in the upstream's place");
/// Without labels.
pub const EXEMPT_UNAUTHORIZED: Family =
    family("countersign_exempt_unauthorized", "Exempt paths answered 401 (by the upstream: we never do)");
/// By `code`.
pub const UPSTREAM_FAULTS: Family =
    family("countersign_upstream_faults", "Requests the upstream failed, by the code in X-Countersign-Error");
/// Without labels.
pub const UPSTREAM_RETRIES: Family =
    family("countersign_upstream_retries", "Idempotent requests sent again on a new connection");
/// Without labels.
pub const UPSTREAM_PASSED_OVER: Family = family(
    "countersign_upstream_passed_over",
    "Requests that went on to another upstream of their listener, because no connection could be opened to the one chosen",
);
/// Without labels.
pub const INFORMATIONAL_DROPPED: Family = family(
    "countersign_informational_answers_dropped",
    "1xx answers of the upstream other than 100 and 101, which are not passed on",
);
/// 1 or 0, by `upstream`.
pub const UPSTREAM_UP: Family =
    family("countersign_upstream_up", "1: the upstream answers its check; absent until the first check");
/// A number, by `upstream`.
pub const UPSTREAM_OUTSTANDING: Family =
    family("countersign_upstream_outstanding_requests", "Requests at this upstream now, tunnels among them");

/// By `outcome`.
pub const OUTBOUND_REQUESTS: Family = family(
    "countersign_outbound_requests",
    "Requests at listeners that sign what leaves, by outcome: allow (signed and sent, or a tunnel) or refuse",
);
/// By `reason`.
pub const OUTBOUND_REFUSALS: Family =
    family("countersign_outbound_refusals", "Requests that were not signed and did not leave, by reason");
/// By `from` and `status_class`.
pub const OUTBOUND_ANSWERS: Family = family(
    "countersign_outbound_answers",
    "Answers to requests that leave: from the upstream, or from the sidecar itself in its place",
);
/// Seconds.
pub const OUTBOUND_OWN_DURATION: Family =
    family("countersign_outbound_own_duration_seconds", "Our share of the time to the head of an outbound answer");
/// Seconds.
pub const OUTBOUND_UPSTREAM_DURATION: Family = family(
    "countersign_outbound_upstream_duration_seconds",
    "From an outbound request sent to the head of its answer",
);

/// Seconds.
pub const REQUEST_DURATION: Family =
    family("countersign_request_duration_seconds", "From the request's head to the answer's head, ours included");
/// Seconds.
pub const UPSTREAM_DURATION: Family = family(
    "countersign_upstream_duration_seconds",
    "From the request sent to the upstream to the head of its answer",
);
/// Seconds.
pub const OWN_DURATION: Family =
    family("countersign_own_duration_seconds", "Our share of the time to the answer's head");

/// A number.
pub const CONNECTIONS: Family = family("countersign_connections", "Downstream connections open now");
/// A number.
pub const CONNECTIONS_OPENED: Family = family("countersign_connections_opened", "Downstream connections accepted");
/// A number.
pub const IN_FLIGHT: Family = family("countersign_requests_in_flight", "Requests with the upstream now");
/// A number.
pub const TUNNELS: Family = family("countersign_tunnels", "WebSockets and other upgrades open now");
/// A number.
pub const TUNNELS_OPENED: Family = family("countersign_tunnels_opened", "WebSockets and other upgrades made");
/// By `kind`.
pub const HANDSHAKES: Family =
    family("countersign_tls_handshakes", "TLS handshakes with clients: full, or resumed from an earlier session");
/// By `reason`.
pub const HANDSHAKE_FAILURES: Family =
    family("countersign_tls_handshake_failures", "TLS handshakes with clients that did not come about");
/// Seconds since the epoch, by `file`.
pub const CERTIFICATE_EXPIRY: Family = family(
    "countersign_certificate_expiry_timestamp_seconds",
    "When a certificate that we present ends, by its file as the configuration names it",
);
/// By `limit`.
pub const LIMITS_HIT: Family = family("countersign_limits_hit", "What a limit turned away");
/// By `timer`.
pub const TIMEOUTS: Family = family("countersign_timeouts", "Connections a timer ended");

/// By `kind`.
pub const HTTP2_FLOODS: Family = family(
    "countersign_http2_floods",
    "HTTP/2 connections ended for frames that cost their sender nothing: the kind there was too much of",
);

/// Without labels.
pub const AUDIT_WRITTEN: Family = family("countersign_audit_records_written", "Audit records handed to the sink");
/// Without labels.
pub const AUDIT_DROPPED: Family =
    family("countersign_audit_records_dropped", "Audit records that had no room in the queue");
/// Without labels.
pub const AUDIT_LOST: Family = family(
    "countersign_audit_records_lost",
    "Audit records the sink did not take until the end, or could never take",
);
/// Without labels.
pub const AUDIT_ERRORS: Family =
    family("countersign_audit_write_errors", "Attempts to write audit records that failed; each is made again");
/// A number.
pub const AUDIT_QUEUED: Family = family("countersign_audit_queue_records", "Audit records not written yet");

/// By `result`.
pub const RELOADS: Family =
    family("countersign_config_reloads", "Reloads of the configuration: ok, or failed (the old one stays)");
/// 1 or 0.
pub const RELOAD_OK: Family =
    family("countersign_config_last_reload_ok", "1: the last reload took effect, or none was tried");
/// Seconds since the epoch.
pub const RELOAD_TIME: Family =
    family("countersign_config_last_reload_success_timestamp_seconds", "When the configuration in force was loaded");
/// A number.
pub const GENERATION: Family =
    family("countersign_config_generation", "Configurations that took effect since the start");
/// Rollbacks: `kind`.
pub const ROLLBACKS: Family =
    family("countersign_rollbacks", "Rollbacks to log-only, by kind: emergency, standard, automatic");
/// 0, or the stage.
pub const RAMP_STAGE: Family =
    family("countersign_ramp_stage", "The stage of the ramp that runs, from 1; 0 while none does");
/// A number.
pub const ROLLOUT_ALERTS: Family = family(
    "countersign_rollout_alerts",
    "Signals over their limits that nothing was taken back for, and silent services",
);
/// 1 or 0.
pub const MAINTENANCE: Family =
    family("countersign_maintenance", "1 while an operator has suspended the judgement of the rollout");
/// Announcements: `result`.
pub const ANNOUNCEMENTS: Family = family(
    "countersign_announcements",
    "Announcements of rollbacks and alerts by command or webhook, by result: ok, failed",
);
/// 1 while a rollback holds.
pub const ROLLBACK_HELD: Family =
    family("countersign_rollback_held", "1 while a rollback holds and an operator has to lift it");
/// 1 while the fleet's state is followed.
pub const FLEET_FOLLOWED: Family =
    family("countersign_fleet_followed", "1 while the fleet's shared state of enforcement is followed through Redis");
/// A number.
pub const FLEET_MISSED: Family = family(
    "countersign_fleet_not_reached",
    "Sidecars of the last day that are silent, or where another state of enforcement is in force",
);
/// A count.
pub const FLEET_REJECTED: Family = family(
    "countersign_fleet_rejected_total",
    "What stood in Redis for the fleet and was not written with the fleet key: forged, or another key",
);
/// 1 while the state of enforcement is on disk.
pub const STATE_DURABLE: Family = family(
    "countersign_enforcement_state_durable",
    "1 while what is in force would survive the process, 0 when the disk did not take it",
);
/// 1 or 0, by `mode`.
pub const MODE: Family = family("countersign_enforcement_mode", "1 for the mode in force");
/// 0 to 100.
pub const TARGET: Family = family(
    "countersign_enforcement_target_percentage",
    "The percentage of refusals that is to be carried out (0 in log mode)",
);
/// 0 to 100.
pub const ACTUAL: Family = family(
    "countersign_enforcement_actual_percentage",
    "Share of service-class requests whose refusal would be carried out, over the last 5 minutes; absent without such requests",
);
/// By `drawn`.
pub const DRAWN: Family = family(
    "countersign_enforcement_draws",
    "Service-class requests by whether their refusal would be carried out (in) or not (out)",
);

/// 1, by `version`.
pub const BUILD_INFO: Family = family("countersign_build_info", "1, with the version as a label");
/// Seconds since the epoch.
pub const START_TIME: Family = family("process_start_time_seconds", "When the process started");

/// Values of `service_id` that are no service.
pub const UNKNOWN_SERVICE: &str = "unknown";
/// Nothing was claimed.
pub const NO_SERVICE: &str = "none";

/// Values of `fault`.
pub const FAULTS: &[&str] = &[
    "request_line",
    "method",
    "version",
    "target_form",
    "target_byte",
    "connect",
    "target_too_long",
    "head_too_long",
    "too_many_fields",
    "bare_line_end",
    "folded_line",
    "field_name",
    "field_value",
    "host_missing",
    "host_repeated",
    "host_malformed",
    "content_length",
    "transfer_encoding",
    "length_and_encoding",
    "chunk",
    "trailer",
];
/// Values of `limit`.
pub const LIMITS: &[&str] = &["connections", "connections_per_address", "descriptors", "upstream_requests"];
/// Values of `timer`.
pub const TIMERS: &[&str] = &["first_byte", "idle", "head", "body_idle", "write_idle", "tunnel_idle"];
/// Values of `kind`; `stopped_by_h2`: resets, header blocks or small DATA that the frame layer itself does not bear.
pub const FLOODS: &[&str] = &["ping", "settings", "priority", "window_update", "reset", "unknown", "stopped_by_h2"];
/// Values of `status` of our own answers; any other is `other`.
pub const OWN_STATUSES: &[u16] = &[400, 401, 403, 408, 414, 429, 431, 502, 503, 504];

/// Seconds: upper bounds of the buckets for what the checks take. A check takes some microseconds.
pub const AUTH_BUCKETS: &[f64] = &[
    0.000_001,
    0.000_002_5,
    0.000_005,
    0.000_01,
    0.000_025,
    0.000_05,
    0.000_1,
    0.000_25,
    0.000_5,
    0.001,
    0.002_5,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
];
/// Seconds: upper bounds of the buckets for our own share.
pub const OWN_BUCKETS: &[f64] =
    &[0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5];
/// Seconds: upper bounds of the buckets for upstream and whole requests.
pub const REQUEST_BUCKETS: &[f64] =
    &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
