//! The standard rollback: a backup before it, a verification after it, and a record of both.
//!
//! 1. The state of enforcement and every configuration file are copied to `rollbacks/TIME` in the state directory.
//! 2. The sidecar rolls back, as at once as ever.
//! 3. Verified: mode `log`, upstreams up, and by a HEAD to each: exempt paths are let through, service paths are not refused
//!    without a signature. HEAD changes nothing, and patterns with `*` are left out. An upstream's own 401 or 404 is an answer.
//! 4. One line is appended to `rollbacks/record.jsonl`: when, why, who (and through whose `sudo`), before, after, verification.
//!
//! What cannot be copied or recorded is told and delays nothing: the rollback comes first.

use super::super::control::{Sidecar, sudo_user};
use super::super::output::CliError;
use crate::clock;
use crate::config::check::{self, Overrides, Purpose};
use crate::config::env::Environment;
use crate::config::{Config, Listen};
use crate::rules::classify::Access;
use crate::state::file::STATE_FILE;
use crate::telemetry::time::rfc3339_seconds;
use hyper::Method;
use serde_json::{Value, json};
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What was done.
pub(super) struct Done {
    /// What the sidecar said of the rollback.
    pub(super) told: Value,
    /// Where the backup is.
    pub(super) backup: PathBuf,
    /// What was verified.
    pub(super) checks: Vec<Check>,
    /// What could not be kept or recorded.
    pub(super) problems: Vec<String>,
}

/// One thing that was verified.
pub(super) struct Check {
    pub(super) name: String,
    pub(super) passed: bool,
    pub(super) found: String,
}

impl Done {
    pub(super) fn is_good(&self) -> bool {
        self.problems.is_empty() && self.checks.iter().all(|check| check.passed)
    }

    pub(super) fn to_json(&self) -> Value {
        let checks: Vec<Value> = self.checks.iter().map(Check::to_json).collect();
        let mut all = self.told.clone();
        all["backup"] = json!(self.backup);
        all["verification"] = json!(checks);
        all["verified"] = json!(self.checks.iter().all(|check| check.passed));
        all["problems"] = json!(self.problems);
        all
    }
}

impl Check {
    fn to_json(&self) -> Value {
        json!({ "check": self.name, "passed": self.passed, "found": self.found })
    }
}

/// Does it all.
///
/// # Errors
/// When the sidecar cannot be asked, or refuses; nothing but a backup was made then.
pub(super) fn run(sidecar: &Sidecar, reason: &str, body: &Value) -> Result<Done, CliError> {
    let before = sidecar.done(&Method::GET, "/v1/status", None)?;
    let directory = sidecar.state_dir.join("rollbacks");
    let now = clock::unix_seconds();
    let backup = directory.join(rfc3339_seconds(now).replace(':', ""));
    let mut problems = back_up(sidecar, &before, &backup);
    let told = sidecar.done(&Method::POST, "/v1/rollback", Some(body))?;
    let after = sidecar.done(&Method::GET, "/v1/status", None)?;
    let checks = verify(&before, &after);
    let entry = json!({
        "time": rfc3339_seconds(now),
        "type": "standard",
        "reason": reason,
        "uid": rustix::process::getuid().as_raw(),
        "sudo_user": sudo_user(),
        "before": before["enforcement"],
        "after": after["enforcement"],
        "backup": backup,
        "verification": checks.iter().map(Check::to_json).collect::<Vec<_>>(),
    });
    let record = directory.join("record.jsonl");
    if let Err(error) = append(&record, &entry) {
        problems.push(format!("the record cannot be appended to {}: {error}", record.display()));
    }
    Ok(Done { told, backup, checks, problems })
}

fn back_up(sidecar: &Sidecar, status: &Value, backup: &Path) -> Vec<String> {
    if let Err(error) = DirBuilder::new().recursive(true).mode(0o700).create(backup) {
        return vec![format!("no backup was made: {}: {error}", backup.display())];
    }
    let files = status["configuration"]["files"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let state = sidecar.state_dir.join(STATE_FILE);
    let mut problems = Vec::new();
    for (place, file) in std::iter::once(state).chain(files.map(PathBuf::from)).enumerate() {
        // Two files of one name may lie in two directories.
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let copy = backup.join(if place == 0 { name } else { format!("{place}-{name}") });
        if let Err(error) = copy_private(&file, &copy) {
            problems.push(format!("{} was not backed up: {error}", file.display()));
        }
    }
    problems
}

fn copy_private(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = std::fs::File::open(from)?;
    let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    io::copy(&mut source, &mut copy)?;
    copy.sync_all()
}

fn append(path: &Path, entry: &Value) -> io::Result<()> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(path)?;
    file.write_all(format!("{entry}\n").as_bytes())?;
    file.sync_all()
}

fn verify(before: &Value, after: &Value) -> Vec<Check> {
    let mode = after["enforcement"]["mode"].as_str().unwrap_or_default();
    let mut checks = vec![Check { name: "mode is log".to_owned(), passed: mode == "log", found: mode.to_owned() }];
    for upstream in after["upstreams"].as_array().into_iter().flatten() {
        let state = upstream["state"].as_str().unwrap_or_default();
        checks.push(Check {
            name: format!("upstream {} answers", upstream["upstream"].as_str().unwrap_or_default()),
            passed: state == "up",
            found: state.to_owned(),
        });
    }
    let files = before["configuration"]["files"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let Some(file) = files.map(PathBuf::from).next() else { return checks };
    match check::load(Some(&file), &Environment::of_process(), &Overrides::default(), Purpose::Inspect) {
        Ok(loaded) => checks.extend(paths(&loaded.config)),
        Err(problems) => checks.push(Check {
            name: "paths are let through".to_owned(),
            passed: false,
            found: format!("not tried, the configuration cannot be read: {}", problems.one_line()),
        }),
    }
    checks
}

/// Asks for each path that a rule names plainly.
fn paths(config: &Config) -> Vec<Check> {
    let Some(address) =
        config.inbound.iter().filter(|inbound| inbound.tls.is_none()).find_map(|inbound| match &inbound.listen {
            Listen::Tcp(address) => Some(reachable(*address)),
            Listen::Unix(_) | Listen::Systemd(_) => None,
        })
    else {
        return Vec::new();
    };
    let plain = config
        .rules
        .rules()
        .iter()
        .flat_map(|rule| rule.patterns.iter().map(move |pattern| (rule.access, pattern.to_string())));
    let tried = plain.filter(|(_, pattern)| !pattern.contains('*')).take(MOST);
    let mut exempt = Tally::default();
    let mut service = Tally::default();
    for (access, pattern) in tried {
        let path = pattern.trim_start_matches('=');
        let tally = match access {
            Access::Exempt => &mut exempt,
            Access::Service => &mut service,
        };
        tally.add(path, head(address, path));
    }
    [exempt.check("exempt paths are let through"), service.check("service paths are let through unsigned")]
        .into_iter()
        .flatten()
        .collect()
}

/// Paths that are tried at most.
const MOST: usize = 200;

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: Vec<String>,
}

impl Tally {
    fn add(&mut self, path: &str, answer: io::Result<bool>) {
        match answer {
            Ok(true) => self.passed += 1,
            Ok(false) => self.failed.push(format!("{path} is refused")),
            Err(error) => self.failed.push(format!("{path}: {error}")),
        }
    }

    fn check(self, name: &str) -> Option<Check> {
        let all = self.passed + self.failed.len();
        let found = match self.failed.first() {
            None => format!("{all} of {all}"),
            Some(first) => format!("{} of {all}; {first}", self.passed),
        };
        (all > 0).then(|| Check { name: name.to_owned(), passed: self.failed.is_empty(), found })
    }
}

/// A listener on every interface is reached on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port())
    } else {
        address
    }
}

/// Is a HEAD let through? An answer of the sidecar itself says so in a header.
fn head(address: SocketAddr, path: &str) -> io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "HEAD {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut lines = BufReader::new(stream).lines();
    let status = lines.next().transpose()?.unwrap_or_default();
    if !status.starts_with("HTTP/1.") {
        return Err(io::Error::other("no HTTP answer came"));
    }
    for line in lines.take(200) {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if line.starts_with("x-countersign-error:") || line.starts_with("www-authenticate: countersign") {
            return Ok(false);
        }
    }
    Ok(true)
}

const PATIENCE: Duration = Duration::from_secs(5);
