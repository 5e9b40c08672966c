//! What a sidecar says of its keys in its state directory: [`USAGE`], who used which last, and [`IN_USE`], which it takes now.
//!
//! Both are for the commands on the same machine: `keys list` and `keys rotate` ask nobody over a socket and need no right but to read
//! the directory. They hold fingerprints, never keys. Written whole or not at all, 0600.

use super::{ServiceUsage, Usage, Used, merge};
use crate::keys::write;
use crate::signature::key::{Fingerprint, ServiceId};
use serde_json::{Map, Value, json};
use std::io;
use std::path::Path;

/// The last use of each key.
pub const USAGE: &str = "key-usage.json";

/// The keys that are taken now, and by which process.
pub const IN_USE: &str = "keys-in-use.json";

/// Writes the last use of each key.
///
/// # Errors
/// When the system does not let us.
pub fn write_usage(state_dir: &Path, usage: &Usage) -> io::Result<()> {
    let of = |(key, used): (&Fingerprint, &Used)| {
        (key.to_string(), json!({ "at": used.at, "client": used.client, "verifier": used.verifier }))
    };
    let all: Map<String, Value> =
        usage.iter().map(|(id, keys)| (id.to_string(), keys.iter().map(of).collect::<Map<_, _>>().into())).collect();
    write::private_file(&state_dir.join(USAGE), &format!("{}\n", Value::Object(all)), None)
}

/// Reads them. What is no use is passed over: a broken file tells less, and stops nobody.
///
/// # Errors
/// When there is a file and it cannot be read.
pub fn read_usage(state_dir: &Path) -> io::Result<Usage> {
    let all = match read(&state_dir.join(USAGE))? {
        Some(Value::Object(all)) => all,
        Some(_) | None => return Ok(Usage::new()),
    };
    let mut usage = Usage::new();
    for (id, keys) in all {
        let (Some(id), Value::Object(keys)) = (ServiceId::parse(&id), keys) else { continue };
        let of_it: &mut ServiceUsage = usage.entry(id).or_default();
        for (key, used) in keys {
            let text = |name: &str| used[name].as_str().map(str::to_owned);
            if let (Some(key), Some(at), Some(client), Some(verifier)) =
                (Fingerprint::parse(&key), used["at"].as_u64(), text("client"), text("verifier"))
            {
                merge(of_it, key, Used { at, client, verifier });
            }
        }
    }
    Ok(usage)
}

/// Has a sidecar ever told anything here? If not, that it knows of no use says nothing.
pub fn has_run(state_dir: &Path) -> bool {
    [IN_USE, USAGE].iter().any(|file| state_dir.join(file).exists())
}

/// Writes which keys this process takes.
///
/// # Errors
/// When the system does not let us.
pub fn write_in_use<'k>(
    state_dir: &Path,
    keys: impl Iterator<Item = (&'k ServiceId, Vec<Fingerprint>)>,
) -> io::Result<()> {
    let shown = |keys: Vec<Fingerprint>| keys.iter().map(Fingerprint::to_string).collect::<Vec<_>>();
    let all: Map<String, Value> = keys.map(|(id, keys)| (id.to_string(), shown(keys).into())).collect();
    let text = json!({ "process": std::process::id(), "keys": all });
    write::private_file(&state_dir.join(IN_USE), &format!("{text}\n"), None)
}

/// Which keys of this service does the sidecar that runs with this state directory take? `None`: none runs, or it cannot be known.
pub fn in_use(state_dir: &Path, id: &ServiceId) -> Option<Vec<Fingerprint>> {
    let said = read(&state_dir.join(IN_USE)).ok()??;
    let process = i32::try_from(said["process"].as_u64()?).ok().and_then(rustix::process::Pid::from_raw)?;
    let alive = !matches!(rustix::process::test_kill_process(process), Err(rustix::io::Errno::SRCH));
    let keys = said["keys"][id.as_str()].as_array().map(Vec::as_slice).unwrap_or_default();
    alive.then(|| keys.iter().filter_map(|key| Fingerprint::parse(key.as_str()?)).collect())
}

fn read(path: &Path) -> io::Result<Option<Value>> {
    match std::fs::read(path) {
        Ok(text) => Ok(serde_json::from_slice(&text).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::record::KeyText;
    use std::os::unix::fs::PermissionsExt;

    fn print(letter: &str) -> Fingerprint {
        KeyText::parse(&letter.repeat(64)).unwrap().fingerprint()
    }

    #[test]
    fn usage_is_read_as_it_was_written_and_is_private() {
        let directory = tempfile::tempdir().unwrap();
        assert!(read_usage(directory.path()).unwrap().is_empty(), "nothing was written yet");
        let used = Used { at: 7, client: "192.0.2.1".into(), verifier: "v".into() };
        let usage: Usage = [(ServiceId::parse("a").unwrap(), [(print("a"), used)].into())].into();
        write_usage(directory.path(), &usage).unwrap();
        assert_eq!(read_usage(directory.path()).unwrap(), usage);
        let mode = std::fs::metadata(directory.path().join(USAGE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
    }

    #[test]
    fn a_broken_file_tells_less_and_stops_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let good =
            format!("{{\"{}\":{{\"at\":1,\"client\":\"c\",\"verifier\":\"v\"}},\"x\":{{\"at\":1}}}}", print("a"));
        for (text, known) in [
            ("", 0),
            ("[1]", 0),
            ("{\"a\":1}", 0),
            ("{\"a\":{\"zz\":1}}", 0),
            (&*format!("{{\"a:b\":{good},\"a\":{good}}}"), 1),
        ] {
            std::fs::write(directory.path().join(USAGE), text).unwrap();
            let usage = read_usage(directory.path()).unwrap();
            assert_eq!(usage.values().map(ServiceUsage::len).sum::<usize>(), known, "{text}");
        }
    }

    #[test]
    fn keys_in_use_are_those_of_a_process_that_lives() {
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (ServiceId::parse("a").unwrap(), ServiceId::parse("b").unwrap());
        assert_eq!(in_use(directory.path(), &a), None, "no sidecar ever ran here");
        assert!(!has_run(directory.path()));
        write_in_use(directory.path(), [(&a, vec![print("a"), print("n")])].into_iter()).unwrap();
        assert!(has_run(directory.path()));
        assert_eq!(in_use(directory.path(), &a), Some(vec![print("a"), print("n")]));
        assert_eq!(in_use(directory.path(), &b), Some(vec![]), "it runs, and has no key of this one");
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        let text = std::fs::read_to_string(directory.path().join(IN_USE)).unwrap();
        let text = text.replace(&std::process::id().to_string(), &gone.id().to_string());
        std::fs::write(directory.path().join(IN_USE), text).unwrap();
        assert_eq!(in_use(directory.path(), &a), None, "it has ended");
    }
}
