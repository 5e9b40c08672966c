//! Whole or not at all, private from the first moment, never over another by accident.
#![allow(clippy::unwrap_used, reason = "in tests a broken assumption must end the test")]

use super::*;
use crate::keys::key_file::KeyFile;
use crate::keys::secret_file::SecretReader;
use std::os::unix::fs::PermissionsExt;

fn id(text: &str) -> ServiceId {
    ServiceId::parse(text).unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_new_key_is_256_bits_in_64_hex_digits_in_a_private_file() {
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("a/keys");
    let written = generate(&keys, &id("npu-worker"), false).unwrap();
    assert_eq!(written.path, keys.join("npu-worker.env"));
    assert_eq!((mode(&keys), mode(&written.path)), (0o700, 0o600));
    let file = KeyFile::read(&SecretReader::of_process(), &written.path).unwrap();
    assert_eq!(file.id, Some(id("npu-worker")));
    assert_eq!(file.key.fingerprint(), written.fingerprint);
    assert_eq!(file.text.len(), 64);
    assert!(file.text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
    let other = generate(&keys, &id("ai-stack"), false).unwrap();
    assert_ne!(other.fingerprint, written.fingerprint);
    assert_eq!(std::fs::read_dir(&keys).unwrap().count(), 2, "nothing is left lying around");
}

#[test]
fn a_key_that_is_there_is_replaced_only_on_demand() {
    let directory = tempfile::tempdir().unwrap();
    let first = generate(directory.path(), &id("npu-worker"), false).unwrap();
    let before = std::fs::read(&first.path).unwrap();
    let fault = generate(directory.path(), &id("npu-worker"), false).unwrap_err();
    assert!(matches!(&fault, WriteFault::Exists(path) if *path == first.path), "{fault}");
    assert!(fault.to_string().contains("--force"), "{fault}");
    assert_eq!(std::fs::read(&first.path).unwrap(), before);
    let second = generate(directory.path(), &id("npu-worker"), true).unwrap();
    assert_ne!(second.fingerprint, first.fingerprint);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left lying around");
}

#[test]
fn what_stands_in_the_place_of_a_key_is_not_written_through() {
    let directory = tempfile::tempdir().unwrap();
    let victim = directory.path().join("victim");
    std::fs::write(&victim, "before").unwrap();
    let place = key_path(directory.path(), &id("npu-worker"));
    std::os::unix::fs::symlink(&victim, &place).unwrap();
    assert!(matches!(generate(directory.path(), &id("npu-worker"), false), Err(WriteFault::Exists(_))));
    generate(directory.path(), &id("npu-worker"), true).unwrap();
    assert_eq!(std::fs::read(&victim).unwrap(), b"before");
    assert!(!std::fs::symlink_metadata(&place).unwrap().is_symlink());
}

#[test]
fn what_a_killed_process_left_behind_is_in_nobodys_way() {
    let directory = tempfile::tempdir().unwrap();
    let left = directory.path().join(format!(".npu-worker.env.{}.new", std::process::id()));
    std::fs::write(&left, "half").unwrap();
    std::fs::set_permissions(&left, PermissionsExt::from_mode(0o666)).unwrap();
    let written = generate(directory.path(), &id("npu-worker"), false).unwrap();
    assert_eq!(mode(&written.path), 0o600);
    assert!(!left.exists());
}

#[test]
fn a_text_that_is_no_key_and_a_place_that_is_no_directory_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let fault = write(directory.path(), &id("a"), "aaaaaaaaa", None, false).unwrap_err().to_string();
    assert!(fault.contains("9 characters") && !fault.contains("aaaa"), "{fault}");
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    for place in [file.clone(), file.join("below")] {
        let fault = generate(&place, &id("a"), false).unwrap_err().to_string();
        assert!(fault.contains("file"), "{fault}");
    }
}

#[test]
fn root_writes_for_whoever_owns_the_directory() {
    if !rustix::process::geteuid().is_root() {
        return; // only root can give files away
    }
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(directory.path(), Some(12345), Some(54321)).unwrap();
    let written = generate(directory.path(), &id("a"), false).unwrap();
    let found = std::fs::metadata(&written.path).unwrap();
    assert_eq!((found.uid(), found.gid(), mode(&written.path)), (12345, 54321, 0o600));
}
