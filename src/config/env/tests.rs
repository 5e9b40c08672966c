use super::*;

#[test]
fn a_value_is_read_as_a_shell_reads_it() {
    for (raw, value) in [
        ("plain", "plain"),
        ("  plain\r\n", "plain"),
        ("\"quoted\"", "quoted"),
        ("'quoted'\r", "quoted"),
        ("\"a \\\"b\\\" \\\\ \\$c \\d\"", "a \"b\" \\ $c \\d"),
        ("'a \\' # comment", "a \\"),
        ("\"a # b\" # comment", "a # b"),
        ("value # comment", "value"),
        ("value\t# comment", "value"),
        ("a#b", "a#b"),
        ("\"a\"b", "\"a\"b"),
        ("\"open", "\"open"),
        ("it's", "it's"),
        ("\"\"", ""),
        ("", ""),
        ("\r", ""),
        ("#", "#"),
        ("\"end\\", "\"end\\"),
    ] {
        assert_eq!(shell_value(raw), value, "{raw:?}");
    }
}

#[test]
fn an_environment_shows_names_and_no_values() {
    let variables = BTreeMap::from([("SERVICE_KEY".to_owned(), "s3cret".to_owned())]);
    let shown = format!("{:?}", Environment { variables, root: false });
    assert!(shown.contains("SERVICE_KEY") && !shown.contains("s3cret"), "{shown}");
}

#[test]
fn only_the_fleets_variables_that_say_something_are_listed() {
    let variables = [("SERVICE_ID", "a"), ("SERVICE_KEY", ""), ("HOME", "/h"), ("AUTH_TIMESTAMP_WINDOW", "5")];
    let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert_eq!(Environment { variables, root: false }.said(), ["SERVICE_ID", "AUTH_TIMESTAMP_WINDOW"]);
}
