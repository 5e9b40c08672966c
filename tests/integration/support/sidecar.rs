//! The program under test, started with a configuration of its own.

use super::process::Process;
use super::{KEY_A, KEY_B, eventually, free_address, raw};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The rules most tests use: `/api/internal` guarded, what browsers use exempt, the rest open.
pub(crate) const RULES: &str = r#"
[[rule]]
name = "internals"
paths = ["/api/internal"]
access = "service"
[[rule]]
name = "npu"
paths = ["/api/npu/results", "/api/npu/heartbeat"]
access = "service"
callers = ["npu-worker"]
[[rule]]
name = "browsers"
paths = ["/health", "/api/chat", "/api/files", "/files", "/ws"]
access = "exempt"
"#;

/// A configuration to be. Starts as: one inbound listener, `enforce` at 100 %, the keys of `npu-worker` ([`KEY_A`]) and
/// `ai-stack` ([`KEY_B`]), [`RULES`].
pub(crate) struct Builder {
    sections: BTreeMap<String, BTreeMap<String, String>>,
    rules: String,
    keys: [(&'static str, &'static str); 2],
    environment: Vec<(String, String)>,
    inbound: SocketAddr,
    admin: SocketAddr,
}

/// A running sidecar; killed on drop.
pub(crate) struct Sidecar {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) directory: PathBuf,
    _directory: tempfile::TempDir,
}

/// A command of the program under test, with nothing of the fleet's environment.
pub(crate) fn countersign() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["SERVICE_", "AUTH_", "BACKEND_", "REDIS_", "COUNTERSIGN_"].iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command
}

impl Builder {
    pub(crate) fn guarding(upstream: SocketAddr) -> Builder {
        let (inbound, admin) = (free_address(), free_address());
        let builder = Builder {
            sections: BTreeMap::new(),
            rules: RULES.to_owned(),
            keys: [("npu-worker", KEY_A), ("ai-stack", KEY_B)],
            environment: Vec::new(),
            inbound,
            admin,
        };
        builder
            .set("", "workers", "2")
            .set("inbound", "listen", format!("\"{inbound}\""))
            .set("inbound", "upstream", format!("\"http://{upstream}\""))
            .set("enforcement", "mode", "\"enforce\"")
            .set("admin", "listen", format!("\"{admin}\""))
    }

    /// A sidecar that signs as `npu-worker` what comes to its address, for this upstream, and guards nothing.
    pub(crate) fn signing(upstream: &str) -> Builder {
        let (outbound, admin) = (free_address(), free_address());
        let builder = Builder {
            sections: BTreeMap::new(),
            rules: String::new(),
            keys: [("npu-worker", KEY_A), ("ai-stack", KEY_B)],
            environment: Vec::new(),
            inbound: outbound,
            admin,
        };
        builder
            .set("", "workers", "2")
            .set("service", "id", "\"npu-worker\"")
            .set("[outbound]", "listen", format!("\"{outbound}\""))
            .set("[outbound]", "upstream", format!("\"{upstream}\""))
            .set("admin", "listen", format!("\"{admin}\""))
    }

    /// Sets a key of a section (`""`: the top) to a TOML value.
    pub(crate) fn set(mut self, section: &str, key: &str, value: impl Into<String>) -> Builder {
        self.sections.entry(section.to_owned()).or_default().insert(key.to_owned(), value.into());
        self
    }

    /// Gives a section another name: `[inbound]` makes `[[inbound]]` of it.
    pub(crate) fn rename(mut self, section: &str, name: &str) -> Builder {
        let keys = self.sections.remove(section).unwrap();
        self.sections.insert(name.to_owned(), keys);
        self
    }

    pub(crate) fn log_mode(self) -> Builder {
        self.set("enforcement", "mode", "\"log\"")
    }

    /// No failure limit to speak of: for tests that are refused thousands of times from one address.
    pub(crate) fn unlimited(self) -> Builder {
        self.set("enforcement", "rate_limit", "{ failures = 1000000 }")
    }

    /// Replaces the rules.
    pub(crate) fn rules(mut self, rules: &str) -> Builder {
        rules.clone_into(&mut self.rules);
        self
    }

    pub(crate) fn environment(mut self, name: &str, value: &str) -> Builder {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The override token, kept in a file.
    pub(crate) fn override_token(mut self, token: &str) -> Builder {
        self.environment.push(("OVERRIDE".to_owned(), token.to_owned()));
        self
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (section, keys) in &self.sections {
            if !section.is_empty() {
                let _ = writeln!(text, "[{section}]");
            }
            for (key, value) in keys {
                let _ = writeln!(text, "{key} = {value}");
            }
        }
        text + &self.rules
    }

    /// Writes the files and starts; waits until it is ready (listening, and its upstream answers).
    #[track_caller]
    pub(crate) fn start(self) -> Sidecar {
        self.start_until("/readyz")
    }

    /// Starts without asking whether the upstream answers.
    #[track_caller]
    pub(crate) fn start_alive(self) -> Sidecar {
        self.start_until("/healthz")
    }

    #[track_caller]
    fn start_until(self, path: &str) -> Sidecar {
        let mut sidecar = self.launch();
        let what = format!("{path} of the sidecar\n{}", sidecar.config());
        eventually(&what, || {
            if let Some(status) = sidecar.process.ended() {
                panic!("the sidecar ended with {status}:\n{}\n{}", sidecar.process.stderr.text(), sidecar.config());
            }
            let mut client = raw::Client::try_connect(sidecar.admin)?;
            client.send(format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", sidecar.admin));
            (client.try_answer("GET").ok()?.status == 200).then_some(())
        });
        sidecar
    }

    /// Writes the files and starts; waits for nothing.
    #[track_caller]
    pub(crate) fn launch(mut self) -> Sidecar {
        let held = tempfile::Builder::new().prefix("countersign-test-").tempdir().unwrap();
        let directory = held.path().to_owned();
        for name in ["state", "keys"] {
            std::fs::DirBuilder::new().mode(0o700).create(directory.join(name)).unwrap();
        }
        for (id, key) in &self.keys {
            write_private(&directory.join(format!("keys/{id}.env")), &format!("# a test key\nSERVICE_KEY={key}\n"));
        }
        if let Some(at) = self.environment.iter().position(|(name, _)| name == "OVERRIDE") {
            let (_, token) = self.environment.remove(at);
            let path = directory.join("override-token");
            write_private(&path, &format!("{token}\n"));
            self = self.set("enforcement", "override_token_file", format!("{path:?}"));
        }
        for (section, key, path) in
            [("", "state_dir", "state"), ("keys", "dir", "keys"), ("audit", "file", "audit.jsonl")]
        {
            let value = format!("{:?}", directory.join(path));
            self.sections.entry(section.to_owned()).or_default().entry(key.to_owned()).or_insert(value);
        }
        let config = directory.join("countersign.toml");
        std::fs::write(&config, self.text()).unwrap();
        self.run(&config, held)
    }

    /// Starts with a file written elsewhere that names other addresses than this one's; waits for nothing.
    #[track_caller]
    pub(crate) fn launch_with(mut self, config: &Path) -> Sidecar {
        let text = std::fs::read_to_string(config).unwrap();
        let listens = text.lines().filter_map(|line| line.strip_prefix("listen = \"")?.strip_suffix('"'));
        let mut listens = listens.map(|address| address.parse::<SocketAddr>().unwrap());
        (self.admin, self.inbound) = (listens.next().unwrap(), listens.next().unwrap());
        self.run(config, tempfile::tempdir().unwrap())
    }

    fn run(self, config: &Path, held: tempfile::TempDir) -> Sidecar {
        let directory = held.path().to_owned();
        let mut command = countersign();
        command.arg("run").arg("--config").arg(config).current_dir(&directory);
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        let process = Process::start(&command);
        Sidecar { process, address: self.inbound, admin: self.admin, directory, _directory: held }
    }
}

impl Sidecar {
    pub(crate) fn config_path(&self) -> PathBuf {
        self.directory.join("countersign.toml")
    }

    pub(crate) fn config(&self) -> String {
        std::fs::read_to_string(self.config_path()).unwrap_or_default()
    }

    /// Every complete audit line so far; each must be one JSON object.
    #[track_caller]
    pub(crate) fn audit(&self) -> Vec<Value> {
        let text = std::fs::read(self.directory.join("audit.jsonl")).unwrap_or_default();
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        text[..whole]
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| match serde_json::from_slice(line) {
                Ok(Value::Object(object)) => Value::Object(object),
                other => panic!("an audit line that is no JSON object: {other:?}: {}", String::from_utf8_lossy(line)),
            })
            .collect()
    }

    /// Waits for the record of the request with this id.
    #[track_caller]
    pub(crate) fn record(&self, request_id: &str) -> Value {
        eventually(&format!("an audit record of {request_id}"), || {
            let mut found: Vec<Value> =
                self.audit().into_iter().filter(|record| record["request_id"] == request_id).collect();
            assert!(found.len() < 2, "several records of one request: {found:?}");
            found.pop()
        })
    }

    /// The text of `/metrics`.
    #[track_caller]
    pub(crate) fn metrics(&self) -> String {
        let answer = raw::exchange(
            self.admin,
            format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin),
        );
        assert_eq!(answer.status, 200);
        answer.text()
    }

    /// The sum of all series of this name whose labels hold every one of these texts (`result="failed"`).
    #[track_caller]
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.metrics();
        text.lines()
            .filter(|line| line.split([' ', '{']).next() == Some(name) && labels.iter().all(|l| line.contains(l)))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }
}

pub(crate) fn write_private(path: &Path, text: &str) {
    use std::io::Write as _;
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
