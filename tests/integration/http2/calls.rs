//! The clients people have: curl, h2load, and gRPC of every kind, through one sidecar and through two.

use super::super::support::pki::{Authority, Files};
use super::super::support::process::Process;
use super::super::support::python::{self, Parser, Uvicorn};
use super::super::support::recorder::Recorder;
use super::super::support::sidecar::{Builder, Sidecar};
use super::super::support::{KEY_A, count, eventually, free_address, missing};
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

const GRPC_RULES: &str = r#"
[[rule]]
name = "guarded"
paths = ["/fleet.Guarded"]
access = "service"
"#;

/// A gRPC server; with TLS when there is a certificate.
fn grpc_backend(files: &[&Path]) -> Option<(SocketAddr, Process)> {
    let python = python::interpreter()?;
    let address = free_address();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/apps/grpc_backend.py");
    let mut command = Command::new(python);
    command.arg(script).arg(address.port().to_string()).args(files);
    let mut process = Process::start(&command);
    eventually("the gRPC server to listen", || {
        if let Some(status) = process.ended() {
            panic!("it ended with {status}: {}", process.stderr.text());
        }
        TcpStream::connect(address).ok()
    });
    Some((address, process))
}

/// Every kind of call does what it does without us; what is guarded needs its signature.
#[track_caller]
fn works(got: &Value, path: &str, scheme: &str) {
    assert_eq!(
        got["unary"],
        json!({"answer": "hello", "trailers": {"x-trailer": "behind", "bytes-bin": "00ff"}, "code": "OK"}),
        "{path}"
    );
    let numbers: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    assert_eq!(got["server stream"], json!(numbers), "{path}");
    assert_eq!(got["client stream"], "6", "{path}");
    let echoed: Vec<String> = (0..20).map(|number| format!("echo {number}")).collect();
    assert_eq!(
        (&got["bidi"]["got"], &got["bidi"]["ended"]),
        (&json!(echoed), &json!(true)),
        "{path}: {}",
        got["bidi"]
    );
    assert_eq!(got["bidi"]["code"], "OK", "{path}");
    assert_eq!((&got["fail"]["code"], &got["fail"]["details"]), (&json!("FAILED_PRECONDITION"), &json!("reason ü%")));
    let trailers = got["fail"]["trailers"].to_string();
    assert!(trailers.contains("asked for") && !trailers.contains("content-length"), "{path}: {trailers}");
    assert_eq!(got["unknown method"]["code"], "UNIMPLEMENTED", "{path}");
    assert_eq!(
        got["cancel"],
        json!({"deadline": "DEADLINE_EXCEEDED", "told": ["cancelled", "deadline"]}),
        "{path}: the server is told that nobody waits"
    );
    assert_eq!((&got["big"], &got["upload"]), (&json!(16 << 20), &json!(16 << 20)), "{path}");
    assert_eq!(got["signed"], "x", "{path}");
    for refused in ["unsigned", "wrong key", "other path"] {
        assert_eq!(got[refused]["code"], "UNAUTHENTICATED", "{path}: {refused}: {}", got[refused]);
    }
    let identity: Value = serde_json::from_str(got["identity"].as_str().unwrap_or_default()).unwrap();
    let all = |seen: &Value, name: &str| -> Vec<Value> {
        let metadata = seen["metadata"].as_array().unwrap().iter();
        metadata.filter(|pair| pair[0] == name).map(|pair| pair[1].clone()).collect()
    };
    assert_eq!(all(&identity, "x-authenticated-service"), [json!("npu-worker")], "{path}: {identity}");
    assert_eq!(all(&identity, "x-forwarded-proto"), [json!(scheme)], "{path}: {identity}");
    assert!(all(&identity, "x_service_id").is_empty(), "{path}: {identity}");
    assert!(identity["deadline"].as_f64().is_some_and(|left| left > 0.0 && left < 16.0), "the deadline passes");
    let spoofed: Value = serde_json::from_str(got["spoofed"].as_str().unwrap_or_default()).unwrap();
    assert!(all(&spoofed, "x-authenticated-service").is_empty(), "{path}: {spoofed}");
    assert!(all(&spoofed, "x-override-token").is_empty(), "{path}: {spoofed}");
}

#[test]
fn grpc_of_every_kind_passes_with_prior_knowledge_on_both_sides() {
    let Some((backend, _process)) = grpc_backend(&[]) else { return };
    let sidecar = Builder::guarding(backend)
        .set("inbound", "h2c", "true")
        .set("inbound", "upstream_http2", "true")
        .rules(GRPC_RULES)
        .unlimited()
        .start();
    let Some(got) = python::client("grpc_calls", &[&sidecar.address.to_string(), KEY_A]) else { return };
    works(&got, "h2c", "http");
    let refused = || sidecar.audit().into_iter().filter(|record| record["outcome"] == "refuse").count();
    eventually("the refusals' records", || (refused() == 3).then_some(()));
}

#[test]
fn grpc_of_every_kind_passes_over_tls_on_both_sides() {
    let (authority, files) = (Authority::new("the tests' own"), Files::new());
    let (cert, key) = files.pair("server", &authority.server());
    let ca = files.write("ca.pem", authority.pem());
    let Some((backend, _process)) = grpc_backend(&[&cert, &key]) else { return };
    let sidecar = Builder::guarding(backend)
        .set("inbound", "tls", format!("{{ cert = {cert:?}, key = {key:?} }}"))
        .set("inbound", "upstream", format!("\"https://{backend}\""))
        .set("inbound", "upstream_tls", format!("{{ ca = {ca:?}, name = \"localhost\" }}"))
        .set("inbound", "upstream_http2", "true")
        .rules(GRPC_RULES)
        .unlimited()
        .start();
    let to = format!("localhost:{}", sidecar.address.port());
    let Some(got) = python::client("grpc_calls", &[&to, KEY_A, ca.to_str().unwrap()]) else { return };
    works(&got, "TLS", "https");
}

#[test]
fn grpc_that_signs_nothing_is_signed_on_its_way_out_and_let_in_on_the_other_side() {
    let Some((backend, _process)) = grpc_backend(&[]) else { return };
    let guarding = Builder::guarding(backend)
        .set("inbound", "h2c", "true")
        .set("inbound", "upstream_http2", "true")
        .rules(GRPC_RULES)
        .unlimited()
        .start();
    let outbound = free_address();
    let way_out = format!(
        "[[outbound]]\nlisten = \"{outbound}\"\nupstream = \"http://{}\"\nupstream_http2 = true\nh2c = true\n",
        guarding.address
    );
    let signing = Builder::guarding(backend)
        .set("service", "id", "\"npu-worker\"")
        .rules(&format!("{GRPC_RULES}{way_out}"))
        .start_alive();
    let Some(got) = python::client("grpc_calls", &[&outbound.to_string(), KEY_A]) else { return };
    for call in ["unsigned", "signed", "wrong key", "other path"] {
        assert_eq!(got[call], "x", "{call}: signed by us, whatever it brought: {}", got[call]);
    }
    assert_eq!((&got["unary"]["code"], &got["bidi"]["code"]), (&json!("OK"), &json!("OK")), "{got}");
    assert_eq!((&got["big"], &got["upload"]), (&json!(16 << 20), &json!(16 << 20)));
    assert_eq!(got["cancel"]["told"], json!(["cancelled", "deadline"]));
    let identity: Value = serde_json::from_str(got["identity"].as_str().unwrap_or_default()).unwrap();
    assert!(identity.to_string().contains("[\"x-authenticated-service\",\"npu-worker\"]"), "{identity}");
    let outcomes = eventually("the records", || Some(guarding.audit()).filter(|records| records.len() > 10));
    assert!(outcomes.iter().all(|record| record["outcome"] != "refuse"), "{outcomes:?}");
    // A page is not signed for over HTTP/2 either.
    let mut page = super::Frames::connect(outbound);
    let authority = outbound.to_string();
    let head =
        [(":method", "POST"), (":scheme", "http"), (":authority", &*authority), (":path", "/fleet.Guarded/Unary")];
    let stream = page.request(&[&head[..], &[("origin", "http://evil.example")]].concat(), true);
    assert_eq!(page.outcome(stream).status, 403);
    let rebound = [&head[..2], &[(":authority", "evil.example"), head[3]]].concat();
    let stream = page.request(&rebound, true);
    assert_eq!(page.outcome(stream).status, 403, "a name that leads here is not ours");
    let signed = || signing.audit().iter().filter(|record| record["direction"] == "outbound").count();
    eventually("the records of what left", || (signed() > 10).then_some(()));
}

/// curl's protocol, status and body.
fn curl(arguments: &[&str]) -> Option<(String, String, String)> {
    let mut command = Command::new("curl");
    command
        .args(["-sS", "--noproxy", "*", "--max-time", "20", "-w", "\n%{http_version} %{http_code}"])
        .args(arguments);
    let Ok(output) = command.output() else {
        missing("curl");
        return None;
    };
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, last) = text.rsplit_once('\n').unwrap();
    let (version, status) = last.split_once(' ').unwrap();
    Some((version.to_owned(), status.to_owned(), body.to_owned()))
}

/// Uploads, streams and refusals, as curl does them. `how`: what makes curl speak HTTP/2 to the sidecar.
fn curl_does_everything(sidecar: &Sidecar, base: &str, how: &[&str]) {
    let ask = |more: &[&str]| curl(&[how, more].concat());
    let Some((version, status, body)) = ask(&[&format!("{base}/health")]) else { return };
    assert_eq!((version.as_str(), status.as_str(), body.as_str()), ("2", "200", "{\"status\":\"healthy\"}"));
    let (version, status, body) = ask(&[&format!("{base}/api/internal/x")]).unwrap();
    assert_eq!((version.as_str(), status.as_str()), ("2", "401"));
    assert!(body.contains("missing_signature"), "{body}");
    let (_, status, _) = ask(&["-I", &format!("{base}/health")]).unwrap();
    assert!(status == "200" || status == "405", "{status}");
    let file = sidecar.directory.join("upload");
    std::fs::write(&file, vec![b'u'; 3_000_000]).unwrap();
    let upload = format!("@{}", file.display());
    for extra in [&["-H", "Expect: 100-continue"][..], &["-H", "Expect:"], &["-H", "Content-Length:"]] {
        let url = format!("{base}/api/upload");
        let arguments = [&["-X", "POST", "--data-binary", &upload, &url][..], extra].concat();
        let (_, status, body) = ask(&arguments).unwrap();
        assert_eq!(status, "200", "{extra:?}: {body}");
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["size"], 3_000_000, "{extra:?}");
    }
    let (_, status, _) = ask(&["-X", "POST", "--data-binary", &upload, &format!("{base}/api/internal/x")]).unwrap();
    assert_eq!(status, "401");
    let (_, _, body) = ask(&[&format!("{base}/api/chat/events?count=4")]).unwrap();
    assert!(body.contains("event 0") && body.contains("event 3"), "{body}");
}

#[test]
fn curl_works_with_prior_knowledge() {
    let Some(backend) = Uvicorn::shared(Parser::Httptools) else { return };
    let sidecar = Builder::guarding(backend).set("inbound", "h2c", "true").unlimited().start();
    let base = format!("http://{}", sidecar.address);
    curl_does_everything(&sidecar, &base, &["--http2-prior-knowledge"]);
    let Some((version, status, _)) = curl(&["--http2", &format!("{base}/health")]) else { return };
    assert_eq!((version.as_str(), status.as_str()), ("1.1", "200"), "an upgrade is not honoured");
}

#[test]
fn curl_works_over_tls_and_gets_what_it_asks_for() {
    let Some(backend) = Uvicorn::shared(Parser::H11) else { return };
    let (authority, files) = (Authority::new("the tests' own"), Files::new());
    let (cert, key) = files.pair("server", &authority.server());
    let ca = files.write("ca.pem", authority.pem());
    let sidecar = Builder::guarding(backend)
        .set("inbound", "tls", format!("{{ cert = {cert:?}, key = {key:?} }}"))
        .unlimited()
        .start();
    let base = format!("https://localhost:{}", sidecar.address.port());
    let with_ca = ["--cacert", ca.to_str().unwrap()];
    curl_does_everything(&sidecar, &base, &[&with_ca[..], &["--http2"]].concat());
    let url = format!("{base}/health");
    let Some((version, ..)) = curl(&[&with_ca[..], &["--http1.1", &url]].concat()) else { return };
    assert_eq!(version, "1.1");
    let (version, ..) = curl(&[&with_ca[..], &["--no-alpn", &url]].concat()).unwrap();
    assert_eq!(version, "1.1", "who does not say speaks HTTP/1.1");
}

#[test]
fn a_hundred_streams_at_a_time_fail_nothing() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).set("inbound", "h2c", "true").unlimited().start();
    let requests = count(5_000, 200_000).to_string();
    let url = format!("http://{}/load", sidecar.address);
    let Ok(output) = Command::new("h2load").args(["-n", &requests, "-c", "5", "-m", "100", &url]).output() else {
        return missing("h2load");
    };
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains(&format!("{requests} succeeded, 0 failed, 0 errored, 0 timeout")), "{told}");
    assert!(told.contains(&format!("status codes: {requests} 2xx")), "{told}");
    assert_eq!(sidecar.metric("countersign_http2_floods_total", &[]), 0.0);
}
