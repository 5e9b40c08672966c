//! What is wrong with one key: one message for each mistake, at its place.

use super::*;

/// Text put before [`LEAST`] (top-level keys) or after it, and the one message it must cause.
#[track_caller]
fn refuses(before: &str, after: &str, message: &str) {
    let problems = bad(&format!("{before}{LEAST}{after}"));
    let messages: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(messages, [message], "{before}{after}\n{problems}");
}

#[test]
fn every_key_of_the_top_refuses_what_it_cannot_mean() {
    for (before, message) in [
        ("state_dir = 5\n", "`state_dir` is `5`"),
        ("state_dir = \"\"\n", "`state_dir` is `\"\"`"),
        ("state_dir = \"~x/y\"\n", "`state_dir` is `\"~x/y\"`"),
        ("state_dir = \"a\\nb\"\n", "`state_dir` is `\"a\\nb\"`"),
        ("default_access = \"exempt\"\n", "`default_access` is `\"exempt\"`"),
        ("default_access = true\n", "`default_access` is `true`"),
        ("workers = -1\n", "`workers` is `-1`"),
        ("workers = 1025\n", "`workers` is `1025`"),
        ("workers = \"4\"\n", "`workers` is `\"4\"`"),
        ("workers = 1.5\n", "`workers` is `1.5`"),
        ("workers = 99999999999999999999\n", "`workers` is `99999999999999999999`"),
        ("include = \"rules.d/*.toml\"\n", "`include` is `\"rules.d/*.toml\"`"),
        ("include = [1]\n", "an entry of `include` is `1`"),
        ("include = [\"missing.toml\"]\n", "the included file DIR/missing.toml does not exist"),
        ("[signature]\nwindow = 300\n", "`signature.window` is `300`"),
        ("defualt_access = \"open\"\n", "unknown key `defualt_access`"),
        ("[enforcment]\nmode = \"log\"\n", "unknown table `enforcment`"),
        ("service = \"x\"\n", "`service` is `\"x\"`"),
        ("services = []\n", "`services` is a list"),
        ("[[signature]]\nwindow = \"1s\"\n", "`signature` is a list"),
    ] {
        let files = Files::new(&format!("{before}{LEAST}"));
        let problems = files.load().err().unwrap_or_else(|| panic!("taken as good: {before}"));
        let dir = files.dir.path().display().to_string();
        let messages: Vec<String> = problems.iter().map(|problem| problem.message.replace(&dir, "DIR")).collect();
        assert_eq!(messages, [message], "{before}\n{problems}");
    }
}

#[test]
fn every_key_of_a_table_refuses_what_it_cannot_mean() {
    for (table, key, values) in [
        ("service", "id", "\"\" \"a:b\" \"-a\" 5 \"ä\""),
        ("service", "key_file", "\"\" 5 []"),
        ("service", "key", "\"\" 5 \"Redis\" \"files\" []"),
        ("keys", "dir", "\"\" true {}"),
        ("keys", "redis", "\"\" 5 \"h:6379\" \"http://h\" \"redis://a,b\" \"redis://:pw@h\" []"),
        ("keys", "sources", "\"redis\" [] [5] [\"file\"] [\"Redis\"]"),
        ("keys", "redis_password_file", "\"\" 5"),
        ("keys", "redis_tls", "true \"ca.pem\" []"),
        ("keys", "sealed_copy", "\"\" true"),
        ("keys", "cache", "5 \"0s\" \"25h\" \"off\""),
        ("keys", "stale", "24 \"367d\" true"),
        ("keys", "grace", "72 \"366d\" \"x\""),
        ("keys", "ttl", "90 \"0s\" \"3651d\""),
        ("keys", "overlap", "1 \"366d\" \"off\""),
        ("keys", "unused_for", "1 \"366d\""),
        ("keys", "rotate_before", "7 \"366d\""),
        ("signature", "window", "\"0s\" \"25h\" \"5\" 300 \"abc\" \"-1s\" []"),
        ("signature", "replay", "\"on\" true \"\""),
        ("enforcement", "mode", "\"Log\" \"enfroce\" true \"off\" \"\" 1"),
        ("enforcement", "percentage", "101 -1 10.0 \"10\" \"10%\" true 1000 \"ten\""),
        ("enforcement", "sampling", "\"calls\" 1"),
        ("enforcement", "override_token_file", "\"\" 5"),
        ("enforcement", "rate_limit", "10 \"10\" []"),
        ("enforcement.rate_limit", "failures", "0 -1 \"10\" 1000000001"),
        ("enforcement.rate_limit", "window", "300 \"0s\" \"2d\""),
        ("enforcement.rate_limit", "lockout", "\"true\" 1 \"no\""),
        ("enforcement.rate_limit", "addresses", "0 \"x\" 10000001"),
        ("timeouts", "head", "10 \"0s\" \"25h\" \"off\" true"),
        ("timeouts", "idle", "75 \"0s\" \"off\""),
        ("timeouts", "body_idle", "60 \"0s\""),
        ("timeouts", "write_idle", "60 \"0s\""),
        ("timeouts", "connect", "5 \"0s\""),
        ("timeouts", "first_byte", "300 \"0s\""),
        ("timeouts", "tunnel_idle", "\"on\" false 0 \"0s\""),
        ("timeouts", "drain", "30 \"25h\""),
        ("limits", "head", "\"64\" \"64kb\" 255 \"17MiB\" -1 1.5 true"),
        ("limits", "target", "\"x\" 15 -1"),
        ("limits", "headers", "0 10001 \"100\""),
        ("limits", "connections", "0 10000001 \"1\""),
        ("limits", "connections_per_address", "0 \"1\""),
        ("limits", "upstream_requests", "0 \"1\""),
        ("refusal", "headers", "[] \"x\""),
        ("refusal.headers", "Content-Length", "\"0\""),
        ("refusal.headers", "X-Service-ID", "\"0\""),
        ("refusal.headers", "X-Good", "5 \"a\\r\\nb\""),
        ("audit", "file", "\"\" 5"),
        ("audit", "keep_service", "90 \"x\""),
        ("audit", "on_full", "\"drop\" true"),
        ("audit", "rotate", "\"1d\" 5"),
        ("audit.rotate", "size", "\"100\" \"1kb\" 0"),
        ("audit.rotate", "age", "1 \"0s\""),
        ("audit.rotate", "keep", "0 -1 \"x\""),
        ("admin", "listen", "\"9180\" 9180 true \"no\" \"unix:/x\""),
        ("admin", "allowed_hosts", "\"x\" [5] [\"a/b\"]"),
        ("admin", "allow_remote", "\"yes\" 1"),
        ("log", "level", "\"verbose\" 3 \"INFO\""),
        ("log", "format", "\"xml\" true"),
        ("services.x", "unused", "1 \"true\" []"),
        ("services.x", "certificate", "5 \"\" [] \"*.internal\""),
        ("services.x", "addresses", "\"10.0.0.1\" [5] [\"10.0.0\"] [\"10.0.0.0/33\"]"),
    ] {
        for value in values.split(' ') {
            // A size written as a text without a unit is one: the list above means other kinds of it.
            if ["\"64\"", "\"100\""].contains(&value) && key.starts_with(['h', 's']) {
                continue;
            }
            let text = format!("{LEAST}[{table}]\n\"{key}\" = {value}\n");
            let problems = bad(&text);
            assert_eq!(problems.len(), 1, "{table}.{key} = {value}\n{problems}");
            let problem = problems.iter().next().unwrap();
            assert_eq!(problem.position().unwrap().0, 8, "{table}.{key} = {value}: wrong line\n{problems}");
            assert!(problem.expected.is_some(), "{table}.{key} = {value}: what is right is not said\n{problems}");
            assert!(problem.message.contains(key), "{table}.{key} = {value}: {}", problem.message);
        }
    }
}

#[test]
fn every_key_of_a_rule_refuses_what_it_cannot_mean() {
    for (rule, message) in [
        ("access = \"service\"", "`rule.paths` is missing"),
        ("paths = [\"/x\"]", "`rule.access` is missing"),
        ("paths = [\"/x\"]\naccess = \"open\"", "`rule.access` is `\"open\"`"),
        ("paths = [\"/x\"]\nacces = \"service\"", "unknown key `rule.acces`"),
        ("path = [\"/x\"]\naccess = \"service\"", "unknown key `rule.path`"),
        ("paths = \"/x\"\naccess = \"service\"", "`rule.paths` is `\"/x\"`"),
        ("paths = []\naccess = \"service\"", "`rule.paths` is an empty list"),
        ("paths = [5]\naccess = \"service\"", "an entry of `rule.paths` is `5`"),
        ("paths = [\"/x\"]\naccess = \"service\"\nname = \"\"", "`rule.name` is `\"\"`"),
        ("paths = [\"/x\"]\naccess = \"service\"\nname = \"a\\nb\"", "`rule.name` is `\"a\\nb\"`"),
        ("paths = [\"/x\"]\naccess = \"service\"\nmethods = [\"post\"]", "an entry of `rule.methods` is `\"post\"`"),
        ("paths = [\"/x\"]\naccess = \"service\"\nmethods = [\"A B\"]", "an entry of `rule.methods` is `\"A B\"`"),
        ("paths = [\"/x\"]\naccess = \"service\"\nmethods = \"POST\"", "`rule.methods` is `\"POST\"`"),
        ("paths = [\"/x\"]\naccess = \"service\"\nmethods = []", "`rule.methods` is an empty list"),
        ("paths = [\"/x\"]\naccess = \"service\"\ncallers = []", "`rule.callers` is an empty list"),
        ("paths = [\"/x\"]\naccess = \"service\"\ncallers = [\"a b\"]", "an entry of `rule.callers` is `\"a b\"`"),
        ("paths = [\"/x\"]\naccess = \"service\"\nenforce = 101", "`rule.enforce` is `101`"),
        ("paths = [\"/x\"]\naccess = \"service\"\nenforce = \"50%\"", "`rule.enforce` is `\"50%\"`"),
        ("paths = [\"/x\"]\naccess = \"service\"\nfirst_byte = 5", "`rule.first_byte` is `5`"),
        (
            "paths = [\"/x\"]\naccess = \"exempt\"\ncallers = [\"a\"]",
            "`rule.callers` contradicts `access = \"exempt\"`",
        ),
        ("paths = [\"/x\"]\naccess = \"exempt\"\nenforce = 5", "`rule.enforce` contradicts `access = \"exempt\"`"),
    ] {
        refuses("", &format!("[[rule]]\n{rule}\n"), message);
    }
    for pattern in ["x", "", "/a%20b", "/a;b", "/a?b", "//a", "/a/../b", "/a//b", "/a*b"] {
        let problems = bad(&format!("{LEAST}[[rule]]\npaths = [\"{pattern}\"]\naccess = \"service\"\n"));
        assert_eq!(problems.len(), 1, "{pattern}\n{problems}");
        assert_eq!(problems.iter().next().unwrap().position(), Some((8, 10)), "{pattern}");
    }
    let single = bad(&LEAST.replace("[[rule]]", "[rule]"));
    assert_eq!(super::lines(&single), ["4:1 `rule` is a table"], "{single}");
}

#[test]
fn every_key_of_a_listener_refuses_what_it_cannot_mean() {
    let inbound = |lines: &str| format!("[inbound]\n{lines}\n[[rule]]\npaths = [\"/x\"]\naccess = \"service\"\n");
    let whole = "listen = \"127.0.0.1:8001\"\nupstream = \"http://127.0.0.1:18001\"\n";
    for (lines, message) in [
        (String::new(), "`inbound.listen` is missing | `inbound.upstream` is missing"),
        ("listen = \"127.0.0.1:1\"".into(), "`inbound.upstream` is missing"),
        ("lisen = \"127.0.0.1:1\"\nupstream = \"http://h:2\"".into(), "unknown key `inbound.lisen`"),
        ("listen = 8001\nupstream = \"http://h:2\"".into(), "`inbound.listen` is `8001`"),
        ("listen = \"127.0.0.1:1\"\nupstream = \"h:2\"".into(), "`inbound.upstream` is `\"h:2\"`"),
        (
            "listen = \"127.0.0.1:1\"\nupstream = \"http://h:2/api\"".into(),
            "`inbound.upstream` is `\"http://h:2/api\"`",
        ),
        (format!("{whole}\ntrusted_proxies = \"10.0.0.0/8\""), "`inbound.trusted_proxies` is `\"10.0.0.0/8\"`"),
        (format!("{whole}\ntrusted_proxies = [\"proxy\"]"), "an entry of `inbound.trusted_proxies` is `\"proxy\"`"),
        (format!("{whole}\nfirst_byte = 5"), "`inbound.first_byte` is `5`"),
        (format!("{whole}\nhealth = \"/health\""), "`inbound.health` is `\"/health\"`"),
        (format!("{whole}\nhealth = {{}}"), "`inbound.health.path` is missing"),
        (format!("{whole}\nhealth = {{ path = \"health\" }}"), "`inbound.health.path` is `\"health\"`"),
        (format!("{whole}\nhealth = {{ path = \"/a b\" }}"), "`inbound.health.path` is `\"/a b\"`"),
        (
            format!("{whole}\nhealth = {{ path = \"/\", interval = \"1ms\" }}"),
            "`inbound.health.interval` is `\"1ms\"`",
        ),
        (format!("{whole}\nhealth = {{ path = \"/\", expect = 99 }}"), "`inbound.health.expect` is `99`"),
        (format!("{whole}\nhealth = {{ path = \"/\", json = {{ a = 1.5 }} }}"), "`inbound.health.json.a` is `1.5`"),
        (format!("{whole}\nhealth = {{ path = \"/\", timeout = \"1s\" }}"), "unknown key `inbound.health.timeout`"),
        (format!("{whole}\nport = 1"), "unknown key `inbound.port`"),
    ] {
        let problems = bad(&inbound(&lines));
        let messages: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(messages.join(" | "), message, "{lines}\n{problems}");
    }
    let nothing = bad("[[rule]]\npaths = [\"/x\"]\naccess = \"service\"\n");
    assert_eq!(super::lines(&nothing), ["- nothing is guarded and nothing is signed: there is no listener"]);
    assert_eq!(bad("").len(), 1, "an empty file is no configuration");
}

#[test]
fn no_message_shows_a_secret() {
    let key = "0123456789abcdef".repeat(4);
    let text = format!(
        "{LEAST}[enforcement]\noverride_token = \"s3cret-s3cret\"\n[service]\nid = 5\nservice_key = \"{key}\"\n\
         [keys]\nredis = \"redis://:s3cret@10.0.0.1\"\n[admin]\nlisten = \"http://u:s3cret@h\"\ntoken = s3cret\n"
    );
    let problems = bad(&text);
    let shown = format!("{problems}{}{problems:?}", problems.to_json());
    assert!(!shown.contains("s3cret") && !shown.contains(&key), "{shown}");
    let environment =
        variables(&[("SERVICE_KEY", &key), ("SERVICE_AUTH_OVERRIDE_TOKEN", "s3cret"), ("SERVICE_ID", "a:b")]);
    let problems = Files::new(LEAST).load_with(&environment, &Overrides::default()).unwrap_err();
    let shown = format!("{problems}{}{problems:?}{environment:?}", problems.to_json());
    assert!(problems.len() == 2 && !shown.contains("s3cret") && !shown.contains(&key), "{shown}");
}

#[test]
fn the_known_keys_of_a_table_are_each_named_once() {
    let problems = bad(&LEAST.replace("[inbound]", "[inbound]\nzzzzzz = 1"));
    let expected = problems.iter().next().unwrap().expected.clone().unwrap();
    for key in ["`listen`", "`upstream`", "`tls`", "`health`"] {
        assert_eq!(expected.matches(key).count(), 1, "{key}: {expected}");
    }
}
