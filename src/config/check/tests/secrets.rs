//! What a configuration names outside itself: the same for `check` and `run`, in one list with everything else.

use super::*;

/// Keys, audit file and token in the directory of the configuration.
const WITH: &str = "[keys]\ndir = \"keys\"\n[audit]\nfile = \"audit.jsonl\"\n";
const KEY: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn with(more: &str) -> Files {
    let files = Files::new(&format!("{LEAST}{WITH}{more}"));
    std::fs::create_dir(files.path("keys")).unwrap();
    files.private("keys/npu-worker.env", &format!("SERVICE_KEY={KEY}\n"));
    files
}

/// What both say; they must say the same.
#[track_caller]
fn both(files: &Files) -> Result<Loaded, Diagnostics> {
    let (run, check) = (files.load_for(Purpose::Run), files.load_for(Purpose::Check));
    assert_eq!(run.is_ok(), check.is_ok(), "run and check disagree: {run:?} {check:?}");
    if let (Err(run), Err(check)) = (&run, &check) {
        assert_eq!(run.to_json(), check.to_json());
    }
    run
}

#[test]
fn what_stands_outside_the_file_is_in_one_list_with_what_stands_in_it() {
    let files = with(
        "[enforcement]\nmode = \"enfroce\"\noverride_token_file = \"token\"\n[service]\nid = \"me\"\nkey_file = \"own.env\"\n",
    );
    files.private("keys/short.env", "SERVICE_KEY=bbbbbbbbb");
    files.write("blocked", "");
    let text = std::fs::read_to_string(files.path("countersign.toml")).unwrap();
    files.write("countersign.toml", &text.replace("audit.jsonl", "blocked/audit.jsonl"));
    let problems = both(&files).unwrap_err();
    let dir = files.dir.path().display().to_string();
    let told: Vec<String> = lines(&problems).iter().map(|line| line.replace(&dir, "DIR")).collect();
    assert_eq!(
        told,
        [
            "10:8 the audit file DIR/blocked/audit.jsonl cannot be made: DIR/blocked is not a directory",
            "12:8 `enforcement.mode` is `\"enfroce\"`",
            "13:23 the override token's file DIR/token: there is no such file",
            "16:12 the key file DIR/own.env: there is no such file",
            "- the key file short.env: SERVICE_KEY: the key has 9 characters; at least 32 are needed",
        ]
    );
    assert!(problems.to_string().contains("keys/short.env") && !problems.to_string().contains("bbbb"), "{problems}");
}

#[test]
fn only_a_missing_key_directory_is_a_warning_for_check_and_an_error_for_run() {
    let files = with("");
    std::fs::rename(files.path("keys"), files.path("elsewhere")).unwrap();
    let missing = files.load_for(Purpose::Run).unwrap_err();
    assert_eq!((missing.len(), missing.iter().next().unwrap().position()), (1, Some((8, 7))), "{missing}");
    assert!(missing.to_string().contains("countersign keys generate"), "{missing}");
    let loaded = files.load_for(Purpose::Check).unwrap();
    assert!(loaded.keys.is_none() && loaded.warnings.len() == 1, "{}", loaded.warnings);
    assert!(files.load().unwrap().warnings.is_empty(), "nothing of the machine is asked");
    files.mode("elsewhere", 0o777);
    std::fs::rename(files.path("elsewhere"), files.path("keys")).unwrap();
    assert!(both(&files).unwrap_err().to_string().contains("chmod o-w"));
}

#[test]
fn keys_that_are_good_are_loaded_with_the_configuration() {
    let files = with("");
    let loaded = both(&files).unwrap();
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    assert_eq!(loaded.keys.unwrap().len(), 1);
}

#[test]
fn what_the_environment_names_is_examined_too_and_named_by_its_variable() {
    let files = with("");
    let load = |pairs: &[(&str, &str)]| {
        load(Some(&files.path("countersign.toml")), &variables(pairs), &Overrides::default(), Purpose::Check)
    };
    files.private("short", "SERVICE_KEY=bbbbbbbbb");
    files.private("good", &format!("SERVICE_ID=me\nSERVICE_KEY={KEY}"));
    let (short, good) = (files.path("short"), files.path("good"));
    let (short, good) = (short.to_str().unwrap(), good.to_str().unwrap());
    for (name, value, expected) in [
        ("SERVICE_KEY_FILE", "/nonexistent", "there is no such file"),
        ("SERVICE_KEY_FILE", short, "9 characters"),
        ("SERVICE_KEY", "bbbbbbbbb", "9 characters"),
    ] {
        let problems = load(&[("SERVICE_ID", "me"), (name, value)]).unwrap_err();
        assert!(problems.len() == 1 && problems.to_string().contains(expected), "{problems}");
        assert_eq!(problems.to_json()[0]["variable"], name);
    }
    assert!(load(&[("SERVICE_ID", "me"), ("SERVICE_KEY_FILE", good)]).is_ok());
    let other = load(&[("SERVICE_ID", "me2"), ("SERVICE_KEY_FILE", good)]).unwrap_err().to_string();
    assert!(other.contains("the key of me2 is wanted") && !other.contains("named for"), "{other}");
    let overruled = load(&[("SERVICE_ID", "npu-worker"), ("SERVICE_KEY", &"b".repeat(64))]).unwrap();
    assert!(overruled.warnings.len() == 1 && overruled.warnings.to_string().contains("is not used"));
}

#[test]
fn the_override_token_comes_from_a_file_that_nobody_else_can_read() {
    let files = with("[enforcement]\noverride_token_file = \"token\"\n");
    let missing = both(&files).unwrap_err().to_string();
    assert!(missing.contains("there is no such file") && missing.contains("12 | override_token_file"), "{missing}");
    files.write("token", "0123456789abcdef\n");
    let set_mode =
        |mode| std::fs::set_permissions(files.path("token"), std::fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o644);
    let exposed = both(&files).unwrap_err().to_string();
    assert!(exposed.contains("chmod 600") && !exposed.contains("0123456789abcdef"), "{exposed}");
    set_mode(0o600);
    assert!(both(&files).unwrap().config.override_token.is_some());
}

#[test]
fn an_override_token_of_any_length_is_taken_and_a_short_one_is_told() {
    let files = with("[enforcement]\noverride_token_file = \"token\"\n");
    for (text, there, warning) in [
        ("0123456789abcdef\n", true, None),
        ("shorty\n", true, Some("easy to guess")),
        ("", false, Some("the override token is empty, so there is none")),
        (" \r\n", false, Some("the override token is empty, so there is none")),
    ] {
        files.write("token", text);
        std::fs::set_permissions(files.path("token"), std::fs::Permissions::from_mode(0o600)).unwrap();
        let loaded = both(&files).unwrap();
        assert_eq!(loaded.config.override_token.is_some(), there, "{text:?}");
        let told: Vec<&str> = loaded.warnings.iter().map(|warning| warning.message.as_str()).collect();
        assert_eq!(told.len(), warning.iter().len(), "{told:?}");
        assert!(told.iter().all(|told| told.contains(warning.unwrap()) && !told.contains("shorty")), "{told:?}");
    }
    let empty = variables(&[("SERVICE_AUTH_OVERRIDE_TOKEN", "''")]);
    let loaded = Files::new(LEAST).load_with(&empty, &Overrides::default()).unwrap();
    assert!(loaded.config.override_token.is_none() && loaded.warnings.to_string().contains("so there is none"));
    files.write("token", "0123456789abcdef");
    let loaded = load(Some(&files.path("countersign.toml")), &empty, &Overrides::default(), Purpose::Check).unwrap();
    assert!(loaded.config.override_token.is_some() && loaded.warnings.to_string().contains("says nothing"));
}

/// A fleet that shares its state, with the key in `fleet-key`.
const SHARED: &str = "redis = \"redis://10.0.0.1:6379/0\"\nsources = [\"files\"]\n[enforcement]\nshared = true\nshared_key_file = \"fleet-key\"\n";

fn sharing(from: &str, to: &str) -> Files {
    let files = with("");
    let text =
        format!("{LEAST}[audit]\nfile = \"audit.jsonl\"\n[keys]\ndir = \"keys\"\n{}", SHARED.replace(from, to));
    files.write("countersign.toml", &text);
    files
}

#[test]
fn a_fleet_key_comes_from_a_file_that_nobody_else_can_read() {
    let files = sharing("", "");
    assert!(both(&files).unwrap_err().to_string().contains("there is no such file"));
    files.private("fleet-key", &format!("{KEY}\n"));
    let config = both(&files).unwrap().config;
    assert_eq!(config.shared_key, Some(files.path("fleet-key")));
    files.mode("fleet-key", 0o640);
    let exposed = both(&files).unwrap_err().to_string();
    assert!(exposed.contains("chmod 600") && !exposed.contains(KEY), "{exposed}");
    for text in ["", &KEY[1..], "not-hex"] {
        files.private("fleet-key", text);
        let wrong = both(&files).unwrap_err().to_string();
        assert!(wrong.contains("no 64 hex digits") && wrong.contains("openssl rand -hex 32"), "{wrong}");
    }
}

#[test]
fn what_shares_needs_a_redis_and_a_fleet_key() {
    for (from, to, expected) in [
        ("redis = \"redis://10.0.0.1:6379/0\"\n", "", "`enforcement.shared` shares through Redis, and none is named"),
        ("shared_key_file = \"fleet-key\"\n", "", "`enforcement.shared` needs a fleet key"),
    ] {
        let files = sharing(from, to);
        files.private("fleet-key", KEY);
        let problems = both(&files).unwrap_err();
        assert!(problems.len() == 1 && problems.to_string().contains(expected), "{problems}");
    }
    for off in ["shared = false\n", ""] {
        let files = sharing("shared = true\n", off);
        let loaded = both(&files).unwrap();
        assert!(loaded.config.shared_key.is_none());
        assert!(loaded.warnings.to_string().contains("says nothing where the state is not shared"));
    }
}
