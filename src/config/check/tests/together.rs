//! What several keys say together, and all mistakes of a file in one run.

use super::*;
use std::os::unix::fs::PermissionsExt;

#[test]
fn ten_mistakes_get_ten_messages_in_the_order_of_the_file() {
    let text = "\
workers = \"four\"
default_acess = \"open\"

[inbound]
listen = \"8001\"
upstream = \"http://127.0.0.1:18001/api\"

[enforcement]
mode = \"enfroce\"
percentage = 110
rate_limit = { failures = 0 }

[[rule]]
paths = [\"api/internal\"]
access = \"service\"
methods = [\"post\"]

[timeouts]
head = 10
";
    let problems = bad(text);
    assert_eq!(
        lines(&problems),
        [
            "1:11 `workers` is `\"four\"`",
            "2:1 unknown key `default_acess`",
            "5:10 `inbound.listen` is `\"8001\"`",
            "6:12 `inbound.upstream` is `\"http://127.0.0.1:18001/api\"`",
            "9:8 `enforcement.mode` is `\"enfroce\"`",
            "10:14 `enforcement.percentage` is `110`",
            "11:27 `enforcement.rate_limit.failures` is `0`",
            "14:10 an entry of `rule.paths` is `\"api/internal\"`: a path pattern starts with `/` (or `=/` for that path alone), found `api/internal`",
            "16:12 an entry of `rule.methods` is `\"post\"`",
            "19:8 `timeouts.head` is `10`",
        ]
    );
    let shown = problems.to_string();
    for (line, expected) in
        [("mode = \"enfroce\"", "did you mean \"enforce\"?"), ("workers = \"four\"", "a whole number")]
    {
        assert!(shown.contains(line) && shown.contains(expected), "{shown}");
    }
    assert!(shown.is_ascii(), "no colour and no boxes outside a terminal:\n{shown}");
}

#[test]
fn a_problem_is_shown_with_its_line_its_caret_and_the_way_out() {
    let files = Files::new(&format!("{LEAST}[enforcement]\nmode = \"enfroce\"\n"));
    let problems = files.load().unwrap_err();
    let path = files.path("countersign.toml");
    let expected = format!(
        "error: `enforcement.mode` is `\"enfroce\"`\n --> {}:8:8\n  |\n8 | mode = \"enfroce\"\n  |        ^^^^^^^^^ expected \"log\" or \
         \"enforce\"\n  |\n  = help: did you mean \"enforce\"?",
        path.display()
    );
    assert_eq!(problems.to_string(), expected);
    assert_eq!(
        problems.to_json()[0],
        serde_json::json!({
            "severity": "error", "file": path.display().to_string(), "line": 8, "column": 8,
            "message": "`enforcement.mode` is `\"enfroce\"`", "expected": "\"log\" or \"enforce\"",
            "fix": "did you mean \"enforce\"?",
        })
    );
    let line =
        format!("{}:8:8: `enforcement.mode` is `\"enfroce\"` (expected \"log\" or \"enforce\")", path.display());
    assert_eq!(problems.one_line(), line);
    assert!(problems.render(true).contains('\u{1b}'), "a terminal gets colour");
}

#[test]
fn rules_that_cannot_both_stand_are_shown_both() {
    let problems = bad(&format!("{LEAST}[[rule]]\npaths = [\"/x\", \"/api/internal\"]\naccess = \"exempt\"\n"));
    let shown = problems.to_string();
    assert_eq!(problems.len(), 1, "{shown}");
    assert_eq!(problems.iter().next().unwrap().position(), Some((8, 16)), "{shown}");
    assert!(shown.contains("5 | paths") && shown.contains("8 | paths") && shown.contains("class"), "{shown}");
    // Conflicts are told beside other mistakes, not after they are mended.
    let problems = bad(&format!("workers = -1\n{LEAST}[[rule]]\npaths = [\"/api/internal\"]\naccess = \"exempt\"\n"));
    assert_eq!(problems.len(), 2, "{problems}");
}

#[test]
fn rules_in_two_files_that_cannot_both_stand_are_shown_both() {
    let files = Files::new(&format!("include = [\"more.toml\"]\n{LEAST}"));
    files.write("more.toml", "[[rule]]\npaths = [\"/api/internal\"]\naccess = \"service\"\nenforce = 5\n");
    let shown = files.load().unwrap_err().to_string();
    assert!(
        shown.contains("more.toml:2") && shown.contains("countersign.toml:6") && shown.contains("enforce"),
        "{shown}"
    );
}

#[test]
fn two_listeners_cannot_share_an_address() {
    for (one, other, clash) in [
        ("127.0.0.1:8001", "127.0.0.1:8001", true),
        ("0.0.0.0:8001", "127.0.0.1:8001", true),
        ("127.0.0.1:8001", "[::]:8001", true),
        ("127.0.0.1:8001", "localhost:8001", true),
        ("systemd:a", "systemd:a", true),
        ("unix:/x", "unix:/x", true),
        ("127.0.0.1:8001", "127.0.0.2:8001", false),
        ("127.0.0.1:8001", "[::1]:8001", false),
        ("0.0.0.0:8001", "[::1]:8001", false),
        ("127.0.0.1:0", "127.0.0.1:0", false),
        ("systemd:a", "systemd:b", false),
    ] {
        let text = format!(
            "[[inbound]]\nlisten = \"{one}\"\nupstream = \"http://127.0.0.1:1\"\n\
             [[inbound]]\nlisten = \"{other}\"\nupstream = \"http://127.0.0.1:1\"\n\
             [[rule]]\npaths = [\"/x\"]\naccess = \"service\"\n"
        );
        let answer = Files::new(&text).load();
        assert_eq!(answer.is_err(), clash, "{one} {other}");
        if let Err(problems) = answer {
            assert_eq!(lines(&problems).len(), 1, "{problems}");
            assert!(problems.to_string().contains("listened on twice"), "{problems}");
        }
    }
    let admin = bad(&format!("{LEAST}[admin]\nlisten = \"127.0.0.1:8001\"\n"));
    assert!(admin.to_string().contains("admin listener"), "{admin}");
    let default = bad(&LEAST.replace("8001", "9180"));
    assert!(default.to_string().contains("admin listener"), "{default}");
}

#[test]
fn an_upstream_that_is_a_listener_of_our_own_is_refused() {
    for (listen, upstream, is_loop) in [
        ("127.0.0.1:8001", "127.0.0.1:8001", true),
        ("0.0.0.0:8001", "127.0.0.1:8001", true),
        ("0.0.0.0:8001", "localhost:8001", true),
        ("[::]:8001", "[::1]:8001", true),
        ("[::]:8001", "127.0.0.1:8001", true),
        ("127.0.0.1:8001", "0.0.0.0:8001", true),
        ("127.0.0.1:8001", "127.0.0.2:8001", false),
        ("0.0.0.0:8001", "127.0.0.1:18001", false),
        ("0.0.0.0:8001", "192.0.2.1:8001", false),
        ("0.0.0.0:8001", "no-such-host.invalid:8001", false),
    ] {
        let text = LEAST.replace("127.0.0.1:8001", listen).replace("127.0.0.1:18001", upstream);
        let answer = Files::new(&text).load();
        assert_eq!(answer.is_err(), is_loop, "{listen} {upstream}");
        if let Err(problems) = answer {
            assert!(problems.len() == 1 && problems.to_string().contains("own listeners"), "{problems}");
        }
    }
    let admin = bad(&LEAST.replace("18001", "9180"));
    assert!(admin.to_string().contains("own listeners"), "{admin}");
}

#[test]
fn metrics_are_opened_to_other_machines_only_on_purpose() {
    for listen in ["0.0.0.0:9180", "[::]:9180", "192.0.2.1:9180", "[::ffff:192.0.2.1]:9180"] {
        let problems = bad(&format!("{LEAST}[admin]\nlisten = \"{listen}\"\n"));
        assert!(problems.len() == 1 && problems.to_string().contains("allow_remote"), "{problems}");
        good(&format!("{LEAST}[admin]\nlisten = \"{listen}\"\nallow_remote = true\n"));
    }
    for listen in ["127.0.0.1:1", "127.1.2.3:1", "[::1]:1", "localhost:1", "off"] {
        good(&format!("{LEAST}[admin]\nlisten = \"{listen}\"\n"));
    }
}

#[test]
fn what_may_be_meant_is_a_warning() {
    for (text, warning) in [
        (LEAST.replace("access = \"service\"", "access = \"exempt\""), "no rule asks for a signature"),
        (
            format!("{LEAST}callers = [\"npu-wroker\"]\n[services.npu-worker]\n"),
            "the caller `npu-wroker` is not in [services]",
        ),
        (
            format!("{LEAST}[services.a]\naddresses = [\"10.0.0.1\"]\n[services.b]\naddresses = [\"10.0.0.1\"]\n"),
            "an address of two services",
        ),
        (format!("{LEAST}[enforcement]\nmode = \"enforce\"\npercentage = 0\n"), "at 0 % refuses nothing"),
        (LEAST.replace("[inbound]", "[inbound]\ntrusted_proxies = [\"0.0.0.0/0\"]"), "trusts everyone"),
        (format!("{LEAST}[audit]\nfile = \"stdout\"\nrotate = {{ keep = 3 }}\n"), "`audit.rotate` says nothing"),
        (format!("{LEAST}[service]\nkey_file = \"/x\"\n"), "says nothing without `service.id`"),
    ] {
        let loaded = Files::new(&text).load().unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(loaded.warnings.len(), 1, "{text}\n{}", loaded.warnings);
        assert!(loaded.warnings.to_string().contains(warning), "{}", loaded.warnings);
        assert!(loaded.warnings.to_string().starts_with("warning:"));
    }
}

#[test]
fn a_caller_without_a_services_table_is_nothing_special() {
    good(&format!("{LEAST}callers = [\"npu-worker\"]\n"));
}

#[test]
fn a_file_that_cannot_be_read_says_which_and_why() {
    let files = Files::new(LEAST);
    let problems =
        load(Some(&files.path("other.toml")), &root(), &Overrides::default(), Purpose::Inspect).unwrap_err();
    assert_eq!(lines(&problems), ["- the configuration file does not exist"]);
    assert!(problems.to_string().contains("other.toml"), "{problems}");
    let problems = load(Some(files.dir.path()), &root(), &Overrides::default(), Purpose::Inspect).unwrap_err();
    assert_eq!(lines(&problems), ["- the configuration file is a directory, not a file"]);
    std::fs::write(files.path("countersign.toml"), b"a = \"\xff\"").unwrap();
    assert_eq!(lines(&files.load().unwrap_err()), ["- the configuration file is not UTF-8 text (line 1)"]);
}

#[test]
fn a_configuration_that_anyone_may_change_is_a_warning() {
    let files = Files::new(LEAST);
    let path = files.path("countersign.toml");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    let warnings = files.load().unwrap().warnings;
    assert!(warnings.len() == 1 && warnings.to_string().contains("chmod o-w"), "{warnings}");
}

#[test]
fn a_file_of_another_kind_gets_a_bounded_answer() {
    for line in
        ["Nov 22 02:31:00 host program[1]: a line of a log\n", "x = 1\n", "[a]\nb\n", "a = [\n", "\"k\" = \"\"\"\n"]
    {
        let problems = bad(&line.repeat(10_000));
        assert!((1..=101).contains(&problems.len()), "{line}: {}", problems.len());
        assert!(problems.to_string().len() < 200_000 && problems.one_line().len() < 20_000);
    }
}
