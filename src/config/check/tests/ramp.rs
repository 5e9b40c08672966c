//! `[ramp]`: what is read, and what is refused.

use super::{LEAST, bad, good, lines};
use crate::config::ramp::{Notify, Webhook};
use crate::config::{Ramp, Upstream};
use crate::rollout::trigger::{Factor, RollbackWhen, Scope};
use crate::rules::percentage::Percentage;
use std::time::Duration;

fn ramp(text: &str) -> Ramp {
    good(&format!("{LEAST}[ramp]\n{text}")).ramp
}

fn shown(stages: &[crate::rollout::stage::Stage]) -> Vec<String> {
    stages.iter().map(ToString::to_string).collect()
}

#[test]
fn left_out_it_is_the_fleets_plan() {
    assert_eq!(good(LEAST).ramp, Ramp::default());
    assert_eq!(ramp(""), Ramp::default());
}

#[test]
fn stages_may_last_seconds_or_days() {
    let ramp = ramp("stages = [\"10% 2s\", \"25 % 1h 30m\", \"50% 2d\", \"100%\"]\n".replace("25 %", "25%").as_str());
    assert_eq!(shown(&ramp.stages), ["10% 2s", "25% 1h 30m", "50% 2d", "100%"]);
}

#[test]
fn all_of_rollback_when_and_notify_is_read() {
    let ramp = ramp(
        "rollback_when = { service_failure_rate = \"20%\", error_rate_factor = 3, upstream_down = \"5s\", min_requests = 5, \
         always = true, scope = \"rule\" }\n\
         notify = { command = [\"/bin/tell\", \"a b\"], webhook = \"http://127.0.0.1:9093/hook?x=1\" }\n",
    );
    let when = RollbackWhen {
        service_failure_rate: Percentage::new(20).unwrap(),
        error_rate_factor: Factor(300),
        upstream_down: Duration::from_secs(5),
        min_requests: 5,
        always: true,
        scope: Scope::Rule,
    };
    let webhook = Webhook { to: Upstream::http("127.0.0.1", 9093), path: "/hook?x=1".into() };
    let notify = Notify { command: vec!["/bin/tell".into(), "a b".into()], webhook: Some(webhook) };
    assert_eq!((ramp.when, ramp.notify), (when, notify));
}

#[test]
fn groups_are_rules_by_name_and_names_may_have_spaces() {
    let rules = "[[rule]]\nname = \"npu internals 2\"\npaths = [\"/a\"]\naccess = \"service\"\n\
                 [[rule]]\nname = \"b\"\npaths = [\"/b\"]\naccess = \"service\"\n";
    let text = format!("{LEAST}{rules}[ramp]\ngroups = [\"npu internals 2 1h 30m\", \"/api/internal 2s\", \"b\"]\n");
    assert_eq!(shown(&good(&text).ramp.groups), ["npu internals 2 1h 30m", "/api/internal 2s", "b"]);
}

#[test]
fn stages_that_make_no_ramp_are_refused_where_they_stand() {
    for (text, message) in [
        ("stages = []", "`ramp.stages` is an empty list"),
        ("stages = [\"10% 1h\", \"10% 1h\"]", "the stages of the ramp stand twice at 10%"),
        ("stages = [\"25% 1h\", \"10% 1h\"]", "the stages of the ramp go down from 25% to 10%"),
        ("stages = [\"10%\", \"25% 1h\"]", "the stage \"10%\" has no time, and is not the last"),
        ("stages = [\"0% 1h\"]", "an entry of `ramp.stages` is `\"0% 1h\"`: at 0 % nothing is refused"),
        ("stages = [\"101% 1h\"]", "an entry of `ramp.stages` is `\"101% 1h\"`"),
        ("stages = [\"10 1h\"]", "an entry of `ramp.stages` is `\"10 1h\"`"),
        ("stages = [\"10% 1\"]", "an entry of `ramp.stages` is `\"10% 1\"`"),
        ("stages = [\"10% 100ms\"]", "an entry of `ramp.stages` is `\"10% 100ms\"`"),
        ("stages = [10]", "an entry of `ramp.stages` is `10`"),
        ("stages = \"10% 1h\"", "`ramp.stages` is `\"10% 1h\"`"),
        ("groups = [\"nobody 1h\"]", "no service rule is called \"nobody\""),
        ("groups = [\"/api/internal 1h\", \"/api/internal 1h\"]", "the group \"/api/internal\" is activated twice"),
        ("rollback_when = { service_failure_rate = 5 }", "`ramp.rollback_when.service_failure_rate` is `5`"),
        ("rollback_when = { service_failure_rate = \"5\" }", "`ramp.rollback_when.service_failure_rate` is `\"5\"`"),
        ("rollback_when = { error_rate_factor = 0.9 }", "`ramp.rollback_when.error_rate_factor` is `0.9`"),
        ("rollback_when = { error_rate_factor = nan }", "`ramp.rollback_when.error_rate_factor` is `nan`"),
        ("rollback_when = { upstream_down = \"0s\" }", "`ramp.rollback_when.upstream_down` is `\"0s\"`"),
        ("rollback_when = { min_requests = 0 }", "`ramp.rollback_when.min_requests` is `0`"),
        ("rollback_when = { scope = \"rules\" }", "`ramp.rollback_when.scope` is `\"rules\"`"),
        ("rollback_when = { never = true }", "unknown key `ramp.rollback_when.never`"),
        ("notify = { command = [] }", "`ramp.notify.command` is an empty list"),
        ("notify = { command = \"x\" }", "`ramp.notify.command` is `\"x\"`"),
        ("notify = { webhook = \"https://x/\" }", "`ramp.notify.webhook` is `\"https://x/\"`"),
        ("notify = { webhook = \"127.0.0.1:9\" }", "`ramp.notify.webhook` is `\"127.0.0.1:9\"`"),
        ("notify = { webhook = \"http://u:p@x/\" }", ""),
        ("notify = { webhook = \"http://x/a b\" }", "`ramp.notify.webhook` is `\"http://x/a b\"`"),
    ] {
        let problems = bad(&format!("{LEAST}[ramp]\n{text}\n"));
        assert_eq!(problems.len(), 1, "{text}\n{problems}");
        let problem = problems.iter().next().unwrap();
        assert!(message.is_empty() || problem.message == message, "{text}: {}", problem.message);
        assert!(problem.position().is_some(), "{text}");
    }
}

#[test]
fn groups_cannot_hold_back_what_no_rule_covers_and_rules_left_out_are_told() {
    let text = format!("default_access = \"service\"\n{LEAST}[ramp]\ngroups = [\"/api/internal\"]\n");
    let expected =
        "9:11 `ramp.groups` cannot hold back what no rule covers, and `default_access = \"service\"` guards it";
    assert_eq!(lines(&bad(&text)), [expected]);
    let rule = "[[rule]]\nname = \"left\"\npaths = [\"/b\"]\naccess = \"service\"\n";
    let files = super::Files::new(&format!("{LEAST}{rule}[ramp]\ngroups = [\"/api/internal\"]\n"));
    let warnings = lines(&files.load().unwrap().warnings).join("\n");
    assert!(warnings.contains("never activates the rules that no group names: left"), "{warnings}");
}
