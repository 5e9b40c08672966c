//! Could the audit file be written? Asked without making anything, so that the answer stands in the same list as every other problem.
//!
//! 1. Where the file is there, it must be no directory, and we must be allowed to write to it.
//! 2. Else the nearest directory above that is there must be one, in which we may make what is missing.
//!
//! What is only a matter of rights is a warning for `check`, which another user runs than the sidecar's. The start opens the file
//! all the same: between here and there everything may change.

use super::AuditSink;
use super::check::Purpose;
use super::diagnostic::{Diagnostic, Place};
use super::problems::Problems;
use rustix::fs::Access;
use std::path::Path;

/// Notes what stands in the way. `said`: where the file is named; nowhere, when it is the default one.
pub(super) fn check(sink: &AuditSink, said: Option<Place>, purpose: Purpose, problems: &Problems) {
    let AuditSink::File(path) = sink else { return };
    if purpose == Purpose::Inspect {
        return;
    }
    let place = said.unwrap_or_else(|| Place::Path(path.clone()));
    let message = |what: String| format!("the audit file {} {what}", path.display());
    let fix = "name a file in a directory that the sidecar may write to (`audit.file`, --audit)";
    match obstacle(path) {
        None => {}
        Some(Obstacle::Kind(what)) => problems.add(Diagnostic::error(&place, message(what)).fix(fix)),
        Some(Obstacle::Rights(what)) if purpose == Purpose::Check => {
            problems.add(Diagnostic::warning(&place, message(format!("{what} (as this user)"))).fix(fix));
        }
        Some(Obstacle::Rights(what)) => problems.add(Diagnostic::error(&place, message(what)).fix(fix)),
    }
}

enum Obstacle {
    /// What is there is of another kind.
    Kind(String),
    /// We may not.
    Rights(String),
}

fn obstacle(path: &Path) -> Option<Obstacle> {
    if path.is_dir() {
        return Some(Obstacle::Kind("is a directory; expected the path of a file".into()));
    }
    if path.exists() {
        let error = rustix::fs::access(path, Access::WRITE_OK).err()?;
        return Some(Obstacle::Rights(format!("cannot be written to: {error}")));
    }
    // A link to nowhere yet: the file it names is made, as far as its directory is there.
    let above = path.ancestors().skip(1).find(|above| above.exists() || above.is_symlink())?;
    let shown = above.display();
    if !above.is_dir() {
        return Some(Obstacle::Kind(format!("cannot be made: {shown} is not a directory")));
    }
    let error = rustix::fs::access(above, Access::WRITE_OK | Access::EXEC_OK).err()?;
    Some(Obstacle::Rights(format!("cannot be made in {shown}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::diagnostic::Severity;

    fn told(path: &Path, purpose: Purpose) -> Vec<(Severity, String)> {
        let problems = Problems::default();
        check(&AuditSink::File(path.to_owned()), None, purpose, &problems);
        problems.into_list().into_iter().map(|problem| (problem.severity, problem.message)).collect()
    }

    #[test]
    fn a_file_that_is_there_or_can_be_made_is_no_problem_and_nothing_is_made() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("audit.jsonl");
        let deep = directory.path().join("a/b/audit.jsonl");
        for path in [&file, &deep] {
            assert_eq!(told(path, Purpose::Run), []);
            assert!(!path.exists() && !directory.path().join("a").exists());
        }
        std::fs::write(&file, "").unwrap();
        assert_eq!(told(&file, Purpose::Check), []);
        let problems = Problems::default();
        check(&AuditSink::Stdout, None, Purpose::Run, &problems);
        assert_eq!(problems.len(), 0);
    }

    #[test]
    fn what_is_of_another_kind_is_an_error_for_check_too() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("file"), "").unwrap();
        for purpose in [Purpose::Run, Purpose::Check] {
            for (path, expected) in [
                (directory.path().to_owned(), "is a directory"),
                (directory.path().join("file/a/b"), "file is not a directory"),
            ] {
                let [(Severity::Error, message)] = &told(&path, purpose)[..] else { panic!("{}", path.display()) };
                assert!(message.contains(expected), "{message}");
            }
        }
        assert_eq!(told(&directory.path().join("file/a"), Purpose::Inspect), []);
    }

    #[test]
    fn what_this_user_may_not_is_an_error_for_run_and_a_warning_for_check() {
        // Nobody may make anything there, not even root.
        let path = Path::new("/proc/self/countersign/audit.jsonl");
        assert!(matches!(&told(path, Purpose::Run)[..], [(Severity::Error, _)]));
        assert!(matches!(&told(path, Purpose::Check)[..], [(Severity::Warning, _)]));
    }
}
