//! `countersign check` and the start of `run`, from outside: every mistake in one run, exit codes, JSON, the environment.

use super::support::sidecar::countersign;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

const GOOD: &str = "\
[inbound]
listen = \"127.0.0.1:0\"
upstream = \"http://127.0.0.1:18001\"
[[rule]]
name = \"internals\"
paths = [\"/api/internal\"]
access = \"service\"
callers = [\"npu-worker\"]
[[rule]]
paths = [\"/health\", \"/docs\"]
access = \"exempt\"
";

/// Ten mistakes of ten kinds, each in the line its comment says.
const TEN: &str = "\
workers = \"four\"                          # 1 a wrong type
default_acess = \"open\"                    # 2 an unknown key

[inbound]
listen = \"8001\"                           # 5 an address without a host
upstream = \"http://127.0.0.1:18001/api\"   # 6 a URL with a path

[enforcement]
mode = \"enfroce\"                          # 9 a typing mistake
percentage = 110                          # 10 out of range
rate_limit = { failures = 3, window = 5 } # 11 a duration without a unit

[[rule]]
paths = [\"api/internal\"]                  # 14 no path
access = \"service\"
methods = post                            # 16 no quotes

[ramp]
stages = [\"25% 1h\", \"10% 1h\"]           # 19 goes down
";
const TEN_LINES: [u64; 10] = [1, 2, 5, 6, 9, 10, 11, 14, 16, 19];

struct Directory(tempfile::TempDir);

impl Directory {
    fn with(text: &str) -> Directory {
        let directory = Directory(tempfile::tempdir().unwrap());
        std::fs::write(directory.file(), text).unwrap();
        directory
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("countersign.toml")
    }

    fn check(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Answer {
        check(&self.file(), arguments, environment)
    }
}

struct Answer {
    code: i32,
    out: String,
    err: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}\n{}", self.out))
    }
}

impl From<Output> for Answer {
    fn from(output: Output) -> Answer {
        Answer {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

fn check(file: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Answer {
    let mut command = countersign();
    command.arg("check").arg("--config").arg(file).args(arguments).envs(environment.iter().copied());
    command.output().unwrap().into()
}

#[test]
fn ten_mistakes_get_ten_messages_each_with_its_line() {
    let directory = Directory::with(TEN);
    let answer = directory.check(&[], &[]);
    assert_eq!(answer.code, 2, "{}", answer.err);
    assert!(answer.out.is_empty(), "{}", answer.out);
    let starts: Vec<&str> = answer.err.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(starts.len(), 10, "{}", answer.err);
    let mut rest = answer.err.as_str();
    for line in TEN_LINES {
        let place = format!("{}:{line}:", directory.file().display());
        let at =
            rest.find(&place).unwrap_or_else(|| panic!("{place} is not there, or not in its order\n{}", answer.err));
        rest = &rest[at..];
        // The line itself follows, as far as it holds no more than the key.
        let written = TEN.lines().nth(usize::try_from(line).unwrap() - 1).unwrap().split('#').next().unwrap().trim();
        assert!(rest.contains(written), "line {line} is not shown\n{}", answer.err);
    }
    assert!(!answer.err.contains('\u{1b}'), "no colour into a pipe");
    assert!(answer.err.contains("10 problems"), "{}", answer.err);
}

#[test]
fn the_same_as_json() {
    let directory = Directory::with(TEN);
    let answer = directory.check(&["--json"], &[]);
    assert_eq!((answer.code, answer.err.as_str()), (2, ""));
    let json = answer.json();
    assert_eq!(json["ok"], false);
    let problems = json["problems"].as_array().unwrap();
    let lines: Vec<u64> = problems.iter().map(|problem| problem["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, TEN_LINES);
    for problem in problems {
        assert_eq!(problem["file"], directory.file().display().to_string());
        assert_eq!(problem["severity"], "error");
        assert!(problem["message"].is_string() && problem["column"].as_u64().unwrap() >= 1, "{problem}");
    }
}

#[test]
fn a_good_configuration_is_summed_up() {
    let directory = Directory::with(&format!("{GOOD}[enforcement]\nmode = \"enforce\"\npercentage = 25\n"));
    let answer = directory.check(&[], &[]);
    assert_eq!(answer.code, 0, "{}", answer.err);
    for expected in ["enforce", "25%", "http://127.0.0.1:18001", "1 service (1 path), 1 exempt (2 paths)"] {
        assert!(answer.out.contains(expected), "{expected} is not in\n{}", answer.out);
    }
    let json = directory.check(&["--json"], &[]).json();
    assert_eq!((&json["ok"], &json["mode"], &json["percentage"]), (&true.into(), &"enforce".into(), &25.into()));
    assert_eq!(json["rules"]["exempt"]["paths"], 2);
    assert_eq!(json["inbound"][0]["upstreams"][0], "http://127.0.0.1:18001");
    assert!(json["warnings"].is_array());
}

#[test]
fn the_file_can_be_named_without_the_flag_but_not_twice() {
    let directory = Directory::with(GOOD);
    let good: Answer = countersign().arg("check").arg(directory.file()).output().unwrap().into();
    assert_eq!(good.code, 0, "{}", good.err);
    let twice = directory.check(&["other.toml"], &[]);
    assert_eq!(twice.code, 2);
}

#[test]
fn a_missing_file_is_named() {
    let answer = check(Path::new("/nowhere/x.toml"), &[], &[]);
    assert_eq!(answer.code, 2);
    assert!(answer.err.contains("/nowhere/x.toml") && answer.err.contains("does not exist"), "{}", answer.err);
}

#[test]
fn the_environment_counts_and_a_mistake_in_it_is_named() {
    let directory = Directory::with(GOOD);
    let json = directory.check(&["--json"], &[("SERVICE_AUTH_ENFORCEMENT_MODE", "\"true\"\r")]).json();
    assert_eq!(json["mode"], "enforce");
    let answer = directory.check(&[], &[("SERVICE_AUTH_ENFORCEMENT_MODE", "ture")]);
    assert_eq!(answer.code, 2);
    assert!(answer.err.contains("SERVICE_AUTH_ENFORCEMENT_MODE") && answer.err.contains("ture"), "{}", answer.err);
    let key = directory.0.path().join("main-backend.env");
    put(&key, &format!("SERVICE_ID=main-backend\nSERVICE_KEY={}\n", "a".repeat(64)), 0o600);
    let fleet = [
        ("SERVICE_ID", "main-backend"),
        ("SERVICE_KEY_FILE", key.to_str().unwrap()),
        ("AUTH_TIMESTAMP_WINDOW", "300"),
        ("BACKEND_HOST", "172.16.168.20"),
        ("BACKEND_PORT", "8001"),
        ("REDIS_HOST", "172.16.168.23"),
        ("REDIS_PORT", "6379"),
        ("REDIS_PASSWORD", "s3cret"),
    ];
    let answer = directory.check(&[], &fleet);
    assert_eq!(answer.code, 0, "the fleet's .env files work as they are: {}", answer.err);
    assert!(!answer.err.contains("s3cret") && answer.out.contains("http://127.0.0.1:18001"));
}

#[test]
fn no_secret_of_file_or_environment_is_shown() {
    let key = "0123456789abcdef".repeat(4);
    let directory =
        Directory::with(&format!("{GOOD}[enforcement]\noverride_token = \"s3cret\"\npassword = s3cret\n"));
    for arguments in [&[][..], &["--json"]] {
        let environment = [("SERVICE_ID", "a b"), ("SERVICE_KEY", &*key), ("SERVICE_AUTH_OVERRIDE_TOKEN", "s3cret")];
        let answer = directory.check(arguments, &environment);
        assert_eq!(answer.code, 2);
        for secret in [key.as_str(), "s3cret"] {
            assert!(!answer.out.contains(secret) && !answer.err.contains(secret), "{}{}", answer.out, answer.err);
        }
    }
}

#[test]
fn run_refuses_the_same_with_the_same_words() {
    let directory = Directory::with(&format!("{TEN}[keys]\ndir = \".\"\n"));
    let answer: Answer = countersign().arg("run").arg("--config").arg(directory.file()).output().unwrap().into();
    assert_eq!(answer.code, 2, "{}", answer.err);
    assert_eq!(answer.err.lines().filter(|line| line.starts_with("error: ")).count(), 10, "{}", answer.err);
}

#[test]
fn run_refuses_the_same_in_json_problem_by_problem() {
    let directory = Directory::with(&format!("{TEN}[keys]\ndir = \".\"\n"));
    let mut command = countersign();
    let answer: Answer = command.args(["run", "--json", "--config"]).arg(directory.file()).output().unwrap().into();
    assert_eq!(answer.code, 2, "{}", answer.err);
    let json = answer.json();
    assert_eq!(
        (&json["ok"], &json["error"]["kind"], &json["error"]["exit_code"]),
        (&false.into(), &"configuration".into(), &2.into())
    );
    assert_eq!(json["problems"], directory.check(&["--json"], &[]).json()["problems"]);
    let first = &json["problems"][0];
    assert_eq!((&first["line"], &first["column"]), (&1.into(), &11.into()), "{first}");
    assert_eq!(first["file"], directory.file().display().to_string());
    assert!(first["message"].is_string() && first["expected"].is_string(), "{first}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let in_use = taken.local_addr().unwrap().to_string();
    let mut command = countersign();
    command.args(["run", "--json", "--upstream", "http://127.0.0.1:1", "--protect", "/x", "--admin", "off"]);
    let answer: Answer = command
        .args(["--listen", &in_use, "--audit", "stdout", "--state-dir"])
        .arg(directory.0.path().join("state"))
        .output()
        .unwrap()
        .into();
    assert_eq!(answer.code, 1, "{}", answer.err);
    let problems = &answer.json()["problems"];
    assert!(problems[0]["message"].as_str().unwrap().contains(&in_use), "{problems}");
}

#[test]
fn run_refuses_wrong_flags_by_name() {
    let mut command = countersign();
    command.args([
        "run",
        "--upstream",
        "8000",
        "--listen",
        "x",
        "--mode",
        "enfroce",
        "--percentage",
        "101",
        "--protect",
        "api",
    ]);
    let answer: Answer = command.env("HOME", "/nonexistent").output().unwrap().into();
    assert_eq!(answer.code, 2, "{}", answer.err);
    for flag in ["--upstream", "--listen", "--mode", "--percentage", "--protect"] {
        assert!(answer.err.contains(&format!("{flag} on the command line")), "{flag}\n{}", answer.err);
    }
}

#[test]
fn an_included_file_is_named_in_its_messages() {
    let directory = Directory::with(&format!("include = [\"rules.d/*.toml\"]\n{GOOD}"));
    std::fs::create_dir(directory.0.path().join("rules.d")).unwrap();
    let more = directory.0.path().join("rules.d/10-npu.toml");
    std::fs::write(&more, "[[rule]]\npaths = [\"/api/internal\"]\naccess = \"exempt\"\n").unwrap();
    let answer = directory.check(&[], &[]);
    assert_eq!(answer.code, 2);
    for place in [format!("{}:2:", more.display()), format!("{}:7:", directory.file().display())] {
        assert!(answer.err.contains(&place), "{place}\n{}", answer.err);
    }
}

/// What is wrong, the file that is wrong, and what is said of it.
type Unusable = (&'static str, fn(&Path), &'static str);

#[test]
fn check_refuses_every_secret_that_run_refuses_and_both_say_the_same() {
    let cases: [Unusable; 6] = [
        ("[enforcement]\noverride_token_file = \"token\"\n", |_| {}, "there is no such file"),
        (
            "[enforcement]\noverride_token_file = \"token\"\n",
            |dir| put(&dir.join("token"), "0123456789abcdef", 0o644),
            "chmod 600",
        ),
        ("[service]\nid = \"me\"\nkey_file = \"me.env\"\n", |_| {}, "there is no such file"),
        ("", |dir| put(&dir.join("keys/open.env"), &format!("SERVICE_KEY={}", "a".repeat(64)), 0o640), "mode 0640"),
        ("", |dir| put(&dir.join("keys/short.env"), "SERVICE_KEY=aaaaaaaaa", 0o600), "9 characters; at least 32"),
        ("", |dir| put(&dir.join("keys/empty.env"), "", 0o600), "no line SERVICE_KEY="),
    ];
    for (more, make, expected) in cases {
        let text = format!("state_dir = \"state\"\n{GOOD}[keys]\ndir = \"keys\"\n[audit]\nfile = \"audit\"\n{more}");
        let directory = Directory::with(&text);
        std::fs::create_dir(directory.0.path().join("keys")).unwrap();
        make(directory.0.path());
        let check = directory.check(&[], &[]);
        let run: Answer = countersign().arg("run").arg("--config").arg(directory.file()).output().unwrap().into();
        assert_eq!((check.code, run.code), (2, 2), "{more}{expected}\n{}{}", check.err, run.err);
        for said in [&check.err, &run.err] {
            assert!(said.contains(expected) && !said.contains("aaaaaaaa") && !said.contains("0123456789"), "{said}");
        }
        assert!(check.err.starts_with(run.err.trim_end()), "{}\n{}", check.err, run.err);
    }
}

fn put(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn every_shipped_configuration_passes_where_nothing_is_set_up() {
    for directory in ["config", "config/fleet"] {
        let mut found = 0;
        for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let answer = check(&path, &[], &[]);
                assert_eq!(answer.code, 0, "{}\n{}", path.display(), answer.err);
                found += 1;
            }
        }
        assert!(found >= 4, "{directory} holds {found}");
    }
}

/// Every table and key that the documentation of the interface shows, but for those whose feature is not built yet.
const INTERFACE: &str = include_str!("config_check/interface.toml");

#[test]
fn a_file_with_every_documented_key_passes_and_what_is_missing_on_the_machine_is_told() {
    let directory = Directory::with(INTERFACE);
    let answer = directory.check(&["--json"], &[]);
    assert_eq!(answer.code, 0, "{}{}", answer.out, answer.err);
    let json = answer.json();
    assert_eq!(json["outbound"][1]["allow"][1], "http://172.16.168.24:8080");
    assert_eq!(json["key_sources"][0], "redis 172.16.168.23:6379/0");
    let warnings = json["warnings"].as_array().unwrap();
    assert!(warnings.iter().all(|warning| warning["severity"] == "warning"), "{warnings:?}");
    for missing in ["listener.crt", "listener.key", "clients.crt"] {
        assert!(answer.out.contains(missing), "{missing} is not told of\n{}", answer.out);
    }
    let run: Answer = countersign().arg("run").arg("--config").arg(directory.file()).output().unwrap().into();
    assert_eq!(run.code, 2, "what is missing stops the start");
    assert!(run.err.contains("listener.key") && run.err.contains("no such file"), "{}", run.err);
}
