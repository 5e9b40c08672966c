//! All is checked before anything is written, nothing is replaced by accident, and no key is shown.
#![allow(clippy::unwrap_used, reason = "in tests a broken assumption must end the test")]

use super::*;
use crate::config::Keys;
use crate::keys::key_file::KeyFile;
use crate::keys::secret_file::SecretReader;
use crate::keys::store::{DirectoryStore, KeyStore};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

fn put(directory: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

fn key_line(letter: &str) -> String {
    format!("SERVICE_KEY={}\n", letter.repeat(64))
}

/// The text of the key of this service, as a sidecar would read it.
fn text(directory: &Path, id: &str) -> String {
    let file = KeyFile::read(&SecretReader::of_process(), &directory.join(format!("{id}.env"))).unwrap();
    assert_eq!(file.id.unwrap().as_str(), id);
    file.text.to_string()
}

fn failure<T>(result: Result<T, CliError>) -> String {
    match result {
        Err(CliError::Failed(text)) => text,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("done"),
    }
}

fn import(directory: &Path, force: bool, sources: &[&Path], dry_run: bool) -> Result<usize, CliError> {
    let sources: Vec<PathBuf> = sources.iter().map(|path| (*path).to_owned()).collect();
    let target = super::import::Target::Directory(directory.to_owned());
    super::import::import(&target, &sources, force, dry_run).map(|found| found.len())
}

fn generate(directory: &Path, ids: &[String], force: bool) -> Result<usize, CliError> {
    let place = KeyPlace {
        store: KeyStore::Directory(DirectoryStore::new(directory.to_owned(), None)),
        directory: directory.to_owned(),
        keys: Keys::default(),
        config: None,
    };
    let ids = service_ids(ids)?;
    key_source::block_on(super::generate::make(&place, &ids, place.keys.ttl, 1, force)).map(|made| made.len())
}

#[test]
fn generate_makes_one_key_for_each_service_or_none_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("keys");
    let ids = ["npu-worker".to_owned(), "ai-stack".to_owned(), "npu-worker".to_owned()];
    assert_eq!(generate(&keys, &ids, false).unwrap(), 2);
    let before = (text(&keys, "npu-worker"), text(&keys, "ai-stack"));
    assert_ne!(before.0, before.1);
    let more = ["browser-service".to_owned(), "ai-stack".to_owned()];
    let failure = failure(generate(&keys, &more, false));
    assert!(failure.contains("ai-stack.env is there already") && failure.contains("--force"), "{failure}");
    assert_eq!(fs::read_dir(&keys).unwrap().count(), 2, "browser-service was not made either");
    assert_eq!((text(&keys, "npu-worker"), text(&keys, "ai-stack")), before);
    generate(&keys, &more, true).unwrap();
    assert_ne!(text(&keys, "ai-stack"), before.1);
}

#[test]
fn generate_refuses_what_is_no_service_id() {
    let directory = tempfile::tempdir().unwrap();
    for id in ["", "../x", "a:b", "-a", "a b"] {
        let result = generate(directory.path(), &["good".into(), id.into()], true);
        assert!(matches!(result, Err(CliError::Usage(_))), "{id:?}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn import_takes_directories_and_files_and_makes_them_private() {
    let directory = tempfile::tempdir().unwrap();
    let fleet = directory.path().join("fleet");
    fs::create_dir(&fleet).unwrap();
    put(&fleet, "npu-worker.env", &format!("{}REDIS_PASSWORD=zzz\n", key_line("a")), 0o644);
    put(&fleet, "ai-stack.env", &format!("SERVICE_ID=ai-stack\r\nexport {}", key_line("b")), 0o600);
    put(&fleet, "notes.txt", "nothing", 0o600);
    let single = put(directory.path(), ".env", &format!("SERVICE_ID=main-backend\n{}", key_line("c")), 0o600);
    let keys = directory.path().join("keys");
    assert_eq!(import(&keys, false, &[&fleet, &single], true).unwrap(), 3);
    assert!(!keys.exists(), "a dry run writes nothing");
    assert_eq!(import(&keys, false, &[&fleet, &single], false).unwrap(), 3);
    for (id, letter) in [("npu-worker", "a"), ("ai-stack", "b"), ("main-backend", "c")] {
        assert_eq!(text(&keys, id), letter.repeat(64));
        let file = keys.join(format!("{id}.env"));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
        assert!(!fs::read_to_string(&file).unwrap().contains("REDIS"), "only the key is taken over");
    }
    assert_eq!(fs::read_dir(&keys).unwrap().count(), 3);
    // once more: nothing to do, and nothing is touched
    let before = fs::metadata(keys.join("ai-stack.env")).unwrap().modified().unwrap();
    import(&keys, false, &[&fleet], false).unwrap();
    assert_eq!(fs::metadata(keys.join("ai-stack.env")).unwrap().modified().unwrap(), before);
}

#[test]
fn import_reports_every_problem_and_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let fleet = directory.path().join("fleet");
    fs::create_dir(&fleet).unwrap();
    put(&fleet, "good.env", &key_line("a"), 0o600);
    put(&fleet, "short.env", "SERVICE_KEY=aaaaaaaaa", 0o600);
    put(&fleet, "other.env", &format!("SERVICE_ID=good2\n{}", key_line("a")), 0o600);
    put(&fleet, "-x.env", &key_line("a"), 0o600);
    let twice = put(directory.path(), "good.env", &key_line("b"), 0o600);
    let empty = directory.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let missing = directory.path().join("missing.env");
    let keys = directory.path().join("keys");
    let text = failure(import(&keys, false, &[&fleet, &twice, &empty, &missing], false));
    for expected in [
        "short.env: SERVICE_KEY: the key has 9 characters",
        "other.env: SERVICE_ID is good2, but the file is named for other",
        "-x.env: has no SERVICE_ID, and is not named for a service",
        "give different keys for good",
        "empty: holds no *.env file",
        "missing.env: there is no such file",
        "nothing was written",
    ] {
        assert!(text.contains(expected), "{expected:?} not in:\n{text}");
    }
    assert!(!text.contains("aaaaaaaa") && !text.contains("bbbbbbbb"), "{text}");
    assert!(!keys.exists());
}

#[test]
fn import_replaces_another_key_only_with_force() {
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("keys");
    let source = put(directory.path(), "npu-worker.env", &key_line("a"), 0o600);
    import(&keys, false, &[&source], false).unwrap();
    fs::write(&source, key_line("b")).unwrap();
    let message = failure(import(&keys, false, &[&source], false));
    assert!(message.contains("is there already with another key") && message.contains("--force"), "{message}");
    assert_eq!(text(&keys, "npu-worker"), "a".repeat(64));
    import(&keys, true, &[&source], false).unwrap();
    assert_eq!(text(&keys, "npu-worker"), "b".repeat(64));
}
