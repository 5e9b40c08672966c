//! A program with a hard-coded URL, left as it is: `nft` redirects its calls to the listener. On hosts with the addresses of a
//! fleet, in network namespaces; no packet leaves them.

use super::super::support::netns::{Host, Network};
use super::super::support::process::Process;
use super::super::support::python::interpreter;
use super::super::support::sidecar::{countersign, write_private};
use super::super::support::{KEY_A, eventually, missing};
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Command;

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
[inbound]
listen = "172.16.168.20:8001"
upstream = "http://127.0.0.1:18001"
[enforcement]
mode = "enforce"
[[rule]]
paths = ["/api/internal"]
access = "service"
"#;

const SIGNER: &str = r#"
[service]
id = "npu-worker"
[[outbound]]
listen = "127.0.0.1:9001"
upstream = "http://172.16.168.20:8001"
"#;

/// Starts a sidecar with the paths of a VM.
fn start(host: &Host, config: &str) -> Process {
    for (path, mode) in
        [("/etc/countersign/keys", 0o700), ("/var/lib/countersign", 0o700), ("/var/log/countersign", 0o750)]
    {
        std::fs::DirBuilder::new().recursive(true).mode(mode).create(host.path(path)).unwrap();
    }
    write_private(&host.path("/etc/countersign/keys/npu-worker.env"), &format!("SERVICE_KEY={KEY_A}\n"));
    std::fs::write(host.path("/etc/countersign/countersign.toml"), config).unwrap();
    let mut run = countersign();
    run.args(["run", "--config", "/etc/countersign/countersign.toml"]);
    let mut process = host.start(&run);
    eventually("a sidecar that is ready", || {
        assert!(process.ended().is_none(), "{}", process.stderr.text());
        host.output(&words(&["curl", "-sSf", "http://127.0.0.1:9180/readyz"])).status.success().then_some(())
    });
    process
}

fn words(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}

#[test]
fn a_hard_coded_url_is_signed_by_a_redirected_port() {
    let Some(python) = interpreter() else { return };
    for tool in ["nft", "setpriv", "curl"] {
        if Command::new(tool).arg("--version").output().is_err() {
            return missing(tool);
        }
    }
    let addresses = [20, 22].map(|last| Ipv4Addr::new(172, 16, 168, last));
    let Some(network) = Network::of(&addresses) else { return };
    let (guarded, calling) = (network.host(20), network.host(22));
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
    uvicorn.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/apps"));
    let _backend = guarded.start(&uvicorn);
    let _guard = start(guarded, GUARD);
    let signer = start(calling, SIGNER);

    let url = "http://172.16.168.20:8001/api/internal/x";
    let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let program = words(&[&user[..], &["curl", "-sS", "--max-time", "20", url]].concat());
    // As it was: it reaches the guard by itself, and has no signature.
    assert!(calling.run(&program).contains("missing_signature"));
    std::fs::write(calling.path("/etc/redirect.nft"), REDIRECT).unwrap();
    calling.run(&words(&["nft", "-f", "/etc/redirect.nft"]));
    let answer = calling.run(&program);
    assert!(answer.contains("\"service\":\"npu-worker\""), "{answer}\n{}", signer.stderr.text());
    let audit = calling.path("/var/log/countersign/audit.jsonl");
    let records =
        eventually("a record", || std::fs::read_to_string(&audit).ok().filter(|text| text.contains("outbound")));
    assert!(records.contains("\"upstream\":\"172.16.168.20:8001\""), "{records}");
    // The same way with a name that somebody else made to lead here: not the destination's, not signed.
    let rebound = words(&[&user[..], &["curl", "-sS", "--max-time", "20", "-H", "Host: evil.example", url]].concat());
    assert!(calling.run(&rebound).contains("host_not_allowed"));
    // The sidecar's own way to the destination is not redirected to itself.
    let own = calling.run(&words(&["curl", "-sS", "--max-time", "20", url]));
    assert!(own.contains("missing_signature"), "{own}");
}
