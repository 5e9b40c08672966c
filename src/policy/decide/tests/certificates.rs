use super::*;

/// `npu-worker` bound to a name, over a connection that proved these.
fn world(proved: Option<&[&str]>) -> World {
    let npu = ServiceId::parse("npu-worker").unwrap();
    World {
        certificates: [(&npu, "npu.internal")].into_iter().collect(),
        proved: proved.map(|names| names.iter().map(|name| CertificateName::Dns((*name).into())).collect()),
        ..World::new()
    }
}

fn signed(id: &str) -> Request {
    Request::to("/api/internal").signed(id, if id == "npu-worker" { "a" } else { "b" })
}

#[test]
fn a_bound_service_without_its_certificate_is_refused_like_a_caller_that_may_not_come() {
    for proved in [&[][..], &["ai.internal"], &["*.internal"]] {
        let decision = world(Some(proved)).judge(&signed("npu-worker"));
        assert_eq!(
            (decision.outcome, decision.reason),
            (Outcome::Refuse, Some(Refusal::CallerNotAllowed)),
            "{proved:?}"
        );
        assert_eq!(decision.service.unwrap().id().as_str(), "npu-worker", "who signed is known all the same");
        let decision = world(Some(proved)).mode(Mode::Log, 100).judge(&signed("npu-worker"));
        let expected = (Outcome::WouldRefuse, Some(Refusal::CallerNotAllowed));
        assert_eq!((decision.outcome, decision.reason), expected, "{proved:?}");
    }
}

#[test]
fn with_its_certificate_or_where_none_is_asked_for_it_is_let_through() {
    for proved in [None, Some(&["npu.internal"][..]), Some(&["other.internal", "NPU.internal"])] {
        assert_eq!(world(proved).judge(&signed("npu-worker")).outcome, Outcome::Authenticated, "{proved:?}");
    }
}

#[test]
fn a_certificate_is_no_signature_and_another_service_needs_none() {
    let unsigned = world(Some(&["npu.internal"])).judge(&Request::to("/api/internal"));
    assert_eq!((unsigned.outcome, unsigned.reason), (Outcome::Refuse, Some(Refusal::MissingSignature)));
    assert_eq!(world(Some(&[])).judge(&signed("ai-stack")).outcome, Outcome::Authenticated);
    assert_eq!(world(Some(&[])).judge(&Request::to("/api/chat")).outcome, Outcome::Allow, "exempt paths ask nobody");
}
