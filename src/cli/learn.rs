//! `learn`: rules that are missing, from what was seen, as TOML to be put beside those in force.
//!
//! Nothing is overwritten, ever: rules go to standard output, or to a new file. Which rules, and what keeps strangers out of them,
//! stands in `rollout::recorded::learned`.

mod toml;

use super::evidence::{Evidence, EvidenceArgs, inbound};
use super::keys::words::span;
use super::output::{Answer, CliError, Output};
use crate::rollout::recorded::learned::{Kind, Learner, Proposal};
use serde_json::json;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

const AFTER_HELP: &str = "\
Two kinds of rules are proposed, with exact patterns that win over your prefix patterns:
  - paths no rule covers that known services call (by their address: services.X.addresses, or where they proved
    themselves) become service paths, with `enforce = 0`: checked and reported, refused only once you raise it;
  - paths under service rules without `callers` become those of the callers that proved themselves there.
What strangers call is never proposed for anybody: it is listed as a comment, to be decided on.

Ids in paths become `*`: numbers and dates, UUIDs, hex of 8 characters, long random texts, and more than 20 different
segments in one place. At most 2000 patterns of services and 2000 of strangers are kept apart; the rest is counted.

Examples:
  countersign learn --since 7d
  countersign learn --out /etc/countersign/rules.d/learned.toml && countersign check

Exit codes: 0 done, 1 the log cannot be read or the file is there already, 2 usage or configuration error.";

/// `countersign learn`
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    /// Which records.
    pub evidence: EvidenceArgs,
    /// Write the rules to this file, which must not be there yet
    #[arg(long, value_name = "NEW-FILE")]
    pub out: Option<PathBuf>,
}

/// Answers the verb.
///
/// # Errors
/// When the configuration is not good, the log cannot be read, or the file is there already.
pub fn run(args: Args, output: &Output) -> Result<Answer, CliError> {
    if let Some(out) = args.out.as_deref().filter(|out| out.is_symlink() || out.exists()) {
        return Err(is_there(out));
    }
    let evidence = Evidence::of(&args.evidence)?;
    let Some(config) = &evidence.config else {
        return Err(CliError::Usage("rules are proposed beside those of a configuration: give --config FILE".into()));
    };
    let peers = evidence.peers()?;
    let mut learner = Learner::default();
    let continuity = evidence.each(|line| {
        if let Some(seen) = inbound(line) {
            learner.add(&seen, &config.rules, &peers);
        }
    })?;
    let (odd, crowded) = (learner.odd, learner.crowded);
    let proposals = learner.proposals(&config.rules, &peers);
    let mut notes = vec![format!(
        "From {} records of the last {} in {}.",
        continuity.within.count,
        span(evidence.since.as_secs()),
        evidence.path.display()
    )];
    if !continuity.is_whole() {
        notes.push(format!("Records are missing: {} lost, {} torn.", continuity.lost, continuity.torn));
    }
    for (count, what) in [
        (odd, "calls for which no pattern stands (ids alone, or read differently by servers) were left out"),
        (crowded.0, "calls of services were left out: more patterns than are kept apart"),
        (crowded.1, "calls of strangers were left out: more patterns than are kept apart"),
    ] {
        if count > 0 {
            notes.push(format!("{count} {what}."));
        }
    }
    let text = toml::rules(&proposals, &config.rules, &notes);
    if let Some(out) = &args.out {
        write_new(out, &text)?;
    }
    if output.is_json() {
        output.json(&json!({
            "rules": proposals.iter().map(|proposal| toml::to_json(proposal, &config.rules)).collect::<Vec<_>>(),
            "toml": text,
            "notes": notes,
            "file": args.out.as_ref().map(|out| out.display().to_string()),
        }))?;
    } else if let Some(out) = &args.out {
        let rules = proposals.iter().filter(|proposal| is_proposed(proposal)).count();
        output.text(format!("{rules} rules written to {}", out.display()))?;
    } else {
        output.text(text.trim_end())?;
    }
    Ok(Answer::Done)
}

/// Is it written as a rule, and not only told?
fn is_proposed(proposal: &Proposal) -> bool {
    proposal.obstacle.is_none() && proposal.kind != Kind::Undecided
}

fn write_new(path: &Path, text: &str) -> Result<(), CliError> {
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(path);
    match opened.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all())) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(is_there(path)),
        Err(error) => Err(CliError::Failed(format!("cannot write {}: {error}", path.display()))),
    }
}

fn is_there(path: &Path) -> CliError {
    CliError::Failed(format!("{} is there already, and nothing is overwritten: name a new file", path.display()))
}
