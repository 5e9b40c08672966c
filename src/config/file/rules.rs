//! `[[rule]]` and `[services.ID]`: who may call what, as it is written. The two things an included file may hold.

use crate::config::addresses;
use crate::config::diagnostic::{Diagnostic, Place};
use crate::config::problems::Setting;
use crate::config::readers;
use crate::config::table::Table;
use crate::config::values::{Expected, Reading};
use crate::rules::classify::Access;
use crate::rules::pattern::Pattern;
use crate::rules::percentage::Percentage;
use crate::signature::key::ServiceId;
use ipnet::IpNet;
use std::time::Duration;

/// One rule, as written.
#[derive(Debug, Default)]
pub(in crate::config) struct FileRule {
    pub(in crate::config) name: Option<String>,
    pub(in crate::config) access: Option<Setting<Access>>,
    pub(in crate::config) paths: Vec<Setting<Written>>,
    pub(in crate::config) methods: Option<Vec<Box<str>>>,
    pub(in crate::config) callers: Option<Vec<Setting<ServiceId>>>,
    pub(in crate::config) enforce: Option<Percentage>,
    pub(in crate::config) first_byte: Option<Duration>,
}

/// A pattern and the text it was read from.
#[derive(Debug, Clone)]
pub(in crate::config) struct Written {
    pub(in crate::config) text: String,
    pub(in crate::config) pattern: Pattern,
}

/// One service, as written.
#[derive(Debug)]
pub(in crate::config) struct FileService {
    pub(in crate::config) id: Setting<ServiceId>,
    pub(in crate::config) addresses: Vec<Setting<IpNet>>,
    pub(in crate::config) certificate: Option<Setting<String>>,
    pub(in crate::config) unused: bool,
}

const ACCESSES: [(&str, Access); 2] = [("service", Access::Service), ("exempt", Access::Exempt)];
const ACCESS: &str = "`access = \"service\"` or `access = \"exempt\"`";
const PATHS: &str = "a list of paths, such as `paths = [\"/api/internal\"]`";

pub(super) fn rules(top: &mut Table<'_>) -> Vec<FileRule> {
    top.tables("rule", false).into_iter().map(rule).collect()
}

fn rule(mut table: Table<'_>) -> FileRule {
    let name = table.value("name", |value| rule_name(readers::text(value, NAME)?));
    let access = table.word("access", &ACCESSES);
    table.missing("access", ACCESS);
    let paths =
        table.list("paths", "paths, such as [\"/api/internal\"]", |value| pattern(readers::text(value, PATH)?));
    table.missing("paths", PATHS);
    let methods = table.list("methods", "methods, such as [\"POST\"]", |value| method(readers::text(value, METHOD)?));
    let callers =
        table.list("callers", "service ids", |value| super::service_id(readers::text(value, "a service id")?));
    let enforce = table.value("enforce", readers::percentage);
    let first_byte = table.duration("first_byte", &super::operation::FIRST_BYTE);
    let exempt = access.as_ref().filter(|access| access.value == Access::Exempt);
    if let Some(exempt) = exempt {
        contradiction(&table, exempt, "callers", callers.as_ref().map(|callers| &callers.place));
        contradiction(&table, exempt, "enforce", enforce.as_ref().map(|enforce| &enforce.place));
    }
    let paths = table.filled("paths", paths, "leave the whole rule out, or say which paths");
    let methods = table.filled("methods", methods, "leave `methods` out to cover every method");
    let callers = table.filled("callers", callers, "leave `callers` out to let every known service call");
    let rule = FileRule {
        name: name.map(|name| name.value),
        access,
        paths: paths.map_or_else(Vec::new, |paths| paths.value),
        methods: methods.map(|methods| methods.value.into_iter().map(|method| method.value).collect()),
        callers: callers.map(|callers| callers.value),
        enforce: enforce.map(|enforce| enforce.value),
        first_byte: first_byte.map(|first_byte| first_byte.value),
    };
    table.finish();
    rule
}

fn contradiction(table: &Table<'_>, exempt: &Setting<Access>, key: &'static str, place: Option<&Place>) {
    let Some(place) = place else { return };
    let message = format!("`{}` contradicts `access = \"exempt\"`", table.full(key));
    let problem = Diagnostic::error(place, message)
        .related(&exempt.place, "nobody is asked for a signature here")
        .fix(format!("leave `{key}` out, or write `access = \"service\"`"));
    table.problems().add(problem);
}

const NAME: &str = "a name of 1 to 100 characters on one line";

fn rule_name(text: &str) -> Reading<String> {
    let good =
        (1..=100).contains(&text.chars().count()) && !text.chars().any(char::is_control) && !text.trim().is_empty();
    if good { Ok(text.to_owned()) } else { Err(Expected::new(NAME)) }
}

const PATH: &str = "a path of whole segments, such as \"/api/chat\", \"/api/*/x\" or \"=/api/x\"";

/// A pattern; also for `--protect` and `--exempt`.
pub(in crate::config) fn pattern(text: &str) -> Reading<Written> {
    match text.parse() {
        Ok(pattern) => Ok(Written { text: text.to_owned(), pattern }),
        Err(error) => Err(Expected::new(PATH).why(format!("{error}"))),
    }
}

const METHOD: &str = "a method in capitals, such as \"POST\"";

fn method(text: &str) -> Reading<Box<str>> {
    let token = !text.is_empty()
        && text.len() <= 32
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
    if !token {
        return Err(Expected::new(METHOD));
    }
    let capitals = text.to_ascii_uppercase();
    if text != capitals {
        return Err(Expected::new(METHOD).fix(format!("write \"{capitals}\"")));
    }
    Ok(capitals.into())
}

const CERTIFICATE: &str = "a DNS name or URI in the client certificate, such as \"npu-worker.internal\"";

/// The name a certificate must bear, letter by letter: a pattern would look as if it were one.
fn certificate(text: &str) -> Reading<String> {
    let good = !text.is_empty() && text.len() <= 255 && text.chars().all(|c| c.is_ascii_graphic() && c != '*');
    if good { Ok(text.to_owned()) } else { Err(Expected::new(CERTIFICATE)) }
}

pub(super) fn services(table: &Table<'_>) -> Vec<FileService> {
    let mut services = Vec::new();
    for (key, mut entry) in table.named_tables() {
        let addresses = entry.list("addresses", "addresses and networks", |value| {
            addresses::network(readers::text(value, "an IP address or network")?)
        });
        let addresses = addresses.map_or_else(Vec::new, |list| list.value);
        let unused = entry.boolean("unused").is_some_and(|unused| unused.value);
        let certificate = entry.value("certificate", |value| certificate(readers::text(value, CERTIFICATE)?));
        match super::service_id(&key.value) {
            Ok(id) => services.push(FileService {
                id: Setting { value: id, place: key.place },
                addresses,
                certificate,
                unused,
            }),
            Err(expected) => table.wrong_key(&key, expected),
        }
        entry.finish();
    }
    services
}
