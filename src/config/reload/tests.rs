use super::*;
use crate::config::check::load;
use crate::policy::enforcement::{Enforcement, Mode, Percentage, Sampling};
use crate::rollout::state::edited;

const FILE: &str = "\
[[inbound]]
listen = \"127.0.0.1:0\"
upstream = \"http://127.0.0.1:18001\"
[[inbound]]
listen = \"127.0.0.1:0\"
upstream = \"http://127.0.0.1:18002\"
[keys]
dir = \"keys\"
[audit]
file = \"audit.jsonl\"
[enforcement]
mode = \"enforce\"
percentage = 100
[[rule]]
paths = [\"/api/internal\"]
access = \"service\"
[[rule]]
paths = [\"/api/npu\"]
access = \"service\"
";

/// A running configuration and its file.
struct Running {
    dir: tempfile::TempDir,
    source: Source,
    config: Config,
}

impl Running {
    fn new() -> Running {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("countersign.toml");
        std::fs::write(&path, FILE).unwrap();
        std::fs::create_dir(dir.path().join("keys")).unwrap();
        let environment = Environment { root: true, ..Environment::default() };
        let source = Source { file: Some(path), environment, overrides: Overrides::default() };
        let loaded = load(source.file.as_deref(), &source.environment, &source.overrides, Purpose::Run).unwrap();
        Running { dir, source, config: loaded.config }
    }

    fn reload(&self, text: &str) -> Result<Reloaded, Diagnostics> {
        std::fs::write(self.dir.path().join("countersign.toml"), text).unwrap();
        reload(&self.source, &self.config)
    }
}

fn enforcement(mode: Mode, percentage: u8, sampling: Sampling) -> Enforcement {
    Enforcement { mode, percentage: Percentage::new(percentage).unwrap(), sampling }
}

#[test]
fn an_unchanged_file_never_undoes_what_an_operator_did() {
    let running = Running::new();
    let rolled_back = enforcement(Mode::Log, 40, Sampling::Call);
    let after =
        |reloaded: Reloaded| edited(running.config.enforcement, reloaded.loaded.config.enforcement, rolled_back);
    assert_eq!(after(reload(&running.source, &running.config).unwrap()), rolled_back);
    // An edit elsewhere in [enforcement] is an edit of that alone.
    std::fs::write(running.dir.path().join("countersign.toml"), FILE.replace("= 100", "= 50")).unwrap();
    let reloaded = reload(&running.source, &running.config).unwrap();
    assert_eq!(after(reloaded), enforcement(Mode::Log, 50, Sampling::Call));
}

#[test]
fn an_edit_takes_effect_each_part_by_itself() {
    let file = |mode, percentage, sampling| enforcement(mode, percentage, sampling);
    for (last, now, in_force, expected) in [
        (
            file(Mode::Log, 100, Sampling::Call),
            file(Mode::Enforce, 100, Sampling::Call),
            file(Mode::Log, 10, Sampling::Call),
            file(Mode::Enforce, 10, Sampling::Call),
        ),
        (
            file(Mode::Enforce, 100, Sampling::Call),
            file(Mode::Log, 100, Sampling::Call),
            file(Mode::Enforce, 50, Sampling::Call),
            file(Mode::Log, 50, Sampling::Call),
        ),
        (
            file(Mode::Enforce, 10, Sampling::Call),
            file(Mode::Enforce, 20, Sampling::Random),
            file(Mode::Log, 100, Sampling::Call),
            file(Mode::Log, 20, Sampling::Random),
        ),
    ] {
        assert_eq!(edited(last, now, in_force), expected);
    }
}

#[test]
fn a_bad_file_keeps_everything() {
    let running = Running::new();
    for text in
        ["", "x", "[[rule]]\n", &FILE.replace("enforce", "enfroce"), &FILE.replace("[[inbound]]", "[[inbound]")]
    {
        assert!(running.reload(text).is_err(), "{text}");
    }
    std::fs::remove_file(running.dir.path().join("countersign.toml")).unwrap();
    assert!(reload(&running.source, &running.config).is_err());
}

#[test]
fn every_beginning_of_the_file_that_is_cut_inside_a_line_is_refused() {
    let running = Running::new();
    for cut in 1..FILE.len() {
        let whole_lines = FILE[..cut].ends_with('\n') || FILE[cut..].starts_with('\n');
        let answer = running.reload(&FILE[..cut]);
        if !whole_lines {
            assert!(answer.is_err(), "half a file was taken:\n{}", &FILE[..cut]);
        }
    }
    let problems = running.reload(FILE.strip_suffix("service\"\n").unwrap()).unwrap_err();
    assert!(problems.len() == 1, "{problems}");
    // A valid beginning: `percentage = 10` of `percentage = 100`.
    let half = &FILE[..FILE.find("00\n[[rule]]").unwrap()];
    let half = half.replace("[enforcement]", "[[rule]]\npaths = [\"/x\"]\naccess = \"service\"\n[enforcement]");
    let whole = format!("{half}00\n");
    std::fs::write(running.dir.path().join("countersign.toml"), &whole).unwrap();
    let before = reload(&running.source, &running.config).unwrap().loaded.config;
    std::fs::write(running.dir.path().join("countersign.toml"), &half).unwrap();
    let problems = reload(&running.source, &before).unwrap_err();
    assert!(problems.to_string().contains("looks like half of it"), "{problems}");
}

#[test]
fn an_edit_that_is_no_beginning_of_the_old_file_is_taken_without_a_last_line_break() {
    let running = Running::new();
    assert!(running.reload(FILE.replace("/api/npu", "/api/ai").trim_end()).is_ok());
    assert!(running.reload(&format!("{FILE}# more")).is_ok());
    assert!(running.reload(&FILE[..FILE.rfind("[[rule]]").unwrap()]).is_ok(), "removing the last rule is an edit");
}

#[test]
fn what_needs_a_restart_keeps_its_running_value_and_is_named() {
    let running = Running::new();
    for (text, named) in [
        (FILE.to_owned(), &[][..]),
        (format!("state_dir = \"/other\"\n{FILE}"), &["state_dir"]),
        (format!("workers = 999\n{FILE}"), &["workers"]),
        (FILE.replace("18001", "18009"), &["inbound.upstream"]),
        (FILE.replacen("127.0.0.1:0", "127.0.0.1:8009", 1), &["inbound.listen"]),
        (format!("{FILE}[admin]\nlisten = \"off\"\n"), &["admin.listen"]),
        (format!("{FILE}[log]\nformat = \"json\"\n"), &["log.format"]),
        (
            format!("{FILE}[[inbound]]\nlisten = \"unix:/x\"\nupstream = \"http://127.0.0.1:1\"\n"),
            &["inbound.listen"],
        ),
    ] {
        let Reloaded { loaded, needs_restart, .. } = running.reload(&text).unwrap();
        assert_eq!(needs_restart, named, "{text}");
        let (old, new) = (&running.config, &loaded.config);
        assert_eq!((&old.state_dir, old.workers, old.log.format), (&new.state_dir, new.workers, new.log.format));
        assert_eq!(old.admin.listen, new.admin.listen);
        assert_eq!(old.inbound, new.inbound);
    }
}

#[test]
fn what_may_change_in_flight_changes() {
    let running = Running::new();
    let text =
        FILE.replacen("[[inbound]]", "[[inbound]]\ntrusted_proxies = [\"10.0.0.0/8\"]\nfirst_byte = \"1s\"", 1)
            + "[log]\nlevel = \"debug\"\n[limits]\nheaders = 7\n[admin]\nallowed_hosts = [\"x\"]\n";
    let Reloaded { loaded, needs_restart, .. } = running.reload(&text).unwrap();
    let config = loaded.config;
    assert!(needs_restart.is_empty());
    assert_eq!((config.inbound[0].trusted_proxies.len(), config.inbound[1].trusted_proxies.len()), (1, 0));
    assert_eq!((config.limits.headers, config.admin.allowed_hosts.len()), (7, 1));
}

#[test]
fn listeners_keep_their_place_when_the_file_changes_their_order() {
    let running = Running::new();
    let first = FILE.replacen("127.0.0.1:0", "unix:/a", 1).replacen("127.0.0.1:0", "unix:/b", 1);
    let config = running.reload(&first).map(|_| ()).and_then(|()| {
        load(running.source.file.as_deref(), &running.source.environment, &Overrides::default(), Purpose::Run)
    });
    let config = config.unwrap().config;
    let swapped = first
        .replace("/a", "/c")
        .replace("/b", "/a")
        .replace("/c", "/b")
        .replace("18001", "x")
        .replace("18002", "18001")
        .replace("x\"", "18002\"");
    std::fs::write(running.dir.path().join("countersign.toml"), swapped).unwrap();
    let reloaded = reload(&running.source, &config).unwrap();
    assert_eq!(reloaded.needs_restart, Vec::<&str>::new());
    assert_eq!(reloaded.loaded.config.inbound, config.inbound);
}

const WAYS_OUT: &str = "\
[service]
id = \"npu-worker\"
[[outbound]]
listen = \"unix:/a\"
upstream = [\"http://192.0.2.1:1\", \"http://192.0.2.1:2\"]
allow_uids = [1]
[[outbound]]
listen = \"127.0.0.1:9000\"
forward_proxy = true
allow = [\"192.0.2.1:1\"]
connect = [\"192.0.2.1:2\"]
[keys]
dir = \"keys\"
[audit]
file = \"audit.jsonl\"
";

impl Running {
    fn signing() -> Running {
        let mut running = Running::new();
        let path = running.dir.path().join("countersign.toml");
        std::fs::write(&path, WAYS_OUT).unwrap();
        running.config =
            load(Some(&path), &running.source.environment, &Overrides::default(), Purpose::Run).unwrap().config;
        running
    }
}

#[test]
fn where_a_way_out_listens_and_leads_needs_a_restart() {
    let running = Running::signing();
    for (from, to, named) in [
        ("unix:/a", "unix:/b", &["outbound.listen"][..]),
        ("127.0.0.1:9000", "127.0.0.1:9009", &["outbound.listen"]),
        ("upstream = [\"http://192.0.2.1:1\", ", "upstream = [", &["outbound.upstream"]),
        ("http://192.0.2.1:2", "https://192.0.2.1:2", &["outbound.upstream"]),
        ("allow_uids = [1]", "allow_uids = [1]\nupstream_http2 = true", &["outbound.upstream"]),
        ("allow = [\"192.0.2.1:1\"]", "allow = [\"192.0.2.1:1\", \"192.0.2.9:1\"]", &["outbound.upstream"]),
        ("forward_proxy = true\nallow = [\"192.0.2.1:1\"]\nconnect = ", "upstream = ", &["outbound.upstream"]),
    ] {
        let text = WAYS_OUT.replacen(from, to, 1);
        assert_ne!(text, WAYS_OUT, "{from}");
        let text = text.replace("upstream = [\"192.0.2.1:2\"]", "upstream = [\"http://192.0.2.1:2\"]");
        let Reloaded { loaded, needs_restart, .. } = running.reload(&text).unwrap();
        assert_eq!(needs_restart, named, "{to}");
        assert_eq!(loaded.config.outbound, running.config.outbound, "{to}");
    }
}

#[test]
fn what_else_is_said_of_a_way_out_follows_the_file() {
    let running = Running::signing();
    let text = WAYS_OUT
        .replace(
            "allow_uids = [1]",
            "allow_uids = [1, 2]\nh2c = true\nfirst_byte = \"1s\"\nhealth = { path = \"/h\" }",
        )
        .replace("connect = [\"192.0.2.1:2\"]", "connect = [\"192.0.2.1:3\"]\nfirst_byte = \"2s\"");
    let Reloaded { loaded, needs_restart, .. } = running.reload(&text).unwrap();
    assert!(needs_restart.is_empty(), "{needs_restart:?}");
    let [direct, proxy] = &loaded.config.outbound[..] else { panic!() };
    assert_eq!((direct.allow_uids.as_deref(), direct.first_byte.as_secs()), (Some(&[1, 2][..]), 1));
    assert!(direct.h2c && !proxy.h2c);
    assert_eq!(direct.health.as_ref().unwrap().path, "/h");
    let crate::config::Destination::ForwardProxy { allow, connect } = &proxy.destination else { panic!() };
    assert_eq!((allow.len(), connect[0].port, proxy.first_byte.as_secs()), (1, 3, 2));
    for bad in [
        WAYS_OUT.replace("allow = [\"192.0.2.1:1\"]\n", ""),
        WAYS_OUT.replace("id = \"npu-worker\"", ""),
        WAYS_OUT.replace("192.0.2.1:2\"]\n[keys]", "127.0.0.1:9000\"]\n[keys]"),
    ] {
        assert_ne!(bad, WAYS_OUT);
        assert!(running.reload(&bad).is_err(), "{bad}");
    }
}
