use super::*;
use crate::config::diagnostic::Diagnostics;

/// Every problem as `line:column message`.
fn problems(text: &str) -> Vec<String> {
    let file = Arc::new(SourceFile::new("x.toml".into(), text.to_owned(), 0));
    let problems = Problems::default();
    read(&file, None, false, &problems);
    let problems = Diagnostics::new(problems.into_list(), crate::config::watched::Watched::default());
    problems
        .iter()
        .map(|problem| match problem.position() {
            Some((line, column)) => format!("{line}:{column} {}", problem.message),
            None => problem.message.clone(),
        })
        .collect()
}

#[test]
fn a_syntax_error_is_told_once_and_in_words() {
    for (text, expected) in [
        ("workers = \ndefault_access = \"open\"\n", &["1:11 there is no value after `=`"][..]),
        ("state_dir = /var/lib\n", &["1:13 `/var/lib` is not a value"]),
        ("[signature]\nwindow = 300s\n", &["2:10 `300s` is not a value"]),
        ("[timeouts]\nhead = \"10s\"; idle = \"75s\"\n", &["2:13 something follows the value on the same line"]),
        ("workers = 1\nworkers = 2\n", &["2:1 `workers` is set twice"]),
        ("[log]\n[log]\nlevel = \"info\"\n", &["2:2 `log` is set twice"]),
        ("state_dir = \"/var\nworkers = 1\n", &["1:18 invalid basic string"]),
        ("workers : 4\n", &["1:9 key with no value"]),
        ("[log]\nlevel = tru\n", &["2:9 invalid boolean"]),
    ] {
        assert_eq!(problems(text), expected, "{text}");
    }
}

#[test]
fn an_open_bracket_is_one_mistake_however_much_it_swallows() {
    for text in [
        "workers = 1\ninclude = [\"a\", \"b\"\nstate_dir = \"/x\"\n[signature]\nwindow = \"5m\"\n[log]\nlevel = \"info\"\n",
        "workers = 1\ninclude = [\"a\"\n",
    ] {
        assert_eq!(problems(text), ["2:11 this list is never closed"], "{text}");
    }
    let text = "[enforcement]\nrate_limit = { failures = 1\nmode = \"log\"\n[log]\nlevel = \"info\"\n";
    assert_eq!(problems(text), ["2:14 this table is never closed"]);
}

#[test]
fn a_broken_header_does_not_put_its_keys_into_another_table() {
    let text = "workers = 1\n[signature\nwindow = \"5m\"\nreplay = \"x\"\n[log]\nlevel = \"loud\"\n";
    assert_eq!(problems(text), ["2:11 unclosed table", "6:9 `log.level` is `\"loud\"`"]);
}

#[test]
fn syntax_errors_and_wrong_values_are_told_together() {
    let text = "workers = \ndefault_access = \"shut\"\n[log]\nlevel = loud\nformat = \"xml\"\n";
    assert_eq!(
        problems(text),
        [
            "1:11 there is no value after `=`",
            "2:18 `default_access` is `\"shut\"`",
            "4:9 `loud` is not a value",
            "5:10 `log.format` is `\"xml\"`",
        ]
    );
}

#[test]
fn beside_a_syntax_error_nothing_is_called_missing() {
    assert_eq!(problems("[[rule]]\npaths = \n"), ["2:9 there is no value after `=`"]);
}

#[test]
fn an_unquoted_secret_is_not_repeated() {
    let told = problems("[enforcement]\noverride_token = s3cret\n").join(" ");
    assert!(!told.contains("s3cret"), "{told}");
}

#[test]
fn lines_and_columns_are_counted_in_characters_and_without_a_byte_order_mark() {
    assert_eq!(problems("\u{feff}workers = -1\n"), ["1:11 `workers` is `-1`"]);
    assert_eq!(problems("# é\r\nstate_dir = \"/é\"\r\nworkers = \"é\"\r\n"), ["3:11 `workers` is `\"é\"`"]);
    assert_eq!(
        problems("log = { level = \"é\", format = \"é\" }\n"),
        ["1:17 `log.level` is `\"é\"`", "1:31 `log.format` is `\"é\"`"]
    );
}

/// Every beginning of the shipped files, and seeded damage to them: told or taken, never a panic, every message with a
/// place inside the text.
#[test]
fn no_text_makes_the_reader_panic() {
    let seeds = ["autobot", "countersign", "quickstart"].map(|name| {
        let path = format!("{}/config/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    });
    let look = |text: &str| {
        let file = Arc::new(SourceFile::new("x".into(), text.to_owned(), 0));
        let problems = Problems::default();
        read(&file, None, false, &problems);
        let problems = Diagnostics::new(problems.into_list(), crate::config::watched::Watched::default());
        for problem in problems.iter() {
            let (line, column) = problem.position().unwrap();
            assert!(line <= text.matches('\n').count() + 1 && column <= text.len() + 1, "{problem:?}");
        }
        let _ = (problems.to_string(), problems.to_json());
    };
    let mut random: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % below as u64).unwrap()
    };
    for seed in &seeds {
        let small: String =
            seed.lines().filter(|line| !line.starts_with('#')).take(60).collect::<Vec<_>>().join("\n");
        for _ in 0..60 {
            let cut = crate::config::diagnostic::floor_boundary(seed, next(seed.len()));
            look(&seed[..cut]);
        }
        for _ in 0..300 {
            let mut bytes = small.clone().into_bytes();
            for _ in 0..=next(4) {
                let at = next(bytes.len());
                match next(3) {
                    0 => bytes[at] = b"[]{}=\"'\n#,.\\ a1-\x00\xc3"[next(18)],
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, b"[]{}=\"'\n#,.\\ a1-"[next(16)]),
                }
            }
            look(&String::from_utf8_lossy(&bytes));
        }
    }
}
