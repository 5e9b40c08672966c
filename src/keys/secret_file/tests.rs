//! What is read, and every way in which a file must not be trusted.
#![allow(clippy::unwrap_used, reason = "in tests a broken assumption must end the test")]

use super::*;
use std::fs::{self, Permissions};
use std::os::unix::fs::{chown, symlink};

fn reader() -> SecretReader {
    SecretReader { uid: rustix::process::geteuid().as_raw(), credentials: None }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A directory for one test, with a good secret in it.
fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret.env");
    fs::write(&path, "text").unwrap();
    mode(&path, 0o600);
    (directory, path)
}

fn fault(path: &Path) -> SecretFileFault {
    reader().read(path).unwrap_err()
}

#[test]
fn a_private_file_is_read() {
    let (_directory, path) = place();
    for private in [0o600, 0o400, 0o700] {
        mode(&path, private);
        assert_eq!(&**reader().read(&path).unwrap(), "text");
    }
}

#[test]
fn a_file_open_to_group_or_others_is_refused_with_the_command_that_mends_it() {
    let (_directory, path) = place();
    for open in [0o640, 0o604, 0o620, 0o601, 0o644, 0o666, 0o777, 0o660, 0o610] {
        mode(&path, open);
        let text = fault(&path).to_string();
        assert!(text.contains(&format!("mode {open:04o}")), "{text}");
        assert!(text.contains(&format!("chmod 600 {}", path.display())), "{text}");
    }
}

#[test]
fn what_is_no_regular_file_is_refused_and_nothing_waits_for_it() {
    let (directory, _) = place();
    let fifo = directory.path().join("fifo.env");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let socket = directory.path().join("socket.env");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for (path, kind) in [
        (fifo.as_path(), "a FIFO"),
        (directory.path(), "a directory"),
        (&socket, "a socket"),
        (Path::new("/dev/zero"), "a device"),
    ] {
        let text = fault(path).to_string();
        assert!(text.contains(kind), "{text}");
    }
}

#[test]
fn a_missing_file_and_a_link_to_nowhere_are_missing() {
    let (directory, _) = place();
    let link = directory.path().join("link.env");
    symlink("nowhere", &link).unwrap();
    assert!(matches!(fault(&link), SecretFileFault::Missing));
    assert!(matches!(fault(&directory.path().join("nothing.env")), SecretFileFault::Missing));
    symlink("round.env", directory.path().join("round.env")).unwrap();
    assert!(matches!(fault(&directory.path().join("round.env")), SecretFileFault::Io(_)));
}

#[test]
fn links_within_private_directories_are_followed() {
    let (directory, path) = place();
    // as an orchestrator mounts secrets: name -> ..data/name, ..data -> a dated directory
    let dated = directory.path().join("..2026");
    fs::create_dir(&dated).unwrap();
    fs::rename(&path, dated.join("secret.env")).unwrap();
    symlink("..2026", directory.path().join("..data")).unwrap();
    symlink("..data/secret.env", &path).unwrap();
    assert_eq!(&**reader().read(&path).unwrap(), "text");
}

#[test]
fn a_link_into_a_place_that_all_may_write_to_is_refused_sticky_or_not() {
    for open in [0o777, 0o1777] {
        let (directory, path) = place();
        let shared = directory.path().join("shared");
        fs::create_dir(&shared).unwrap();
        fs::rename(&path, shared.join("secret.env")).unwrap();
        symlink(shared.join("secret.env"), &path).unwrap();
        mode(&shared, open);
        let text = fault(&path).to_string();
        assert!(text.contains(shared.to_str().unwrap()) && text.contains("anyone may write"), "{text}");
        mode(&shared, 0o755);
        assert!(reader().read(&path).is_ok());
    }
}

#[test]
fn a_file_below_a_directory_that_all_may_write_to_is_refused() {
    let (directory, path) = place();
    let inner = directory.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let moved = inner.join("secret.env");
    fs::rename(&path, &moved).unwrap();
    for (at, open, refused) in
        [(&*inner, 0o777, true), (directory.path(), 0o777, true), (&inner, 0o1777, false), (&inner, 0o755, false)]
    {
        mode(at, open);
        assert_eq!(reader().read(&moved).is_err(), refused, "{} {open:o}", at.display());
        mode(at, 0o700);
    }
    // also where only the way to the link is open
    let link = directory.path().join("link");
    symlink(&inner, &link).unwrap();
    mode(directory.path(), 0o777);
    assert!(matches!(fault(&link.join("secret.env")), SecretFileFault::WritableByAll { .. }));
}

#[test]
fn a_file_of_somebody_else_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return; // only root can give files away
    }
    let (directory, path) = place();
    chown(&path, Some(12345), None).unwrap();
    let text = fault(&path).to_string();
    assert!(text.contains("belongs to uid 12345, expected 0"), "{text}");
    // root reads on behalf of whoever owns the directory
    chown(directory.path(), Some(12345), None).unwrap();
    assert!(reader().read(&path).is_ok());
    // another user's own files, and root's
    let other = SecretReader { uid: 12345, credentials: None };
    assert!(other.read(&path).is_ok());
    chown(&path, Some(0), None).unwrap();
    assert!(other.read(&path).is_ok());
    chown(&path, Some(54321), None).unwrap();
    assert!(matches!(other.read(&path), Err(SecretFileFault::ForeignOwner { owner: 54321, reader: 12345, .. })));
}

#[test]
fn what_the_service_manager_handed_over_is_read_as_it_shows_it() {
    let (directory, path) = place();
    mode(&path, 0o440);
    assert!(reader().read(&path).is_err());
    let with = SecretReader { credentials: Some(directory.path().to_owned()), ..reader() };
    assert_eq!(&**with.read(&path).unwrap(), "text");
    // a neighbour is no credential, and neither is what a link in the directory leads out to
    let (_elsewhere, outside) = place();
    mode(&outside, 0o440);
    assert!(with.read(&outside).is_err());
    let link = directory.path().join("link");
    symlink(&outside, &link).unwrap();
    assert!(with.read(&link).is_err());
}

#[test]
fn what_is_too_large_or_no_text_is_refused() {
    let (_directory, path) = place();
    fs::write(&path, vec![b'a'; LARGEST as usize]).unwrap();
    assert!(reader().read(&path).is_ok());
    fs::write(&path, vec![b'a'; LARGEST as usize + 1]).unwrap();
    assert!(matches!(fault(&path), SecretFileFault::TooLarge));
    fs::write(&path, b"\xff\xfe").unwrap();
    assert!(matches!(fault(&path), SecretFileFault::NotText));
}

#[test]
fn what_is_only_copied_may_be_open_and_that_is_said() {
    let (directory, path) = place();
    mode(&path, 0o644);
    let (text, fault) = reader().read_anyway(&path).unwrap();
    assert_eq!(&**text, "text");
    assert!(matches!(fault, Some(SecretFileFault::OpenToOthers { mode: 0o644, .. })));
    mode(&path, 0o600);
    assert!(reader().read_anyway(&path).unwrap().1.is_none());
    assert!(reader().read_anyway(directory.path()).is_err());
}
