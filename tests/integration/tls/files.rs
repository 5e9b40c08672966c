//! What is wrong with a file of TLS is told before anything starts: which file, what was found, what to do, and where it was named.

use super::super::support::pki::{Authority, Files, Leaf, Pair};
use super::super::support::sidecar::countersign;
use super::{both, run};
use std::os::unix::fs::PermissionsExt;

const START: &str = "[inbound]\nlisten = \"127.0.0.1:0\"\nupstream = \"http://127.0.0.1:18001\"\n\
                     tls = { cert = \"server.pem\", key = \"server.key\", client_ca = \"ca.pem\" }\n\
                     [[rule]]\npaths = [\"/api/internal\"]\naccess = \"service\"\n";

struct Case {
    files: Files,
    authority: Authority,
    pair: Pair,
}

impl Case {
    fn new() -> Case {
        let (files, authority) = (Files::new(), Authority::new("the tests' own"));
        let pair = authority.server();
        files.pair("server", &pair);
        files.write("ca.pem", authority.pem());
        files.write("countersign.toml", START);
        std::fs::create_dir(files.path("keys")).unwrap();
        Case { files, authority, pair }
    }

    /// What `check` says, and with which exit code.
    fn check(&self) -> (String, i32) {
        let output =
            countersign().args(["check", "countersign.toml"]).current_dir(self.files.directory()).output().unwrap();
        (both(&output), output.status.code().unwrap())
    }

    /// One error, at the line of `tls`, with these words.
    #[track_caller]
    fn assert_refused(&self, words: &[&str]) {
        let (said, code) = self.check();
        assert!(code == 2 && said.contains("1 problem") && said.contains("countersign.toml:4:"), "{code}\n{said}");
        for word in words {
            assert!(said.contains(word), "{word:?} is not in\n{said}");
        }
    }
}

#[test]
fn good_files_are_good() {
    let (said, code) = Case::new().check();
    assert!(code == 0 && !said.contains("server.pem ends") && !said.contains("error"), "{said}");
}

#[test]
fn a_missing_file_is_a_warning_where_configurations_are_written_and_no_start() {
    for (name, noun) in
        [("server.pem", "the certificate"), ("server.key", "the private key"), ("ca.pem", "the CA file")]
    {
        let case = Case::new();
        std::fs::remove_file(case.files.path(name)).unwrap();
        let (said, code) = case.check();
        assert!(code == 0 && said.contains("on this machine") && said.contains("countersign.toml:4:"), "{said}");
        let mut start = countersign();
        start.args(["run", "--config", "countersign.toml"]);
        let output = start.current_dir(case.files.directory()).output().unwrap();
        let said = both(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        for word in [noun, name, "there is no such file", "countersign.toml:4:"] {
            assert!(said.contains(word), "{word:?} is not in\n{said}");
        }
    }
}

#[test]
fn every_broken_file_is_told_in_one_run() {
    let case = Case::new();
    for name in ["server.pem", "server.key", "ca.pem"] {
        case.files.write(name, "");
    }
    let (said, code) = case.check();
    assert!(code == 2 && said.contains("3 problems"), "{said}");
}

#[test]
fn a_key_that_others_can_read_is_refused_with_what_to_do() {
    let case = Case::new();
    let key = case.files.path("server.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    case.assert_refused(&["open to group or others (mode 0640)", "chmod 600"]);
    // The service manager's credentials are shown as 0440, and kept for this unit alone.
    let output = countersign()
        .args(["check", "countersign.toml"])
        .current_dir(case.files.directory())
        .env("CREDENTIALS_DIRECTORY", case.files.directory())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", both(&output));
    // A certificate is no secret.
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::set_permissions(case.files.path("server.pem"), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(case.check().1, 0);
}

#[test]
fn files_that_hold_something_else_are_told_apart() {
    let half = |text: &str| text[..text.len() * 2 / 3].to_owned();
    let case = Case::new();
    let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let writings: [(&str, String, &str); 9] = [
        ("server.pem", half(&case.pair.cert), "a section has no -----END line"),
        ("server.key", half(&case.pair.key), "a section has no -----END line"),
        ("ca.pem", half(case.authority.pem()), "a section has no -----END line"),
        ("server.pem", case.pair.key.clone(), "holds no certificate"),
        ("server.key", case.pair.cert.clone(), "holds no private key"),
        ("ca.pem", String::new(), "holds no certificate"),
        ("server.pem", certificate.to_owned(), "certificate 1 in it cannot be read"),
        ("ca.pem", format!("{}{certificate}", case.authority.pem()), "certificate 2 in it cannot be read"),
        ("server.key", case.authority.server().key, "is not the key of the first certificate in"),
    ];
    for (name, text, word) in writings {
        let case = Case::new();
        if word.contains("is not the key") {
            case.files.write("server.pem", &case.authority.server().cert);
        }
        case.files.write(name, &text);
        case.assert_refused(&[name, word]);
    }
}

#[test]
fn no_message_shows_a_part_of_a_key() {
    let case = Case::new();
    let body = case.pair.key.lines().nth(1).unwrap().to_owned();
    for text in
        [case.pair.key.replace(&body, &format!("{body}!")), case.pair.key[..case.pair.key.len() - 10].to_owned()]
    {
        case.files.write("server.key", &text);
        let (said, code) = case.check();
        assert!(code == 2 && !said.contains(&body[..16]), "{said}");
    }
}

#[test]
fn a_fifo_hangs_nothing() {
    for name in ["server.pem", "server.key", "ca.pem"] {
        let case = Case::new();
        let path = case.files.path(name);
        std::fs::remove_file(&path).unwrap();
        assert!(run("mkfifo", &[path.to_str().unwrap()]).status.success());
        case.assert_refused(&["not a regular file"]);
    }
}

#[test]
fn a_key_with_a_passphrase_is_refused_with_what_to_do() {
    let case = Case::new();
    let (key, locked) = (case.files.path("server.key"), case.files.path("locked.key"));
    let arguments = ["pkey", "-in", key.to_str().unwrap(), "-aes256", "-passout", "pass:fake", "-out"];
    assert!(run("openssl", &[&arguments[..], &[locked.to_str().unwrap()]].concat()).status.success());
    std::fs::rename(locked, &key).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    case.assert_refused(&["without a passphrase", "openssl pkey"]);
}

#[test]
fn keys_of_openssls_older_forms_are_taken() {
    let case = Case::new();
    let path = |name: &str| case.files.path(name).display().to_string();
    for generate in
        [["ecparam", "-name", "secp384r1", "-genkey", "-out"], ["genrsa", "-traditional", "-out", "KEY", "2048"]]
    {
        let key = path("server.key");
        let mut arguments = generate.map(|word| if word == "KEY" { key.as_str() } else { word }).to_vec();
        if generate[0] == "ecparam" {
            arguments.push(&key);
        }
        let output = run("openssl", &arguments);
        assert!(output.status.success(), "{}", both(&output));
        let subject = ["-subj", "/CN=x", "-addext", "subjectAltName=DNS:localhost", "-days", "90"];
        let (key, cert) = (path("server.key"), path("server.pem"));
        let request = [&["req", "-x509", "-new", "-key", &key, "-out", &cert], &subject[..]].concat();
        assert!(run("openssl", &request).status.success());
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        let (said, code) = case.check();
        assert_eq!(code, 0, "{generate:?} {said}");
    }
}

#[test]
fn an_ended_certificate_is_a_warning_and_is_served() {
    let case = Case::new();
    let ended = Leaf { dns: &["localhost"], ended: true, ..Leaf::default() };
    case.files.pair("server", &case.authority.issue(ended));
    let (said, code) = case.check();
    assert!(code == 0 && said.contains("warning: the certificate") && said.contains("days ago"), "{said}");
}

#[test]
fn half_of_tls_is_refused_and_so_is_what_says_nothing() {
    for (tls, words) in [
        ("{ cert = \"server.pem\" }", "`inbound.tls.key` is missing"),
        ("{ key = \"server.key\" }", "`inbound.tls.cert` is missing"),
        (
            "{ cert = \"server.pem\", key = \"server.key\", client = \"required\" }",
            "says nothing without `client_ca`",
        ),
        (
            "{ cert = \"server.pem\", key = \"server.key\", client_ca = \"ca.pem\", client = \"always\" }",
            "\"required\"",
        ),
    ] {
        let case = Case::new();
        let text = START
            .lines()
            .map(|line| if line.starts_with("tls") { format!("tls = {tls}\n") } else { format!("{line}\n") });
        case.files.write("countersign.toml", &text.collect::<String>());
        case.assert_refused(&[words]);
    }
}
