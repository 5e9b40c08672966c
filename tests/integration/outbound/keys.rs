//! The service's own key: without one nothing starts, and a good one is not given up for a bad one.

use super::super::support::raw::exchange;
use super::super::support::recorder::Recorder;
use super::super::support::sidecar::{Builder, Sidecar, write_private};
use super::super::support::{KEY_B, eventually, free_address, sign};
use super::assert_signed;

fn with_key_file(upstream: &Recorder, directory: &std::path::Path) -> Builder {
    let file = directory.join("own.env");
    Builder::signing(&format!("http://{}", upstream.address)).set("service", "key_file", format!("{file:?}"))
}

#[test]
fn without_a_key_of_its_own_it_does_not_start_and_says_what_is_missing() {
    let upstream = Recorder::plain();
    let directory = tempfile::tempdir().unwrap();
    type Prepare = fn(&std::path::Path);
    let cases: [(Prepare, &str); 4] = [
        (|_| {}, "own.env"),
        (|file| write_private(file, "SERVICE_KEY=short\n"), "own.env"),
        (|file| write_private(file, "NOTHING=here\n"), "own.env"),
        (
            |file| {
                write_private(file, &format!("SERVICE_KEY={KEY_B}\n"));
                use std::os::unix::fs::PermissionsExt;
                std::fs::set_permissions(file, PermissionsExt::from_mode(0o644)).unwrap();
            },
            "own.env",
        ),
    ];
    for (prepare, named) in cases {
        let file = directory.path().join("own.env");
        let _ = std::fs::remove_file(&file);
        prepare(&file);
        let mut sidecar = with_key_file(&upstream, directory.path()).launch();
        let status = eventually("the end of a sidecar without a key", || sidecar.process.ended());
        assert!(!status.success(), "{status}");
        // What it said may take a moment longer than its end.
        let said = eventually(named, || Some(sidecar.process.stderr.text()).filter(|said| said.contains(named)));
        assert!(!said.contains(KEY_B), "{said}");
    }
    let nobody = Builder::signing(&format!("http://{}", upstream.address)).set("service", "id", "\"no-such\"");
    let mut nobody = nobody.launch();
    let status = eventually("the end of a sidecar that nobody gave a key", || nobody.process.ended());
    assert!(!status.success(), "{status}");
    eventually("its name", || nobody.process.stderr.text().contains("no-such").then_some(()));
}

/// Signs until it is signed with this key.
#[track_caller]
fn wait_for_key(sidecar: &Sidecar, upstream: &Recorder, key: &str) {
    eventually("a signature with the other key", || {
        assert_eq!(ask(sidecar), 200);
        let seen = upstream.requests().pop()?;
        let timestamp = seen.fields.one("x-service-timestamp")?.parse().ok()?;
        let expected = sign::signature(key, "npu-worker", "GET", "/k", timestamp);
        (seen.fields.one("x-service-signature") == Some(expected.as_str())).then_some(())
    });
}

fn ask(sidecar: &Sidecar) -> u16 {
    exchange(sidecar.address, format!("GET /k HTTP/1.1\r\nHost: {}\r\n\r\n", sidecar.address)).status
}

#[test]
fn a_new_key_is_taken_up_and_a_bad_one_is_not() {
    let upstream = Recorder::plain();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("own.env");
    write_private(&file, &format!("SERVICE_KEY={}\n", super::KEY_A));
    let sidecar = with_key_file(&upstream, directory.path()).start();
    assert_eq!(ask(&sidecar), 200);
    assert_signed(&upstream.requests()[0], "/k");
    write_private(&file, &format!("SERVICE_KEY={KEY_B}\n"));
    wait_for_key(&sidecar, &upstream, KEY_B);
    for bad in ["SERVICE_KEY=\n", "SERVICE_KEY=short\n", ""] {
        let before = sidecar.metric("countersign_config_reloads_total", &[]);
        write_private(&file, bad);
        sidecar.process.signal("HUP");
        eventually("a reload", || (sidecar.metric("countersign_config_reloads_total", &[]) > before).then_some(()));
        wait_for_key(&sidecar, &upstream, KEY_B);
    }
    std::fs::remove_file(&file).unwrap();
    sidecar.process.signal("HUP");
    for _ in 0..20 {
        assert_eq!(ask(&sidecar), 200);
    }
    wait_for_key(&sidecar, &upstream, KEY_B);
}

#[test]
fn the_fleets_environment_names_who_and_where_to() {
    let upstream = Recorder::plain();
    let sidecar = Builder::signing("http://127.0.0.1:1")
        .environment("SERVICE_KEY", KEY_B)
        .environment("SERVICE_ID", "ai-stack")
        .environment("BACKEND_HOST", &upstream.address.ip().to_string())
        .environment("BACKEND_PORT", &upstream.address.port().to_string());
    let listen = free_address();
    let sidecar = sidecar.rules(&format!("[[outbound]]\nlisten = \"{listen}\"\n")).start_alive();
    let answer = exchange(listen, format!("GET /k HTTP/1.1\r\nHost: {listen}\r\nX-Mark: env\r\n\r\n"));
    assert_eq!(answer.status, 200, "{answer:?}\n{}", sidecar.process.stderr.text());
    let seen = upstream.the("env");
    let timestamp = seen.fields.one("x-service-timestamp").unwrap().parse().unwrap();
    let expected = sign::signature(KEY_B, "ai-stack", "GET", "/k", timestamp);
    assert_eq!(seen.fields.one("x-service-signature"), Some(expected.as_str()));
}
