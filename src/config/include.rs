//! Which files does a configuration consist of, and what do they hold?
//!
//! `include = ["rules.d/*.toml"]`: paths relative to the including file, in the order they are written; a pattern's
//! matches come in byte order. `*` and `?` stand for parts of one name; names that begin with a dot (an editor's) only match
//! where the dot is written. A pattern may match nothing; a plain path must be there. An included file includes
//! nothing itself.

use super::diagnostic::SourceFile;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

/// No configuration is larger; `/dev/zero` is.
const LARGEST: u64 = 4 << 20;

/// Reads a file as text.
///
/// # Errors
/// What is wrong with it, to follow the file's name.
pub(super) fn read(path: &Path, order: usize) -> Result<SourceFile, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| in_words(&error))?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err("is a directory, not a file".into());
    }
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| in_words(&error))?;
    if bytes.len() as u64 > LARGEST {
        return Err("is larger than 4 MiB: this is no configuration".into());
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(SourceFile::new(path.to_owned(), text, order)),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..good].iter().filter(|byte| **byte == b'\n').count() + 1;
            Err(format!("is not UTF-8 text (line {line})"))
        }
    }
}

fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "does not exist".into(),
        io::ErrorKind::PermissionDenied => "may not be read by this user".into(),
        _ => format!("cannot be read: {error}"),
    }
}

/// Does this path stand for several?
pub(super) fn is_pattern(path: &Path) -> bool {
    path.components().any(|part| matches!(part, Component::Normal(name) if has_wildcard(name.as_encoded_bytes())))
}

fn has_wildcard(name: &[u8]) -> bool {
    name.iter().any(|byte| matches!(byte, b'*' | b'?'))
}

/// The files a pattern matches, in byte order. A directory that is not there has none.
///
/// # Errors
/// When a directory cannot be read.
pub(super) fn expand(pattern: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let Component::Normal(name) = part else {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        };
        let name = name.as_encoded_bytes();
        if !has_wildcard(name) {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        }
        let mut next = Vec::new();
        for directory in found {
            next.extend(matches_in(&directory, name)?);
        }
        found = next;
    }
    found.retain(|path| path.is_file());
    found.sort_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
    Ok(found)
}

fn matches_in(directory: &Path, pattern: &[u8]) -> io::Result<Vec<PathBuf>> {
    let here = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let entries = match here.read_dir() {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(vec![]);
        }
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        if is_match(name.as_encoded_bytes(), pattern) {
            found.push(directory.join(name));
        }
    }
    Ok(found)
}

/// `*`: any bytes, also none; `?`: one byte. Linear: on a mismatch only the last `*` takes one more.
fn is_match(name: &[u8], pattern: &[u8]) -> bool {
    if name.starts_with(b".") && !pattern.starts_with(b".") {
        return false;
    }
    let (mut at, mut want) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at < name.len() {
        match pattern.get(want) {
            Some(b'*') => {
                star = Some((at, want));
                want += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[at] => {
                at += 1;
                want += 1;
            }
            Some(_) | None => match star {
                Some((from, star_at)) => {
                    star = Some((from + 1, star_at));
                    (at, want) = (from + 1, star_at + 1);
                }
                None => return false,
            },
        }
    }
    pattern[want..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_names_as_a_shell_does() {
        for (pattern, name, expected) in [
            ("*.toml", "a.toml", true),
            ("*.toml", ".toml", false),
            ("*.toml", ".a.toml.swp", false),
            ("*.toml", ".a.toml", false),
            (".*.toml", ".a.toml", true),
            ("*.toml", "a.toml~", false),
            ("*.toml", "a.tom", false),
            ("1?-*.toml", "10-npu.toml", true),
            ("1?-*.toml", "1-npu.toml", false),
            ("*", "x", true),
            ("a*b*c", "aXbXbYc", true),
            ("a*b*c", "aXbXbY", false),
            ("**", "x", true),
            ("*aaaaaaaaaaaaaaaaaaaab", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(is_match(name.as_bytes(), pattern.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn matches_come_in_byte_order_and_directories_are_none() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.toml", "a.toml", "B.toml", "10.toml", "9.toml", ".hidden.toml", "c.txt"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        std::fs::create_dir(dir.path().join("d.toml")).unwrap();
        let names: Vec<String> = expand(&dir.path().join("*.toml"))
            .unwrap()
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["10.toml", "9.toml", "B.toml", "a.toml", "b.toml"]);
        assert_eq!(expand(&dir.path().join("nothing.d/*.toml")).unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn what_is_no_text_file_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.toml");
        assert_eq!(read(&path, 0).unwrap_err(), "does not exist");
        assert_eq!(read(dir.path(), 0).unwrap_err(), "is a directory, not a file");
        std::fs::write(&path, b"a = 1\nb = \"\xff\"\n").unwrap();
        assert_eq!(read(&path, 0).unwrap_err(), "is not UTF-8 text (line 2)");
        assert_eq!(read(Path::new("/dev/zero"), 0).unwrap_err(), "is larger than 4 MiB: this is no configuration");
    }
}
