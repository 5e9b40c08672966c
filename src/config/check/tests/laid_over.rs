//! Flag beats environment beats file beats default; includes; flags alone.

use super::*;

const TWO: &str = "[[inbound]]\nlisten = \"127.0.0.1:1\"\nupstream = \"http://127.0.0.1:2\"\n\
                   [[inbound]]\nlisten = \"127.0.0.1:3\"\nupstream = \"http://127.0.0.1:4\"\ndefault_access = 1\n";

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let mode = |text: &str, environment: &Environment, flags: &Overrides| {
        let enforcement = Files::new(text).load_with(environment, flags).unwrap().config.enforcement;
        (enforcement.mode, enforcement.percentage.value())
    };
    let file = format!("{LEAST}[enforcement]\nmode = \"enforce\"\npercentage = 10\n");
    let environment =
        variables(&[("SERVICE_AUTH_ENFORCEMENT_MODE", "false"), ("SERVICE_AUTH_ENFORCEMENT_PERCENTAGE", "20")]);
    let flags = Overrides { mode: Some("enforce".into()), percentage: Some("30%".into()), ..Overrides::default() };
    assert_eq!(mode(LEAST, &root(), &Overrides::default()), (Mode::Log, 100));
    assert_eq!(mode(&file, &root(), &Overrides::default()), (Mode::Enforce, 10));
    assert_eq!(mode(&file, &environment, &Overrides::default()), (Mode::Log, 20));
    assert_eq!(mode(&file, &environment, &flags), (Mode::Enforce, 30));
}

#[test]
fn the_fleets_env_file_works_as_it_is() {
    let environment = variables(&[
        ("SERVICE_ID", "\"main-backend\"\r"),
        ("SERVICE_KEY_FILE", "~/keys/main-backend.env"),
        ("HOME", "/home/autobot"),
        ("AUTH_TIMESTAMP_WINDOW", "120\r"),
        ("BACKEND_HOST", "172.16.168.20"),
        ("BACKEND_PORT", "8001"),
        ("SERVICE_AUTH_CIRCUIT_BREAKER_PERCENTAGE", "25"),
        ("SERVICE_AUTH_ENFORCEMENT_MODE", "'true'"),
        ("SERVICE_AUTH_RATE_LIMIT_WINDOW", "60"),
        ("SERVICE_AUTH_RATE_LIMIT_MAX_FAILURES", "5   # as agreed"),
        ("SERVICE_AUTH_OVERRIDE_TOKEN", "0123456789abcdef"),
    ]);
    let config = Files::new(LEAST).load_with(&environment, &Overrides::default()).unwrap().config;
    let service = config.service.as_ref().unwrap();
    assert_eq!(service.id.as_str(), "main-backend");
    assert_eq!(service.key, OwnKey::File("/home/autobot/keys/main-backend.env".into()));
    assert_eq!(config.signature.window_seconds, 120);
    assert_eq!((config.enforcement.mode, config.enforcement.percentage.value()), (Mode::Enforce, 25));
    assert_eq!((config.rate_limit.failures, config.rate_limit.window), (5, Duration::from_secs(60)));
    assert!(config.override_token.is_some());
    assert_eq!(
        config.inbound[0].upstreams.first().to_string(),
        "127.0.0.1:18001",
        "BACKEND_* never names what is guarded"
    );
}

#[test]
fn a_variable_that_holds_against_the_file_is_told() {
    let file = format!("{LEAST}[enforcement]\nmode = \"log\"\npercentage = 50\n");
    let warned = |name: &str, value: &str| {
        let loaded = Files::new(&file).load_with(&variables(&[(name, value)]), &Overrides::default()).unwrap();
        loaded.warnings.to_string().contains(&format!("`{name}` beats the file"))
    };
    assert!(warned("SERVICE_AUTH_ENFORCEMENT_MODE", "true"));
    assert!(warned("SERVICE_AUTH_CIRCUIT_BREAKER_PERCENTAGE", "10"));
    assert!(!warned("SERVICE_AUTH_ENFORCEMENT_MODE", "false"), "they agree");
    assert!(!warned("SERVICE_AUTH_ENFORCEMENT_PERCENTAGE", "50"), "they agree");
}

#[test]
fn service_key_beats_service_key_file_beats_the_file() {
    let file = format!("{LEAST}[service]\nid = \"a\"\nkey_file = \"/file.env\"\n");
    let key = |pairs: &[(&str, &str)]| {
        let config = Files::new(&file).load_with(&variables(pairs), &Overrides::default()).unwrap().config;
        config.service.unwrap().key
    };
    let environment = OwnKey::Environment(std::sync::Arc::new(zeroize::Zeroizing::new("aa".into())));
    assert_eq!(key(&[]), OwnKey::File("/file.env".into()));
    assert_eq!(key(&[("SERVICE_KEY_FILE", "/env.env")]), OwnKey::File("/env.env".into()));
    assert_eq!(key(&[("SERVICE_KEY_FILE", "/env.env"), ("SERVICE_KEY", "aa")]), environment);
    assert_eq!(
        key(&[("SERVICE_KEY", ""), ("SERVICE_KEY_FILE", "")]),
        OwnKey::File("/file.env".into()),
        "empty says nothing"
    );
}

#[test]
fn a_guarding_sidecar_needs_no_identity() {
    for pairs in [&[("SERVICE_KEY", "aa")][..], &[("SERVICE_KEY_FILE", "/x")], &[("SERVICE_ID", "")], &[]] {
        let loaded = Files::new(LEAST).load_with(&variables(pairs), &Overrides::default()).unwrap();
        assert!(loaded.config.service.is_none() && loaded.warnings.is_empty());
    }
}

#[test]
fn a_variable_that_cannot_be_understood_refuses_by_name() {
    for (name, value) in [
        ("SERVICE_ID", "a b"),
        ("AUTH_TIMESTAMP_WINDOW", "300s"),
        ("AUTH_TIMESTAMP_WINDOW", "0"),
        ("AUTH_TIMESTAMP_WINDOW", "-1"),
        ("SERVICE_AUTH_ENFORCEMENT_MODE", "ture"),
        ("SERVICE_AUTH_ENFORCEMENT_MODE", "2"),
        ("SERVICE_AUTH_ENFORCEMENT_PERCENTAGE", "101"),
        ("SERVICE_AUTH_ENFORCEMENT_PERCENTAGE", "ten"),
        ("SERVICE_AUTH_CIRCUIT_BREAKER_PERCENTAGE", "10.5"),
        ("SERVICE_AUTH_RATE_LIMIT_WINDOW", "5m"),
        ("SERVICE_AUTH_RATE_LIMIT_MAX_FAILURES", "0"),
        ("SERVICE_AUTH_OVERRIDE_TOKEN", "t\u{f6}ken-with-16-characters"),
        ("SERVICE_KEY_FILE", "~/x"),
    ] {
        let problems = Files::new(LEAST).load_with(&variables(&[(name, value)]), &Overrides::default()).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems}");
        assert!(problems.to_string().contains(&format!("environment variable {name}")), "{problems}");
        assert_eq!(problems.to_json()[0]["variable"], name);
    }
}

#[test]
fn what_other_programs_take_for_true_and_false_is_taken() {
    for (value, mode) in [
        ("true", Mode::Enforce),
        ("True", Mode::Enforce),
        ("1", Mode::Enforce),
        ("yes", Mode::Enforce),
        ("\"on\"", Mode::Enforce),
        ("false", Mode::Log),
        ("FALSE\r", Mode::Log),
        ("0", Mode::Log),
        ("no", Mode::Log),
        ("off", Mode::Log),
        ("", Mode::Log),
    ] {
        let environment = variables(&[("SERVICE_AUTH_ENFORCEMENT_MODE", value)]);
        let config = Files::new(LEAST).load_with(&environment, &Overrides::default()).unwrap().config;
        assert_eq!(config.enforcement.mode, mode, "{value:?}");
    }
}

#[test]
fn the_two_spellings_of_the_percentage_must_agree() {
    let both = |one, other| {
        let environment = variables(&[
            ("SERVICE_AUTH_ENFORCEMENT_PERCENTAGE", one),
            ("SERVICE_AUTH_CIRCUIT_BREAKER_PERCENTAGE", other),
        ]);
        Files::new(LEAST).load_with(&environment, &Overrides::default())
    };
    assert_eq!(both("10", "10%").unwrap().config.enforcement.percentage.value(), 10);
    let problems = both("10", "20").unwrap_err().to_string();
    assert!(
        problems.contains("SERVICE_AUTH_ENFORCEMENT_PERCENTAGE") && problems.contains("CIRCUIT_BREAKER"),
        "{problems}"
    );
}

#[test]
fn flags_alone_guard_a_backend() {
    let dir = tempfile::tempdir().unwrap();
    let flags = Overrides {
        upstream: Some("http://127.0.0.1:8000".into()),
        listen: Some("127.0.0.1:8001".into()),
        protect: vec!["/api/internal".into(), "/api/admin".into()],
        exempt: vec!["/api/internal/health".into()],
        state_dir: Some(dir.path().join("state")),
        admin: Some("off".into()),
        ..Overrides::default()
    };
    let config = load(None, &Environment::default(), &flags, Purpose::Inspect).unwrap().config;
    assert_eq!(config.enforcement.mode, Mode::Log);
    assert_eq!(config.rules.rules().len(), 3);
    assert_eq!(config.rules.rules()[0].name.as_ref(), "/api/internal");
    assert!(config.keys.make_on_start && config.keys.dir == dir.path().join("state/keys"));
    assert_eq!(config.audit.sink, AuditSink::File(dir.path().join("state/audit.jsonl")));
    assert_eq!(config.admin.listen, None);
}

#[test]
fn flags_alone_keep_their_state_where_the_user_may_write() {
    let flags = Overrides {
        upstream: Some("http://127.0.0.1:8000".into()),
        listen: Some("127.0.0.1:8001".into()),
        protect: vec!["/x".into()],
        ..Overrides::default()
    };
    let state = |pairs: &[(&str, &str)], root| {
        let environment = Environment { root, ..variables(pairs) };
        load(None, &environment, &flags, Purpose::Inspect).map(|loaded| loaded.config.state_dir.display().to_string())
    };
    assert_eq!(state(&[("HOME", "/home/u")], false).unwrap(), "/home/u/.local/state/countersign");
    assert_eq!(state(&[("HOME", "/home/u"), ("XDG_STATE_HOME", "/s")], false).unwrap(), "/s/countersign");
    assert_eq!(state(&[("HOME", "/home/u")], true).unwrap(), "/var/lib/countersign");
    assert!(state(&[], false).unwrap_err().to_string().contains("--state-dir"));
}

#[test]
fn wrong_flags_are_told_all_at_once() {
    let flags = Overrides {
        upstream: Some("8000".into()),
        listen: Some("x".into()),
        protect: vec!["api".into()],
        exempt: vec!["/a%20b".into()],
        mode: Some("enfroce".into()),
        percentage: Some("110".into()),
        state_dir: Some(PathBuf::new()),
        audit: Some(String::new()),
        admin: Some("9180".into()),
        workers: Some("many".into()),
        log_level: Some("loud".into()),
        log_format: Some("xml".into()),
        ..Overrides::default()
    };
    let problems = load(None, &root(), &flags, Purpose::Inspect).unwrap_err();
    for flag in [
        "--upstream",
        "--listen",
        "--protect",
        "--exempt",
        "--mode",
        "--percentage",
        "--state-dir",
        "--audit",
        "--admin",
        "--workers",
        "--log-level",
        "--log-format",
    ] {
        assert!(problems.iter().any(|problem| problem.place == Place::Flag(flag)), "{flag}\n{problems}");
    }
    assert_eq!(problems.len(), 12, "{problems}");
}

#[test]
fn a_missing_flag_is_named() {
    let flags = Overrides { upstream: Some("http://127.0.0.1:8000".into()), ..Overrides::default() };
    let problems = load(None, &root(), &flags, Purpose::Inspect).unwrap_err().to_string();
    assert!(problems.contains("`--listen` is missing"), "{problems}");
    let problems = load(None, &root(), &Overrides::default(), Purpose::Inspect).unwrap_err().to_string();
    assert!(problems.contains("--upstream"), "{problems}");
}

#[test]
fn listen_and_upstream_change_the_one_listener_of_a_file_and_cannot_choose_among_two() {
    let flags = Overrides { listen: Some("127.0.0.1:0".into()), ..Overrides::default() };
    let config = Files::new(LEAST).load_with(&root(), &flags).unwrap().config;
    assert_eq!(config.inbound[0].listen, Listen::Tcp("127.0.0.1:0".parse().unwrap()));
    assert_eq!(config.inbound[0].upstreams.first().to_string(), "127.0.0.1:18001");
    let problems = Files::new(&TWO.replace("default_access = 1\n", "")).load_with(&root(), &flags).unwrap_err();
    assert!(problems.to_string().contains("cannot say which of 2"), "{problems}");
}

#[test]
fn included_rules_come_in_byte_order_and_errors_name_their_file() {
    let files = Files::new(&format!("include = [\"rules.d/*.toml\", \"more.toml\"]\n{LEAST}"));
    let rule = |name: &str| format!("[[rule]]\nname = \"{name}\"\npaths = [\"/{name}\"]\naccess = \"service\"\n");
    files.write("rules.d/b.toml", &rule("b"));
    files.write("rules.d/a.toml", &format!("{}[services.x]\naddresses = [\"10.0.0.1\"]\n", rule("a")));
    files.write("rules.d/.c.toml.swp", "not a configuration");
    files.write("more.toml", &rule("m"));
    let config = files.load().unwrap().config;
    let names: Vec<&str> = config.rules.rules().iter().map(|rule| rule.name.as_ref()).collect();
    assert_eq!(names, ["/api/internal", "a", "b", "m"]);
    assert_eq!((config.services.len(), config.files.len()), (1, 4));

    files.write(
        "rules.d/b.toml",
        "[[rule]]\npaths = [\"/b\"]\naccess = \"servcie\"\n[enforcement]\nmode = \"log\"\ninclude = []\n",
    );
    let problems = files.load().unwrap_err();
    assert_eq!(problems.len(), 2, "{problems}");
    for problem in problems.iter() {
        assert_eq!(problem.place.path(), Some(files.path("rules.d/b.toml").as_path()));
    }
    assert!(problems.to_string().contains("b.toml:3:10"), "{problems}");
}

#[test]
fn a_pattern_may_match_nothing_and_a_file_may_not_include_itself() {
    assert!(Files::new(&format!("include = [\"none.d/*.toml\"]\n{LEAST}")).load().is_ok());
    let problems = Files::new(&format!("include = [\"*.toml\"]\n{LEAST}")).load().unwrap_err();
    assert!(problems.len() == 1 && problems.to_string().contains("includes itself"), "{problems}");
}

#[test]
fn relative_paths_are_relative_to_the_file_and_the_home_directory_is_known() {
    let files = Files::new(&format!(
        "state_dir = \"state/../s\"\n{LEAST}[keys]\ndir = \"~/keys\"\n[audit]\nfile = \"./a\"\n"
    ));
    let config = files.load_with(&variables(&[("HOME", "/home/u")]), &Overrides::default()).unwrap().config;
    assert_eq!(config.state_dir, files.path("s"));
    assert_eq!(config.keys.dir, PathBuf::from("/home/u/keys"));
    assert_eq!(config.audit.sink, AuditSink::File(files.path("a")));
    assert!(files.load().unwrap_err().to_string().contains("HOME is not set"));
}

#[test]
fn the_journal_gets_json_unless_somebody_says_otherwise() {
    let journal = variables(&[("JOURNAL_STREAM", "8:12345")]);
    let format = |text: &str| Files::new(text).load_with(&journal, &Overrides::default()).unwrap().config.log.format;
    assert_eq!(format(LEAST), LogFormat::Json);
    assert_eq!(format(&format!("{LEAST}[log]\nformat = \"text\"\n")), LogFormat::Text);
}
