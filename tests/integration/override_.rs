//! The override token: it opens service paths, is recorded as such, cannot be guessed, and shows up nowhere.

use super::support::message::find;
use super::support::raw::{get, get_from, get_with};
use super::support::recorder::{Recorder, Then};
use super::support::refusal::{assert_own_failure, assert_refused};
use super::support::sidecar::{Builder, Sidecar};
use super::support::{KEY_A, eventually, free_address, sign};

const PATH: &str = "/api/internal/x";
const TOKEN: &str = "override-token-4711-for-tests";

fn line() -> String {
    format!("X-Override-Token: {TOKEN}\r\n")
}

#[test]
fn a_valid_override_passes_and_is_recorded_and_counted_as_one() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).override_token(TOKEN).start();
    let answer = get_with(sidecar.address, PATH, &line());
    assert_eq!(answer.status, 200);
    let record = sidecar.record(answer.fields.one("x-request-id").unwrap());
    assert_eq!(record["outcome"], "override", "{record}");
    assert!(record["service"].is_null(), "{record}");
    assert_eq!(upstream.the(PATH).fields.one("x-authenticated-service"), None);
    assert!(sidecar.metric("service_auth_attempts_total", &["result=\"override\""]) >= 1.0);
    eventually("a warning", || sidecar.process.stderr.text().to_lowercase().contains("override").then_some(()));
}

#[test]
fn a_valid_signature_beside_an_override_is_recorded_as_authenticated() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).override_token(TOKEN).start();
    let signed = sign::headers(KEY_A, "npu-worker", "GET", PATH);
    for extra in [line(), "X-Override-Token: wrong\r\n".to_owned()] {
        let answer = get_with(sidecar.address, PATH, &(extra + &signed));
        assert_eq!(answer.status, 200);
        let record = sidecar.record(answer.fields.one("x-request-id").unwrap());
        assert_eq!((&record["outcome"], &record["service"]), (&"authenticated".into(), &"npu-worker".into()));
    }
}

#[test]
fn a_token_that_is_almost_right_is_wrong() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).override_token(TOKEN).unlimited().start();
    let upper = TOKEN.to_uppercase();
    let (short, long) = (&TOKEN[..TOKEN.len() - 1], format!("{TOKEN}x"));
    for wrong in ["", " ", short, &long, &upper, "*", "null", "true"] {
        assert_refused(
            &get_with(sidecar.address, PATH, &format!("X-Override-Token: {wrong}\r\n")),
            401,
            "missing_signature",
        );
    }
    let twice = format!("{}{}", line(), line());
    assert_eq!(get_with(sidecar.address, PATH, &twice).status, 401, "a doubled token is none");
}

#[test]
fn an_empty_token_never_matches() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).environment("SERVICE_AUTH_OVERRIDE_TOKEN", "").start();
    for lines in ["X-Override-Token:\r\n", "X-Override-Token:  \r\n", ""] {
        assert_eq!(get_with(sidecar.address, PATH, lines).status, 401);
    }
}

#[test]
fn the_token_of_the_fleets_environment_works() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).environment("SERVICE_AUTH_OVERRIDE_TOKEN", TOKEN).start();
    assert_eq!(get_with(sidecar.address, PATH, &line()).status, 200);
}

#[test]
fn guessing_is_limited_and_the_right_token_still_opens() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).override_token(TOKEN).start();
    let wrong = |n: usize| format!("X-Override-Token: guess-{n}\r\n");
    for n in 0..10 {
        assert_refused(&get_with(sidecar.address, PATH, &wrong(n)), 401, "missing_signature");
    }
    assert_refused(&get_with(sidecar.address, PATH, &wrong(10)), 429, "rate_limited");
    assert_eq!(get_with(sidecar.address, PATH, &line()).status, 200);
    // Where nothing is asked for nothing is counted, and nothing refused.
    let guesser = [127, 0, 0, 9].into();
    for n in 0..20 {
        assert_eq!(get_from(guesser, sidecar.address, "/open", &wrong(n)).status, 200);
    }
    assert_eq!(get_from(guesser, sidecar.address, PATH, "").status, 401);
}

/// Everything a person or a program could read of this sidecar.
fn visible(sidecar: &Sidecar) -> Vec<(&'static str, Vec<u8>)> {
    let admin = |path: &str| {
        let lines = format!("Connection: close\r\nX-Override-Token: {TOKEN}\r\n");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{lines}\r\n", sidecar.admin);
        let answer = super::support::raw::exchange(sidecar.admin, request);
        [answer.head, answer.body.bytes].concat()
    };
    vec![
        ("stderr", sidecar.process.stderr.text().into_bytes()),
        ("stdout", sidecar.process.stdout.text().into_bytes()),
        ("audit", std::fs::read(sidecar.directory.join("audit.jsonl")).unwrap_or_default()),
        ("/metrics", admin("/metrics")),
        ("/readyz", admin("/readyz?verbose")),
        ("/healthz", admin("/healthz")),
        ("a page that is not there", admin("/nothing")),
        ("arguments", std::fs::read(format!("/proc/{}/cmdline", sidecar.process.pid())).unwrap()),
    ]
}

#[test]
fn the_token_is_in_no_upstream_byte_log_record_metric_or_answer_on_any_path() {
    let upstream = Recorder::with(|exchange| {
        if exchange.request.target.contains("broken") {
            exchange.send("HTTP/1.1 garbage\r\n\r\n");
            return Then::Close;
        }
        exchange.reply(200, "ok")
    });
    let sidecar = Builder::guarding(upstream.address)
        .override_token(TOKEN)
        .set("log", "level", "\"trace\"")
        .unlimited()
        .start();
    let mut answers = Vec::new();
    for target in [PATH, "/open", "/api/chat/x", "/api/internal/broken", "/api/npu/results/x"] {
        for lines in [
            line(),
            format!("Connection: X-Override-Token\r\n{}", line()),
            format!("X_Override_Token: {TOKEN}\r\n{}", line()),
        ] {
            answers.push(get_with(sidecar.address, target, &lines));
        }
    }
    // Malformed beside it, and in a trailer.
    answers.push(get_with(sidecar.address, PATH, &format!("{}X: \u{1}\r\n", line())));
    answers.push(super::support::raw::exchange(
        sidecar.address,
        format!("POST {PATH} HTTP/1.1\r\nHost: b\r\n{}Transfer-Encoding: chunked\r\n\r\n0\r\nX-Override-Token: {TOKEN}\r\n\r\n", line()),
    ));
    assert!(answers.iter().any(|answer| answer.status == 502) && answers.iter().any(|answer| answer.status == 400));
    for answer in &answers {
        assert!(find(&[answer.head.clone(), answer.body.bytes.clone()].concat(), TOKEN.as_bytes()).is_none());
    }
    let last = answers.last().unwrap().fields.one("x-request-id").unwrap().to_owned();
    sidecar.record(&last);
    for (place, bytes) in visible(&sidecar) {
        assert!(find(&bytes, TOKEN.as_bytes()).is_none(), "the token is in {place}");
    }
    for request in upstream.requests() {
        assert!(find(&request.head, TOKEN.as_bytes()).is_none(), "{request:?}");
        assert!(request.body.trailers.0.iter().all(|(_, value)| value != TOKEN), "{request:?}");
    }
}

#[test]
fn the_token_does_not_show_when_the_upstream_is_down() {
    let sidecar = Builder::guarding(free_address()).override_token(TOKEN).start_alive();
    let answer = get_with(sidecar.address, PATH, &line());
    assert_own_failure(&answer, 502);
    let id = answer.fields.one("x-request-id").unwrap();
    assert_eq!(sidecar.record(id)["outcome"], "override");
    for (place, bytes) in visible(&sidecar) {
        assert!(find(&bytes, TOKEN.as_bytes()).is_none(), "the token is in {place}");
    }
    assert_eq!(get(sidecar.address, PATH).status, 401);
}

#[test]
fn a_short_token_works_and_emptying_its_file_takes_it_away_without_a_restart() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).override_token("s7x").unlimited().start();
    let status = || get_with(sidecar.address, PATH, "X-Override-Token: s7x\r\n").status;
    assert_eq!(status(), 200);
    eventually("a warning", || sidecar.process.stderr.text().contains("easy to guess").then_some(()));
    std::fs::write(sidecar.directory.join("override-token"), "").unwrap();
    eventually("no token any more", || (status() == 401).then_some(()));
    eventually("a warning", || sidecar.process.stderr.text().contains("so there is none").then_some(()));
    assert_eq!(get_with(sidecar.address, PATH, "X-Override-Token: \r\n").status, 401, "an empty one never matches");
    assert!(!sidecar.process.stderr.text().contains("s7x"));
}
