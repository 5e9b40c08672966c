//! The file and those it includes → one [`FileConfig`]: read, parsed, and put together in their order.

use super::diagnostic::SourceFile;
use super::diagnostic::{Diagnostic, Place};
use super::env::Environment;
use super::file::FileConfig;
use super::problems::{Problems, Setting};
use super::watched::Watched;
use super::{include, syntax};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Reads the file and those it includes. What cannot be read is noted, what it would have said is absent.
pub(super) fn read(
    path: &Path,
    environment: &Environment,
    watched: &mut Watched,
    problems: &Problems,
) -> (FileConfig, Vec<Arc<SourceFile>>) {
    // Independent of where the process will be when it reads again.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    watched.add_file(&path);
    let main = match include::read(&path, 0) {
        Ok(file) => Arc::new(file),
        Err(problem) => {
            problems.lose_a_part();
            let place = Place::Path(path.clone());
            problems.add(Diagnostic::error(&place, format!("the configuration file {problem}")));
            return (FileConfig::default(), Vec::new());
        }
    };
    let mut written = syntax::read(&main, environment.home(), false, problems);
    writable_by_all(&main.path, problems);
    let mut files = vec![main];
    for include in std::mem::take(&mut written.include) {
        for path in included(&include, &path, watched, problems) {
            if files.iter().any(|file| file.path == path) {
                continue;
            }
            match include::read(&path, files.len()) {
                Ok(file) => {
                    let file = Arc::new(file);
                    writable_by_all(&file.path, problems);
                    let more = syntax::read(&file, environment.home(), true, problems);
                    written.rules.extend(more.rules);
                    written.services.extend(more.services);
                    files.push(file);
                }
                Err(problem) => {
                    problems.lose_a_part();
                    let message = format!("the included file {} {problem}", path.display());
                    problems.add(Diagnostic::error(&include.place, message));
                }
            }
        }
    }
    (written, files)
}

/// Whoever may write the configuration may switch everything off.
fn writable_by_all(path: &Path, problems: &Problems) {
    let Ok(metadata) = std::fs::metadata(path) else { return };
    if metadata.is_file() && metadata.mode() & 0o002 != 0 {
        let message =
            format!("anyone on this machine may change the configuration (mode {:04o})", metadata.mode() & 0o7777);
        let problem = Diagnostic::warning(&Place::Path(path.to_owned()), message);
        problems.add(problem.fix(format!("chmod o-w {}", path.display())));
    }
}

/// The files that one entry of `include` stands for.
fn included(include: &Setting<String>, main: &Path, watched: &mut Watched, problems: &Problems) -> Vec<PathBuf> {
    let path = main.parent().map_or_else(|| PathBuf::from(&include.value), |base| base.join(&include.value));
    let is_pattern = include::is_pattern(Path::new(&include.value));
    let found = if is_pattern {
        watched.add_pattern(&path);
        include::expand(&path).unwrap_or_else(|error| {
            let message = format!("the files of `include` cannot be listed: {error}");
            problems.add(Diagnostic::error(&include.place, message));
            Vec::new()
        })
    } else {
        watched.add_file(&path);
        vec![path]
    };
    if found.iter().any(|path| path == main) {
        let problem = Diagnostic::error(&include.place, "the file includes itself");
        problems.add(problem.fix("put the included files into a directory of their own, such as `rules.d`"));
    }
    found
}
