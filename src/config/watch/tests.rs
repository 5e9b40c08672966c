//! Every way in which editors and tools change a file, seen by the real watch. Nothing sleeps: a change must come
//! within a deadline; that none comes is shown by the next one naming only what changed since.

use super::*;
use crate::config::check::{Loaded, Overrides, Purpose, load};
use crate::config::env::Environment;
use std::path::Path;
use tokio::sync::mpsc::Receiver;

const DEADLINE: Duration = Duration::from_secs(30);
const TEXT: &str = "include = [\"rules.d/*.toml\"]\n[inbound]\nlisten = \"127.0.0.1:0\"\nupstream = \"http://127.0.0.1:1\"\n\
                    [keys]\ndir = \"keys\"\n[audit]\nfile = \"stdout\"\n[[rule]]\npaths = [\"/x\"]\naccess = \"service\"\n";

struct Watched {
    dir: tempfile::TempDir,
    watcher: Watcher,
    changes: Receiver<Changed>,
    last: Vec<PathBuf>,
}

fn loaded(path: &Path) -> Loaded {
    let environment = Environment { root: true, ..Environment::default() };
    load(Some(path), &environment, &Overrides::default(), Purpose::Inspect).unwrap()
}

fn watched() -> Watched {
    let dir = tempfile::tempdir().unwrap();
    for below in ["rules.d", "keys"] {
        std::fs::create_dir(dir.path().join(below)).unwrap();
    }
    std::fs::write(dir.path().join("c.toml"), TEXT).unwrap();
    let (watcher, changes) = Watcher::start(loaded(&dir.path().join("c.toml")).watched).unwrap();
    Watched { dir, watcher, changes, last: Vec::new() }
}

impl Watched {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// The next change must concern exactly these. What was seen last may come once more: on a machine that is busy enough a
    /// file is seen between being emptied and being written.
    async fn sees(&mut self, names: &[&str]) {
        let expected: Vec<PathBuf> = names.iter().map(|name| self.path(name)).collect();
        loop {
            let change =
                tokio::time::timeout(DEADLINE, self.changes.recv()).await.expect("no change was seen").unwrap();
            if change.paths == expected {
                self.last = change.paths;
                return;
            }
            assert_eq!(change.paths, self.last, "expected {expected:?}");
        }
    }
}

#[tokio::test]
async fn writing_renaming_truncating_and_deleting_are_seen() {
    let mut watched = watched();
    watched.write("c.toml", &format!("{TEXT}# edited\n"));
    watched.sees(&["c.toml"]).await;
    watched.write("new", &format!("{TEXT}# renamed over\n"));
    std::fs::rename(watched.path("new"), watched.path("c.toml")).unwrap();
    watched.sees(&["c.toml"]).await;
    watched.write("c.toml", "");
    watched.sees(&["c.toml"]).await;
    std::fs::remove_file(watched.path("c.toml")).unwrap();
    watched.sees(&["c.toml"]).await;
    watched.write("c.toml", TEXT);
    watched.sees(&["c.toml"]).await;
}

#[tokio::test]
async fn included_files_and_keys_that_come_and_go_are_seen() {
    let mut watched = watched();
    watched.write("rules.d/a.toml", "");
    watched.sees(&["rules.d/a.toml"]).await;
    watched.write("keys/x.env", "SERVICE_KEY=a\n");
    watched.sees(&["keys/x.env"]).await;
    // A key being written, and an editor's own files, are nobody's business.
    watched.write("keys/.x.env.tmp", "a");
    watched.write("rules.d/.a.toml.swp", "a");
    watched.write("audit.jsonl", "a");
    watched.write("keys/x.env", "SERVICE_KEY=b\n");
    watched.sees(&["keys/x.env"]).await;
    std::fs::remove_file(watched.path("rules.d/a.toml")).unwrap();
    watched.sees(&["rules.d/a.toml"]).await;
}

#[tokio::test]
async fn a_mode_that_changes_is_a_change_and_a_touch_is_none() {
    use std::os::unix::fs::PermissionsExt;
    let mut watched = watched();
    watched.write("c.toml", TEXT);
    std::fs::set_permissions(watched.path("c.toml"), std::fs::Permissions::from_mode(0o640)).unwrap();
    watched.sees(&["c.toml"]).await;
    watched.write("c.toml", TEXT);
    watched.write("keys/x.env", "");
    watched.sees(&["keys/x.env"]).await;
}

#[tokio::test]
async fn a_symlinked_directory_that_is_swapped_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    for (version, text) in [("v1", TEXT.to_owned()), ("v2", format!("{TEXT}# 2\n")), ("v3", format!("{TEXT}# 3\n"))] {
        std::fs::create_dir(dir.path().join(version)).unwrap();
        std::fs::write(dir.path().join(version).join("c.toml"), text).unwrap();
    }
    let link = |version: &str| {
        std::os::unix::fs::symlink(version, dir.path().join("next")).unwrap();
        std::fs::rename(dir.path().join("next"), dir.path().join("current")).unwrap();
    };
    link("v1");
    let path = dir.path().join("current/c.toml");
    let (_watcher, mut changes) = Watcher::start(loaded(&path).watched).unwrap();
    for version in ["v2", "v3"] {
        link(version);
        let change = tokio::time::timeout(DEADLINE, changes.recv()).await.expect("no change was seen").unwrap();
        assert_eq!(change.paths, std::slice::from_ref(&path));
    }
}

#[tokio::test]
async fn an_edit_between_the_load_and_the_watch_is_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    std::fs::write(&path, TEXT).unwrap();
    let loaded = loaded(&path);
    std::fs::write(&path, format!("{TEXT}# edited\n")).unwrap();
    let (_watcher, mut changes) = Watcher::start(loaded.watched).unwrap();
    let change = tokio::time::timeout(DEADLINE, changes.recv()).await.expect("no change was seen").unwrap();
    assert_eq!(change.paths, [path]);
}

#[tokio::test]
async fn after_a_reload_what_is_new_is_watched() {
    let mut watched = watched();
    watched.write("more.toml", "");
    watched.write("c.toml", &TEXT.replace("include = [", "include = [\"more.toml\", "));
    watched.sees(&["c.toml"]).await;
    watched.watcher.watch(loaded(&watched.path("c.toml")).watched);
    watched.write("more.toml", "# edited\n");
    watched.sees(&["more.toml"]).await;
}

#[tokio::test]
async fn a_hundred_writes_are_few_changes_and_the_last_one_counts() {
    let mut watched = watched();
    for round in 0..100 {
        watched.write("c.toml", &format!("{TEXT}# {round}\n"));
    }
    watched.sees(&["c.toml"]).await;
    // What was seen is the end of it: the next change is another one.
    watched.write("keys/x.env", "");
    watched.sees(&["keys/x.env"]).await;
}

#[tokio::test]
async fn a_dropped_watch_ends_its_thread() {
    let Watched { watcher, mut changes, dir, .. } = watched();
    drop(watcher);
    assert!(tokio::time::timeout(DEADLINE, changes.recv()).await.unwrap().is_none());
    drop(dir);
}
