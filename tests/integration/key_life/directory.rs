//! What is particular to files: what else stands in them, who may write, links, and the sidecar that watches.

use super::super::support::eventually;
use super::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::process::Command;

fn directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = key_file(directory.path());
    write_private(
        &file,
        &format!("# of VM 22\nexport SERVICE_KEY=\"{KEY_A}\" # since May\nREDIS_HOST=172.16.168.23\n"),
    );
    (directory, file)
}

fn rotate(directory: &Path) -> Output {
    let mut command = countersign();
    command.args(["keys", "rotate", "npu-worker", "--settle", "0s", "--dir"]).arg(directory).output().unwrap()
}

#[test]
fn a_rotation_keeps_what_else_stands_in_the_file_its_mode_and_its_owner() {
    let (directory, file) = directory();
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    if is_root {
        chown(&file, Some(65_534), Some(65_534)).unwrap();
        chown(directory.path(), Some(65_534), Some(65_534)).unwrap();
    }
    let before = std::fs::metadata(&file).unwrap();
    ended(&rotate(directory.path()), 0);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# of VM 22\nexport SERVICE_KEY="), "the same place");
    assert!(
        text.contains("\nREDIS_HOST=172.16.168.23\n") && text.contains(&format!("SERVICE_KEY_PREVIOUS={KEY_A}\n"))
    );
    assert!(!text.contains("SERVICE_KEY_NEXT"), "nothing is staged any more");
    let after = std::fs::metadata(&file).unwrap();
    assert_eq!(after.permissions().mode() & 0o7777, 0o600);
    assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
    let sourced = Command::new("sh").args(["-c", ". \"$0\"; echo ${#SERVICE_KEY}"]).arg(&file).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&sourced.stdout).trim(), "64", "shells read it as before");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left lying around");
}

#[test]
fn a_link_is_not_written_through() {
    let (elsewhere, file) = directory();
    let linked = tempfile::tempdir().unwrap();
    symlink(&file, key_file(linked.path())).unwrap();
    let before = std::fs::read(&file).unwrap();
    assert!(ended(&rotate(linked.path()), 1).contains("symbolic link"));
    assert_eq!(std::fs::read(&file).unwrap(), before);
    let revoke = countersign().args(["keys", "revoke", "npu-worker", "--dir"]).arg(linked.path()).output().unwrap();
    ended(&revoke, 0);
    assert!(!key_file(linked.path()).is_symlink() && file.exists(), "the link goes, what it leads to stays");
    drop(elsewhere);
}

#[test]
fn a_directory_that_cannot_be_written_to_changes_nothing_and_is_named() {
    let (directory, file) = directory();
    // Nothing is forbidden to root: then it is done as somebody else, who owns the directory and cannot write to it.
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let holder = tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o755)).tempdir().unwrap();
    let program = holder.path().join("countersign");
    if is_root {
        std::fs::copy(env!("CARGO_BIN_EXE_countersign"), &program).unwrap();
        chown(&file, Some(65_534), Some(65_534)).unwrap();
        chown(directory.path(), Some(65_534), Some(65_534)).unwrap();
    }
    let command = || {
        if !is_root {
            return countersign();
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&program);
        command
    };
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o500)).unwrap();
    let before = std::fs::read(&file).unwrap();
    for arguments in [&["rotate", "npu-worker"][..], &["revoke", "npu-worker"], &["generate", "x"]] {
        let output = command().arg("keys").args(arguments).arg("--dir").arg(directory.path()).output().unwrap();
        let text = ended(&output, 1);
        assert!(text.contains("ermission denied") && text.contains(directory.path().to_str().unwrap()), "{text}");
        assert_eq!(std::fs::read(&file).unwrap(), before);
    }
}

#[test]
fn a_missing_directory_is_a_matter_of_configuration() {
    let missing = tempfile::tempdir().unwrap().path().join("nowhere");
    for arguments in [&["list"][..], &["rotate", "x"], &["rotate", "--due"], &["revoke", "x"]] {
        let output = countersign().arg("keys").args(arguments).arg("--dir").arg(&missing).output().unwrap();
        assert!(ended(&output, 2).contains("there is no such directory"), "{arguments:?}");
        assert!(!missing.exists());
    }
}

#[test]
fn nothing_is_switched_while_the_sidecar_on_this_machine_cannot_take_the_new_key() {
    let place = Place::each().last().unwrap();
    let upstream = Recorder::plain();
    let sidecar = place.configure(Builder::guarding(upstream.address)).start();
    let Place::Directory(directory) = &place else { return };
    let broken = directory.path().join("broken.env");
    write_private(&broken, "SERVICE_KEY=short\n");
    eventually("a refused reload", || {
        (sidecar.metric("countersign_config_reloads_total", &["result=\"failed\""]) > 0.0).then_some(())
    });
    let config = sidecar.config_path();
    let text = ended(&keys(&config, &["rotate", "npu-worker"]), 1);
    assert!(text.contains("nothing was switched"), "{text}");
    assert_eq!(place.key().as_deref(), Some(KEY_A));
    std::fs::remove_file(&broken).unwrap();
    let resumed = json(&keys(&config, &["rotate", "npu-worker", "--json"]), 0);
    assert_eq!(resumed["resumed"], true, "{resumed}");
}

#[test]
fn a_broken_file_keeps_no_revoked_key_valid_and_no_other_from_being_taken() {
    let place = Place::each().last().unwrap();
    let upstream = Recorder::plain();
    let sidecar = place.configure(Builder::guarding(upstream.address).unlimited()).start();
    let Place::Directory(directory) = &place else { return };
    write_private(&directory.path().join("broken.env"), "SERVICE_KEY=short\n");
    eventually("a refused reload", || {
        (sidecar.metric("countersign_config_reloads_total", &["result=\"failed\""]) > 0.0).then_some(())
    });
    let status = |id, key| {
        let signed = sign::headers(key, id, "GET", PATH);
        exchange(sidecar.address, format!("GET {PATH} HTTP/1.1\r\nHost: a\r\n{signed}\r\n")).status
    };
    assert_eq!(status("npu-worker", KEY_A), 200);
    let others = status("ai-stack", KEY_B);
    ended(&keys(&sidecar.config_path(), &["revoke", "npu-worker"]), 0);
    eventually("the revoked key to be refused", || (status("npu-worker", KEY_A) == 401).then_some(()));
    assert_eq!(status("ai-stack", KEY_B), others, "the others are as they were");
    assert_ne!(others, 401);
    eventually("the record of it", || {
        sidecar.audit().iter().any(|record| record["event"] == "key" && record["why"] == "a key went").then_some(())
    });
}
