//! A program with a hard-coded URL, left as it is: `nft` redirects its calls to the listener. In a network namespace of its
//! own, made and removed here, with the addresses of a fleet; no packet leaves it.

use super::super::support::process::Process;
use super::super::support::python::interpreter;
use super::super::support::sidecar::{countersign, write_private};
use super::super::support::{KEY_A, eventually, missing};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A namespace with one loopback interface; removed on drop.
struct Namespace(String);

impl Namespace {
    /// `None` where this machine does not let us make one.
    fn make() -> Option<Namespace> {
        let name = format!("countersign-{}", std::process::id());
        let made = Command::new("ip").args(["netns", "add", &name]).stderr(Stdio::null()).status();
        if !made.is_ok_and(|status| status.success()) {
            missing("the right to make a network namespace (root, iproute2)");
            return None;
        }
        let namespace = Namespace(name);
        namespace.run(&["ip", "link", "set", "lo", "up"]);
        namespace.run(&["ip", "address", "add", "172.16.168.20/32", "dev", "lo"]);
        Some(namespace)
    }

    /// A command inside.
    fn command(&self, inside: &Command) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0]).arg(inside.get_program()).args(inside.get_args());
        for (name, value) in inside.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    fn output(&self, words: &[&str]) -> Output {
        let mut inside = Command::new(words[0]);
        inside.args(&words[1..]);
        self.command(&inside).output().unwrap()
    }

    #[track_caller]
    fn run(&self, words: &[&str]) -> String {
        let output = self.output(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.0]).status();
    }
}

/// As README, "Sign what leaves", has it; only that this sidecar runs as root, and the programs do not.
const REDIRECT: &str = "\
table ip countersign {
    chain output {
        type nat hook output priority -100;
        meta skuid != 0 ip daddr 172.16.168.20 tcp dport 8001 redirect to :9001
    }
}
";

const GUARD: &str = r#"
state_dir = "DIR/guard"
[inbound]
listen = "172.16.168.20:8001"
upstream = "http://127.0.0.1:18001"
[keys]
dir = "DIR/keys"
[enforcement]
mode = "enforce"
[audit]
file = "DIR/guard.jsonl"
[admin]
listen = "127.0.0.1:9180"
[[rule]]
paths = ["/api/internal"]
access = "service"
"#;

const SIGNER: &str = r#"
state_dir = "DIR/signer"
[service]
id = "npu-worker"
[[outbound]]
listen = "127.0.0.1:9001"
upstream = "http://172.16.168.20:8001"
[keys]
dir = "DIR/keys"
[audit]
file = "DIR/signer.jsonl"
[admin]
listen = "127.0.0.1:9181"
"#;

fn start(namespace: &Namespace, directory: &Path, name: &str, config: &str) -> Process {
    let file = directory.join(format!("{name}.toml"));
    std::fs::write(&file, config.replace("DIR", &directory.display().to_string())).unwrap();
    let mut run = countersign();
    run.arg("run").arg("--config").arg(&file);
    Process::start(&namespace.command(&run))
}

#[test]
fn a_hard_coded_url_is_signed_by_a_redirected_port() {
    let Some(python) = interpreter() else { return };
    for tool in ["nft", "setpriv", "curl"] {
        if Command::new(tool).arg("--version").output().is_err() {
            return missing(tool);
        }
    }
    let Some(namespace) = Namespace::make() else { return };
    let held = tempfile::tempdir().unwrap();
    let directory = held.path();
    for name in ["keys", "guard", "signer"] {
        std::fs::DirBuilder::new().mode(0o700).create(directory.join(name)).unwrap();
    }
    write_private(&directory.join("keys/npu-worker.env"), &format!("SERVICE_KEY={KEY_A}\n"));
    let apps = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/apps");
    let mut uvicorn = Command::new(python);
    uvicorn.args([
        "-m",
        "uvicorn",
        "backend:app",
        "--no-access-log",
        "--lifespan",
        "off",
        "--port",
        "18001",
        "--app-dir",
    ]);
    uvicorn.arg(apps);
    let _backend = Process::start(&namespace.command(&uvicorn));
    let mut guard = start(&namespace, directory, "guard", GUARD);
    let mut signer = start(&namespace, directory, "signer", SIGNER);
    for (process, admin) in
        [(&mut guard, "http://127.0.0.1:9180/readyz"), (&mut signer, "http://127.0.0.1:9181/readyz")]
    {
        eventually(admin, || {
            assert!(process.ended().is_none(), "{}", process.stderr.text());
            namespace.output(&["curl", "-sSf", admin]).status.success().then_some(())
        });
    }

    let url = "http://172.16.168.20:8001/api/internal/x";
    let program =
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "curl", "-sS", "--max-time", "20", url];
    // As it was: it reaches the guard by itself, and has no signature.
    assert!(namespace.run(&program).contains("missing_signature"));
    let ruleset = directory.join("redirect.nft");
    std::fs::write(&ruleset, REDIRECT).unwrap();
    namespace.run(&["nft", "-f", &ruleset.display().to_string()]);
    let answer = namespace.run(&program);
    assert!(answer.contains("\"service\":\"npu-worker\""), "{answer}\n{}", signer.stderr.text());
    let records = eventually("a record", || {
        std::fs::read_to_string(directory.join("signer.jsonl")).ok().filter(|text| text.contains("outbound"))
    });
    assert!(records.contains("\"upstream\":\"172.16.168.20:8001\""), "{records}");
    // The same program, its name made to lead here by somebody else: not the destination's, not signed.
    let rebound = [&program[..8], &["-H", "Host: evil.example", url]].concat();
    assert!(namespace.run(&rebound).contains("host_not_allowed"));
    // The sidecar's own way to the destination is not redirected to itself.
    let root = namespace.run(&["curl", "-sS", "--max-time", "20", url]);
    assert!(root.contains("missing_signature"), "{root}");
}
