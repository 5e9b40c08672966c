//! Framing: what two servers could read differently is answered 400 and never reaches the upstream; what is legal
//! passes, written anew. One hand-made request a row; `~` stands for CRLF.

mod bodies;
mod heads;
mod legal;
mod targets;

use super::support::eventually;
use super::support::message::{Text, find};
use super::support::raw::{Client, End};
use super::support::recorder::Recorder;
use super::support::refusal::assert_refused;
use super::support::sidecar::Builder;

/// A name for failures, and the bytes.
type Row = (&'static str, &'static [u8]);

/// What an attacker would want to be read as a second request. A row that is refused must close before it.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: backend.test\r\n\r\n";

fn bytes(row: &[u8]) -> Vec<u8> {
    row.split(|&byte| byte == b'~').collect::<Vec<_>>().join(&b"\r\n"[..])
}

/// Each row is answered 400 `malformed_request`, the connection ends, the upstream sees nothing, one audit record says
/// so: in both modes.
#[track_caller]
fn all_refused(rows: &[Row]) {
    for mode in ["log", "enforce"] {
        let upstream = Recorder::plain();
        let sidecar = Builder::guarding(upstream.address).set("enforcement", "mode", format!("{mode:?}")).start();
        let mut wrong = Vec::new();
        let mut ids = Vec::new();
        for (name, row) in rows {
            let sent = [bytes(row), SMUGGLED.into()].concat();
            let told = std::panic::catch_unwind(|| {
                let mut client = Client::connect(sidecar.address);
                client.send(&sent);
                let answer = client.answer();
                let id = assert_refused(&answer, 400, "malformed_request");
                assert_ne!(client.end(), End::Bytes, "something followed the refusal");
                id
            });
            match told {
                Ok(id) => ids.push(id),
                Err(_) => wrong.push(format!("{name}: {:?}", Text(&sent))),
            }
        }
        assert!(wrong.is_empty(), "{mode} mode: {} of {} went wrong:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
        for request in upstream.requests() {
            let reached = find(&request.head, b"bad").or(find(&request.head, b"smuggled"));
            assert!(reached.is_none(), "{mode} mode: upstream saw {:?}", Text(&request.head));
        }
        assert_eq!(upstream.faults(), Vec::<String>::new(), "{mode} mode");
        eventually("one audit record per refusal", || {
            let audit = sidecar.audit();
            let of = |id: &String| audit.iter().filter(|record| record["request_id"] == id.as_str()).count();
            ids.iter().all(|id| of(id) == 1).then_some(())
        });
        for record in sidecar.audit().iter().filter(|record| record["outcome"].is_string()) {
            assert_eq!((&record["outcome"], &record["reason"]), (&"refuse".into(), &"malformed_request".into()));
            assert_eq!((&record["status"], &record["mode"]), (&400.into(), &mode.into()));
        }
    }
}

#[test]
fn there_are_a_hundred_and_fifty_hand_made_requests() {
    let rows: Vec<Row> = [heads::ROWS, targets::ROWS, bodies::ROWS].concat();
    assert!(rows.len() >= 150, "{}", rows.len());
    let mut names: Vec<_> = rows.iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all, "a name is there twice");
}
