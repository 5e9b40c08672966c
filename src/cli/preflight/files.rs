//! Who may read the `.env` files? Those in the key directory, beside it, and beside the configuration; and the file this machine's own
//! key is in.
//!
//! A file counts when a line of it sets something that is called a key, a password, a token or a secret: also those of other
//! programs, which read the same files. What this user may not read is not open to everybody either.

use crate::config::{Config, OwnKey};
use crate::rollout::gates::figures::{EnvFiles, Fact};
use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Looks at all of them.
pub(super) fn look(config: &Config, file: &Path) -> Fact<EnvFiles> {
    let mut paths = BTreeSet::new();
    let beside = [Some(config.keys.dir.as_path()), config.keys.dir.parent(), file.parent()];
    for directory in beside.into_iter().flatten() {
        match env_files(directory) {
            Ok(found) => paths.extend(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("cannot look into {}: {error}", directory.display())),
        }
    }
    if let Some(OwnKey::File(path)) = config.service.as_ref().map(|service| &service.key) {
        paths.insert(path.clone());
    }
    let mut found = EnvFiles::default();
    for path in paths {
        let mode = match std::fs::metadata(&path) {
            Ok(meta) if meta.is_file() => meta.permissions().mode() & 0o7777,
            Ok(_) => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(format!("cannot look at {}: {error}", path.display())),
        };
        let has_secrets = match std::fs::read(&path) {
            Ok(bytes) => holds_secrets(&String::from_utf8_lossy(&Zeroizing::new(bytes))),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => true,
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        };
        if !has_secrets {
            continue;
        }
        found.with_secrets += 1;
        if mode & OTHERS != 0 {
            found.open.push(format!("{} has mode {mode:04o}", path.display()));
        }
    }
    Ok(found)
}

/// Read or write, for everybody.
const OTHERS: u32 = 0o006;

fn env_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        if name.ends_with(b".env") || name.starts_with(b".env.") {
            found.push(path);
        }
    }
    Ok(found)
}

/// Does a line set something that is called a secret? `..._FILE` only names a place.
fn holds_secrets(text: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=') else { return false };
        let name = name.trim().to_ascii_uppercase();
        let is_secret = ["KEY", "PASSWORD", "TOKEN", "SECRET"].iter().any(|word| name.contains(word));
        let is_set = !matches!(value.trim(), "" | "\"\"" | "''");
        !line.starts_with('#') && is_secret && !name.ends_with("_FILE") && is_set
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_called_a_secret_and_set_is_one() {
        for text in ["SERVICE_KEY=a", "# x\nexport redis_password = 'x'", "A=1\r\nAPI_TOKEN=x", "MY_SECRET=x"] {
            assert!(holds_secrets(text), "{text}");
        }
        for text in
            ["", "SERVICE_ID=a", "SERVICE_KEY=", "# SERVICE_KEY=a", "SERVICE_KEY_FILE=/x", "REDIS_PASSWORD=\"\""]
        {
            assert!(!holds_secrets(text), "{text}");
        }
    }
}
