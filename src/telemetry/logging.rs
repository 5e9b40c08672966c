//! Structured logs to stderr: constant messages, facts as fields; for people as text, for machines as JSON.
//!
//! A subscriber of our own, because nothing of what the usual one brings is wanted: there are no spans (a request is
//! described by its audit record, not by log lines), and the usual text form lets a value with a newline begin a line
//! that looks like ours. Here every value is escaped like JSON text, in both forms. Answers log injection and terminal
//! escape injection through paths, ids and messages of other programs.
//!
//! What a stranger can cause per request is logged at `debug` by those who log; nothing is rate-limited here.

use super::json::{JsonLine, escape};
use super::time::Rfc3339;
use crate::clock;
use crate::config::{Log, LogFormat, LogLevel};
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Interest, SetGlobalDefaultError, set_global_default};
use tracing::{Event, Level, Metadata, Subscriber};

/// Sets up logs to stderr for the whole process.
///
/// # Errors
/// When a subscriber is already installed.
pub fn init(config: Log) -> Result<LogHandle, SetGlobalDefaultError> {
    let level = Arc::new(AtomicU8::new(rank(filter(config.level))));
    let form = match config.format {
        LogFormat::Json => Form::Json,
        LogFormat::Text if io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() => Form::Coloured,
        LogFormat::Text => Form::Text,
    };
    set_global_default(Logger { level: Arc::clone(&level), form })?;
    Ok(LogHandle { level })
}

/// Changes the level at run time.
#[derive(Debug, Clone)]
pub struct LogHandle {
    level: Arc<AtomicU8>,
}

impl LogHandle {
    /// From now on.
    pub fn set_level(&self, level: LogLevel) {
        self.level.store(rank(filter(level)), Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
    }
}

#[derive(Debug)]
struct Logger {
    level: Arc<AtomicU8>,
    form: Form,
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Coloured,
    Json,
}

impl Logger {
    /// What the frame layer of HTTP/2 calls a warning, a stranger can bring about with every frame: it is for diagnosis.
    fn takes(&self, metadata: &Metadata<'_>) -> bool {
        let own = *metadata.level();
        let level = if metadata.target().starts_with("h2::") { own.max(Level::DEBUG) } else { own };
        rank(LevelFilter::from_level(level)) <= self.level.load(Ordering::Relaxed)
    }
}

impl Subscriber for Logger {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // asked again whenever the level changes, so that what is off costs one branch
        if metadata.is_event() && self.takes(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && self.takes(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let level = self.level.load(Ordering::Relaxed);
        LEVELS.into_iter().find(|filter| rank(*filter) == level)
    }

    fn event(&self, event: &Event<'_>) {
        let line = line(self.form, clock::unix_micros(), event);
        // one write per line, so that lines of two threads do not mix; a stderr that takes none has nobody to tell
        let _ = io::stderr().lock().write_all(&line);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// One event as a line with its newline.
fn line(form: Form, unix_micros: u64, event: &Event<'_>) -> Vec<u8> {
    let mut time = Rfc3339::default();
    let (time, level, target) = (time.print(unix_micros), event.metadata().level(), event.metadata().target());
    let mut message = Message::default();
    event.record(&mut message);
    let mut out = Vec::with_capacity(256);
    match form {
        Form::Json => {
            let mut line = JsonLine::begin(&mut out);
            line.text("time", time);
            line.text("level", level.as_str());
            line.text("target", target);
            line.text("message", &message.0);
            event.record(&mut JsonFields(&mut line));
            line.end();
        }
        Form::Text | Form::Coloured => {
            let (on, dim, off) =
                if form == Form::Coloured { (colour(*level), "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
            out.extend_from_slice(format!("{dim}{time}{off} {on}{level:<5}{off} {dim}{target}:{off} ").as_bytes());
            escape(&mut out, &message.0);
            event.record(&mut TextFields { out: &mut out, dim, off });
            out.push(b'\n');
        }
    }
    out
}

/// The `message` of an event.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == MESSAGE {
            let _ = write!(self.0, "{value:?}");
        }
    }
}

/// All other fields, each with its type.
struct JsonFields<'l, 'o>(&'l mut JsonLine<'o>);

impl Visit for JsonFields<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() != MESSAGE {
            self.0.text(field.name(), &format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.text(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.unsigned(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.signed(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.boolean(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.float(field.name(), value);
    }
}

/// All other fields as ` name=value`.
struct TextFields<'o> {
    out: &'o mut Vec<u8>,
    dim: &'static str,
    off: &'static str,
}

impl TextFields<'_> {
    fn field(&mut self, name: &str, value: &str) {
        let (dim, off) = (self.dim, self.off);
        self.out.extend_from_slice(format!(" {dim}{name}={off}").as_bytes());
        let plain =
            !value.is_empty() && value.chars().all(|c| !c.is_whitespace() && c != '"' && c != '=' && c != '\\');
        if plain {
            escape(self.out, value);
        } else {
            self.out.push(b'"');
            escape(self.out, value);
            self.out.push(b'"');
        }
    }
}

impl Visit for TextFields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() != MESSAGE {
            self.field(field.name(), &format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field.name(), value);
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// A number that grows with how much is logged.
fn rank(filter: LevelFilter) -> u8 {
    // at most six levels
    LEVELS.iter().position(|level| *level == filter).unwrap_or_default() as u8
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        _ => "\x1b[2m",
    }
}

const LEVELS: [LevelFilter; 6] = [
    LevelFilter::OFF,
    LevelFilter::ERROR,
    LevelFilter::WARN,
    LevelFilter::INFO,
    LevelFilter::DEBUG,
    LevelFilter::TRACE,
];
const MESSAGE: &str = "message";

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    const TIME: u64 = 1_763_778_660_123_456;

    /// The lines that `log` causes in one form at one level.
    fn lines(form: Form, level: LogLevel, log: impl FnOnce(&LogHandle)) -> Vec<String> {
        struct Kept {
            logger: Logger,
            lines: Arc<Mutex<Vec<String>>>,
        }
        impl Subscriber for Kept {
            fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
                // callsites are shared with other tests' subscribers
                Interest::sometimes()
            }
            fn enabled(&self, metadata: &Metadata<'_>) -> bool {
                self.logger.enabled(metadata)
            }
            fn event(&self, event: &Event<'_>) {
                let line = String::from_utf8(line(self.logger.form, TIME, event)).unwrap();
                self.lines.lock().unwrap().push(line);
            }
            fn new_span(&self, span: &Attributes<'_>) -> Id {
                self.logger.new_span(span)
            }
            fn record(&self, _: &Id, _: &Record<'_>) {}
            fn record_follows_from(&self, _: &Id, _: &Id) {}
            fn enter(&self, _: &Id) {}
            fn exit(&self, _: &Id) {}
        }
        let level = Arc::new(AtomicU8::new(rank(filter(level))));
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Kept { logger: Logger { level: Arc::clone(&level), form }, lines: Arc::clone(&lines) };
        tracing::subscriber::with_default(kept, || log(&LogHandle { level }));
        std::mem::take(&mut *lines.lock().unwrap())
    }

    #[test]
    fn text_is_time_level_target_message_fields() {
        let lines = lines(Form::Text, LogLevel::Info, |_| {
            tracing::info!(target: "t", port = 8001, ok = true, name = "a b", empty = "", error = %"x=y", "listening");
        });
        let expected = "2025-11-22T02:31:00.123456Z INFO  t: listening port=8001 ok=true name=\"a b\" empty=\"\" error=\"x=y\"\n";
        assert_eq!(lines, [expected]);
    }

    #[test]
    fn json_keeps_the_types_of_fields() {
        let lines = lines(Form::Json, LogLevel::Info, |_| {
            tracing::warn!(target: "t", port = 8001_u64, diff = -1_i64, ok = true, share = 0.5, error = %"x", "m");
        });
        let expected = concat!(
            r#"{"time":"2025-11-22T02:31:00.123456Z","level":"WARN","target":"t","message":"m","#,
            r#""port":8001,"diff":-1,"ok":true,"share":0.5,"error":"x"}"#,
            "\n"
        );
        assert_eq!(lines, [expected]);
    }

    #[test]
    fn a_hostile_value_neither_begins_a_line_nor_drives_a_terminal() {
        let hostile = "x\n2025-11-22T02:31:00Z ERROR forged: \u{1b}[31m\u{2028}\u{9b}1m\r\"";
        for form in [Form::Text, Form::Coloured, Form::Json] {
            let lines = lines(form, LogLevel::Info, |_| {
                tracing::info!(text = hostile, shown = %hostile, "{hostile}");
            });
            let [line] = lines.as_slice() else { panic!("{lines:?}") };
            let mut inner = line.strip_suffix('\n').unwrap().to_owned();
            if form == Form::Coloured {
                inner = inner.replace("\u{1b}[2m", "").replace("\u{1b}[0m", "").replace("\u{1b}[32m", "");
            }
            assert!(!inner.chars().any(super::super::json::is_unsafe_to_show), "{inner:?}");
            if form == Form::Json {
                let value: serde_json::Value = serde_json::from_str(&inner).unwrap();
                assert_eq!((&value["text"], &value["shown"]), (&hostile.into(), &hostile.into()));
            }
        }
    }

    #[test]
    fn the_level_holds_and_changes_at_run_time() {
        let lines = lines(Form::Text, LogLevel::Warn, |handle| {
            let some = |name: &'static str| {
                tracing::error!(name);
                tracing::warn!(name);
                tracing::info!(name);
                tracing::debug!(name);
            };
            some("first");
            handle.set_level(LogLevel::Debug);
            some("second");
            handle.set_level(LogLevel::Error);
            some("third");
        });
        let levels: Vec<&str> = lines.iter().map(|line| line.split_ascii_whitespace().nth(1).unwrap()).collect();
        assert_eq!(levels, ["ERROR", "WARN", "ERROR", "WARN", "INFO", "DEBUG", "ERROR"]);
    }

    #[test]
    fn what_strangers_make_the_frame_layer_warn_of_is_no_warning() {
        let lines = lines(Form::Text, LogLevel::Info, |handle| {
            tracing::warn!(target: "h2::proto::ping_pong", "first");
            handle.set_level(LogLevel::Debug);
            tracing::warn!(target: "h2::proto::ping_pong", "second");
        });
        assert!(lines.len() == 1 && lines[0].contains("second"), "{lines:?}");
    }

    #[test]
    fn colour_stands_only_around_what_is_ours() {
        let lines = lines(Form::Coloured, LogLevel::Info, |_| tracing::error!(target: "t", a = 1, "m"));
        let expected = "\u{1b}[2m2025-11-22T02:31:00.123456Z\u{1b}[0m \u{1b}[31mERROR\u{1b}[0m \u{1b}[2mt:\u{1b}[0m m \
                        \u{1b}[2ma=\u{1b}[0m1\n";
        assert_eq!(lines, [expected]);
    }
}
