//! A directory is loaded whole or not at all, and all its problems come at once.
#![allow(clippy::unwrap_used, reason = "in tests a broken assumption must end the test")]

use super::*;
use crate::keys::write;
use crate::signature::key::ServiceKey;
use crate::signature::verify::KeyLookup;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

fn key(letter: &str) -> String {
    letter.repeat(64)
}

fn put(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    path
}

fn keys_in(directory: &Path) -> Keys {
    Keys { dir: directory.to_owned(), ..Keys::default() }
}

fn id(text: &str) -> ServiceId {
    ServiceId::parse(text).unwrap()
}

fn fingerprint(table: &KeyTable, id: &str) -> Option<String> {
    match table.lookup(id) {
        KeyLookup::Known(found, keys) => {
            assert_eq!(found.as_str(), id);
            Some(keys.current.fingerprint().to_string())
        }
        KeyLookup::Unknown => None,
        KeyLookup::Unavailable => panic!("unavailable"),
    }
}

fn of(letter: &str) -> Option<String> {
    Some(ServiceKey::from_text(&key(letter)).unwrap().fingerprint().to_string())
}

#[test]
fn every_env_file_is_a_key_and_nothing_else_is() {
    let directory = tempfile::tempdir().unwrap();
    put(directory.path(), "npu-worker.env", &format!("SERVICE_KEY={}", key("a")));
    put(directory.path(), "ai-stack.env", &format!("SERVICE_ID=ai-stack\nSERVICE_KEY={}", key("b")));
    for other in ["README", "npu-worker.env.bak", "npu-worker.env~", ".npu-worker.env.7.new", ".hidden.env"] {
        put(directory.path(), other, "not a key");
    }
    let table = load(&keys_in(directory.path()), None).unwrap().table;
    assert_eq!(table.len(), 2);
    assert_eq!((fingerprint(&table, "npu-worker"), fingerprint(&table, "ai-stack")), (of("a"), of("b")));
    assert_eq!(fingerprint(&table, "nobody"), None);
}

#[test]
fn an_empty_directory_is_an_empty_table_and_a_missing_one_is_an_error_that_helps() {
    let directory = tempfile::tempdir().unwrap();
    assert!(load(&keys_in(directory.path()), None).unwrap().table.is_empty());
    let missing = directory.path().join("keys");
    let problems = load(&keys_in(&missing), None).unwrap_err();
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    assert!(problem.to_string().starts_with(missing.to_str().unwrap()), "{problem}");
    assert!(problem.to_string().contains("countersign keys generate"), "{problem}");
    let file = put(directory.path(), "file", "");
    assert!(matches!(load(&keys_in(&file), None).unwrap_err()[0].fault, KeyFault::Directory(_)));
}

#[test]
fn all_problems_are_told_at_once_and_none_shows_a_key() {
    let directory = tempfile::tempdir().unwrap();
    put(directory.path(), "good.env", &format!("SERVICE_KEY={}", key("a")));
    let open = put(directory.path(), "open.env", &format!("SERVICE_KEY={}", key("a")));
    fs::set_permissions(&open, Permissions::from_mode(0o644)).unwrap();
    put(directory.path(), "short.env", "SERVICE_KEY=aaaaaaaaa");
    put(directory.path(), "other.env", &format!("SERVICE_ID=good\nSERVICE_KEY={}", key("a")));
    put(directory.path(), "-x.env", &format!("SERVICE_KEY={}", key("a")));
    put(directory.path(), "empty.env", "");
    fs::create_dir(directory.path().join("directory.env")).unwrap();
    let problems = load(&keys_in(directory.path()), None).unwrap_err();
    let text = problems.iter().map(|problem| format!("{problem}\n")).collect::<String>();
    for expected in [
        "-x.env: is not named for a service",
        "directory.env: is a directory",
        "empty.env: has no line SERVICE_KEY=",
        "open.env: is open to group or others (mode 0644); run: chmod 600",
        "other.env: SERVICE_ID is good, but the file is named for other",
        "short.env: SERVICE_KEY: the key has 9 characters",
    ] {
        assert!(text.contains(expected), "{expected:?} not in:\n{text}");
    }
    assert_eq!(problems.len(), 6);
    assert!(!text.contains("aaaaaaaa"), "{text}");
}

#[test]
fn the_services_own_key_counts_where_it_is_named_and_else_the_directorys() {
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let own = put(elsewhere.path(), "whatever.env", &format!("SERVICE_KEY={}", key("o")));
    let keys = keys_in(directory.path());
    let environment = OwnKey::Environment(Arc::new(Zeroizing::new(format!("{}\r\n", key("o")))));
    for source in [OwnKey::File(own.clone()), environment] {
        let service = ServiceIdentity { id: id("main-backend"), key: source };
        let table = load(&keys, Some(&service)).unwrap().table;
        assert_eq!(fingerprint(&table, "main-backend"), of("o"));
        assert_eq!(own_key(&keys, &service).unwrap().unwrap().key.fingerprint().to_string(), of("o").unwrap());
    }
    put(directory.path(), "main-backend.env", &format!("SERVICE_KEY={}", key("d")));
    for source in [OwnKey::File(own), OwnKey::Environment(Arc::new(Zeroizing::new(key("c"))))] {
        let service = ServiceIdentity { id: id("main-backend"), key: source };
        let LoadedKeys { table, notes } = load(&keys, Some(&service)).unwrap();
        let used = own_key(&keys, &service).unwrap().unwrap().key.fingerprint().to_string();
        assert_eq!(fingerprint(&table, "main-backend"), Some(used.clone()));
        let told: Vec<&KeyNote> = notes.iter().filter(|note| note.what != KeyRemark::UnusualForm).collect();
        let [note] = told[..] else { panic!("{notes:?}") };
        assert_eq!(note.place, KeyPlace::Path(directory.path().join("main-backend.env")));
        for expected in ["main-backend", "not used", &used, &of("d").unwrap()] {
            assert!(note.to_string().contains(expected), "{expected}: {note}");
        }
    }
    let same =
        ServiceIdentity { id: id("main-backend"), key: OwnKey::Environment(Arc::new(Zeroizing::new(key("d")))) };
    assert_eq!(load(&keys, Some(&same)).unwrap().notes, [], "the same key twice is nothing special");
    let service = ServiceIdentity { id: id("main-backend"), key: OwnKey::Directory };
    assert_eq!(own_key(&keys, &service).unwrap().unwrap().key.fingerprint().to_string(), of("d").unwrap());
}

#[test]
fn an_own_key_that_was_named_must_be_there_and_one_that_was_not_need_not() {
    let directory = tempfile::tempdir().unwrap();
    let keys = keys_in(directory.path());
    let service = ServiceIdentity { id: id("main-backend"), key: OwnKey::Directory };
    assert!(load(&keys, Some(&service)).unwrap().table.is_empty());
    assert!(own_key(&keys, &service).unwrap().is_none());
    let missing = directory.path().join("missing.env");
    let service = ServiceIdentity { id: id("main-backend"), key: OwnKey::File(missing.clone()) };
    let problems = load(&keys, Some(&service)).unwrap_err();
    assert_eq!(problems[0].to_string(), format!("{}: there is no such file", missing.display()));
    let short = OwnKey::Environment(Arc::new(Zeroizing::new("aaaaaaaaa".into())));
    let service = ServiceIdentity { id: id("main-backend"), key: short };
    let problem = load(&keys, Some(&service)).unwrap_err()[0].to_string();
    assert!(problem.starts_with("environment: SERVICE_KEY: the key has 9"), "{problem}");
    // also where the directory has one for it
    let good = put(directory.path(), "main-backend.env", &format!("SERVICE_KEY={}", key("a")));
    let service = ServiceIdentity { id: id("main-backend"), key: OwnKey::File(missing) };
    assert!(matches!(&load(&keys, Some(&service)).unwrap_err()[0].place, KeyPlace::Named(_)));
    // a file of the directory that is named as well is told of once, as the one that is named
    fs::set_permissions(&good, Permissions::from_mode(0o640)).unwrap();
    let service = ServiceIdentity { id: id("main-backend"), key: OwnKey::File(good) };
    let problems = load(&keys, Some(&service)).unwrap_err();
    assert!(problems.len() == 1 && matches!(problems[0].place, KeyPlace::Named(_)), "{problems:?}");
    // a bad file of this service in the directory is one problem, not two
    put(directory.path(), "main-backend.env", "");
    let service = ServiceIdentity { id: id("main-backend"), key: OwnKey::Directory };
    assert_eq!(load(&keys, Some(&service)).unwrap_err().len(), 1);
}

#[test]
fn a_key_that_was_just_made_is_loaded() {
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("keys");
    let written = write::generate(&keys, &id("npu-worker"), false).unwrap();
    let table = load(&keys_in(&keys), None).unwrap().table;
    assert_eq!(fingerprint(&table, "npu-worker"), Some(written.fingerprint.to_string()));
}

#[test]
fn a_key_of_another_form_is_taken_and_told_once_without_being_shown() {
    let directory = tempfile::tempdir().unwrap();
    let path = put(directory.path(), "a.env", &format!("SERVICE_KEY={}", "A".repeat(64)));
    put(directory.path(), "b.env", &format!("SERVICE_KEY={}", "p".repeat(32)));
    put(directory.path(), "c.env", &format!("SERVICE_KEY={}", key("c")));
    for service in [None, Some(ServiceIdentity { id: id("a"), key: OwnKey::File(path) })] {
        let LoadedKeys { table, notes } = load(&keys_in(directory.path()), service.as_ref()).unwrap();
        assert_eq!(table.len(), 3);
        let mut told: Vec<_> = notes.iter().map(ToString::to_string).collect();
        told.sort();
        let [a, b] = &told[..] else { panic!("{told:?}") };
        assert!(a.contains("key of a is not 64 lowercase hex") && b.contains("key of b"), "{told:?}");
        assert!(!told.concat().contains("AAAA") && !told.concat().contains("pppp"), "{told:?}");
    }
}

#[test]
fn a_directory_that_anyone_may_write_to_is_refused_empty_or_not_and_told_once() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("keys");
    fs::create_dir(&directory).unwrap();
    let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    for files in 0..3 {
        for (open, other) in [(&*directory, parent.path()), (parent.path(), &*directory)] {
            set(other, 0o700);
            set(open, 0o777);
            let problems = load(&keys_in(&directory), None).unwrap_err();
            let [problem] = &problems[..] else { panic!("{problems:?}") };
            assert!(matches!(&problem.fault, KeyFault::OpenDirectory { mode: 0o777, open: found } if found == open));
            assert!(problem.to_string().contains(&format!("chmod o-w {}", open.display())), "{problem}");
            set(open, 0o755);
            assert_eq!(load(&keys_in(&directory), None).unwrap().table.len(), files);
        }
        // others cannot replace what is ours there
        set(&directory, 0o1777);
        assert!(load(&keys_in(&directory), None).is_ok());
        put(&directory, &format!("key{files}.env"), &format!("SERVICE_KEY={}", key("a")));
    }
}
