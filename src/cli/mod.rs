//! The operator's hands: one file per verb, arguments in `args`, text and JSON in `output`.
//!
//! Every verb is `run(args, &Output) -> Result<Answer, CliError>`; this file turns that into an exit code and nothing
//! else does. Exit codes: 0 done, 1 the answer is no or the work could not be finished, 2 usage or configuration error,
//! 3 the sidecar or a store cannot be reached.
//!
//! A verb that belongs to the product but is not built yet is not listed in the help. Called, it says so plainly: a
//! script written against a later version gets an answer it can act on (2), not a guess at another verb.

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::process::ExitCode;

pub mod args;
pub mod check;
pub mod completions;
pub mod control;
pub mod demo;
pub mod enforce;
pub mod evidence;
pub mod explain;
mod key_source;
pub mod keys;
pub mod learn;
pub mod man;
pub mod output;
pub mod override_grants;
pub mod preflight;
pub mod ramp;
pub mod reload;
pub mod report;
pub mod rollback;
pub mod run;
pub mod sign;
pub mod status;
pub mod validate;
pub mod verify;

use args::{Cli, Verb};
use output::{Answer, CliError, Output};

/// Verbs that this version knows of and does not have: `countersign VERB`.
const LATER_VERBS: [&str; 2] = ["top", "audit"];

/// Runs the command line; the library's only entry for the binary.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let output = Output::new(cli.json);
    let answered = match cli.verb {
        Verb::Run(args) => run::run(*args, &output),
        Verb::Demo(args) => demo::run(args, &output),
        Verb::Check(args) => check::run(args, &output),
        Verb::Explain(args) => explain::run(args, &output),
        Verb::Sign(args) => sign::run(args, &output),
        Verb::Verify(args) => verify::run(args, &output),
        Verb::Keys(args) => keys::run(args, &output),
        Verb::Status(args) => status::run(args, &output),
        Verb::Enforce(args) => enforce::run(args, &output),
        Verb::Rollback(args) => rollback::run(args, &output),
        Verb::Override(args) => override_grants::run(args, &output),
        Verb::Ramp(args) => ramp::run(args, &output),
        Verb::Maintenance(args) => ramp::maintenance(args, &output),
        Verb::Preflight(args) => preflight::run(*args, &output),
        Verb::Reload(args) => reload::run(args, &output),
        Verb::Report(args) => report::run(args, &output),
        Verb::Learn(args) => learn::run(args, &output),
        Verb::Validate(args) => validate::run(*args, &output),
        Verb::Completions(args) => completions::run(args, &output),
        Verb::Man(args) => man::run(args, &output),
    };
    match answered {
        Ok(Answer::Done) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        Ok(Answer::Misconfigured) => ExitCode::from(2),
        Ok(Answer::Unreachable) => ExitCode::from(3),
        Err(error) => {
            output.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// What the argument parser has to say: help (0) or a usage error (2).
fn usage(error: &clap::Error) -> ExitCode {
    // The line could not be read, but what was asked for can be seen.
    let output = Output::new(std::env::args_os().any(|argument| argument == "--json"));
    if let Some(verb) = later_verb(error) {
        let plain = format!("`countersign {verb}` is not built yet in this version\n\nSee `countersign --help`.");
        output.error(&CliError::Usage(plain));
        return ExitCode::from(2);
    }
    let code = if error.use_stderr() { 2 } else { 0 };
    if code == 2 && output.is_json() {
        output.error_object(&CliError::Usage(error.to_string()));
    }
    // A closed pipe is not the caller's problem, and there is nowhere left to report it.
    let _ = error.print();
    ExitCode::from(code)
}

/// The verb of a later version that was asked for, if that is why parsing failed.
fn later_verb(error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let Some(ContextValue::String(verb)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    if LATER_VERBS.contains(&verb.as_str()) {
        return Some(verb.clone());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_argument_definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn verbs_of_later_versions_are_told_apart_from_typing_mistakes() {
        for verb in LATER_VERBS {
            let error = Cli::try_parse_from(["countersign", verb, "--json"]).unwrap_err();
            assert_eq!(later_verb(&error).as_deref(), Some(verb));
        }
        let error = Cli::try_parse_from(["countersign", "chekc"]).unwrap_err();
        assert_eq!(later_verb(&error), None);
        assert!(error.to_string().contains("'check'"), "no suggestion in: {error}");
    }

    #[test]
    fn every_flag_of_every_verb_is_explained() {
        fn look(command: &clap::Command) {
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}: no help", command.get_name(), argument.get_id());
            }
            command.get_subcommands().for_each(look);
        }
        look(&Cli::command());
    }
}
