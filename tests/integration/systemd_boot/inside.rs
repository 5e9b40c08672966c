//! Inside the machine: installed by the steps of `deploy/systemd/README.md`, then started, reloaded, restarted, stopped.

use super::MARK;
use crate::support::recorder::Recorder;
use crate::support::sidecar::write_private;
use crate::support::{KEY_A, count, eventually, raw, sign};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const CONFIG: &str = "/etc/countersign/countersign.toml";
const SERVICE: &str = "countersign.service";

/// One story, because the steps build on each other.
#[test]
#[ignore = "runs on a machine that the test beside it boots"]
fn the_units_behave() {
    assert!(std::env::var_os(MARK).is_some(), "this test changes the machine it runs on");
    let backend = Recorder::plain();
    install(backend.address);

    systemctl(&["start", "countersign.socket", SERVICE]);
    let inbound: SocketAddr = "127.0.0.1:8001".parse().unwrap();
    assert_eq!(property("ActiveState"), "active");
    assert_eq!(property("SubState"), "running");
    assert!(property("StatusText").contains("enforce at 100%"), "{}", property("StatusText"));
    assert!(property("StatusText").contains("systemd:inbound"), "{}", property("StatusText"));
    assert_eq!(raw::get(inbound, "/api/chat").status, 200);
    assert_eq!(raw::get(inbound, "/api/internal").status, 401);
    let signed = sign::headers(KEY_A, "npu-worker", "GET", "/api/internal");
    assert_eq!(raw::exchange(inbound, format!("GET /api/internal HTTP/1.1\r\nHost: a\r\n{signed}\r\n")).status, 200);
    println!("starts, serves, refuses");

    let status = std::fs::read_to_string(format!("/proc/{}/status", property("MainPID"))).unwrap();
    let uid = run("id", &["-u", "countersign"]);
    assert!(status.lines().any(|line| line.starts_with(&format!("Uid:\t{}\t", uid.trim()))), "{status}");
    assert_eq!(run("stat", &["-c", "%a %U", "/var/lib/countersign/salt"]).trim(), "600 countersign");
    let journal = run("journalctl", &["--no-pager", "--unit", SERVICE]);
    for forbidden in
        ["cannot be switched off", "cannot tell the service manager", "Permission denied", "not permitted"]
    {
        assert!(!journal.contains(forbidden), "the hardening is in the way:\n{journal}");
    }
    println!("runs as its user, within its hardening");

    steered_through_the_default_socket();

    let first = property("MainPID");
    configure(backend.address, "log");
    systemctl(&["reload", SERVICE]);
    eventually("mode log in the status line", || property("StatusText").contains("mode log").then_some(()));
    assert_eq!(raw::get(inbound, "/api/internal").status, 200);
    std::fs::write(CONFIG, "mode = \"what\"\n").unwrap();
    let refused = Command::new("systemctl").args(["reload", SERVICE]).status().unwrap();
    assert!(!refused.success(), "a reload with a broken configuration must fail");
    assert_eq!(property("ActiveState"), "active");
    assert_eq!(raw::get(inbound, "/api/internal").status, 200);
    configure(backend.address, "enforce");
    systemctl(&["reload", SERVICE]);
    eventually("refusals again", || (raw::get(inbound, "/api/internal").status == 401).then_some(()));
    assert_eq!(property("MainPID"), first, "a reload must not restart");
    println!("reloads, and keeps what runs when the new one is broken");

    restarts_under_load(inbound, count(10, 500));

    systemctl(&["stop", SERVICE]);
    assert_eq!(property("ActiveState"), "inactive");
    assert_eq!(property("Result"), "success");
    assert_eq!(property("ExecMainStatus"), "0");
    assert_eq!(raw::get(inbound, "/api/chat").status, 200, "a connection must start it through the socket");
    assert_eq!(property("ActiveState"), "active");
    println!("stops in order, and is started by a connection");

    systemctl(&["start", "countersign-rotate.timer", "countersign-rotate.service"]);
    let said = run("journalctl", &["--no-pager", "--unit", "countersign-rotate.service"]);
    assert!(said.contains("npu-worker: not due"), "{said}");
    rotates_within_its_hardening(inbound);

    reports_within_its_hardening();

    watchdog(inbound);
    systemctl(&["stop", "countersign.socket", SERVICE]);
    assert_eq!(property("Result"), "success");
    assert_eq!(backend.faults(), Vec::<String>::new());
}

/// The commands find the socket where it is when nobody says, and only those who may use it get anywhere.
fn steered_through_the_default_socket() {
    let socket = "/run/countersign/admin.sock";
    assert_eq!(run("stat", &["-c", "%F %a %U", socket]).trim(), "socket 600 countersign");
    let directory = run("stat", &["-c", "%a %U", "/run/countersign"]);
    assert!(["700 countersign", "750 countersign"].contains(&directory.trim()), "{directory}");
    let status = run("countersign", &["status"]);
    assert!(status.contains("enforce at 100 %") && status.contains("ready         yes"), "{status}");
    let own =
        run("setpriv", &["--reuid=countersign", "--regid=countersign", "--clear-groups", "countersign", "status"]);
    assert!(own.contains("enforce at 100 %"), "{own}");
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "countersign", "rollback", "--reason", "x"];
    let refused = Command::new("setpriv").args(nobody).output().unwrap();
    assert_ne!(refused.status.code(), Some(0), "{refused:?}");
    let explained = run("countersign", &["explain", "--live", "GET", "/api/internal"]);
    assert!(explained.contains("401"), "{explained}");
    run("countersign", &["enforce", "50%", "--reason", "a drill"]);
    eventually("50 % in the status line", || property("StatusText").contains("50%").then_some(()));
    run("countersign", &["enforce", "100%"]);
    eventually("100 % again", || property("StatusText").contains("100%").then_some(()));
    println!("is steered through the default socket, by those who may");
}

/// A key that is due is rotated by the unit, and the sidecar takes both.
fn rotates_within_its_hardening(inbound: SocketAddr) {
    let file = Path::new("/etc/countersign/keys/npu-worker.env");
    let text = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, text + "SERVICE_KEY_MADE=1\n").unwrap();
    systemctl(&["start", "countersign-rotate.service"]);
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(&format!("SERVICE_KEY_PREVIOUS={KEY_A}\n")), "{}", text.replace(KEY_A, "A"));
    assert_eq!(run("stat", &["-c", "%a %U", file.to_str().unwrap()]).trim(), "600 countersign");
    let signed = sign::headers(KEY_A, "npu-worker", "GET", "/api/internal");
    assert_eq!(raw::exchange(inbound, format!("GET /api/internal HTTP/1.1\r\nHost: a\r\n{signed}\r\n")).status, 200);
    println!("rotates a key that is due, within its hardening");
}

/// The report finds the log, the keys and the state, and is mailed as the README says: when it is whole and when it is not.
fn reports_within_its_hardening() {
    let report = "countersign-report.service";
    systemctl(&["start", "countersign-report.timer"]);
    std::fs::write(
        "/usr/local/bin/mail",
        "#!/bin/sh\n(echo \"$@\"; cat) > /tmp/mail.$$ && mv /tmp/mail.$$ /tmp/mail.$(id -un)\n",
    )
    .unwrap();
    run("chmod", &["0755", "/usr/local/bin/mail"]);
    let drop_in = Path::new("/run/systemd/system/countersign-report.service.d");
    std::fs::create_dir_all(drop_in).unwrap();
    let mailed = "[Unit]\nOnSuccess=countersign-report-mail@complete.service\n\
         OnFailure=countersign-report-mail@INCOMPLETE.service\n";
    std::fs::write(drop_in.join("mail.conf"), mailed).unwrap();
    systemctl(&["daemon-reload"]);
    systemctl(&["start", report]);
    let mail = |beginning: &str| {
        eventually("a mail", || {
            let mail = std::fs::read_to_string("/tmp/mail.countersign").ok()?;
            (mail.starts_with("-s Countersign on ") && mail.contains(beginning)).then_some(mail)
        })
    };
    let said = mail(": complete root\nCountersign report, ");
    for expected in ["npu-worker", "LEFT", "Authentication", "start by"] {
        assert!(said.contains(expected), "{expected} in:\n{said}");
    }
    assert!(!said.contains("NOT KNOWN"), "{said}");
    let journal = run("journalctl", &["--no-pager", "--output=cat", "--unit", report]);
    assert!(journal.contains("Countersign report, "), "{journal}");
    run("mv", &["/etc/countersign/keys", "/etc/countersign/keys.away"]);
    let failed = Command::new("systemctl").args(["start", report]).status().unwrap();
    assert!(!failed.success(), "a report that is not whole must not look like one");
    assert!(mail(": INCOMPLETE root\n").contains("NOT KNOWN"));
    run("mv", &["/etc/countersign/keys.away", "/etc/countersign/keys"]);
    println!("reports within its hardening, and is mailed");
}

fn restarts_under_load(inbound: SocketAddr, times: usize) {
    let stop = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let mut client = raw::Client::connect(inbound);
                    client.send("GET /api/chat HTTP/1.1\r\nHost: backend.test\r\nConnection: close\r\n\r\n");
                    let answer = client.answer();
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    assert!(answer.body.complete);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for at in 0..times {
        let before = served.load(Ordering::Relaxed);
        systemctl(&["restart", SERVICE]);
        eventually(&format!("requests served after restart {at}"), || {
            (served.load(Ordering::Relaxed) > before + 20 || callers.iter().any(|caller| caller.is_finished()))
                .then_some(())
        });
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.join().unwrap_or_else(|_| panic!("a connection was refused, reset or cut in {times} restarts"));
    }
    println!(
        "{times} restarts, {} requests, each on a connection of its own: none lost",
        served.load(Ordering::Relaxed)
    );
}

/// A process that hangs is replaced.
fn watchdog(inbound: SocketAddr) {
    let drop_in = Path::new("/run/systemd/system/countersign.service.d");
    std::fs::create_dir_all(drop_in).unwrap();
    std::fs::write(drop_in.join("watchdog.conf"), "[Service]\nWatchdogSec=1s\nTimeoutAbortSec=1s\n").unwrap();
    systemctl(&["daemon-reload"]);
    systemctl(&["restart", SERVICE]);
    let hung = property("MainPID");
    run("sh", &["-c", &format!("kill -STOP {hung}")]);
    eventually("another process in the place of the one that hangs", || {
        let now = property("MainPID");
        (now != hung && now != "0").then_some(())
    });
    assert_eq!(raw::get(inbound, "/api/chat").status, 200);
    assert_eq!(property("NRestarts"), "1");
    println!("the watchdog replaces a process that hangs");
}

/// The steps of `deploy/systemd/README.md`.
fn install(backend: SocketAddr) {
    run("systemd-sysusers", &[]);
    run("install", &["-d", "-m", "0750", "-o", "root", "-g", "countersign", "/etc/countersign"]);
    run("install", &["-d", "-m", "0700", "-o", "countersign", "-g", "countersign", "/etc/countersign/keys"]);
    configure(backend, "enforce");
    run("chgrp", &["countersign", CONFIG]);
    run("chmod", &["0640", CONFIG]);
    write_private(Path::new("/etc/countersign/keys/npu-worker.env"), &format!("SERVICE_KEY={KEY_A}\n"));
    run("chown", &["countersign:countersign", "/etc/countersign/keys/npu-worker.env"]);
    systemctl(&["daemon-reload"]);
}

fn configure(backend: SocketAddr, mode: &str) {
    let text = format!(
        "[inbound]\nlisten = \"systemd:inbound\"\nupstream = \"http://{backend}\"\n\
         [enforcement]\nmode = \"{mode}\"\nrate_limit = {{ failures = 1000000 }}\n\
         [[rule]]\npaths = [\"/api/internal\"]\naccess = \"service\"\n"
    );
    std::fs::write(CONFIG, text).unwrap();
}

fn property(name: &str) -> String {
    run("systemctl", &["show", "--value", "--property", name, SERVICE]).trim().to_owned()
}

#[track_caller]
fn systemctl(arguments: &[&str]) {
    run("systemctl", arguments);
}

#[track_caller]
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
