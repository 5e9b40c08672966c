//! `sign`, `verify`, `keys generate`, `keys import`: the program against itself, against a running sidecar through a real
//! curl, and against the tests' own signer. And: which key files a sidecar refuses to start with.

use super::support::raw::get_with;
use super::support::recorder::Recorder;
use super::support::sidecar::{Builder, countersign};
use super::support::{KEY_A, KEY_B, missing, sign};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Output;

const ROUGH_PATHS: [&str; 8] = [
    "/api/internal/x",
    "/api/internal/x?query=1&other=a%20b",
    "/api/internal/a%20b",
    "/api/internal/caf%C3%A9",
    "/api/internal/a%3Fb%23c%5Cd",
    "/api/internal/a%2Fb/../c",
    "/api/internal/it's;$(id)&{x}[1]",
    "/api/internal/50%off",
];

fn run(arguments: &[&str], directory: &Path) -> Output {
    countersign().args(arguments).current_dir(directory).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn all(output: &Output) -> String {
    text(output) + &String::from_utf8_lossy(&output.stderr)
}

/// A directory with `keys/npu-worker.env` (key a) and `keys/ai-stack.env` (key b).
fn keys() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::DirBuilder::new().mode(0o700).create(directory.path().join("keys")).unwrap();
    for (id, key) in [("npu-worker", KEY_A), ("ai-stack", KEY_B)] {
        put(&directory.path().join(format!("keys/{id}.env")), &format!("SERVICE_KEY={key}\n"), 0o600);
    }
    directory
}

fn put(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn sign_prints_the_headers_of_the_contract() {
    let directory = keys();
    let file = "keys/npu-worker.env";
    for (method, path) in [("POST", "/api/test"), ("GET", "/"), ("delete", "/a:b")] {
        let output = run(&["sign", method, path, "--key-file", file, "--timestamp", "1234567890"], directory.path());
        assert_eq!(output.status.code(), Some(0), "{}", all(&output));
        let expected = sign::headers_at(KEY_A, "npu-worker", method, path, 1_234_567_890);
        assert_eq!(text(&output), expected.replace("\r\n", "\n"));
    }
    let output = run(&["sign", "POST", "/a%20b?c", "--key-file", file, "--json"], directory.path());
    let answer = json(&output);
    let time = answer["headers"]["X-Service-Timestamp"].as_str().unwrap();
    assert_eq!(answer["signed_text"], format!("npu-worker:POST:/a b:{time}"));
    assert!(!all(&output).contains("aaaaaaaa"), "{}", all(&output));
}

#[test]
fn sign_takes_the_key_from_the_fleets_environment_and_says_when_there_is_none() {
    let directory = keys();
    let nowhere = directory.path().join("no.toml");
    let sign = |variables: &[(&str, &str)]| {
        let mut command = countersign();
        command.args(["sign", "POST", "/api/test", "--timestamp", "1234567890"]).current_dir(directory.path());
        command.envs(variables.iter().copied()).output().unwrap()
    };
    let expected = sign::headers_at(KEY_A, "npu-worker", "POST", "/api/test", 1_234_567_890).replace("\r\n", "\n");
    for variables in [
        &[("SERVICE_ID", "npu-worker"), ("SERVICE_KEY", KEY_A)][..],
        &[("SERVICE_ID", "npu-worker"), ("SERVICE_KEY_FILE", "keys/npu-worker.env")],
        &[("SERVICE_ID", "'npu-worker'"), ("SERVICE_KEY_FILE", "\"keys/npu-worker.env\"\r")],
        &[("SERVICE_ID", "npu-worker"), ("SERVICE_KEY", KEY_A), ("SERVICE_KEY_FILE", "/nonexistent")],
    ] {
        let output = sign(variables);
        assert_eq!(text(&output), expected, "{variables:?}: {}", all(&output));
    }
    for (variables, expected) in [
        (&[][..], "--key-file"),
        (&[("SERVICE_ID", "npu-worker"), ("SERVICE_KEY", "aaaaaaaaa")], "9 characters"),
        (&[("SERVICE_ID", "a b"), ("SERVICE_KEY", KEY_A)], "SERVICE_ID"),
        (&[("SERVICE_ID", "npu-worker"), ("SERVICE_KEY_FILE", "/nonexistent")], "/nonexistent"),
    ] {
        let output = sign(variables);
        assert_eq!(output.status.code(), Some(2), "{variables:?}");
        assert!(all(&output).contains(expected), "{variables:?}: {}", all(&output));
        assert!(!all(&output).contains("aaaaaaaa"), "{}", all(&output));
    }
    let output = run(&["sign", "GET", "/x", "--config", nowhere.to_str().unwrap()], directory.path());
    assert_eq!(output.status.code(), Some(2), "{}", all(&output));
}

#[test]
fn a_curl_line_that_sign_prints_is_accepted_by_a_running_sidecar() {
    if std::process::Command::new("curl").arg("--version").output().is_err() {
        return missing("curl");
    }
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    let config = sidecar.config_path();
    for method in ["GET", "POST", "HEAD", "DELETE"] {
        for path in ROUGH_PATHS {
            let url = format!("http://{}{path}", sidecar.address);
            let arguments = ["sign", method, &url, "--curl", "--service", "ai-stack", "--config"];
            let output = countersign().args(arguments).arg(&config).output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{}", all(&output));
            let script = format!("{} --silent --output /dev/null --write-out '%{{http_code}}'", text(&output).trim());
            let answer = std::process::Command::new("sh").arg("-c").arg(&script).output().unwrap();
            assert_eq!(text(&answer), "200", "{script}");
        }
    }
}

#[test]
fn verify_confirms_what_sign_signed_and_what_the_tests_signer_signed() {
    let directory = keys();
    for path in ROUGH_PATHS {
        let output = run(&["sign", "PUT", path, "--key-file", "keys/ai-stack.env"], directory.path());
        let headers = text(&output);
        let mut arguments = vec!["verify", "--method", "PUT", "--path", path, "--dir", "keys", "--json"];
        headers.lines().for_each(|line| arguments.extend(["-H", line]));
        let output = run(&arguments, directory.path());
        assert_eq!(output.status.code(), Some(0), "{path}: {}", all(&output));
        assert_eq!((&json(&output)["verified"], &json(&output)["service"]), (&true.into(), &"ai-stack".into()));
    }
}

#[test]
fn verify_says_no_and_why() {
    let directory = keys();
    let now = 1_759_742_876;
    for (signed, asked, at, reason, words) in [
        (("npu-worker", KEY_A, "POST", "/x"), ("POST", "/x"), now - 301, "timestamp_outside_window", "301 s behind"),
        (("npu-worker", KEY_A, "POST", "/x?y=1"), ("POST", "/x?y=1"), now, "invalid_signature", "with its query"),
        (("npu-worker", KEY_A, "post", "/x"), ("POST", "/x"), now, "invalid_signature", "the method post was signed"),
        (("npu-worker", KEY_B, "POST", "/x"), ("POST", "/x"), now, "invalid_signature", "the key of ai-stack"),
        (("nobody", KEY_B, "POST", "/x"), ("POST", "/x"), now, "unknown_service", "there is none of nobody"),
    ] {
        let (id, key, method, path) = signed;
        let headers = sign::headers_at(key, id, method, path, at);
        let time = now.to_string();
        let mut arguments = vec!["verify", "--method", asked.0, "--path", asked.1, "--dir", "keys", "--now", &time];
        headers.lines().for_each(|line| arguments.extend(["-H", line]));
        let output = run(&arguments, directory.path());
        assert_eq!(output.status.code(), Some(1), "{}", all(&output));
        assert!(text(&output).contains(reason) && text(&output).contains(words), "{}", text(&output));
        arguments.push("--json");
        assert_eq!(json(&run(&arguments, directory.path()))["reason"], reason);
    }
    for arguments in [
        &["verify", "--method", "POST", "--path", "/x", "--dir", "nowhere"][..],
        &["verify", "--method", "POST", "--path", "x", "--dir", "keys"],
        &["verify", "--method", "POST", "--path", "/x", "--dir", "keys", "-H", "nothing"],
        &["verify", "--method", "POST", "--dir", "keys"],
    ] {
        assert_eq!(run(arguments, directory.path()).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn keys_generate_makes_private_files_and_never_prints_a_key() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["keys", "generate", "npu-worker", "ai-stack", "--dir", "new/keys"];
    let output = run(&arguments, directory.path());
    assert_eq!(output.status.code(), Some(0), "{}", all(&output));
    let file = directory.path().join("new/keys/npu-worker.env");
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    let written = fs::read_to_string(&file).unwrap();
    let key = written.lines().find_map(|line| line.strip_prefix("SERVICE_KEY=")).unwrap();
    assert!(key.len() == 64 && key.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{key}");
    assert!(text(&output).contains("new/keys/npu-worker.env") && !all(&output).contains(key));
    let again = run(&arguments, directory.path());
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(fs::read_to_string(&file).unwrap(), written);
    let forced = run(&[&arguments[..], &["--force", "--json"]].concat(), directory.path());
    let new = fs::read_to_string(&file).unwrap();
    assert_ne!(new, written);
    assert_eq!(json(&forced)["written"][0]["service"], "npu-worker");
    assert_eq!(json(&forced)["written"][0]["fingerprint"].as_str().unwrap().len(), 8);
    assert_eq!(run(&["keys", "generate", "../x", "--dir", "new/keys"], directory.path()).status.code(), Some(2));
    assert_eq!(run(&["keys", "generate"], directory.path()).status.code(), Some(2));
}

#[test]
fn keys_import_brings_a_fleets_files_and_says_which_were_open() {
    let directory = tempfile::tempdir().unwrap();
    let fleet = directory.path().join("fleet");
    fs::create_dir(&fleet).unwrap();
    put(&fleet.join("npu-worker.env"), &format!("# VM 22\r\nSERVICE_KEY=\"{KEY_A}\"\r\n"), 0o644);
    put(&fleet.join("ai-stack.env"), &format!("export SERVICE_KEY='{KEY_B}'\n"), 0o600);
    let arguments = ["keys", "import", "--from", "fleet", "--dir", "keys"];
    let dry = run(&[&arguments[..], &["--dry-run"]].concat(), directory.path());
    assert_eq!(dry.status.code(), Some(0), "{}", all(&dry));
    assert!(!directory.path().join("keys").exists());
    let output = run(&arguments, directory.path());
    assert_eq!(output.status.code(), Some(0), "{}", all(&output));
    assert!(all(&output).contains("npu-worker.env: is open to group or others (mode 0644)"), "{}", all(&output));
    assert!(!all(&output).contains(KEY_A) && !all(&output).contains(KEY_B));
    assert_eq!(mode(&directory.path().join("keys/npu-worker.env")), 0o600);
    let signed = run(
        &["sign", "POST", "/api/test", "--key-file", "keys/npu-worker.env", "--timestamp", "1234567890"],
        directory.path(),
    );
    let expected = sign::headers_at(KEY_A, "npu-worker", "POST", "/api/test", 1_234_567_890);
    assert_eq!(text(&signed), expected.replace("\r\n", "\n"));
    put(&fleet.join("broken.env"), "SERVICE_KEY=short\n", 0o600);
    let output = run(&arguments, directory.path());
    assert_eq!(output.status.code(), Some(1));
    assert!(all(&output).contains("broken.env") && all(&output).contains("nothing was written"), "{}", all(&output));
}

/// A key file, or what stands in its place, and what is said of it.
type BadKey = (&'static str, fn(&Path), &'static str);

#[test]
fn every_key_file_that_cannot_be_trusted_stops_the_start_and_is_named_at_once() {
    let upstream = Recorder::plain();
    let mut sidecar = Builder::guarding(upstream.address).start();
    sidecar.process.signal("TERM");
    sidecar.process.wait();
    let keys = sidecar.directory.join("keys");
    let bad: [BadKey; 8] = [
        ("open.env", |path| put(path, &format!("SERVICE_KEY={KEY_A}"), 0o640), "mode 0640"),
        ("short.env", |path| put(path, "SERVICE_KEY=aaaaaaaaaaaa", 0o600), "12 characters"),
        ("empty.env", |path| put(path, "", 0o600), "no line SERVICE_KEY="),
        ("other.env", |path| put(path, &format!("SERVICE_ID=x\nSERVICE_KEY={KEY_A}"), 0o600), "SERVICE_ID is x"),
        ("directory.env", |path| fs::create_dir(path).unwrap(), "a directory"),
        ("fifo.env", fifo, "a FIFO"),
        ("link.env", link_into_a_shared_directory, "anyone may write"),
        ("huge.env", |path| put(path, &"#".repeat(1 << 20), 0o600), "larger than"),
    ];
    for (name, make, _) in &bad {
        make(&keys.join(name));
    }
    let output = countersign().arg("run").arg("--config").arg(sidecar.config_path()).output().unwrap();
    let said = all(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for (name, _, expected) in &bad {
        let line = said.lines().find(|line| line.contains(&format!("key file {name}: ")));
        assert!(line.is_some_and(|line| line.contains(expected)), "{name}: {expected:?} not in:\n{said}");
        assert!(said.contains(keys.join(name).to_str().unwrap()), "{name}: its path is not in:\n{said}");
    }
    assert!(!said.contains("npu-worker.env") && !said.contains("aaaaaaaa"), "{said}");
}

fn fifo(path: &Path) {
    let made = std::process::Command::new("mkfifo").args(["-m", "600"]).arg(path).status().unwrap();
    assert!(made.success());
}

fn link_into_a_shared_directory(path: &Path) {
    let shared: PathBuf = path.parent().unwrap().parent().unwrap().join("shared");
    fs::create_dir(&shared).unwrap();
    put(&shared.join("key"), &format!("SERVICE_KEY={KEY_A}"), 0o600);
    fs::set_permissions(&shared, Permissions::from_mode(0o777)).unwrap();
    symlink(shared.join("key"), path).unwrap();
}

#[test]
fn the_key_that_is_named_for_the_service_itself_counts_before_the_directorys_and_that_is_told() {
    let upstream = Recorder::plain();
    let elsewhere = tempfile::tempdir().unwrap();
    let (own, other) = ("c".repeat(64), elsewhere.path().join("other.env"));
    put(&other, &format!("SERVICE_KEY={own}\n"), 0o600);
    let named = || Builder::guarding(upstream.address).set("service", "id", "\"npu-worker\"");
    for builder in [
        named().set("service", "key_file", format!("{other:?}")),
        named().environment("SERVICE_KEY", &own),
        named().environment("SERVICE_KEY_FILE", other.to_str().unwrap()),
        named().environment("SERVICE_KEY", &own).environment("SERVICE_KEY_FILE", "/nonexistent"),
    ] {
        let sidecar = builder.start();
        let status = |key: &str| {
            let signed = sign::headers(key, "npu-worker", "GET", "/api/internal/x");
            get_with(sidecar.address, "/api/internal/x", &signed).status
        };
        assert_eq!((status(&own), status(KEY_A)), (200, 401));
        let said = sidecar.process.stderr.text();
        assert_eq!(said.matches("is not used").count(), 1, "{said}");
        assert!(!said.contains("cccccccc") && !said.contains("aaaaaaaa"), "{said}");
    }
}
