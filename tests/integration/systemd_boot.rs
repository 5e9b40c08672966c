//! The units under systemd: what their hardening is worth, and how they behave on a machine that systemd has booted.
//!
//! The machine is a Debian tree (debootstrap, kept under `target/`) booted by systemd-nspawn with nothing but a loopback
//! interface; what is written to it is gone with it. Inside runs this very test binary, as a unit whose end switches the
//! machine off: see `inside`. The tree takes half a minute once, a boot under a second.

mod inside;

use super::support::missing;
use super::support::process::Process;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The test that runs in the machine.
const INSIDE: &str = "systemd_boot::inside::the_units_behave";

/// Says inside that this is the machine.
const MARK: &str = "COUNTERSIGN_TEST_MACHINE";

#[test]
fn the_service_unit_is_hardened_without_hiding_peers_or_cutting_off_callers() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd/countersign.service");
    let text = std::fs::read_to_string(&unit).unwrap();
    for left_out in ["\nPrivateUsers=", "\nIPAddressDeny="] {
        assert!(!text.contains(left_out), "{left_out} has a price, see the unit's comment");
    }
    is_hardened(&unit);
}

#[test]
fn the_unit_that_rotates_keys_is_as_hardened() {
    is_hardened(&Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd/countersign-rotate.service"));
}

#[test]
fn the_unit_that_reports_is_as_hardened_and_may_write_nowhere() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd/countersign-report.service");
    let text = std::fs::read_to_string(&unit).unwrap();
    assert!(text.contains("\nProtectSystem=strict\n") && !text.contains("\nReadWritePaths="));
    is_hardened(&unit);
}

#[track_caller]
fn is_hardened(unit: &Path) {
    // In tenths: the exposure must not be above 1.2.
    let rated =
        Command::new("systemd-analyze").args(["security", "--offline=true", "--threshold=12"]).arg(unit).output();
    match rated {
        Ok(rated) => assert!(rated.status.success(), "{}", String::from_utf8_lossy(&rated.stdout)),
        Err(_) => missing("systemd-analyze"),
    }
}

#[test]
fn a_booted_systemd_starts_reloads_restarts_and_stops_it_without_a_lost_connection() {
    let Some(tree) = tree() else { return };
    let out = tempfile::tempdir().unwrap();
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd");
    let unit = out.path().join("countersign-test.service");
    std::fs::write(&unit, unit_text()).unwrap();
    let itself = std::env::current_exe().unwrap();
    let mut machine = Command::new("systemd-nspawn");
    machine
        .args(["--quiet", "--boot", "--volatile=overlay", "--private-network", "--register=no", "--keep-unit"])
        .args(["--console=pipe", "--link-journal=no"])
        .arg(format!("--machine=countersign-test-{}", std::process::id()))
        .arg(format!("--directory={}", tree.display()))
        .arg(format!("--bind={}:/out", out.path().display()));
    let countersign = PathBuf::from(env!("CARGO_BIN_EXE_countersign"));
    for (from, to) in [
        (countersign, "/usr/bin/countersign"),
        (itself, "/usr/bin/countersign-test"),
        (deploy.join("countersign.service"), "/etc/systemd/system/countersign.service"),
        (deploy.join("countersign.socket"), "/etc/systemd/system/countersign.socket"),
        (deploy.join("countersign-rotate.service"), "/etc/systemd/system/countersign-rotate.service"),
        (deploy.join("countersign-rotate.timer"), "/etc/systemd/system/countersign-rotate.timer"),
        (deploy.join("countersign-report.service"), "/etc/systemd/system/countersign-report.service"),
        (deploy.join("countersign-report.timer"), "/etc/systemd/system/countersign-report.timer"),
        (deploy.join("countersign-report-mail@.service"), "/etc/systemd/system/countersign-report-mail@.service"),
        (deploy.join("countersign.sysusers.conf"), "/usr/lib/sysusers.d/countersign.conf"),
        (unit, "/etc/systemd/system/countersign-test.service"),
    ] {
        machine.arg(format!("--bind-ro={}:{to}", from.display()));
    }
    machine.args(["--", "systemd.unit=countersign-test.service"]);
    let mut machine = Process::start(&machine);
    let deadline = Instant::now() + Duration::from_secs(super::support::count(180, 3600) as u64);
    let ended = loop {
        if let Some(ended) = machine.ended() {
            break ended;
        }
        assert!(Instant::now() < deadline, "the machine does not switch itself off\n{}", said(out.path()));
        std::thread::sleep(Duration::from_millis(20));
    };
    let said = said(out.path());
    assert!(ended.success(), "inside: {ended}\n{}\n{said}", machine.stderr.text());
    assert!(said.contains("test result: ok. 1 passed"), "the test did not run inside:\n{said}");
}

/// What was said in the machine.
fn said(out: &Path) -> String {
    let read = |name| std::fs::read_to_string(out.join(name)).unwrap_or_default();
    let journal = read("journal.log");
    let last: Vec<&str> = journal.lines().rev().take(30).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    format!("{}\n--- the service's last lines:\n{}", read("test.log"), last.join("\n"))
}

/// Runs the test, keeps what the service said, and switches the machine off with its result.
fn unit_text() -> String {
    let full = std::env::var("COUNTERSIGN_TEST_FULL").unwrap_or_default();
    format!(
        "[Unit]\nSuccessAction=exit\nFailureAction=exit\nSuccessActionExitStatus=0\nFailureActionExitStatus=1\n\
         Requires=sysinit.target\nAfter=sysinit.target\n\
         [Service]\nType=oneshot\nTimeoutStartSec=infinity\n\
         Environment={MARK}=1 RUST_BACKTRACE=0 COUNTERSIGN_TEST_FULL={full}\n\
         ExecStart=/usr/bin/countersign-test --ignored --exact --nocapture {INSIDE}\n\
         ExecStopPost=/bin/sh -c 'journalctl --no-pager --unit countersign.service > /out/journal.log'\n\
         StandardOutput=append:/out/test.log\nStandardError=append:/out/test.log\n"
    )
}

/// A Debian tree of this machine's own release, so that programs built here run there.
fn tree() -> Option<PathBuf> {
    if !rustix::process::geteuid().is_root() {
        missing("root, which systemd-nspawn needs,");
        return None;
    }
    for tool in ["systemd-nspawn", "debootstrap"] {
        let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .chain([PathBuf::from("/usr/sbin")])
            .any(|directory| directory.join(tool).exists());
        if !found {
            missing(tool);
            return None;
        }
    }
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let release = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).unwrap_or("bookworm");
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/systemd-boot");
    let tree = kept.join(release);
    if !tree.is_dir() {
        std::fs::create_dir_all(&kept).unwrap();
        // Made beside and then renamed: one that was interrupted is never taken for a whole one.
        let making = kept.join(format!("{release}.{}", std::process::id()));
        let made = Command::new("debootstrap")
            .args(["--variant=minbase", "--include=systemd,systemd-sysv", release])
            .arg(&making)
            .output()
            .unwrap();
        assert!(made.status.success(), "debootstrap: {}", String::from_utf8_lossy(&made.stdout));
        std::fs::rename(&making, &tree).unwrap();
    }
    Some(tree)
}
