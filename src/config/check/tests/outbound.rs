//! `[[outbound]]`: what stands, and what each mistake is told.

use super::*;
use crate::config::{Destination, Outbound};

/// Somebody who signs.
const ME: &str = "[service]\nid = \"npu-worker\"\n";
const PROXY: &str = "listen = \"127.0.0.1:9000\"\nforward_proxy = true\n";

fn outbound(lines: &str) -> String {
    format!("{ME}[[outbound]]\n{lines}\n")
}

fn one(lines: &str) -> Outbound {
    let config = good(&outbound(lines));
    assert_eq!((config.inbound.len(), config.outbound.len()), (0, 1));
    Outbound::clone(&config.outbound[0])
}

fn shown(destination: &Destination) -> String {
    let urls = |upstreams: &[crate::config::Upstream]| -> Vec<String> {
        upstreams.iter().map(|upstream| format!("{}://{upstream}", upstream.scheme())).collect()
    };
    match destination {
        Destination::Upstreams(upstreams) => urls(upstreams.all()).join(" "),
        Destination::ForwardProxy { allow, connect } => {
            format!("proxy {} / {}", urls(allow).join(" "), urls(connect).join(" "))
        }
    }
}

#[test]
fn a_sidecar_may_only_sign() {
    let least = one("listen = \"127.0.0.1:9001\"\nupstream = \"http://172.16.168.20:8001\"");
    assert_eq!(shown(&least.destination), "http://172.16.168.20:8001");
    assert_eq!((least.first_byte, least.allow_uids, least.health), (Duration::from_secs(30), None, None));
    let single = good(&format!("{ME}[outbound]\nlisten = \"[::1]:9001\"\nupstream = \"http://h:1\"\n"));
    assert_eq!(single.outbound.len(), 1);
}

#[test]
fn every_key_of_a_way_out_arrives() {
    let full =
        one("listen = \"unix:/run/x.sock\"\nupstream = [\"https://a:1\", \"http://b:2\"]\nallow_uids = [0, 1000]\n\
         first_byte = \"7s\"\nupstream_http2 = true\nh2c = true\nhealth = { path = \"/health\" }\n\
         upstream_tls = { ca = \"ca.pem\", name = \"backend.internal\", cert = \"/c.pem\", key = \"/k.pem\" }");
    assert!(full.h2c);
    assert_eq!(full.allow_uids, Some(vec![0, 1000]));
    assert_eq!(full.first_byte, Duration::from_secs(7));
    assert_eq!(full.health.unwrap().path, "/health");
    let Destination::Upstreams(upstreams) = &full.destination else { panic!() };
    let [a, b] = upstreams.all() else { panic!() };
    let tls = a.tls.as_ref().unwrap();
    assert!(tls.ca.as_ref().unwrap().is_absolute(), "relative to the file");
    assert_eq!(tls.name.as_deref(), Some("backend.internal"));
    assert_eq!(tls.identity, Some(("/c.pem".into(), "/k.pem".into())));
    assert!(a.http2 && b.http2 && b.tls.is_none());
    let proxy = one(&format!(
        "{PROXY}allow = [\"172.16.168.20:8001\", \"https://h:8443\"]\nconnect = [\"h:443\"]\nupstream_http2 = false"
    ));
    assert_eq!(shown(&proxy.destination), "proxy http://172.16.168.20:8001 https://h:8443 / http://h:443");
}

#[test]
fn every_key_of_a_way_out_refuses_what_it_cannot_mean() {
    let whole = "listen = \"127.0.0.1:9001\"\nupstream = \"http://h:1\"\n";
    let unix = "listen = \"unix:/x\"\nupstream = \"http://h:1\"\n";
    for (lines, messages) in [
        (String::new(), "`outbound.listen` is missing | this [[outbound]] does not say where requests go"),
        ("listen = \"127.0.0.1:9001\"".into(), "this [[outbound]] does not say where requests go"),
        ("listen = \"9001\"\nupstream = \"http://h:1\"".into(), "`outbound.listen` is `\"9001\"`"),
        ("listen = \"127.0.0.1:9001\"\nupstream = \"h:1\"".into(), "`outbound.upstream` is `\"h:1\"`"),
        ("listen = \"127.0.0.1:9001\"\nupstream = []".into(), "`outbound.upstream` is an empty list"),
        ("listen = \"127.0.0.1:9001\"\nupstream = [5]".into(), "an entry of `outbound.upstream` is `5`"),
        ("listen = \"127.0.0.1:9001\"\nupstraem = \"http://h:1\"".into(), "unknown key `outbound.upstraem`"),
        (
            "listen = \"127.0.0.1:9001\"\nupstream = [\"http://h:1\", \"http://H:1\"]".into(),
            "the upstream H:1 is listed twice",
        ),
        (format!("{whole}port = 1"), "unknown key `outbound.port`"),
        (format!("{whole}forward_proxy = \"yes\""), "`outbound.forward_proxy` is `\"yes\"`"),
        (
            format!("{whole}forward_proxy = true\nallow = [\"h:1\"]"),
            "`outbound.upstream` contradicts `forward_proxy = true`",
        ),
        (format!("{whole}allow = [\"h:1\"]"), "`outbound.allow` says nothing without `forward_proxy = true`"),
        (
            "listen = \"127.0.0.1:9000\"\nallow = [\"h:1\"]".into(),
            "`outbound.allow` says nothing without `forward_proxy = true`",
        ),
        (
            format!("{whole}forward_proxy = false\nconnect = [\"h:1\"]"),
            "`outbound.connect` says nothing without `forward_proxy = true`",
        ),
        (PROXY.into(), "`outbound.allow` is missing: a forward proxy for no host"),
        (format!("{PROXY}allow = []"), "`outbound.allow` is an empty list"),
        (format!("{PROXY}allow = \"h:1\""), "`outbound.allow` is `\"h:1\"`"),
        (format!("{PROXY}allow = [\"h\"]"), "an entry of `outbound.allow` is `\"h\"`"),
        (format!("{PROXY}allow = [\"*\", \"h:1\"]"), "an entry of `outbound.allow` is `\"*\"`"),
        (format!("{PROXY}allow = [\"h:1\", \"h:1\"]"), "the upstream h:1 is listed twice"),
        (format!("{PROXY}allow = [\"h:1\"]\nconnect = []"), "`outbound.connect` is an empty list"),
        (
            format!("{PROXY}allow = [\"h:1\"]\nconnect = [\"https://h:1\"]"),
            "an entry of `outbound.connect` is `\"https://h:1\"`",
        ),
        (
            format!("{PROXY}allow = [\"h:1\"]\nhealth = {{ path = \"/\" }}"),
            "`outbound.health` says nothing with `forward_proxy = true`",
        ),
        (format!("{PROXY}allow = [\"h:1\"]\nh2c = true"), "`outbound.h2c` says nothing with `forward_proxy = true`"),
        (format!("{whole}h2c = 1"), "`outbound.h2c` is `1`"),
        (format!("{whole}first_byte = 30"), "`outbound.first_byte` is `30`"),
        (
            format!("{whole}allow_uids = [1000]"),
            "`outbound.allow_uids` says nothing here: only of a unix socket the user at the other end is known",
        ),
        (format!("{unix}allow_uids = []"), "`outbound.allow_uids` is an empty list"),
        (format!("{unix}allow_uids = [-1]"), "an entry of `outbound.allow_uids` is `-1`"),
        (format!("{unix}allow_uids = [4294967295]"), "an entry of `outbound.allow_uids` is `4294967295`"),
        (format!("{unix}allow_uids = 1000"), "`outbound.allow_uids` is `1000`"),
        (format!("{whole}allow_remote = 1"), "`outbound.allow_remote` is `1`"),
        (
            format!("{whole}upstream_tls = {{ ca = \"ca.pem\" }}"),
            "`outbound.upstream_tls` says nothing: no upstream begins with `https://`",
        ),
        (format!("{whole}upstream_http2 = \"h2\""), "`outbound.upstream_http2` is `\"h2\"`"),
    ] {
        let problems = bad(&outbound(&lines));
        let found: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(found.join(" | "), messages, "{lines}\n{problems}");
        for problem in problems.iter() {
            assert!(problem.expected.is_some() || problem.fix.is_some(), "what is right is not said\n{problems}");
            assert!(problem.position().is_some(), "no line\n{problems}");
        }
    }
}

#[test]
fn how_a_server_is_known_is_said_whole() {
    let https = "listen = \"127.0.0.1:9001\"\nupstream = \"https://h:1\"\nupstream_tls = ";
    for (tls, message) in [
        ("\"ca.pem\"", "`outbound.upstream_tls` is `\"ca.pem\"`"),
        ("{ ca = 5 }", "`outbound.upstream_tls.ca` is `5`"),
        ("{ name = \"a b\" }", "`outbound.upstream_tls.name` is `\"a b\"`"),
        ("{ cert = \"c.pem\" }", "`outbound.upstream_tls.key` is missing"),
        ("{ key = \"k.pem\" }", "`outbound.upstream_tls.cert` is missing"),
        ("{ cafile = \"x\" }", "unknown key `outbound.upstream_tls.cafile`"),
        ("{ insecure = true }", "unknown key `outbound.upstream_tls.insecure`"),
    ] {
        let problems = bad(&outbound(&format!("{https}{tls}")));
        let found: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(found, [message], "{tls}\n{problems}");
    }
    one(&format!("{https}{{ ca = \"ca.pem\" }}"));
    one(&format!("{https}{{ name = \"127.0.0.1\" }}"));
    one("listen = \"127.0.0.1:9001\"\nupstream = \"https://h\"");
}

#[test]
fn whoever_can_reach_a_way_out_is_signed_for_so_that_is_said_aloud() {
    let text = |listen: &str| format!("listen = \"{listen}\"\nupstream = \"http://h:1\"\n");
    for listen in ["0.0.0.0:9001", "[::]:9001", "192.0.2.1:9001", "[::ffff:192.0.2.1]:9001"] {
        let problems = bad(&outbound(&text(listen)));
        assert!(problems.len() == 1 && problems.to_string().contains("allow_remote"), "{problems}");
        bad(&outbound(&format!("{}allow_remote = false", text(listen))));
        one(&format!("{}allow_remote = true", text(listen)));
    }
    for listen in ["127.0.0.1:9001", "127.3.2.1:9001", "[::1]:9001", "localhost:9001", "unix:/x", "systemd:out"] {
        one(&text(listen));
    }
}

#[test]
fn nobody_signs_without_a_name() {
    let nobody = "[[outbound]]\nlisten = \"127.0.0.1:9001\"\nupstream = \"http://h:1\"\n\
                  [[outbound]]\nlisten = \"127.0.0.1:9002\"\nupstream = \"http://h:2\"\n";
    let problems = bad(nobody);
    assert_eq!(lines(&problems), ["1:1 nobody is named whose signature requests get here"]);
    assert!(problems.to_string().contains("id = ") && problems.to_string().contains("SERVICE_ID"), "{problems}");
    let named = variables(&[("SERVICE_ID", "npu-worker")]);
    assert!(Files::new(nobody).load_with(&named, &Overrides::default()).is_ok());
    // A wrong name is told as such, not as a missing one.
    assert_eq!(lines(&bad(&format!("[service]\nid = \"a b\"\n{nobody}"))), ["2:6 `service.id` is `\"a b\"`"]);
    let wrong = Files::new(nobody).load_with(&variables(&[("SERVICE_ID", "a b")]), &Overrides::default());
    assert_eq!(wrong.unwrap_err().len(), 1);
}

#[test]
fn the_fleets_environment_names_the_upstream_of_a_way_out_that_has_none() {
    let load = |lines: &str, pairs: &[(&str, &str)]| {
        Files::new(&outbound(lines)).load_with(&variables(pairs), &Overrides::default())
    };
    let least = "listen = \"127.0.0.1:9001\"";
    let fleet = [("BACKEND_HOST", "172.16.168.20"), ("BACKEND_PORT", "\"8001\"\r")];
    let towards = |lines: &str| shown(&load(lines, &fleet).unwrap().config.outbound[0].destination);
    assert_eq!(towards(least), "http://172.16.168.20:8001");
    assert_eq!(towards(&format!("{least}\nupstream = \"http://h:1\"")), "http://h:1", "the file says it itself");
    assert_eq!(towards(&format!("{PROXY}allow = [\"h:1\"]")), "proxy http://h:1 / ");
    let v6 = load(least, &[("BACKEND_HOST", "::1"), ("BACKEND_PORT", "1")]).unwrap();
    assert_eq!(shown(&v6.config.outbound[0].destination), "http://[::1]:1");
    for (host, port, name) in [
        ("172.16.168.20", "", "BACKEND_PORT"),
        ("172.16.168.20", "http", "`BACKEND_PORT` is `http`"),
        ("172.16.168.20", "0", "`BACKEND_PORT` is `0`"),
        ("172.16.168.20", "65536", "`BACKEND_PORT` is `65536`"),
        ("http://h", "1", "`BACKEND_HOST` is `http://h`"),
        ("h:1", "1", "`BACKEND_HOST` is `h:1`"),
        ("", "8001", "does not say where requests go"),
    ] {
        let problems = load(least, &[("BACKEND_HOST", host), ("BACKEND_PORT", port)]).unwrap_err();
        assert!(problems.len() == 1 && problems.to_string().contains(name), "{host} {port}\n{problems}");
        // Where nobody needs them nobody looks at them.
        assert!(load(&format!("{least}\nupstream = \"http://h:1\""), &[("BACKEND_HOST", host)]).is_ok());
    }
    let inbound = "[inbound]\nlisten = \"127.0.0.1:8001\"\n[[rule]]\npaths = [\"/x\"]\naccess = \"service\"\n";
    let problems = Files::new(inbound).load_with(&variables(&fleet), &Overrides::default()).unwrap_err();
    assert!(problems.to_string().contains("`inbound.upstream` is missing"), "never what is guarded: {problems}");
}

#[test]
fn both_directions_know_of_each_other() {
    let way_out = |lines: &str| format!("{LEAST}{}", outbound(lines));
    good(&way_out("listen = \"127.0.0.1:9001\"\nupstream = \"http://192.0.2.1:8001\""));
    for (lines, place) in [
        ("listen = \"127.0.0.1:9001\"\nupstream = \"http://127.0.0.1:9001\"", "11:12"),
        ("listen = \"127.0.0.1:9001\"\nupstream = \"http://127.0.0.1:8001\"", "11:12"),
        ("listen = \"127.0.0.1:9001\"\nupstream = [\"http://192.0.2.1:1\", \"http://localhost:9001\"]", "11:35"),
        ("listen = \"127.0.0.1:9001\"\nforward_proxy = true\nallow = [\"h:1\", \"127.0.0.1:8001\"]", "12:17"),
        (
            "listen = \"127.0.0.1:9001\"\nforward_proxy = true\nallow = [\"h:1\"]\nconnect = [\"127.0.0.1:9001\"]",
            "13:12",
        ),
        ("listen = \"127.0.0.1:9001\"\nupstream = \"http://127.0.0.1:9180\"", "11:12"),
    ] {
        let problems = bad(&way_out(lines));
        assert_eq!(problems.len(), 1, "{lines}\n{problems}");
        assert!(
            lines_of(&problems).starts_with(place) && problems.to_string().contains("own listeners"),
            "{problems}"
        );
    }
    let guarding_itself = LEAST.replace("18001", "9001");
    let problems = bad(&format!(
        "{guarding_itself}{}",
        outbound("listen = \"127.0.0.1:9001\"\nupstream = \"http://192.0.2.1:1\"")
    ));
    assert!(lines_of(&problems).starts_with("3:12 the upstream 127.0.0.1:9001 is one of"), "{problems}");
    for listen in ["127.0.0.1:8001", "localhost:8001", "127.0.0.1:9180"] {
        let problems = bad(&way_out(&format!("listen = \"{listen}\"\nupstream = \"http://192.0.2.1:1\"")));
        let told = problems.to_string();
        assert!(told.contains("listened on twice") || told.contains("admin listener"), "{problems}");
    }
}

fn lines_of(problems: &Diagnostics) -> String {
    lines(problems).join("\n")
}

#[test]
fn a_key_to_sign_with_is_there_or_missed() {
    let files = Files::new(&format!(
        "{}[keys]\ndir = \"keys\"\n[audit]\nfile = \"audit.jsonl\"\n",
        outbound("listen = \"127.0.0.1:9001\"\nupstream = \"http://h:1\"")
    ));
    let examine = || {
        let flags = Overrides::default();
        super::super::examine(Some(&files.path("countersign.toml")), &root(), &flags)
    };
    assert!(examine().unwrap().warnings.to_string().contains("does not exist on this machine"));
    std::fs::create_dir(files.path("keys")).unwrap();
    let problems = examine().unwrap_err().to_string();
    assert!(
        problems.contains("no key of `npu-worker`") && problems.contains("keys generate npu-worker"),
        "{problems}"
    );
    files.private("keys/npu-worker.env", &format!("SERVICE_KEY={}\n", "a".repeat(64)));
    assert!(examine().is_ok());
}
