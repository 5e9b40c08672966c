//! `[ramp]`: in which stages enforcement is switched on, what takes it back, and who is told, as written.

use crate::config::addresses;
use crate::config::diagnostic::Diagnostic;
use crate::config::problems::Setting;
use crate::config::ramp::{Notify, Webhook};
use crate::config::readers;
use crate::config::table::Table;
use crate::config::values::{self, Expected, Reading};
use crate::rollout::stage::{Stage, Target};
use crate::rollout::trigger::{Factor, RollbackWhen, Scope};
use crate::rules::percentage::Percentage;
use std::ops::RangeInclusive;
use std::time::Duration;
use toml::de::DeValue;

/// `[ramp]`, as written.
#[derive(Default)]
pub(in crate::config) struct FileRamp {
    pub(in crate::config) stages: Option<Vec<Setting<Stage>>>,
    pub(in crate::config) groups: Vec<Setting<Stage>>,
    pub(in crate::config) when: RollbackWhen,
    pub(in crate::config) notify: Notify,
}

const SCOPES: [(&str, Scope); 2] = [("all", Scope::All), ("rule", Scope::Rule)];
/// A stage of a day or a week is a plan; one of years is a mistake.
const STAGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(90 * 86_400);
const DOWN: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);
const REQUESTS: RangeInclusive<u64> = 1..=1_000_000_000;
const STAGES: &str = "stages, such as [\"10% 1h\", \"100%\"]";
const GROUPS: &str = "names of rules, each with its time, such as [\"npu 30m\", \"browser\"]";
const COMMAND: &str = "a command and its arguments, each in quotes, such as [\"/usr/local/bin/tell\", \"ops\"]";

pub(super) fn ramp(mut table: Table<'_>) -> FileRamp {
    let stages = table.list("stages", STAGES, |value| stage(readers::text(value, STAGE_TEXT)?));
    let stages = table.filled("stages", stages, "leave `stages` out for the usual ones");
    let groups = table.list("groups", GROUPS, |value| group(readers::text(value, GROUP_TEXT)?));
    let groups = table.filled("groups", groups, "leave `groups` out");
    let file = FileRamp {
        stages: stages.map(|stages| stages.value),
        groups: groups.map_or_else(Vec::new, |groups| groups.value),
        when: rollback_when(table.table("rollback_when")),
        notify: notify(table.table("notify")),
    };
    rising(&table, file.stages.as_deref().unwrap_or_default());
    each_once(&table, &file.groups);
    timed(&table, file.stages.as_deref().unwrap_or_default());
    timed(&table, &file.groups);
    table.finish();
    file
}

fn rollback_when(mut table: Table<'_>) -> RollbackWhen {
    let default = RollbackWhen::default();
    let rate = table.value("service_failure_rate", rate);
    let factor = table.value("error_rate_factor", factor);
    let down = table.duration("upstream_down", &DOWN);
    let min_requests = table.value("min_requests", |value| readers::count(value, &REQUESTS));
    let always = table.boolean("always");
    let scope = table.word("scope", &SCOPES);
    table.finish();
    RollbackWhen {
        service_failure_rate: rate.map_or(default.service_failure_rate, |rate| rate.value),
        error_rate_factor: factor.map_or(default.error_rate_factor, |factor| factor.value),
        upstream_down: down.map_or(default.upstream_down, |down| down.value),
        min_requests: min_requests.map_or(default.min_requests, |min_requests| min_requests.value),
        always: always.map_or(default.always, |always| always.value),
        scope: scope.map_or(default.scope, |scope| scope.value),
    }
}

fn notify(mut table: Table<'_>) -> Notify {
    let command = table.list("command", "words", |value| word(readers::text(value, COMMAND)?));
    let command = table.filled("command", command, "leave `command` out to run none");
    let webhook = table.value("webhook", |value| webhook(readers::text(value, WEBHOOK)?));
    table.finish();
    Notify {
        command: command.map_or_else(Vec::new, |command| command.value.into_iter().map(|word| word.value).collect()),
        webhook: webhook.map(|webhook| webhook.value),
    }
}

const STAGE_TEXT: &str = "a percentage from 1 % to 100 % and a time from 1s to 90d, such as \"10% 1h\"; the last one may be without a time";

fn stage(text: &str) -> Reading<Stage> {
    let (percentage, lasts) = match text.trim().split_once(char::is_whitespace) {
        Some((percentage, lasts)) => (percentage, Some(lasts.trim())),
        None => (text.trim(), None),
    };
    let expected = || Expected::new(STAGE_TEXT);
    if !percentage.ends_with('%') {
        return Err(expected());
    }
    let percentage = values::percentage(percentage).map_err(|_| expected())?;
    if percentage == Percentage::NONE {
        return Err(expected().why("at 0 % nothing is refused"));
    }
    let lasts = lasts.map(|lasts| values::duration(lasts, &STAGE)).transpose().map_err(|_| expected())?;
    Ok(Stage { target: Target::Percentage(percentage), lasts })
}

const GROUP_TEXT: &str =
    "the name of a rule and a time from 1s to 90d, such as \"npu 30m\"; the last one may be without a time";

/// A name may have spaces, and so may a time (`1h 30m`): what can be read as a time at the end is one.
fn group(text: &str) -> Reading<Stage> {
    let text = text.trim();
    let cuts = text.char_indices().filter(|(_, c)| c.is_whitespace()).map(|(at, _)| at);
    for cut in cuts {
        if let Ok(lasts) = values::duration(text[cut..].trim(), &STAGE) {
            return Ok(Stage { target: Target::Group(text[..cut].trim().into()), lasts: Some(lasts) });
        }
    }
    if text.is_empty() {
        return Err(Expected::new(GROUP_TEXT));
    }
    Ok(Stage { target: Target::Group(text.into()), lasts: None })
}

/// `"5%"`
fn rate(value: &DeValue<'_>) -> Reading<Percentage> {
    let expected = || Expected::new("a percentage, such as \"5%\"");
    let text = value.as_str().ok_or_else(|| expected().fix("write it in quotes"))?;
    if !text.trim_end().ends_with('%') {
        return Err(expected());
    }
    values::percentage(text).map_err(|_| expected())
}

/// 1 to 1000, with at most two digits behind the point.
fn factor(value: &DeValue<'_>) -> Reading<Factor> {
    let number = match value {
        DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse::<f64>().ok(),
        DeValue::Integer(_)
        | DeValue::String(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => None,
    };
    let hundredths = number.map(|number| number * 100.0).filter(|h| (100.0..=100_000.0).contains(h));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "100 to 100 000, just looked at")]
    let whole = hundredths.map(|h| Factor(h.round() as u32));
    whole.ok_or_else(|| Expected::new("a number from 1.0 to 1000.0, such as 2.0"))
}

fn word(text: &str) -> Reading<String> {
    if text.contains('\0') { Err(Expected::new(COMMAND)) } else { Ok(text.to_owned()) }
}

const WEBHOOK: &str = "a URL such as \"http://127.0.0.1:9093/hook\"";

fn webhook(text: &str) -> Reading<Webhook> {
    let expected = || Expected::new(WEBHOOK);
    let Some(rest) = text.strip_prefix("http://") else {
        return Err(if text.starts_with("https://") {
            expected().fix("for HTTPS write a `command`, such as [\"curl\", \"--json\", \"@-\", \"https://…\"]")
        } else {
            expected()
        });
    };
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let good = path.bytes().all(|byte| byte.is_ascii_graphic()) && !path.contains('#') && path.len() <= 2048;
    let to =
        addresses::upstream(&format!("http://{host}")).map_err(|error| Expected { what: WEBHOOK.into(), ..error })?;
    if !good {
        return Err(expected());
    }
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok(Webhook { to, path })
}

/// Each stage is above the one before.
fn rising(table: &Table<'_>, stages: &[Setting<Stage>]) {
    for pair in stages.windows(2) {
        let [before, after] = pair else { continue };
        let (Target::Percentage(low), Target::Percentage(high)) = (&before.value.target, &after.value.target) else {
            continue;
        };
        if high <= low {
            let message = if high == low {
                format!("the stages of the ramp stand twice at {high}")
            } else {
                format!("the stages of the ramp go down from {low} to {high}")
            };
            let problem = Diagnostic::error(&after.place, message).related(&before.place, "the stage before");
            table.problems().add(problem.expected(format!("more than {low}")));
        }
    }
}

/// No group is activated twice.
fn each_once(table: &Table<'_>, groups: &[Setting<Stage>]) {
    for (index, group) in groups.iter().enumerate() {
        if let Some(first) = groups[..index].iter().find(|first| first.value.target == group.value.target) {
            let message = format!("the group \"{}\" is activated twice", group.value.target);
            table.problems().add(Diagnostic::error(&group.place, message).related(&first.place, "and here"));
        }
    }
}

/// Only the last one may be without a time.
fn timed(table: &Table<'_>, stages: &[Setting<Stage>]) {
    let Some((_, but_last)) = stages.split_last() else { return };
    for stage in but_last.iter().filter(|stage| stage.value.lasts.is_none()) {
        let message = format!("the stage \"{}\" has no time, and is not the last", stage.value.target);
        let fix = format!("write how long: \"{} 1h\"", stage.value.target);
        table.problems().add(Diagnostic::error(&stage.place, message).fix(fix));
    }
}
