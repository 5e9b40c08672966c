//! What does the TOML say? [`FileConfig`] mirrors it; unknown keys, wrong types and wrong values are reported, all of
//! them, and reading goes on.
//!
//! A key that the environment or a flag can also set stays a [`Setting`] with its place, so that `env` and `flags` can lay
//! themselves over it and messages can name both sides. A key that only the file can set is read straight into its
//! checked type, default included.
//!
//! A key of the product whose feature this version does not have is told apart from a mistyped one: it is refused with
//! "not built yet", never ignored, because an operator who wrote it relies on it.

mod inbound;
mod keys;
mod operation;
mod outbound;
mod ramp;
mod rules;
mod server_tls;
mod upstreams;

pub(super) use inbound::FileInbound;
pub(super) use keys::{FileKeys, RedisEnvironment};
pub(super) use operation::{FORMATS, LEVELS, admin_listen, audit_flag};
pub(super) use outbound::FileOutbound;
pub(super) use ramp::FileRamp;
pub(super) use rules::{FileRule, FileService, pattern};
pub(super) use upstreams::FileUpstreams;

use super::diagnostic::{Diagnostic, Place};
use super::problems::{Problems, Setting};
use super::readers;
use super::table::{Reader, Table};
use super::values::{Expected, Reading};
use super::{Audit, AuditSink, Limits, LogFormat, LogLevel, OwnKey, Replay, Timeouts};
use crate::policy::enforcement::{Mode, Percentage, Sampling};
use crate::rules::classify::DefaultAccess;
use crate::signature::key::ServiceId;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;
use toml::de::DeTable;
use zeroize::Zeroizing;

/// One file as it is written, after what is wrong in it was reported.
#[derive(Default)]
pub(super) struct FileConfig {
    pub(super) include: Vec<Setting<String>>,
    pub(super) state_dir: Option<Setting<PathBuf>>,
    pub(super) default_access: Option<Setting<DefaultAccess>>,
    pub(super) workers: Option<Setting<usize>>,
    pub(super) service_id: Option<Setting<ServiceId>>,
    /// Was an id written at all, rightly or wrongly?
    pub(super) says_id: bool,
    pub(super) service_key: Option<Setting<OwnKey>>,
    pub(super) inbound: Vec<FileInbound>,
    pub(super) outbound: Vec<FileOutbound>,
    /// `BACKEND_HOST`, `BACKEND_PORT` as they came: looked at only where an outbound listener needs them.
    pub(super) backend: (Option<Setting<String>>, Option<Setting<String>>),
    pub(super) keys: FileKeys,
    pub(super) window: Option<Setting<Duration>>,
    pub(super) replay: Option<Setting<Replay>>,
    pub(super) enforcement: FileEnforcement,
    pub(super) ramp: FileRamp,
    pub(super) services: Vec<FileService>,
    pub(super) rules: Vec<FileRule>,
    pub(super) timeouts: Timeouts,
    pub(super) limits: Limits,
    pub(super) refusal_headers: Vec<(String, String)>,
    pub(super) audit_sink: Option<Setting<AuditSink>>,
    /// The sink in here is the default one.
    pub(super) audit: Audit,
    /// Where `audit.rotate` stands.
    pub(super) rotate: Option<Place>,
    pub(super) admin: FileAdmin,
    pub(super) log_level: Option<Setting<LogLevel>>,
    pub(super) log_format: Option<Setting<LogFormat>>,
}

impl FileConfig {
    /// Every file that a `tls` or `upstream_tls` names.
    pub(super) fn tls_files(&self) -> impl Iterator<Item = &Setting<PathBuf>> {
        let listeners = self.inbound.iter().filter_map(|inbound| inbound.tls.as_ref());
        let towards = self.inbound.iter().map(|inbound| &inbound.upstreams);
        let towards = towards.chain(self.outbound.iter().map(|outbound| &outbound.upstreams));
        let clients = towards.filter_map(|upstreams| upstreams.tls.as_ref()).chain(&self.keys.redis_tls);
        listeners.flat_map(|tls| tls.files()).chain(clients.flat_map(|tls| tls.value.files()))
    }
}

/// `[enforcement]`
#[derive(Default)]
pub(super) struct FileEnforcement {
    pub(super) mode: Option<Setting<Mode>>,
    pub(super) percentage: Option<Setting<Percentage>>,
    pub(super) sampling: Option<Setting<Sampling>>,
    pub(super) override_token: Option<Setting<TokenSource>>,
    pub(super) failures: Option<Setting<usize>>,
    pub(super) window: Option<Setting<Duration>>,
    pub(super) lockout: Option<Setting<bool>>,
    pub(super) addresses: Option<Setting<usize>>,
    pub(super) shared: Option<Setting<bool>>,
    pub(super) shared_key: Option<Setting<PathBuf>>,
}

/// Where the override token is.
pub(super) enum TokenSource {
    File(PathBuf),
    /// `SERVICE_AUTH_OVERRIDE_TOKEN`
    Text(Zeroizing<String>),
}

/// `[admin]`
#[derive(Default)]
pub(super) struct FileAdmin {
    /// `None` inside: switched off.
    pub(super) listen: Option<Setting<Option<SocketAddr>>>,
    pub(super) allowed_hosts: Vec<String>,
    pub(super) allow_remote: Option<Setting<bool>>,
    /// `None` inside: switched off.
    pub(super) socket: Option<Setting<Option<PathBuf>>>,
}

pub(super) const MODES: [(&str, Mode); 2] = [("log", Mode::Log), ("enforce", Mode::Enforce)];
const SAMPLINGS: [(&str, Sampling); 3] =
    [("call", Sampling::Call), ("caller", Sampling::Caller), ("random", Sampling::Random)];
const REPLAYS: [(&str, Replay); 3] = [("off", Replay::Off), ("report", Replay::Report), ("refuse", Replay::Refuse)];
const ACCESSES: [(&str, DefaultAccess); 2] = [("open", DefaultAccess::Open), ("service", DefaultAccess::Service)];

/// What a thread per core can sensibly be told.
pub(super) const WORKERS: RangeInclusive<u64> = 0..=1024;
/// Timestamps are whole seconds; beyond a day a window is no protection any more.
pub(super) const WINDOW: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);
pub(super) const FAILURES: RangeInclusive<u64> = 1..=1_000_000_000;
pub(super) const FAILURE_WINDOW: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);
/// 160 to 400 bytes each, at most 1.3 KiB where more than 64 failures are allowed.
const FAILURE_ADDRESSES: RangeInclusive<u64> = 1..=10_000_000;

/// Reads a whole file. `included`: only what an included file may hold.
pub(super) fn read(reader: Reader<'_>, document: &Spanned<DeTable<'_>>, included: bool) -> FileConfig {
    let mut top = reader.document(document);
    let mut file = FileConfig {
        services: rules::services(&top.table("services")),
        rules: rules::rules(&mut top),
        ..FileConfig::default()
    };
    if included {
        top.finish_included();
        return file;
    }
    file.include = top
        .list("include", "paths", |value| {
            readers::text(value, "a path, such as \"rules.d/*.toml\"").map(str::to_owned)
        })
        .map_or_else(Vec::new, |list| list.value);
    file.state_dir = top.path("state_dir");
    file.default_access = top.word("default_access", &ACCESSES);
    file.workers = top.count("workers", &WORKERS);
    keys::service(top.table("service"), &mut file);
    file.inbound = inbound::inbound(&mut top);
    file.outbound = outbound::outbound(&mut top);
    file.keys = keys::keys(top.table("keys"));
    let mut signature = top.table("signature");
    file.window = signature.duration("window", &WINDOW).filter(|window| whole_seconds(signature.problems(), window));
    file.replay = signature.word("replay", &REPLAYS);
    signature.finish();
    file.enforcement = enforcement(top.table("enforcement"));
    file.timeouts = operation::timeouts(top.table("timeouts"));
    file.limits = operation::limits(top.table("limits"));
    file.refusal_headers = operation::refusal(top.table("refusal"));
    operation::audit(top.table("audit"), &mut file);
    file.admin = operation::admin(top.table("admin"));
    operation::log(top.table("log"), &mut file);
    file.ramp = ramp::ramp(top.table("ramp"));
    top.finish();
    file
}

fn enforcement(mut table: Table<'_>) -> FileEnforcement {
    let mut limit = table.table("rate_limit");
    let file = FileEnforcement {
        mode: table.word("mode", &MODES),
        percentage: table.value("percentage", readers::percentage),
        sampling: table.word("sampling", &SAMPLINGS),
        override_token: table.path("override_token_file").map(|path| path.map(TokenSource::File)),
        failures: limit.count("failures", &FAILURES),
        window: limit.duration("window", &FAILURE_WINDOW),
        lockout: limit.boolean("lockout"),
        addresses: limit.count("addresses", &FAILURE_ADDRESSES),
        shared: table.boolean("shared"),
        shared_key: table.path("shared_key_file"),
    };
    limit.finish();
    table.finish();
    file
}

const SERVICE_ID: &str =
    "a service id: letters, digits, `.`, `_` and `-`, at most 64, beginning with a letter or digit";

/// A service id.
pub(super) fn service_id(text: &str) -> Reading<ServiceId> {
    ServiceId::parse(text).ok_or_else(|| Expected::new(SERVICE_ID))
}

fn whole_seconds(problems: &Problems, window: &Setting<Duration>) -> bool {
    let whole = window.value.subsec_nanos() == 0;
    if !whole {
        let message = "`signature.window` is not a whole number of seconds";
        problems.add(Diagnostic::error(&window.place, message).expected("whole seconds: timestamps have no parts"));
    }
    whole
}
