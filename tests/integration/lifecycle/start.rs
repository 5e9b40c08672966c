//! Starts, and starts that cannot be: each says what, where, and what to do.

use super::{admin, ended, run, with_flags};
use crate::support::process::Process;
use crate::support::recorder::Recorder;
use crate::support::sidecar::{Builder, countersign};
use crate::support::{eventually, free_address, raw};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

#[test]
fn a_port_in_use_is_named_with_its_key_and_its_holder() {
    let upstream = Recorder::plain();
    let taken = free_address();
    let _holder = TcpListener::bind(taken).unwrap();
    for (section, key) in [("inbound", "[inbound].listen"), ("admin", "[admin].listen")] {
        let builder = Builder::guarding(upstream.address).set(section, "listen", format!("\"{taken}\""));
        let (code, said) = ended(&mut builder.launch());
        assert_eq!(code, Some(1), "{said}");
        for part in [&taken.to_string(), key, &format!("process {}", std::process::id())] {
            assert!(said.contains(part), "{part:?} is not in:\n{said}");
        }
    }
}

#[test]
fn every_listener_that_cannot_be_opened_is_named_in_one_run() {
    let upstream = Recorder::plain();
    let (first, second) = (free_address(), free_address());
    let _holders = [TcpListener::bind(first).unwrap(), TcpListener::bind(second).unwrap()];
    let builder = Builder::guarding(upstream.address).set("inbound", "listen", format!("\"{first}\"")).set(
        "admin",
        "listen",
        format!("\"{second}\""),
    );
    let (_, said) = ended(&mut builder.launch());
    assert!(said.contains(&first.to_string()) && said.contains(&second.to_string()), "{said}");
}

#[test]
fn a_second_instance_on_the_same_state_directory_is_told_who_has_it() {
    let upstream = Recorder::plain();
    let first = Builder::guarding(upstream.address).start();
    let state = first.directory.join("state");
    let builder = Builder::guarding(upstream.address).set("", "state_dir", format!("{state:?}"));
    let (code, said) = ended(&mut builder.launch());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("process {}", first.process.pid())), "{said}");
    assert!(said.contains(state.to_str().unwrap()) && said.contains("state_dir"), "{said}");
    assert_eq!(raw::get(first.address, "/health").status, 200, "the first one must go on");
}

#[test]
fn missing_and_unreadable_files_are_named_and_exit_2() {
    let upstream = Recorder::plain();
    for (section, key, value) in [
        ("keys", "dir", "/nonexistent/keys"),
        ("enforcement", "override_token_file", "/nonexistent/override-token"),
        ("service", "key_file", "/nonexistent/own.env"),
    ] {
        let builder = Builder::guarding(upstream.address).set("service", "id", "\"main-backend\"").set(
            section,
            key,
            format!("\"{value}\""),
        );
        let (code, said) = ended(&mut builder.launch());
        assert_eq!(code, Some(2), "{key}: {said}");
        assert!(said.contains(value), "{key}: {said}");
    }
    let missing = run(countersign().args(["run", "--config", "/nonexistent/countersign.toml"]));
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/nonexistent/countersign.toml"));
}

#[test]
fn a_key_file_that_others_may_read_is_refused_with_its_name_and_mode() {
    let upstream = Recorder::plain();
    let mut sidecar = Builder::guarding(upstream.address).start();
    sidecar.process.signal("TERM");
    sidecar.process.wait();
    let path = sidecar.directory.join("keys/npu-worker.env");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    let again = run(countersign().arg("run").arg("--config").arg(sidecar.config_path()));
    let said = String::from_utf8_lossy(&again.stderr);
    assert_eq!(again.status.code(), Some(2), "{said}");
    assert!(said.contains(path.to_str().unwrap()) && said.contains("644"), "{said}");
    assert!(!said.contains(crate::support::KEY_A), "a key was shown:\n{said}");
}

#[test]
fn an_upstream_that_is_down_does_not_stop_the_start_but_readiness_says_no() {
    let nobody = free_address();
    let sidecar = Builder::guarding(nobody).start_alive();
    eventually("a readiness of 503", || (admin(sidecar.admin, "/readyz") == 503).then_some(()));
    assert_eq!(admin(sidecar.admin, "/healthz"), 200);
    assert_eq!(raw::get(sidecar.address, "/health").status, 502);
}

#[test]
fn with_flags_alone_a_key_is_made_once_and_nothing_is_refused() {
    let upstream = Recorder::plain();
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let key = state.join("keys/caller.env");
    let mut first_key = Vec::new();
    for start in 0..2 {
        let listen = free_address();
        let mut process = Process::start(&with_flags(upstream.address, &listen.to_string(), &state));
        eventually("a listener", || raw::Client::try_connect(listen));
        assert_eq!(raw::get(listen, "/api/internal").status, 200, "mode log refuses nothing");
        let text = std::fs::read(&key).unwrap();
        assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        if start == 0 {
            first_key = text;
        } else {
            assert_eq!(text, first_key, "a key that is there must stay");
        }
        process.signal("TERM");
        assert!(process.wait().success());
        let records = process.stdout.text();
        assert!(records.contains("\"outcome\":\"would_refuse\""), "{records}");
    }
}

#[test]
fn where_somebody_named_a_key_directory_no_key_is_made() {
    let upstream = Recorder::plain();
    let directory = tempfile::tempdir().unwrap();
    let (state, keys) = (directory.path().join("state"), directory.path().join("keys"));
    let mut command = with_flags(upstream.address, &free_address().to_string(), &state);
    let (code, said) = {
        let output = run(command.arg("--keys").arg(&keys));
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains(keys.to_str().unwrap()) && said.contains("keys generate"), "{said}");
    assert!(!keys.exists() && !state.join("keys").exists());
}

#[test]
fn a_unix_socket_serves_owner_and_group_and_its_file_goes_with_the_process() {
    let upstream = Recorder::plain();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("inbound.sock");
    // Left behind by a process that crashed: nothing answers there.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listen = format!("unix:{}", path.display());
    let mut process = Process::start(&with_flags(upstream.address, &listen, &directory.path().join("state")));
    eventually("a connection", || UnixStream::connect(&path).ok());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let second = run(&mut with_flags(upstream.address, &listen, &directory.path().join("other-state")));
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains(path.to_str().unwrap()));
    process.signal("TERM");
    assert!(process.wait().success());
    assert!(!path.exists(), "the socket file was left behind");
}

#[test]
fn no_core_is_dumped_and_no_other_process_may_look_inside() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    let process = Path::new("/proc").join(sidecar.process.pid().to_string());
    let limits = std::fs::read_to_string(process.join("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_ascii_whitespace().nth(4), Some("0"), "{core}");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let mut figures = files.split_ascii_whitespace().skip(3);
    assert_eq!(figures.next(), figures.next(), "the soft limit was not raised to the hard one: {files}");
}
