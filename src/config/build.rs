//! [`FileConfig`] with everything laid over it → [`Config`]: defaults, and what several keys say together.
//!
//! Default directories: the system's (`/var/lib/countersign`, `/var/log/countersign`) where the process is root or they are
//! there already, else the user's (`$XDG_STATE_HOME/countersign`, audit records inside the state directory). With flags alone
//! everything stays below the state directory, keys included.
//!
//! Only what the rules and listeners say together, and what is read of secrets, stands elsewhere: `rules`, `listeners`, `secrets`.

use super::check::Purpose;
use super::diagnostic::{Diagnostic, Place};
use super::env::Environment;
use super::file::{FileConfig, FileEnforcement};
use super::listeners::Checked;
use super::problems::{Problems, Setting};
use super::secrets::{KeysSaid, RedisSecrets};
use super::{
    Audit, AuditSink, Config, KeySourceKind, Log, LogFormat, OwnKey, RateLimit, Service, ServiceIdentity, Signature,
    audit_file, defaults, keys, listeners, ramp, rules, secrets, shared,
};
use crate::keys::KeyTable;
use crate::policy::certificates::CertificateBindings;
use crate::policy::enforcement::{Enforcement, Mode, Percentage};
use crate::signature::key::ServiceId;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What surrounds the file.
pub(super) struct Surroundings<'s> {
    pub(super) environment: &'s Environment,
    pub(super) purpose: Purpose,
    /// Is there no file at all?
    pub(super) flags_alone: bool,
}

/// The checked configuration, or `None` where too little is known to make one; problems are noted either way.
/// With it the keys, where they were read.
pub(super) fn build(
    mut file: FileConfig,
    around: &Surroundings<'_>,
    problems: &Problems,
) -> Option<(Config, Option<KeyTable>)> {
    let environment = around.environment;
    let keys_said = KeysSaid::of(&file);
    let redis_secrets = RedisSecrets::of(&file);
    let state_dir = state_dir(file.state_dir.take(), around, problems);
    // Without a place for state the whole is refused; what else is wrong is told all the same.
    let state = state_dir.as_deref().unwrap_or(Path::new(defaults::STATE_DIR));
    let keys = keys::keys(&file, state, around.flags_alone, problems);
    let has_listener = !file.inbound.is_empty() || !file.outbound.is_empty();
    let guards = !file.inbound.is_empty();
    let says_id = file.service_id.is_some() || file.says_id;
    let inbound = listeners::inbound(file.inbound, file.timeouts, problems);
    let out = listeners::OutboundSurroundings { has_identity: says_id, backend: &file.backend };
    let outbound = listeners::outbound(file.outbound, &out, problems);
    if !has_listener {
        no_listener(problems);
    }
    let admin = listeners::admin(file.admin, problems);
    let ways: Vec<_> = inbound.iter().map(Checked::ways).chain(outbound.iter().map(Checked::ways)).collect();
    listeners::check(&ways, admin.listen.as_ref(), problems);
    let services = rules::services(&file.services, problems);
    let rules = rules::rules(file.rules, file.default_access, guards, &services, problems);
    let ramp = ramp::ramp(file.ramp, rules.as_ref(), problems);
    let override_token = secrets::override_token(file.enforcement.override_token.as_ref(), around.purpose, problems);
    let (enforcement, rate_limit) = enforcement(&file.enforcement, problems);
    let service = service(file.service_id, file.service_key, problems).map(|service| match service.key {
        // Nobody said where: then it is where every other key is.
        OwnKey::Directory if keys.sources.first() == Some(&KeySourceKind::Redis) => {
            ServiceIdentity { key: OwnKey::Redis, ..service }
        }
        OwnKey::File(_) | OwnKey::Environment(_) | OwnKey::Redis | OwnKey::Directory => service,
    });
    secrets::of_redis(&redis_secrets, around.purpose, problems);
    let shared_key = shared::shared(&file.enforcement, &keys, around.purpose, problems);
    let table = secrets::keys(&keys, service.as_ref(), &keys_said, around.purpose, problems);
    let audit_said = file.audit_sink.as_ref().map(|sink| sink.place.clone());
    let audit = audit(file.audit_sink, file.audit, file.rotate, state, around, problems);
    audit_file::check(&audit.sink, audit_said, around.purpose, problems);
    let state_dir = state_dir?;
    let default_format = if environment.is_under_systemd() { LogFormat::Json } else { LogFormat::Text };
    let log = Log {
        level: value_or(file.log_level, Log::default().level),
        format: value_or(file.log_format, default_format),
    };
    let config = Config {
        workers: match value_or(file.workers, 0) {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        },
        service,
        inbound: inbound.into_iter().filter_map(Checked::into_made).collect(),
        outbound: outbound.into_iter().filter_map(Checked::into_made).collect(),
        keys,
        signature: Signature {
            window_seconds: file.window.map_or(Signature::default().window_seconds, |window| window.value.as_secs()),
            replay: value_or(file.replay, Signature::default().replay),
        },
        enforcement,
        shared_key,
        override_token,
        rate_limit,
        ramp,
        certificates: bound(&services),
        services,
        rules: rules?,
        timeouts: file.timeouts,
        limits: file.limits,
        refusal_headers: file.refusal_headers,
        audit,
        admin: admin.checked(&state_dir),
        log,
        state_dir,
        files: Vec::new(),
    };
    Some((config, table))
}

fn no_listener(problems: &Problems) {
    let problem = Diagnostic::error(&Place::Nowhere, "nothing is guarded and nothing is signed: there is no listener")
        .expected("an [inbound] with `listen` and `upstream`, or `--listen` and `--upstream`; or an [[outbound]] with `listen` and `upstream`");
    problems.add(problem.absence());
}

/// The services that must come with a certificate of a name.
fn bound(services: &BTreeMap<ServiceId, Service>) -> CertificateBindings {
    services.iter().filter_map(|(id, service)| Some((id, service.certificate.as_deref()?))).collect()
}

pub(super) fn value_or<T>(setting: Option<Setting<T>>, default: T) -> T {
    setting.map_or(default, |setting| setting.value)
}

fn state_dir(said: Option<Setting<PathBuf>>, around: &Surroundings<'_>, problems: &Problems) -> Option<PathBuf> {
    if let Some(said) = said {
        return Some(absolute(said.value));
    }
    let system = Path::new(defaults::STATE_DIR);
    if around.environment.root || (!around.flags_alone && system.is_dir()) {
        return Some(system.to_owned());
    }
    let base = match around.environment.get("XDG_STATE_HOME").filter(|dir| dir.starts_with('/')) {
        Some(dir) => PathBuf::from(dir),
        None => match around.environment.home() {
            Some(home) => Path::new(home).join(".local/state"),
            None => {
                let problem = Diagnostic::error(&Place::Nowhere, "there is no place to keep state: HOME is not set")
                    .expected("`state_dir` in the file, or `--state-dir DIR`");
                problems.add(problem);
                return None;
            }
        },
    };
    Some(base.join("countersign"))
}

/// Independent of where the process will run.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn audit(
    said: Option<Setting<AuditSink>>,
    audit: Audit,
    rotate: Option<Place>,
    state_dir: &Path,
    around: &Surroundings<'_>,
    problems: &Problems,
) -> Audit {
    if let (Some(Setting { value: AuditSink::Stdout | AuditSink::Journald, place }), Some(rotate)) = (&said, &rotate)
    {
        let problem = Diagnostic::warning(rotate, "`audit.rotate` says nothing where records do not go to a file");
        problems.add(problem.related(place, "records go here"));
    }
    let system = Path::new(defaults::AUDIT_FILE);
    let system_there = system.parent().is_some_and(Path::is_dir);
    let sink = match said.map(|sink| sink.value) {
        Some(AuditSink::File(path)) => AuditSink::File(absolute(path)),
        Some(sink @ (AuditSink::Stdout | AuditSink::Journald | AuditSink::None)) => sink,
        None if !around.flags_alone && (around.environment.root || system_there) => {
            AuditSink::File(system.to_owned())
        }
        None => AuditSink::File(state_dir.join("audit.jsonl")),
    };
    Audit { sink, ..audit }
}

fn enforcement(file: &FileEnforcement, problems: &Problems) -> (Enforcement, RateLimit) {
    let default = defaults::ENFORCEMENT;
    let (limit, window) = (RateLimit::default(), file.window.as_ref());
    let enforcement = Enforcement {
        mode: file.mode.as_ref().map_or(default.mode, |mode| mode.value),
        percentage: file.percentage.as_ref().map_or(default.percentage, |percentage| percentage.value),
        sampling: file.sampling.as_ref().map_or(default.sampling, |sampling| sampling.value),
    };
    if let (Mode::Enforce, Percentage::NONE, Some(percentage)) =
        (enforcement.mode, enforcement.percentage, &file.percentage)
    {
        let problem = Diagnostic::warning(&percentage.place, "`mode = \"enforce\"` at 0 % refuses nothing");
        problems.add(problem.fix("raise the percentage, or write `mode = \"log\"`"));
    }
    let rate_limit = RateLimit {
        failures: file.failures.as_ref().map_or(limit.failures, |failures| clamped(failures.value)),
        window: window.map_or(limit.window, |window| window.value),
        lockout: file.lockout.as_ref().map_or(limit.lockout, |lockout| lockout.value),
        addresses: file.addresses.as_ref().map_or(limit.addresses, |addresses| addresses.value),
    };
    (enforcement, rate_limit)
}

/// The range of the key ends far below.
fn clamped(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Who this VM is. A sidecar that only guards needs no identity: a key without an id is then no error.
pub(super) fn service(
    id: Option<Setting<ServiceId>>,
    key: Option<Setting<OwnKey>>,
    problems: &Problems,
) -> Option<ServiceIdentity> {
    match (id, key) {
        (Some(id), key) => Some(ServiceIdentity { id: id.value, key: value_or(key, OwnKey::Directory) }),
        (None, Some(Setting { value, place: place @ Place::File(..) })) => {
            let key = if value == OwnKey::Redis { "key" } else { "key_file" };
            let message = format!("`service.{key}` says nothing without `service.id`");
            let problem = Diagnostic::warning(&place, message);
            problems.add(problem.fix("say whose key it is: `id = \"…\"`"));
            None
        }
        (None, Some(_) | None) => None,
    }
}
