//! Tables of configuration text → diagnostics, or → the values of the checked configuration.

use super::*;
use crate::config::{AuditSink, Config, Listen, LogFormat, OwnKey};
use crate::policy::enforcement::{Mode, Percentage};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

mod keys;
mod laid_over;
mod outbound;
mod ramp;
mod refusals;
mod secrets;
mod together;

/// The least there is.
const LEAST: &str = "[inbound]\nlisten = \"127.0.0.1:8001\"\nupstream = \"http://127.0.0.1:18001\"\n\
                     [[rule]]\npaths = [\"/api/internal\"]\naccess = \"service\"\n";

/// A directory with files, and loads from it.
struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new(text: &str) -> Files {
        let files = Files { dir: tempfile::tempdir().unwrap() };
        files.write("countersign.toml", text);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn load_with(&self, environment: &Environment, flags: &Overrides) -> Result<Loaded, Diagnostics> {
        load(Some(&self.path("countersign.toml")), environment, flags, Purpose::Inspect)
    }

    /// With the secrets and the audit file's place as well.
    fn load_for(&self, purpose: Purpose) -> Result<Loaded, Diagnostics> {
        load(Some(&self.path("countersign.toml")), &root(), &Overrides::default(), purpose)
    }

    fn private(&self, name: &str, text: &str) {
        self.write(name, text);
        self.mode(name, 0o600);
    }

    fn mode(&self, name: &str, mode: u32) {
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn load(&self) -> Result<Loaded, Diagnostics> {
        self.load_with(&root(), &Overrides::default())
    }
}

/// As the service manager starts us, with nothing set.
fn root() -> Environment {
    Environment { root: true, ..Environment::default() }
}

fn variables(pairs: &[(&str, &str)]) -> Environment {
    let variables = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Environment { variables, root: true }
}

fn good(text: &str) -> Config {
    match Files::new(text).load() {
        Ok(loaded) => {
            assert!(loaded.warnings.is_empty(), "{text}\n{}", loaded.warnings);
            loaded.config
        }
        Err(problems) => panic!("{text}\n{problems}"),
    }
}

fn bad(text: &str) -> Diagnostics {
    match Files::new(text).load() {
        Ok(_) => panic!("taken as good:\n{text}"),
        Err(problems) => problems,
    }
}

/// Every problem as `line:column message`.
fn lines(problems: &Diagnostics) -> Vec<String> {
    let at = |problem: &Diagnostic| match problem.position() {
        Some((line, column)) => format!("{line}:{column} {}", problem.message),
        None => format!("- {}", problem.message),
    };
    problems.iter().map(at).collect()
}

#[test]
fn the_least_configuration_stands_and_has_the_promised_defaults() {
    let config = good(LEAST);
    assert_eq!(config.state_dir, PathBuf::from("/var/lib/countersign"));
    assert_eq!(config.keys.dir, PathBuf::from("/etc/countersign/keys"));
    assert_eq!(config.audit.sink, AuditSink::File("/var/log/countersign/audit.jsonl".into()));
    assert_eq!((config.enforcement.mode, config.enforcement.percentage), (Mode::Log, Percentage::FULL));
    assert_eq!(config.signature.window_seconds, 300);
    assert_eq!(config.admin.listen, Some("127.0.0.1:9180".parse().unwrap()));
    assert_eq!(config.inbound[0].first_byte, Duration::from_secs(300));
    assert!(config.workers >= 1 && config.service.is_none() && config.override_token.is_none());
    assert_eq!(config.log.format, LogFormat::Text);
}

#[test]
fn every_value_of_a_full_file_arrives() {
    let text = r#"
state_dir = "/tmp/state"
default_access = "service"
workers = 3
[service]
id = "main-backend"
key_file = "/k.env"
[[inbound]]
listen = "127.0.0.1:0"
upstream = "http://localhost:9"
health = { path = "/h?x", interval = "1s", expect = 204, json = { status = "ok", n = 1, up = true } }
trusted_proxies = ["10.0.0.0/8", "::1"]
first_byte = "7s"
tls = { cert = "/c.pem", key = "/k.pem", client_ca = "ca.pem", client = "optional" }
h2c = true
[[inbound]]
listen = "unix:/tmp/x.sock"
upstream = ["https://[::1]:10", "http://[::1]:11"]
upstream_tls = { ca = "/ca.pem" }
upstream_http2 = true
[keys]
dir = "/keys"
[signature]
window = "1m"
replay = "refuse"
[enforcement]
mode = "enforce"
percentage = 25
sampling = "caller"
rate_limit = { failures = 3, window = "10s", lockout = true, addresses = 50 }
[services.a]
addresses = ["10.0.0.1", "fd00::/64"]
certificate = "a.internal"
[services."b.c_d"]
unused = true
[[rule]]
name = "r"
paths = ["/a", "=/b"]
methods = ["GET", "PURGE"]
access = "service"
callers = ["a", "b.c_d"]
enforce = 10
first_byte = "1m"
[timeouts]
head = "1s"
idle = "2s"
body_idle = "3s"
write_idle = "4s"
connect = "5s"
first_byte = "6s"
tunnel_idle = "7s"
drain = "0s"
[limits]
head = 1024
target = "512B"
headers = 5
connections = 6
connections_per_address = 7
upstream_requests = 8
[refusal]
headers = { "Access-Control-Allow-Origin" = "*" }
[audit]
file = "/tmp/audit.jsonl"
rotate = { size = "1MiB", age = "2h", keep = 3 }
keep_service = "1w"
on_full = "block"
[admin]
listen = "0.0.0.0:1"
allow_remote = true
allowed_hosts = ["A.b:1"]
[log]
level = "debug"
format = "json"
"#;
    let loaded = Files::new(text).load().map_err(|problems| problems.to_string()).unwrap();
    let told = loaded.warnings.to_string();
    assert!(loaded.warnings.len() == 1 && told.contains("on unix:/tmp/x.sock nothing is asked of"), "{told}");
    let config = loaded.config;
    let shown = format!("{config:#?}");
    assert_eq!(config.workers, 3);
    assert_eq!(config.inbound.len(), 2);
    assert_eq!(config.inbound[0].listen, Listen::Tcp("127.0.0.1:0".parse().unwrap()));
    assert_eq!(config.inbound[0].first_byte, Duration::from_secs(7));
    assert_eq!(config.inbound[1].first_byte, Duration::from_secs(6));
    let health = config.inbound[0].health.as_ref().unwrap();
    assert_eq!((health.path.as_str(), health.expect, health.json.len()), ("/h?x", 204, 3));
    let tls = config.inbound[0].tls.as_ref().unwrap();
    assert_eq!((tls.cert.as_path(), tls.key.as_path()), ("/c.pem".as_ref(), "/k.pem".as_ref()));
    assert!(tls.client_ca.as_ref().unwrap().is_absolute() && !tls.client_required && config.inbound[0].h2c);
    let [tls, plain] = config.inbound[1].upstreams.all() else { panic!() };
    assert_eq!(tls.tls.as_ref().unwrap().ca.as_deref(), Some("/ca.pem".as_ref()));
    assert!(plain.tls.is_none() && tls.http2 && plain.http2);
    let services: Vec<_> = config.services.values().map(|one| (one.certificate.as_deref(), one.unused)).collect();
    assert_eq!(services, [(Some("a.internal"), false), (None, true)]);
    assert_eq!(config.service.as_ref().unwrap().key, OwnKey::File("/k.env".into()));
    assert_eq!((config.rate_limit.failures, config.rate_limit.addresses, config.rate_limit.lockout), (3, 50, true));
    assert_eq!(config.rules.rules()[0].callers.as_ref().unwrap().len(), 2);
    assert_eq!(config.timeouts.tunnel_idle, Some(Duration::from_secs(7)));
    assert_eq!((config.limits.head, config.limits.target), (1024, 512));
    assert_eq!(config.refusal_headers, [("Access-Control-Allow-Origin".to_owned(), "*".to_owned())]);
    assert_eq!(config.audit.rotate_size, 1 << 20);
    assert_eq!(config.audit.keep_service, Duration::from_secs(604_800));
    assert_eq!(config.admin.allowed_hosts, ["a.b:1"]);
    for value in
        ["Refuse", "Caller", "drain: 0ns", "upstream_requests: 8", "rotate_keep: 3", "Block", "Debug", "Json"]
    {
        assert!(shown.contains(value), "{value} did not arrive:\n{shown}");
    }
}

#[test]
fn every_shipped_configuration_stands_without_a_warning() {
    for name in ["autobot", "autobot-broad", "countersign", "quickstart"].into_iter().chain(FLEET) {
        let path = shipped(name);
        match load(Some(&path), &root(), &Overrides::default(), Purpose::Inspect) {
            Ok(loaded) => assert!(loaded.warnings.is_empty(), "{}", loaded.warnings),
            Err(problems) => panic!("{problems}"),
        }
    }
}

/// One for each VM that calls or is called.
const FLEET: [&str; 4] =
    ["fleet/vm20-main-backend", "fleet/vm22-npu-worker", "fleet/vm24-ai-stack", "fleet/vm25-browser-service"];

fn shipped(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("config/{name}.toml"))
}

#[test]
fn the_reference_file_repeats_the_built_in_defaults() {
    let written =
        load(Some(&shipped("countersign")), &root(), &Overrides::default(), Purpose::Inspect).unwrap().config;
    let built_in = good(
        "[inbound]\nlisten = \"127.0.0.1:8001\"\nupstream = \"http://127.0.0.1:8000\"\n\
         [[rule]]\npaths = [\"/api/internal\"]\naccess = \"service\"\n",
    );
    let shown = |config: Config| format!("{:#?}", Config { files: Vec::new(), ..config });
    assert_eq!(shown(written), shown(built_in));
}

#[test]
fn the_reference_file_names_every_key_that_is_known() {
    let text = std::fs::read_to_string(shipped("countersign")).unwrap();
    let words: BTreeSet<&str> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    // Asked for only where one of their kind is written: rules, services, listeners.
    let sample = format!("{LEAST}[services.x]\n[inbound.health]\npath = \"/\"\n[outbound]\n");
    let file = std::sync::Arc::new(crate::config::diagnostic::SourceFile::new("x".into(), sample, 0));
    let problems = Problems::default();
    crate::config::syntax::read(&file, None, false, &problems);
    let asked = problems.asked();
    assert!(asked.len() > 60, "{asked:?}");
    for key in asked {
        let last = key.rsplit('.').next().unwrap();
        assert!(words.contains(last), "config/countersign.toml does not name `{key}`");
    }
}

#[test]
fn the_fleets_lists_are_whole() {
    let config = load(Some(&shipped("autobot")), &root(), &Overrides::default(), Purpose::Inspect).unwrap().config;
    let paths = |access| -> Vec<String> {
        let rules = config.rules.rules().iter().filter(|rule| rule.access == access);
        rules.flat_map(|rule| rule.patterns.iter().map(ToString::to_string)).collect()
    };
    use crate::rules::classify::Access;
    assert_eq!(paths(Access::Service).len(), 17);
    let exempt = "/health /api/health /api/version /api/chat /api/chats /api/conversations \
        /api/conversation_files /api/knowledge /api/knowledge_base /api/terminal /api/agent_terminal \
        /api/settings /api/frontend_config /api/frontend-config /api/system/health \
        /api/monitoring/services/health /api/services/status /api/cache /api/npu/workers \
        /api/npu/load-balancing /api/files /api/llm /api/prompts /api/memory /api/monitoring /api/metrics \
        /api/analytics /ws /docs /openapi.json /redoc /api/developer /api/validation_dashboard /api/rum \
        /api/infrastructure /api/orchestration /api/orchestrator /api/workflow /api/embeddings /api/voice \
        /api/multimodal";
    assert_eq!(paths(Access::Exempt), exempt.split_whitespace().collect::<Vec<_>>());
    assert_eq!(config.services.len(), 6);
}

#[test]
fn every_vm_of_the_fleet_guards_its_own_port_and_signs_towards_those_it_calls() {
    let load =
        |name: &str| load(Some(&shipped(name)), &root(), &Overrides::default(), Purpose::Inspect).unwrap().config;
    let autobot = load("autobot");
    let towards: [&[&str]; 4] = [
        &["172.16.168.22:8081", "172.16.168.24:8080", "172.16.168.25:3000"],
        &["172.16.168.20:8001"],
        &["172.16.168.20:8001"],
        &["172.16.168.20:8001"],
    ];
    let own = [("main-backend", 8001), ("npu-worker", 8081), ("ai-stack", 8080), ("browser-service", 3000)];
    for ((name, towards), (id, port)) in FLEET.into_iter().zip(towards).zip(own) {
        let config = load(name);
        let service = config.service.as_ref().unwrap();
        assert_eq!((service.id.as_str(), &service.key), (id, &OwnKey::Redis), "{name}");
        assert_eq!(config.inbound[0].listen, Listen::Tcp(([0, 0, 0, 0], port).into()), "{name}");
        assert_eq!(config.keys.sources, [crate::config::KeySourceKind::Redis, crate::config::KeySourceKind::Files]);
        assert_eq!(config.enforcement.mode, Mode::Log, "{name}");
        let (proxies, direct): (Vec<_>, Vec<_>) = config
            .sides()
            .filter(|side| matches!(side, crate::config::Side::Outbound(_)))
            .map(|side| config.upstreams(side).iter().map(ToString::to_string).collect::<Vec<_>>())
            .partition(|list| list.len() == towards.len() && towards.len() > 1);
        let mut reached = direct.concat();
        reached.sort();
        reached.dedup();
        assert_eq!(reached, towards, "{name}");
        assert!(proxies.iter().all(|list| list == towards), "{name}");
        // The same fleet everywhere.
        assert_eq!(format!("{:?}", config.services), format!("{:?}", autobot.services), "{name}");
    }
    assert_eq!(format!("{:?}", load(FLEET[0]).rules), format!("{:?}", autobot.rules), "one set of rules, twice");
}
