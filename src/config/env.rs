//! What does the environment say? The variables of the fleet's `.env` files work as they are, laid over the file; a
//! flag is laid over both.
//!
//! 1. Only the names below are looked at. An empty variable says nothing: `.env` templates leave them so. (An empty override
//!    token is told, because whoever emptied it may believe that this took a token away.)
//! 2. Whoever handed the variable over may have left quotes, a carriage return or a comment in it (docker, a file from
//!    Windows): a value is read as a shell would read it.
//! 3. `SERVICE_KEY` beats `SERVICE_KEY_FILE`. The two spellings of the percentage must agree: nobody can say which was meant.
//! 4. `BACKEND_HOST` and `BACKEND_PORT` name where an outbound listener sends to that names no upstream, never what an inbound one
//!    guards. Where no listener needs them nobody asks whether they make sense. The same holds for `REDIS_HOST` and
//!    `REDIS_PORT`: every `.env` file of the fleet has them, and `keys` says when they name the Redis that keys come from.
//!
//! A value that is not understood refuses the configuration and names the variable; the value of a secret is never shown.

use super::OwnKey;
use super::diagnostic::{Diagnostic, Place};
use super::file::{self, FAILURE_WINDOW, FAILURES, FileConfig, RedisEnvironment, TokenSource, WINDOW};
use super::problems::{Problems, Setting, quoted, wrong};
use super::values::{self, Expected, Reading};
use crate::policy::enforcement::Mode;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// What a load may know of the process it runs in. Holds secrets: its `Debug` shows names only.
#[derive(Clone, Default)]
pub struct Environment {
    /// Variables by name, as they came.
    pub variables: BTreeMap<String, String>,
    /// Does the process run as root? Decides the default directories.
    pub root: bool,
}

/// What is read of the environment: the fleet's variables, and what says where this process may keep things.
const NAMES: [&str; 18] = [
    SERVICE_ID,
    SERVICE_KEY,
    SERVICE_KEY_FILE,
    TIMESTAMP_WINDOW,
    MODE,
    PERCENTAGE,
    CIRCUIT_BREAKER,
    OVERRIDE_TOKEN,
    LIMIT_WINDOW,
    LIMIT_FAILURES,
    BACKEND_HOST,
    BACKEND_PORT,
    REDIS_HOST,
    REDIS_PORT,
    REDIS_PASSWORD,
    "HOME",
    "XDG_STATE_HOME",
    "JOURNAL_STREAM",
];

const REDIS_HOST: &str = "REDIS_HOST";
const REDIS_PORT: &str = "REDIS_PORT";
const REDIS_PASSWORD: &str = "REDIS_PASSWORD";
const BACKEND_HOST: &str = "BACKEND_HOST";
const BACKEND_PORT: &str = "BACKEND_PORT";
const SERVICE_ID: &str = "SERVICE_ID";
const SERVICE_KEY: &str = "SERVICE_KEY";
const SERVICE_KEY_FILE: &str = "SERVICE_KEY_FILE";
const TIMESTAMP_WINDOW: &str = "AUTH_TIMESTAMP_WINDOW";
const MODE: &str = "SERVICE_AUTH_ENFORCEMENT_MODE";
const PERCENTAGE: &str = "SERVICE_AUTH_ENFORCEMENT_PERCENTAGE";
const CIRCUIT_BREAKER: &str = "SERVICE_AUTH_CIRCUIT_BREAKER_PERCENTAGE";
const OVERRIDE_TOKEN: &str = "SERVICE_AUTH_OVERRIDE_TOKEN";
const LIMIT_WINDOW: &str = "SERVICE_AUTH_RATE_LIMIT_WINDOW";
const LIMIT_FAILURES: &str = "SERVICE_AUTH_RATE_LIMIT_MAX_FAILURES";

impl Environment {
    /// Of this process. The only reader of `std::env` in the configuration.
    pub fn of_process() -> Environment {
        let known = |name: &str| std::env::var_os(name).map(|value| (name.to_owned(), value));
        let variables = NAMES
            .into_iter()
            .filter_map(known)
            // What is not UTF-8 is no value of any of these; the replacement character makes it wrong and visible.
            .map(|(name, value)| (name, value.to_string_lossy().into_owned()))
            .collect();
        Environment { variables, root: rustix::process::geteuid().is_root() }
    }

    /// The fleet's variables that say something here, by name.
    pub fn said(&self) -> Vec<&'static str> {
        NAMES
            .into_iter()
            .filter(|name| name.starts_with("SERVICE_") || *name == TIMESTAMP_WINDOW)
            .filter(|name| self.get(name).is_some())
            .collect()
    }

    /// `HOME`, where it is set.
    pub(super) fn home(&self) -> Option<&str> {
        self.variables.get("HOME").map(String::as_str).filter(|home| home.starts_with('/'))
    }

    /// Is the journal reading our output?
    pub(super) fn is_under_systemd(&self) -> bool {
        self.variables.get("JOURNAL_STREAM").is_some_and(|stream| !stream.is_empty())
    }

    /// A variable as a shell would read it; `None` when it is not set or empty.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let value = shell_value(self.variables.get(name)?);
        (!value.is_empty()).then_some(value)
    }

    /// `read` of a variable; what it expected is reported with what was found.
    fn read<T>(
        &self,
        problems: &Problems,
        name: &'static str,
        read: impl FnOnce(&str) -> Reading<T>,
    ) -> Option<Setting<T>> {
        let text = self.get(name)?;
        let place = Place::Variable(name);
        match read(&text) {
            Ok(value) => Some(Setting { value, place }),
            Err(expected) => {
                problems.add(wrong(&place, name, &quoted(&text), expected));
                None
            }
        }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("variables", &self.variables.keys().collect::<Vec<_>>())
            .field("root", &self.root)
            .finish()
    }
}

/// Lays the environment over the file.
pub(super) fn overlay(environment: &Environment, file: &mut FileConfig, problems: &Problems) {
    file.says_id |= environment.get(SERVICE_ID).is_some();
    lay(&mut file.service_id, environment.read(problems, SERVICE_ID, file::service_id));
    let as_it_came = |name| environment.get(name).map(|value| Setting { value, place: Place::Variable(name) });
    file.keys.environment = RedisEnvironment {
        host: as_it_came(REDIS_HOST),
        port: as_it_came(REDIS_PORT),
        password: environment.get(REDIS_PASSWORD).map(|password| Arc::new(Zeroizing::new(password))),
    };
    file.backend = (as_it_came(BACKEND_HOST), as_it_came(BACKEND_PORT));
    if let Some(text) = environment.get(SERVICE_KEY).map(Zeroizing::new) {
        let value = OwnKey::Environment(Arc::new(text));
        file.service_key = Some(Setting { value, place: Place::Variable(SERVICE_KEY) });
    } else {
        let key_file = environment.read(problems, SERVICE_KEY_FILE, |text| path(environment, text));
        lay(&mut file.service_key, key_file.map(|path| path.map(OwnKey::File)));
    }
    lay(&mut file.window, environment.read(problems, TIMESTAMP_WINDOW, |text| seconds(text, &WINDOW)));
    let enforcement = &mut file.enforcement;
    let mode = environment.read(problems, MODE, mode);
    warn_of_beaten(MODE, mode.as_ref(), enforcement.mode.as_ref(), problems);
    lay(&mut enforcement.mode, mode);
    let percentage = environment.read(problems, PERCENTAGE, values::percentage);
    let other = environment.read(problems, CIRCUIT_BREAKER, values::percentage);
    if let (Some(percentage), Some(other)) = (&percentage, &other)
        && percentage.value != other.value
    {
        let message = format!("`{PERCENTAGE}` is {}, but `{CIRCUIT_BREAKER}` is {}", percentage.value, other.value);
        problems.add(
            Diagnostic::error(&percentage.place, message)
                .expected("the same percentage in both: they are two names of one setting")
                .fix("unset one of them"),
        );
    }
    let (name, percentage) = if percentage.is_some() { (PERCENTAGE, percentage) } else { (CIRCUIT_BREAKER, other) };
    warn_of_beaten(name, percentage.as_ref(), enforcement.percentage.as_ref(), problems);
    lay(&mut enforcement.percentage, percentage);
    lay(&mut enforcement.window, environment.read(problems, LIMIT_WINDOW, |text| seconds(text, &FAILURE_WINDOW)));
    let failures = environment.read(problems, LIMIT_FAILURES, |text| values::count(text, &FAILURES));
    lay(
        &mut enforcement.failures,
        failures.map(|count| count.map(|count| usize::try_from(count).unwrap_or(usize::MAX))),
    );
    if let Some(text) = environment.get(OVERRIDE_TOKEN).map(Zeroizing::new) {
        let value = TokenSource::Text(text);
        enforcement.override_token = Some(Setting { value, place: Place::Variable(OVERRIDE_TOKEN) });
    } else if environment.variables.contains_key(OVERRIDE_TOKEN) {
        let place = Place::Variable(OVERRIDE_TOKEN);
        problems.add(match &enforcement.override_token {
            Some(file) => Diagnostic::warning(&place, "the override token is empty, so the variable says nothing")
                .related(&file.place, "the token of this file holds"),
            None => Diagnostic::warning(&place, "the override token is empty, so there is none")
                .fix("unset the variable where none is wanted"),
        });
    }
}

/// Whoever steers by editing the file must be told that a variable holds against it.
fn warn_of_beaten<T: PartialEq>(
    name: &'static str,
    variable: Option<&Setting<T>>,
    file: Option<&Setting<T>>,
    problems: &Problems,
) {
    if let (Some(variable), Some(file)) = (variable, file)
        && variable.value != file.value
    {
        let message = format!("`{name}` beats the file, which says otherwise; an edit of the file has no effect");
        problems.add(
            Diagnostic::warning(&variable.place, message)
                .related(&file.place, "says nothing while the variable is set")
                .fix("unset the variable where the file is to steer"),
        );
    }
}

/// What was said last holds.
pub(super) fn lay<T>(below: &mut Option<Setting<T>>, above: Option<Setting<T>>) {
    if above.is_some() {
        *below = above;
    }
}

fn mode(text: &str) -> Reading<Mode> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" | "enforce" => Ok(Mode::Enforce),
        "false" | "0" | "no" | "off" | "log" => Ok(Mode::Log),
        _ => Err(Expected::new("`true` (enforce) or `false` (log)")),
    }
}

fn seconds(text: &str, range: &std::ops::RangeInclusive<Duration>) -> Reading<Duration> {
    let seconds = range.start().as_secs()..=range.end().as_secs();
    values::count(text, &seconds)
        .map(Duration::from_secs)
        .map_err(|error| Expected { what: format!("{}: seconds", error.what), ..error })
}

fn path(environment: &Environment, text: &str) -> Reading<PathBuf> {
    let Some(rest) = text.strip_prefix("~/") else { return Ok(PathBuf::from(text)) };
    match environment.home() {
        Some(home) => Ok(PathBuf::from(home).join(rest)),
        None => Err(Expected::new("the path of a file").fix("HOME is not set here; write the whole path")),
    }
}

/// A value of a `.env` file as a shell reads it: surrounding blanks and carriage returns, one pair of quotes and a
/// comment behind the value do not belong to it. What is not well quoted stays as it is.
pub(super) fn shell_value(raw: &str) -> String {
    let text = raw.trim_matches([' ', '\t', '\r', '\n']);
    for (quote, escapes) in [('\'', false), ('"', true)] {
        if let Some(rest) = text.strip_prefix(quote)
            && let Some((value, after)) = unquoted(rest, quote, escapes)
            && (after.trim().is_empty() || after.starts_with([' ', '\t']) && after.trim_start().starts_with('#'))
        {
            return value;
        }
    }
    match text.find(" #").or_else(|| text.find("\t#")) {
        Some(comment) => text[..comment].trim_end().to_owned(),
        None => text.to_owned(),
    }
}

/// The text up to the closing quote, and what follows it.
fn unquoted(text: &str, quote: char, escapes: bool) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Some((value, &text[at + c.len_utf8()..])),
            '\\' if escapes => match chars.next()?.1 {
                // Only these lose their backslash between double quotes.
                escaped @ ('"' | '\\' | '$' | '`') => value.push(escaped),
                other => value.extend(['\\', other]),
            },
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests;
