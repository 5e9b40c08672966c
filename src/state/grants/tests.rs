//! What is kept comes back, and what cannot be relied on grants nothing.

use super::*;
use crate::policy::grants::{Grant, GrantId, GrantScope, GrantTerms, GrantToken};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

const NOW: u64 = 1_759_742_876;

fn table() -> GrantTable {
    let now = (NOW, Instant::now());
    let grants = [("/api/npu", Some("POST"), Some(5)), ("=/api/\"x\"", None, None)];
    let grants = (1..).zip(grants).map(|(number, (path, method, uses))| {
        let scope = GrantScope::new(path, method).unwrap();
        let terms = GrantTerms::new(scope, Duration::from_secs(60), uses, "why \"so\" é", "uid:1000", NOW).unwrap();
        Arc::new(Grant::new(GrantId::from_random([number; 6]), token(number).hash(), terms, 0, now))
    });
    GrantTable::new(grants.collect()).unwrap()
}

fn token(number: u8) -> GrantToken {
    GrantToken::from_random(&[number; 32])
}

fn read(directory: &tempfile::TempDir) -> Result<GrantTable, GrantFileFault> {
    GrantFile::of(directory.path()).read((NOW, Instant::now()))
}

fn write(directory: &tempfile::TempDir, text: &str) {
    GrantFile::of(directory.path()).write(text).unwrap();
}

#[test]
fn grants_come_back_with_their_uses_and_the_file_holds_no_token() {
    let directory = tempfile::tempdir().unwrap();
    let table = table();
    assert!(table.find(&token(1).hash()).unwrap().take_use());
    write(&directory, &to_text(&table));
    let found = read(&directory).unwrap();
    assert_eq!(to_text(&found), to_text(&table));
    let grant = found.find(&token(1).hash()).unwrap();
    assert_eq!((grant.uses_left(), grant.used(), &*grant.terms().by), (Some(4), 1, "uid:1000"));
    let path = directory.path().join(GRANTS_FILE);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("cso_") && !text.contains(&token(1).reveal()[4..]));
}

#[test]
fn no_file_is_no_grants() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(read(&directory).unwrap().iter().len(), 0);
}

#[test]
fn every_shorter_prefix_of_the_file_is_corrupt() {
    let directory = tempfile::tempdir().unwrap();
    let text = to_text(&table());
    for end in (0..text.len() - 1).filter(|end| text.is_char_boundary(*end)) {
        write(&directory, &text[..end]);
        assert!(matches!(read(&directory), Err(GrantFileFault::Corrupt { .. })), "{end}");
    }
}

#[test]
fn what_nobody_could_have_been_granted_is_corrupt_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let text = to_text(&table());
    let expires = (NOW + 60).to_string();
    for (from, to) in [
        ("\"version\":1", "\"version\":0"),
        ("\"used\":0", "\"used\":-1"),
        ("\"used\":0", "\"used\":0,\"more\":1"),
        ("\"uses\":5", "\"uses\":0"),
        ("/api/npu", "api/npu"),
        ("\"POST\"", "\"post\""),
        (&*token(1).hash().to_hex(), &token(1).hash().to_hex().to_uppercase()),
        (&*token(1).hash().to_hex(), &token(2).hash().to_hex()),
        ("010101010101", "020202020202"),
        ("010101010101", "01"),
        (&expires, "99999999999"),
        (&expires, "0"),
        ("why ", ""),
    ] {
        let changed = text.replacen(from, to, 1);
        if from == "why " {
            write(&directory, &text.replacen("why \\\"so\\\" é", "", 1));
        } else {
            assert_ne!(changed, text, "{from}");
            write(&directory, &changed);
        }
        assert!(matches!(read(&directory), Err(GrantFileFault::Corrupt { .. })), "{from} {to}");
    }
}

#[test]
fn a_newer_version_is_not_guessed_at() {
    let directory = tempfile::tempdir().unwrap();
    write(&directory, "{\"version\":2,\"grants\":{\"of\":\"another form\"}}");
    assert!(matches!(read(&directory), Err(GrantFileFault::Newer(_))));
}

#[test]
fn a_file_that_others_may_touch_is_not_taken() {
    let directory = tempfile::tempdir().unwrap();
    write(&directory, &to_text(&table()));
    let path = directory.path().join(GRANTS_FILE);
    for mode in [0o640, 0o604, 0o620, 0o602] {
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        assert!(matches!(read(&directory), Err(GrantFileFault::Open { .. })), "{mode:o}");
    }
}

#[test]
fn a_link_a_directory_and_bytes_are_no_file_of_grants() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(GRANTS_FILE);
    let elsewhere = directory.path().join("elsewhere");
    write(&directory, &to_text(&table()));
    std::fs::rename(&path, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    assert!(matches!(read(&directory), Err(GrantFileFault::Unreadable { .. })), "a link");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(read(&directory).is_err(), "a directory");
    std::fs::remove_dir(&path).unwrap();
    write(&directory, "");
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(matches!(read(&directory), Err(GrantFileFault::Unreadable { .. })), "bytes");
}
