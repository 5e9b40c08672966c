//! Read as a shell reads; what a shell would run is not run.
#![allow(clippy::unwrap_used, reason = "in tests a broken assumption must end the test")]

use super::*;
use proptest::prelude::*;

fn value(line: &str) -> Result<Option<String>, ValueFault> {
    EnvFile::parse(line).value("K").map(|found| found.map(str::to_owned)).map_err(|error| error.fault)
}

#[test]
fn values_are_what_a_shell_would_make_of_them() {
    for (line, expected) in [
        ("K=plain", "plain"),
        ("K=", ""),
        ("  K=indented", "indented"),
        ("export K=exported", "exported"),
        ("export\tK=exported", "exported"),
        ("K=plain # comment", "plain"),
        ("K=plain\t#comment", "plain"),
        ("K=a#b", "a#b"),
        ("K=plain   ", "plain"),
        ("K='single quoted # $HOME'", "single quoted # $HOME"),
        ("K=\"double quoted # x\"", "double quoted # x"),
        ("K=\"a\\\"b\\\\c\\$d\\e\"", "a\"b\\c$d\\e"),
        ("K=a'b c'\"d e\"f", "ab cd ef"),
        ("K=a\\ b", "a b"),
        ("K=a\\#b", "a#b"),
        ("K=''", ""),
        ("K=a=b", "a=b"),
        ("K=caf\u{e9}", "caf\u{e9}"),
    ] {
        assert_eq!(value(line).unwrap().as_deref(), Some(expected), "{line}");
        // and the same from Windows
        assert_eq!(
            value(&format!("\u{feff}# made by hand\r\n{line}\r\n")).unwrap().as_deref(),
            Some(expected),
            "{line}"
        );
    }
}

#[test]
fn what_a_shell_would_run_or_look_up_is_not_taken() {
    for line in
        ["K=$HOME", "K=\"$HOME\"", "K=`id`", "K=\"`id`\"", "K=$(id)", "K=a;id", "K=a&", "K=a|b", "K=<f", "K=(a)"]
    {
        assert_eq!(value(line), Err(ValueFault::ShellActs), "{line}");
    }
}

#[test]
fn a_value_that_does_not_end_where_it_seems_to_is_not_taken() {
    for (line, fault) in [
        ("K=a b", ValueFault::SecondWord),
        ("K= a", ValueFault::SecondWord),
        ("K='a", ValueFault::OpenQuote),
        ("K=\"a", ValueFault::OpenQuote),
        ("K=\"a\\", ValueFault::OpenQuote),
        ("K='a\nb'", ValueFault::OpenQuote),
    ] {
        assert_eq!(value(line), Err(fault), "{line}");
    }
}

#[test]
fn what_assigns_something_else_or_nothing_is_passed_over() {
    for line in
        ["", "# K=comment", "#K=comment", "k=lower", "KK=x", "K", "K =x", "1K=x", "X K=x", "exportK=x", "-K=x", "=x"]
    {
        assert_eq!(value(line), Ok(None), "{line:?}");
    }
}

#[test]
fn of_two_lines_the_last_counts_and_an_error_names_its_line() {
    let file = EnvFile::parse("K=first\n\n# K=no\nL='open\nK=second\n");
    assert_eq!(file.value("K").unwrap(), Some("second"));
    assert_eq!(file.value("L"), Err(ValueError { line: 4, fault: ValueFault::OpenQuote }));
    assert_eq!(file.value("L").unwrap_err().to_string(), "line 4: a quote is not closed");
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,80}|[KL='\"\\\\\n\r #$]{0,60}") {
        let _ = EnvFile::parse(&text).value("K");
    }

    #[test]
    fn what_is_single_quoted_reads_back(text in "[^'\n\r\u{0}]{0,60}") {
        prop_assert_eq!(value(&format!("K='{text}'")), Ok(Some(text)));
    }
}

#[test]
fn a_rewrite_changes_what_it_names_and_nothing_else() {
    for (text, changes, expected) in [
        ("# a\nK=old\nL=1\n", &[("K", Some("new"))][..], "# a\nK=new\nL=1\n"),
        ("K=old", &[("K", Some("new"))], "K=new\n"),
        ("", &[("K", Some("new"))], "K=new\n"),
        ("L=1", &[("K", Some("new"))], "L=1\nK=new\n"),
        ("L=1\r\n# x\r\n", &[("K", Some("new"))], "L=1\r\n# x\r\nK=new\r\n"),
        ("K=first\nL=1\n  export K='second' # now\n", &[("K", Some("new"))], "L=1\nexport K=new\n"),
        ("K=first\nL=1\nK=second\n", &[("K", None)], "L=1\n"),
        ("\u{feff}K=old\nL=1\n", &[("K", Some("new"))], "\u{feff}K=new\nL=1\n"),
        ("\u{feff}K=old\nL=1\n", &[("K", None)], "\u{feff}L=1\n"),
        ("KK=1\n#K=2\nK =3\n", &[("K", Some("new")), ("M", None)], "KK=1\n#K=2\nK =3\nK=new\n"),
        ("A=1\nB=2\n", &[("B", Some("3")), ("A", None), ("C", Some("4"))], "B=3\nC=4\n"),
    ] {
        assert_eq!(*rewritten(text, changes), expected, "{text:?}");
    }
}

proptest! {
    #[test]
    fn what_was_written_is_read_and_the_rest_stays(text in "([A-Z]{0,2}[ =#'\"\\r\\n]{1,3}[a-z]{0,4}){0,8}", value in "[0-9a-f]{1,8}") {
        let out = rewritten(&text, &[("KEY", Some(&value)), ("GONE", None)]);
        let (before, after) = (EnvFile::parse(&text), EnvFile::parse(&out));
        prop_assert_eq!(after.value("KEY").unwrap(), Some(&*value));
        prop_assert_eq!(after.value("GONE").unwrap(), None);
        for name in ["A", "AB", "Z"] {
            prop_assert_eq!(after.value(name).ok(), before.value(name).ok());
        }
        let again = rewritten(&out, &[("KEY", None)]);
        let again = EnvFile::parse(&again);
        prop_assert_eq!(again.value("KEY").unwrap(), None);
    }
}
