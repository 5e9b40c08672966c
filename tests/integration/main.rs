//! Integration tests: one binary, a module per group of promises.
//!
//! Black-box modules start the real program with a configuration of their own, talk to it over real sockets, and look
//! at what a recording upstream, a real uvicorn or a real nginx received. Nothing here sleeps to let time pass:
//! waiting polls a condition with a deadline. Counts grow with `COUNTERSIGN_TEST_FULL=1`; see `support`.
#![allow(clippy::unwrap_used, reason = "in tests a broken assumption must end the test, loudly")]

mod admin_listener;
mod admin_socket;
mod architecture;
mod audit_full;
mod audit_trail;
mod clients;
mod command_line;
mod config_check;
mod demo;
mod enumeration;
mod explain;
mod fleet;
mod framing;
mod http2;
mod identity;
mod json_everywhere;
mod key_life;
mod keys_and_signing;
mod lifecycle;
mod load;
mod logs;
mod long_bodies;
mod mutation;
mod outbound;
mod override_;
mod override_commands;
mod override_fleet;
mod override_grants;
mod paths;
mod preflight;
mod ramping;
mod rate_limit;
mod readings_differential;
mod redis;
mod refusals;
mod reload;
mod report;
mod retry;
mod rules;
mod sampling;
mod shared;
mod steering;
mod streaming;
mod support;
mod systemd_boot;
mod tls;
mod tunnels;
mod upstream;
mod upstreams;
mod validate;
