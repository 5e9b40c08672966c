//! The cases: one for every way a request can come out, and the tricks that must not work.

use super::client;
use super::judge::{Arrives, Expected, Row, Sent};
use super::setup::{Mode, Stage};
use serde_json::Value;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

/// How long a record may take from its request to the file.
const RECORDED_WITHIN: Duration = Duration::from_secs(5);

/// The contract's failure limit.
const FAILURES: usize = 10;

/// Signed once here: a second signature of one path in one second would count as replayed.
const HEARTBEAT: &str = "/api/npu/heartbeat";

/// Where clouds keep their secrets: what an open proxy is asked for.
const ELSEWHERE: &str = "http://169.254.169.254/latest/meta-data";

pub(super) const RESULTS: &str = "/api/npu/results/42";

/// Which way a request takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// To the sidecar that guards.
    Guard,
    /// To the one that signs.
    Signing,
    /// To the one that signs, as its proxy: the target is a whole URL.
    Proxy,
}

/// One request.
struct Case<'c> {
    what: &'static str,
    way: Way,
    method: &'static str,
    target: &'static str,
    /// Whole lines, each with its CRLF.
    headers: &'c str,
    /// What follows the head.
    body: &'static str,
    expected: Expected,
}

const fn refused(status: u16, reason: &'static str) -> Expected {
    Expected {
        status,
        outcome: "refuse",
        reason: Some(reason),
        cause: None,
        told: Some(reason),
        arrives: Arrives::Nothing,
    }
}

const fn let_through(outcome: &'static str, arrives: Arrives) -> Expected {
    Expected { status: 200, outcome, reason: None, cause: None, told: None, arrives }
}

const ALLOWED: Expected = let_through("allow", Arrives::Anonymous);
const OVERRIDDEN: Expected = let_through("override", Arrives::Anonymous);
const AS_NPU: Expected = let_through("authenticated", Arrives::As("npu-worker"));
const UNKNOWN_IDENTITY: &str = "invalid_credentials";

const fn would_be_refused(reason: &'static str) -> Expected {
    Expected { reason: Some(reason), ..let_through("would_refuse", Arrives::Anonymous) }
}

const MISSING: Expected = refused(401, "missing_signature");
const MALFORMED: Expected = refused(401, "malformed_signature");
const UNREADABLE: Expected = refused(400, "malformed_request");
const FORGED: Expected = Expected { told: Some(UNKNOWN_IDENTITY), ..refused(401, "invalid_signature") };
const UNKNOWN: Expected = Expected { told: Some(UNKNOWN_IDENTITY), ..refused(401, "unknown_service") };

/// Plays every case in order.
pub(super) async fn play(stage: &mut Stage) -> io::Result<Vec<Row>> {
    let mut play = Player { stage, rows: Vec::new(), calls: 0, address: 1 };
    play.signatures().await?;
    play.overrides().await?;
    play.classes().await?;
    play.tricks().await?;
    play.leaving().await?;
    play.limits_and_modes().await?;
    Ok(play.rows)
}

const fn post<'c>(what: &'static str, headers: &'c str, expected: Expected) -> Case<'c> {
    Case { what, way: Way::Guard, method: "POST", target: RESULTS, headers, body: "", expected }
}

const fn get(what: &'static str, target: &'static str, expected: Expected) -> Case<'static> {
    Case { what, way: Way::Guard, method: "GET", target, headers: "", body: "", expected }
}

/// A framing that no two servers read alike, with a second request inside.
const fn two_lengths(what: &'static str) -> Case<'static> {
    Case {
        what,
        way: Way::Guard,
        method: "POST",
        target: "/api/chat",
        headers: "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        body: "0\r\n\r\nGET /api/internal HTTP/1.1\r\n\r\n",
        expected: UNREADABLE,
    }
}

impl Player<'_> {
    async fn signatures(&mut self) -> io::Result<()> {
        let signed = self.stage.sign("npu-worker", RESULTS, 0);
        self.case(&post("signed", &signed, AS_NPU)).await?;
        self.case(&post("no signature", "", MISSING)).await?;
        let signature = self.stage.sign("forger", RESULTS, 0);
        self.case(&post("signed with another key", &signature, FORGED)).await?;
        let signature = self.stage.sign("ghost", RESULTS, 0);
        self.case(&post("a service nobody knows", &signature, UNKNOWN)).await?;
        let signature = self.stage.sign("npu-worker", "/api/npu/status", 0);
        self.case(&post("signed for another path", &signature, FORGED)).await?;
        let signature = self.stage.sign("npu-worker", RESULTS, 400);
        self.case(&post("signed 400 s ago", &signature, refused(401, "timestamp_outside_window"))).await?;
        let capitals = signed.to_ascii_uppercase().replace("NPU-WORKER", "npu-worker");
        self.case(&post("signature in capitals", &capitals, MALFORMED)).await?;
        self.case(&post("two signatures", &format!("{signed}{signed}"), MALFORMED)).await?;
        let signature = self.stage.sign("ai-stack", RESULTS, 0);
        self.case(&post("signed, but not its path", &signature, refused(403, "caller_not_allowed"))).await?;
        self.case(&post("the first one, replayed", &signed, Expected { reason: Some("replayed"), ..AS_NPU })).await
    }

    async fn overrides(&mut self) -> io::Result<()> {
        let token = format!("X-Override-Token: {}\r\n", self.stage.override_token);
        self.case(&post("override token", &token, OVERRIDDEN)).await?;
        self.case(&post("wrong override token", "X-Override-Token: let-me-in\r\n", MISSING)).await
    }

    async fn classes(&mut self) -> io::Result<()> {
        self.case(&get("a browser's path", "/api/chat/1", ALLOWED)).await?;
        self.case(&get("more specific, so exempt", "/api/npu/workers", ALLOWED)).await?;
        self.case(&get("no rule: open", "/api/unlisted", ALLOWED)).await?;
        self.case(&get("%2F, byte for byte", "/api/files/a%2Fb", ALLOWED)).await
    }

    async fn tricks(&mut self) -> io::Result<()> {
        let pretended = "X-Authenticated-Service: npu-worker\r\nX_Authenticated_Service: npu-worker\r\n";
        self.case(&Case { headers: pretended, ..get("pretended identity", "/api/chat/1", ALLOWED) }).await?;
        self.case(&get("spelt with %69", "/api/%69nternal/keys", MISSING)).await?;
        self.case(&get("climbing out", "/api/chat/..%2finternal/keys", MISSING)).await?;
        self.case(&get("with a suffix", "/api/internal.json", MISSING)).await?;
        self.case(&get("with a newline", "/api/internal%0a", MISSING)).await?;
        self.case(&get("with a fragment", "/api/chat#/../internal", UNREADABLE)).await?;
        self.case(&two_lengths("two lengths")).await
    }

    /// Programs that sign nothing themselves. A path each: one signature twice in a second would be a replay.
    async fn leaving(&mut self) -> io::Result<()> {
        let leaving = |what, target| Case { way: Way::Signing, target, ..post(what, "", AS_NPU) };
        self.case(&leaving("plain, by the signing port", "/api/npu/results/1")).await?;
        self.case(&leaving("the same with %2F", "/api/npu/results/a%2Fb")).await?;
        let pretended = "X-Service-ID: ai-stack\r\nX-Service-Signature: 0\r\nX_Authenticated_Service: root\r\n";
        self.case(&Case { headers: pretended, ..leaving("pretended, by that port", "/api/npu/results/2") }).await?;
        self.case(&Case { way: Way::Proxy, ..leaving("plain, by HTTP_PROXY", "/api/npu/results/3") }).await?;

        let page = refused(403, "cross_origin");
        let page = Case { expected: page, ..leaving("a web page, by that port", "/api/npu/results/4") };
        self.case(&Case { headers: "Origin: http://page.example\r\n", ..page }).await?;
        let elsewhere =
            Case { expected: refused(403, "host_not_allowed"), ..get("HTTP_PROXY, elsewhere", ELSEWHERE, ALLOWED) };
        self.case(&Case { way: Way::Proxy, ..elsewhere }).await?;
        let tunnel = Case {
            expected: refused(403, "connect_not_allowed"),
            ..get("a tunnel to anywhere", "mail.example:25", ALLOWED)
        };
        self.case(&Case { way: Way::Proxy, method: "CONNECT", ..tunnel }).await
    }

    async fn limits_and_modes(&mut self) -> io::Result<()> {
        self.failure_limit(&post("11th failure in 5 minutes", "", refused(429, "rate_limited"))).await?;
        let signed = self.stage.sign("npu-worker", HEARTBEAT, 0);
        let case = Case { target: HEARTBEAT, ..post("signed, same address", &signed, AS_NPU) };
        self.case_from_same_address(&case).await?;

        let not_activated = would_be_refused("missing_signature");
        self.case(&get("a group still at 0 %", "/api/ai-stack/status", not_activated)).await?;
        self.stage.configure(Mode::Log)?;
        self.case(&post("mode log, no signature", "", would_be_refused("missing_signature"))).await?;
        let signature = self.stage.sign("forger", RESULTS, 2);
        self.case(&post("mode log, another key", &signature, would_be_refused("invalid_signature"))).await?;
        self.case(&two_lengths("mode log, two lengths")).await
    }
}

struct Player<'s> {
    stage: &'s mut Stage,
    rows: Vec<Row>,
    calls: usize,
    /// Last byte of the loopback address that calls.
    address: u8,
}

impl Player<'_> {
    /// Plays a case from an address that has not called yet.
    async fn case(&mut self, case: &Case<'_>) -> io::Result<()> {
        self.address += 1;
        self.case_from_same_address(case).await
    }

    async fn case_from_same_address(&mut self, case: &Case<'_>) -> io::Result<()> {
        let answer = self.call(case).await?;
        let left = match case.way {
            Way::Guard => None,
            Way::Signing | Way::Proxy => record(&self.stage.signing_audit_file(), &answer.request_id).await?,
        };
        let (record, left) = match (case.way, case.expected.arrives) {
            // It did not leave, so there is nothing else on record.
            (Way::Signing | Way::Proxy, Arrives::Nothing) => (left, None),
            (Way::Guard | Way::Signing | Way::Proxy, _) => {
                (record(&self.stage.audit_file(), &answer.request_id).await?, left)
            }
        };
        let arrived = self.stage.backend.seen(&answer.request_id);
        let Case { what, method, target, expected, .. } = *case;
        // What the signing sidecar sends comes from its own address.
        let from = if left.is_some() { Ipv4Addr::LOCALHOST } else { self.from() };
        let sent = Sent { case: what, method, target: target.to_owned(), from: from.to_string() };
        let row = Row::judge(sent, expected, &answer, record, arrived);
        self.rows.push(match (case.way, expected.arrives) {
            (Way::Signing | Way::Proxy, Arrives::As(service)) => row.left(left, service),
            (Way::Guard | Way::Signing | Way::Proxy, _) => row,
        });
        Ok(())
    }

    /// Fails as often as the limit lets, then once more: that one is the row.
    async fn failure_limit(&mut self, case: &Case<'_>) -> io::Result<()> {
        self.address += 1;
        for _ in 0..FAILURES {
            self.call(case).await?;
        }
        let expected = Expected { cause: Some("missing_signature"), ..case.expected };
        self.case_from_same_address(&Case { expected, ..*case }).await
    }

    fn from(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, 0, 0, self.address)
    }

    async fn call(&mut self, case: &Case<'_>) -> io::Result<client::Answer> {
        self.calls += 1;
        let Case { method, target, headers, body, .. } = *case;
        let length = if method == "POST" && body.is_empty() { "Content-Length: 0\r\n" } else { "" };
        let Stage { inbound, signing, proxy, .. } = *self.stage;
        let (to, host, target) = match case.way {
            Way::Guard => (inbound, inbound, target.to_owned()),
            Way::Signing => (signing, signing, target.to_owned()),
            Way::Proxy if target.starts_with('/') => (proxy, inbound, format!("http://{inbound}{target}")),
            Way::Proxy => (proxy, inbound, target.to_owned()),
        };
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nX-Request-ID: demo-{:02}\r\n{headers}{length}Connection: close\r\n\r\n{body}",
            self.calls
        );
        client::call(to, self.from(), request.as_bytes()).await
    }
}

/// The record of a request, as soon as it stands in this audit file.
async fn record(file: &Path, request_id: &str) -> io::Result<Option<Value>> {
    let find = async {
        loop {
            let text = std::fs::read_to_string(file)?;
            let mut records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            if let Some(record) = records.find(|record| record["request_id"] == request_id) {
                return Ok(record);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(RECORDED_WITHIN, find).await.map_or(Ok(None), |found: io::Result<Value>| found.map(Some))
}
