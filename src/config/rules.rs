//! The rules and services as written → the rule set; and what they say about each other.
//!
//! A caller that is not in `[services]` is a warning, not an error: it fails closed (a known key would still be asked for),
//! and a sidecar may list only the services whose addresses it knows.

use super::diagnostic::{Diagnostic, Place};
use super::file::{FileRule, FileService};
use super::problems::{Problems, Setting};
use super::values::nearest;
use super::{Service, build::value_or};
use crate::rules::classify::{Access, DefaultAccess, Rule, RuleConflict, RuleIndex, RuleSet};
use crate::signature::key::ServiceId;
use std::collections::BTreeMap;

/// `[services]`: who exists, and where it calls from.
pub(super) fn services(written: &[FileService], problems: &Problems) -> BTreeMap<ServiceId, Service> {
    let mut services: BTreeMap<ServiceId, Service> = BTreeMap::new();
    for (index, FileService { id, addresses, certificate, unused }) in written.iter().enumerate() {
        let before = &written[..index];
        if let Some(first) = before.iter().find(|service| service.id.value == id.value) {
            let message = format!("the service `{}` is there twice", id.value);
            problems.add(Diagnostic::error(&id.place, message).related(&first.id.place, "and here"));
            continue;
        }
        for address in addresses {
            let shared =
                before.iter().flat_map(|service| service.addresses.iter().map(move |other| (service, other)));
            if let Some((other, at)) = shared.into_iter().find(|(_, other)| other.value == address.value) {
                let message = format!("`{}` is an address of two services", address.value);
                let problem = Diagnostic::warning(&address.place, message)
                    .related(&at.place, format!("also of `{}`", other.id.value))
                    .fix("a refused call from there counts as a failure of both");
                problems.add(problem);
            }
        }
        let addresses = addresses.iter().map(|address| address.value).collect();
        services.insert(
            id.value.clone(),
            Service { addresses, certificate: certificate.as_ref().map(|name| name.value.clone()), unused: *unused },
        );
    }
    services
}

/// `[[rule]]` and `default_access`; `None` where two rules cannot both stand. `guards`: is there a backend that they guard?
pub(super) fn rules(
    written: Vec<FileRule>,
    default_access: Option<Setting<DefaultAccess>>,
    guards: bool,
    services: &BTreeMap<ServiceId, Service>,
    problems: &Problems,
) -> Option<RuleSet> {
    let default_access = value_or(default_access, DefaultAccess::Open);
    if !services.is_empty() {
        for caller in written.iter().flat_map(|rule| rule.callers.iter().flatten()) {
            unknown_caller(caller, services, problems);
        }
    }
    // A rule whose access could not be read may have been meant to ask.
    let asks = |rule: &FileRule| rule.access.as_ref().is_none_or(|access| access.value == Access::Service);
    if guards && default_access == DefaultAccess::Open && !written.iter().any(asks) {
        let message = "no rule asks for a signature: every request is let through, whatever the mode";
        let fix =
            "add a [[rule]] with `access = \"service\"`, or `--protect PATH`, or `default_access = \"service\"`";
        problems.add(Diagnostic::warning(&Place::Nowhere, message).fix(fix).absence());
    }
    // A rule with a mistake was reported; the others are still compared with each other.
    let (rules, places): (Vec<Rule>, Vec<Vec<Place>>) = written.into_iter().filter_map(rule).unzip();
    match RuleSet::build(rules, default_access) {
        Ok(set) => Some(set),
        Err(conflicts) => {
            conflicts.iter().for_each(|conflict| problems.add(in_words(conflict, &places)));
            None
        }
    }
}

fn rule(written: FileRule) -> Option<(Rule, Vec<Place>)> {
    let access = written.access?.value;
    let name = written.name.or_else(|| written.paths.first().map(|path| path.value.text.clone()))?;
    let (patterns, places) = written.paths.into_iter().map(|path| (path.value.pattern, path.place)).unzip();
    let callers = written.callers.map(|callers| callers.into_iter().map(|caller| caller.value).collect());
    let rule = Rule {
        name: name.into(),
        access,
        patterns,
        methods: written.methods,
        callers,
        enforce: written.enforce,
        first_byte: written.first_byte,
    };
    Some((rule, places))
}

fn unknown_caller(caller: &Setting<ServiceId>, services: &BTreeMap<ServiceId, Service>, problems: &Problems) {
    if services.contains_key(&caller.value) {
        return;
    }
    let message = format!("the caller `{}` is not in [services]", caller.value);
    let problem = Diagnostic::warning(&caller.place, message);
    problems.add(match nearest(caller.value.as_str(), services.keys().map(ServiceId::as_str)) {
        Some(near) => problem.fix(format!("did you mean \"{near}\"?")),
        None => problem.fix(format!("add [services.{}], or leave it if its addresses do not matter", caller.value)),
    });
}

fn in_words(conflict: &RuleConflict, places: &[Vec<Place>]) -> Diagnostic {
    let place = |(RuleIndex(rule), pattern): (RuleIndex, usize)| {
        let rule = usize::try_from(rule).ok().and_then(|rule| places.get(rule));
        rule.and_then(|patterns| patterns.get(pattern)).unwrap_or(&Place::Nowhere)
    };
    let message = format!("two rules are equally specific for the same path, but differ in {}", conflict.differs_in);
    Diagnostic::error(place(conflict.second), message)
        .expected("one rule to be more specific than the other, or both to say the same")
        .related(place(conflict.first), "the other rule")
        .fix("put the path into one rule, or make one of the two patterns longer")
}
