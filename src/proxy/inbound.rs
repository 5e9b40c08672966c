//! The guarding direction, stage by stage: facts, judgement, evidence, answer or forward.

use super::downstream::{After, Client};
use super::evidence::{Evidence, Judged};
use super::forward::{self, Exchange};
use super::respond::{self, OwnAnswer, Wrapping};
use super::rewrite::{self, Known, Reached, Says};
use super::worker::Worker;
use crate::clock;
use crate::config::{Config, Inbound, OnFull, Replay, Side};
use crate::policy::decide::{Moment, Policy, ReplayPolicy, judge};
use crate::policy::decision::{Decision, Outcome, Refusal};
use crate::policy::enforcement::Sampling;
use crate::policy::known_peers::{is_breakage, is_of_a_page};
use crate::policy::probes::ProbeId;
use crate::request::client::ClientAddress;
use crate::request::facts::{Claims, RequestFacts};
use crate::request::head::{HeadFault, RequestHead, Version};
use crate::request::name::FieldName;
use crate::rules::classify::Class;
use crate::signature::headers::claimed_service;
use crate::snapshot::Snapshot;
use crate::telemetry::audit::AuditSlot;
use crate::wire::body::{Transfer, WrittenAs};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Serves one request whose head could be read.
pub(super) async fn serve(client: &mut Client, worker: &Worker, head: &RequestHead, place: usize) -> After {
    let received = clock::monotonic();
    let snapshot = worker.snapshot();
    let config = &*snapshot.config;
    let inbound = inbound_of(config, place);
    let address = ClientAddress::of(client.peer, &inbound.trusted_proxies, rewrite::forwarded_for(head));
    let address_text = match &client.direct {
        (direct, text) if *direct == address => Rc::clone(text),
        _ => address.to_string().into(),
    };
    let claims = claims(head);
    let probe = if head.has(FieldName::Probe) { probe(head, worker, received) } else { None };
    let (method, path) = (head.method(), head.path());
    let facts = RequestFacts {
        method,
        path,
        query: head.query(),
        claims,
        certificate: client.certificate(),
        limit_key: address.limit_key(),
        is_probe: probe.is_some(),
    };
    let unix_micros = clock::unix_micros();
    let moment = Moment {
        unix_seconds: unix_micros / 1_000_000,
        monotonic: received,
        random: if snapshot.enforcement.sampling == Sampling::Random { clock::random_draw() } else { 0 },
    };
    let judged = judge(&policy(&snapshot, worker), &facts, |id| snapshot.keys.lookup(id), moment);
    let auth_nanos = u64::try_from(clock::monotonic().duration_since(received).as_nanos()).unwrap_or(u64::MAX);
    let claimed = claimed_service(&claims);
    let counted_as = match judged.outcome {
        // A refused call from a service's address is that service's failure, whatever it claims.
        Outcome::Refuse | Outcome::WouldRefuse => config.service_at(address.ip()).or(claimed),
        Outcome::Allow | Outcome::Authenticated | Outcome::Override => claimed,
    };
    worker.metrics.decided(&judged, counted_as, auth_nanos, received);
    if [judged.reason, judged.cause].contains(&Some(Refusal::InvalidSignature)) {
        // The caller may be ahead of us: its key was replaced where we were not told.
        snapshot.keys.doubt();
    }
    if let (Some(service), None) = (&judged.service, probe) {
        worker.key_usage.note(service.id(), service.key(), &address_text, moment.unix_seconds);
    }
    let is_foreign = probe.is_none() && note_peer(worker, config, &judged, address.ip(), claimed, head, received);

    if let Some(grant) = judged.grant
        && snapshot.grants.is_bounded(grant)
    {
        // A crash must not give the use back.
        worker.shared.grants.use_written().await;
    }
    let slot = reserve(worker, config, judged.classification.class() == Class::Service).await;
    let mut made = [0; clock::REQUEST_ID];
    let request_id = rewrite::given_request_id(head).unwrap_or_else(|| clock::request_id(unix_micros, &mut made));
    if let Some(probe) = probe {
        worker.shared.probes.note(probe, request_id, &judged, received);
    }
    let unrecordable = slot.is_err();
    let mut evidence = Evidence {
        worker,
        snapshot: &snapshot,
        way: Judged::Inbound { decision: Some(&judged), claimed },
        fault: None,
        request_id,
        method: Some(method),
        path: Some(path),
        client: &address_text,
        upstream: None,
        slot: slot.unwrap_or_default(),
        is_foreign,
        counted: false,
        unix_micros,
        received,
        before: Duration::ZERO,
        sent: None,
        answered: None,
    };
    if judged.outcome == Outcome::Override {
        worker.warn_of_override(request_id, &address_text, received);
    }
    let own = match (judged.outcome, judged.reason) {
        (Outcome::Refuse, Some(refusal)) => Some(respond::to_refusal(&judged, refusal)),
        (Outcome::Refuse, None) => Some(respond::of_refusal(Refusal::InvalidSignature)),
        _ if unrecordable => {
            let class = judged.classification.class();
            if probe.is_none() {
                worker.metrics.recorded(Some(class), Outcome::Refuse, Some(Refusal::AuditUnavailable));
            }
            evidence.counted = true;
            Some(respond::of_refusal(Refusal::AuditUnavailable))
        }
        (Outcome::Allow | Outcome::Authenticated | Outcome::Override | Outcome::WouldRefuse, _) => None,
    };
    if let Some(own) = own {
        return answer(client, head, config, own, &mut evidence).await;
    }
    let rule = judged.classification.named_rule().map(|index| config.rules.rule(index));
    let first_byte = rule.and_then(|rule| rule.first_byte).unwrap_or(inbound.first_byte);
    let choice = worker.routes[client.listener].choose();
    let scheme = client.scheme();
    let known = Known {
        request_id,
        upstream: &choice.target().upstream,
        reached: Some(Reached { scheme, authority: head.host() }),
        says: Says::Caller {
            client: &address_text,
            scheme,
            service: judged.service.as_ref(),
            trusted: client.peer.is_trusted(&inbound.trusted_proxies),
        },
    };
    let exchange = Exchange { worker, config, head, known, choice, first_byte };
    forward::forward(client, exchange, &mut evidence).await
}

/// Notes who authenticated from where, and whose breakage a failing check is: what a rollout is judged by. Was the signature seen
/// before, and does its service not call from there?
fn note_peer(
    worker: &Worker,
    config: &Config,
    judged: &Decision,
    address: Option<IpAddr>,
    claimed: Option<&str>,
    head: &RequestHead,
    now: Instant,
) -> bool {
    let Some(address) = address else { return false };
    match (judged.outcome, judged.reason, &judged.service) {
        (Outcome::Authenticated, None, Some(service)) => worker.peers.note(address, service.id(), now),
        (Outcome::Authenticated, Some(_), Some(service)) if !worker.peers.is_known(address, service.id(), now) => {
            worker.metrics.foreign(service.id().as_str());
            return true;
        }
        (Outcome::Refuse | Outcome::WouldRefuse, Some(reason), _) if is_breakage(judged.cause.unwrap_or(reason)) => {
            if head.fields().any(|(name, _)| is_of_a_page(name)) {
                return false;
            }
            let rule = judged.classification.named_rule().map(|index| &*config.rules.rule(index).name);
            if let Some(service) = config.service_calling(address, claimed) {
                worker.metrics.broke(service, rule);
            } else if let Some(service) = worker.peers.service_at(address, claimed, now) {
                worker.metrics.broke(service.as_str(), rule);
            }
        }
        (
            Outcome::Allow | Outcome::Authenticated | Outcome::Override | Outcome::Refuse | Outcome::WouldRefuse,
            _,
            _,
        ) => {}
    }
    false
}

/// Answers a request whose head could not be read; it is recorded like any refusal.
pub(super) async fn refuse_malformed(client: &mut Client, worker: &Worker, fault: HeadFault) -> After {
    let snapshot = worker.snapshot();
    let received = clock::monotonic();
    let unix_micros = clock::unix_micros();
    let mut made = [0; clock::REQUEST_ID];
    let request_id = clock::request_id(unix_micros, &mut made);
    let address = Rc::clone(&client.direct.1);
    let mut evidence = Evidence {
        worker,
        snapshot: &snapshot,
        way: match worker.routes[client.listener].side {
            Side::Inbound(_) => Judged::Inbound { decision: None, claimed: None },
            Side::Outbound(_) => Judged::Outbound { refusal: None, signed_as: None },
        },
        fault: None,
        request_id,
        method: None,
        path: None,
        client: &address,
        upstream: None,
        slot: take_slot(worker),
        is_foreign: false,
        counted: false,
        unix_micros,
        received,
        before: Duration::ZERO,
        sent: None,
        answered: None,
    };
    evidence.malformed(fault);
    let own = respond::to_head_fault(fault);
    let mut out = Vec::new();
    own.write(&mut out, &wrapping(&snapshot.config, request_id, false, Version::Http11, false));
    evidence.record(Some(own.status));
    match client.socket.write_all(&out, snapshot.config.timeouts.write_idle).await {
        Ok(()) => After::Linger,
        Err(_) => After::Close,
    }
}

/// Answers in the upstream's place. The connection stays only when the request's body has been taken whole.
pub(super) async fn answer(
    client: &mut Client,
    head: &RequestHead,
    config: &Config,
    own: OwnAnswer,
    evidence: &mut Evidence<'_>,
) -> After {
    let mut body = Transfer::new(head.framing().into(), WrittenAs::Plain, rewrite::REQUEST_TRAILERS);
    // A small body is often here already: then nothing of it can be taken for the next request.
    let is_whole =
        !head.expects_continue() && body.gather(&mut client.buffer, &mut Vec::new()).is_ok() && body.is_done();
    let keep = is_whole && head.keep_alive() && !evidence.worker.draining.get();
    let mut out = Vec::new();
    own.write(&mut out, &wrapping(config, evidence.request_id, keep, head.version(), head.method() == "HEAD"));
    evidence.record(Some(own.status));
    match client.socket.write_all(&out, config.timeouts.write_idle).await {
        Ok(()) if keep => After::Keep,
        Ok(()) => After::Linger,
        Err(_) => After::Close,
    }
}

pub(super) fn wrapping<'w>(
    config: &'w Config,
    request_id: &'w str,
    keep: bool,
    version: Version,
    head_only: bool,
) -> Wrapping<'w> {
    Wrapping {
        request_id,
        headers: &config.refusal_headers,
        head_only,
        keep,
        announce_keep: version == Version::Http10,
    }
}

/// The listener's own keys as the current generation has them. Listeners do not change while running: a reload keeps
/// those that are there. Were one ever missing, no other's keys may stand in for it.
pub(super) fn inbound_of(config: &Config, listener: usize) -> &Inbound {
    &config.inbound[listener]
}

fn claims(head: &RequestHead) -> Claims<'_> {
    let mut claims = Claims::default();
    for field in head.each_field() {
        claims.note_known(field.known, field.value);
    }
    claims
}

/// Is this request announced as a test, by a header that came once?
fn probe(head: &RequestHead, worker: &Worker, now: Instant) -> Option<ProbeId> {
    let mut values = head.values(FieldName::Probe);
    match (values.next(), values.next()) {
        (Some(value), None) => worker.shared.probes.recognise(value.trim_ascii(), now),
        (_, _) => None,
    }
}

fn policy<'p>(snapshot: &'p Snapshot, worker: &'p Worker) -> Policy<'p> {
    let config = &snapshot.config;
    Policy {
        rules: &config.rules,
        enforcement: snapshot.enforcement,
        rule_percentages: &snapshot.rule_percentages,
        override_token: config.override_token.as_ref(),
        grants: &snapshot.grants,
        window_seconds: config.signature.window_seconds,
        replay: match config.signature.replay {
            Replay::Off => ReplayPolicy::Off,
            Replay::Report => ReplayPolicy::Report(&worker.shared.replay),
            Replay::Refuse => ReplayPolicy::Refuse(&worker.shared.replay),
        },
        failure_limit: &worker.shared.failure_limit,
        lockout: config.rate_limit.lockout,
        certificates: &config.certificates,
        salt: &worker.shared.salt,
    }
}

/// Room for the record, before anything is let through. `Err`: there is none, and the operator chose to let no service
/// request pass unrecorded. Exempt and open requests (`may_wait` is false) never wait for it.
pub(super) async fn reserve(worker: &Worker, config: &Config, may_wait: bool) -> Result<Option<AuditSlot>, ()> {
    if let Some(slot) = worker.audit.try_reserve() {
        return Ok(Some(slot));
    }
    if may_wait && config.audit.on_full == OnFull::Block {
        return worker.audit.reserve().await.map(Some).ok_or(());
    }
    worker.audit.count_dropped();
    Ok(None)
}

fn take_slot(worker: &Worker) -> Option<AuditSlot> {
    let slot = worker.audit.try_reserve();
    if slot.is_none() {
        worker.audit.count_dropped();
    }
    slot
}
