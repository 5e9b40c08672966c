//! The audit log as verbs read it: which file, which period, and every line of it without keeping any.
//!
//! 1. `--audit FILE` names the log; without it the configuration does. Only files can be read: for the journal or standard output
//!    somebody must have written one.
//! 2. The period ends now and lasts `--since`.
//! 3. It is gone through twice: first for the addresses from which services proved themselves, then for everything. So what is
//!    kept in memory depends on services, rules and bounded tables alone.
//!
//! With `--audit` and no `--config` there is no configuration, whatever stands in the usual place: a log that was copied from
//! another machine is not judged by this one's.

use super::args::ConfigArgs;
use super::output::CliError;
use crate::clock;
use crate::config::check::{self, Overrides, Purpose};
use crate::config::env::Environment;
use crate::config::{AuditSink, Config, duration_argument};
use crate::policy::decision::Outcome;
use crate::rollout::recorded::Seen;
use crate::rollout::recorded::continuity::{Continuity, Place};
use crate::rollout::recorded::peers::Peers;
use crate::rules::classify::Class;
use crate::telemetry::audit::read::{AuditReader, StoredDecision, StoredLine, StoredRecord, TimeRange};
use std::path::PathBuf;
use std::time::Duration;

/// Which records.
#[derive(Debug, clap::Args)]
pub struct EvidenceArgs {
    #[command(flatten)]
    /// Which file.
    pub config: ConfigArgs,
    /// Audit log to read, with its rotated files; alone, no configuration counts [default: the configuration's]
    #[arg(long, value_name = "FILE")]
    pub audit: Option<PathBuf>,
    /// How far back to look
    #[arg(long, value_name = "DURATION", value_parser = duration_argument, default_value = "24h")]
    pub since: Duration,
}

/// The log and its period.
pub(super) struct Evidence {
    pub(super) path: PathBuf,
    pub(super) period: TimeRange,
    pub(super) since: Duration,
    /// The configuration; `None` with `--audit` alone.
    pub(super) config: Option<Config>,
}

impl Evidence {
    /// Finds the log.
    pub(super) fn of(args: &EvidenceArgs) -> Result<Evidence, CliError> {
        let config = match &args.audit {
            Some(_) if !args.config.is_named() => None,
            Some(_) | None => Some(loaded(&args.config)?),
        };
        let path = match (&args.audit, &config) {
            (Some(path), _) => path.clone(),
            (None, Some(config)) => configured(config)?,
            (None, None) => return Err(CliError::Usage("no audit log is named: give --audit FILE".into())),
        };
        match std::fs::metadata(&path) {
            Ok(meta) if !meta.is_file() => {
                return Err(CliError::Usage(format!("the audit log {} is no file", path.display())));
            }
            // One that is missing may have been rotated away; one that may not be looked at is told of when it is opened.
            Ok(_) | Err(_) => {}
        }
        let now = clock::unix_micros();
        let since = u64::try_from(args.since.as_micros()).unwrap_or(u64::MAX);
        let period = TimeRange { from: now.saturating_sub(since), until: now };
        let evidence = Evidence { path, period, since: args.since, config };
        if !evidence.reader()?.is_there() {
            return Err(CliError::Usage(format!(
                "there is no audit log {}\nName the file with --audit FILE, or the configuration that does with --config FILE.",
                evidence.path.display()
            )));
        }
        Ok(evidence)
    }

    /// Who exists, and every address from which one proved itself.
    pub(super) fn peers(&self) -> Result<Peers, CliError> {
        let mut peers = Peers::default();
        if let Some(config) = &self.config {
            config.services.iter().for_each(|(id, service)| peers.configure(id.as_str(), &service.addresses));
        }
        for line in self.reader()? {
            let line = line.map_err(|error| self.unreadable(&error))?;
            if let Some(seen) = inbound(&line) {
                peers.learn(&seen);
            }
        }
        Ok(peers)
    }

    /// Shows every line of the period, oldest first, and tells what is missing.
    pub(super) fn each(&self, mut see: impl FnMut(&StoredLine)) -> Result<Continuity, CliError> {
        let mut continuity = Continuity::of(self.period.from, self.period.until);
        let mut reader = self.reader()?.every_line();
        while let Some(line) = reader.next() {
            let line = line.map_err(|error| self.unreadable(&error))?;
            let stop = matches!(&line.record, StoredRecord::Change(change) if change.event == "stop");
            let reduced = reader.is_reduced();
            let (boot, seq, unix_micros) = (&*line.boot, line.seq, line.unix_micros);
            continuity.line(Place { boot, seq, unix_micros, reduced, stop }, reader.skipped());
            if self.period.contains(line.unix_micros) {
                see(&line);
            }
        }
        continuity.end(reader.skipped());
        Ok(continuity)
    }

    fn reader(&self) -> Result<AuditReader, CliError> {
        AuditReader::open(&self.path, self.period).map_err(|error| self.unreadable(&error))
    }

    fn unreadable(&self, error: &std::io::Error) -> CliError {
        CliError::Failed(format!("cannot read the audit log {}: {error}", self.path.display()))
    }
}

/// The inbound decision that a line tells of; `None` for another line, for an announced probe, which counts nowhere, and for one
/// whose outcome this version does not know.
pub(super) fn inbound(line: &StoredLine) -> Option<Seen<'_>> {
    match &line.record {
        StoredRecord::Decision(decision) if decision.direction == "inbound" && !decision.probe => {
            decision.outcome().map(|outcome| seen(line.unix_micros, decision, outcome))
        }
        StoredRecord::Decision(_) | StoredRecord::Change(_) => None,
    }
}

/// Is it a decision in words of a newer version?
pub(super) fn is_beyond_us(line: &StoredLine) -> bool {
    match &line.record {
        StoredRecord::Decision(decision) => decision.outcome().is_none(),
        StoredRecord::Change(_) => false,
    }
}

fn seen(unix_micros: u64, decision: &StoredDecision, outcome: Outcome) -> Seen<'_> {
    let class = decision
        .class
        .as_deref()
        .and_then(|word| [Class::Exempt, Class::Open, Class::Service].into_iter().find(|class| class.code() == word));
    Seen {
        unix_micros,
        outcome,
        reason: decision.reason.as_deref(),
        cause: decision.cause.as_deref(),
        class,
        rule: decision.rule.as_deref(),
        service: decision.service.as_deref(),
        claimed: decision.claimed_service.as_deref(),
        grant: decision.grant.as_deref(),
        skew_seconds: decision.skew_seconds,
        method: decision.method.as_deref(),
        path: decision.path.as_deref(),
        client: &decision.client,
        status: decision.status,
        upstream_answered: decision.upstream_us.is_some(),
    }
}

fn loaded(args: &ConfigArgs) -> Result<Config, CliError> {
    check::load(Some(args.path()), &Environment::of_process(), &Overrides::default(), Purpose::Inspect)
        .map(|loaded| loaded.config)
        .map_err(|problems| CliError::Configuration(Box::new(problems)))
}

fn configured(config: &Config) -> Result<PathBuf, CliError> {
    let place = match &config.audit.sink {
        AuditSink::File(path) => return Ok(path.clone()),
        AuditSink::Stdout => "standard output",
        AuditSink::Journald => "the journal",
        AuditSink::None => "nowhere",
    };
    Err(CliError::Usage(format!(
        "audit records go to {place}, which cannot be read back: write them to a file and name it with --audit FILE"
    )))
}
