//! `completions`: a script that completes verbs and flags in a shell.

use super::args::Cli;
use super::output::{Answer, CliError, Output};
use clap::CommandFactory;

const AFTER_HELP: &str = "\
Examples:
  cd /usr/share
  countersign completions bash > bash-completion/completions/countersign
  countersign completions zsh > zsh/vendor-completions/_countersign
  countersign completions fish > fish/vendor_completions.d/countersign.fish";

/// `countersign completions SHELL`
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Which shell the script is for
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Shells that are completed for.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Shell {
    /// GNU Bash
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
}

/// Prints the script.
///
/// # Errors
/// When standard output cannot be written to.
pub fn run(args: Args, output: &Output) -> Result<Answer, CliError> {
    let shell = match args.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "countersign", &mut script);
    if output.is_json() {
        output.json(&serde_json::json!({ "script": String::from_utf8_lossy(&script) }))?;
    } else {
        output.bytes(&script)?;
    }
    Ok(Answer::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_completes_every_verb() {
        for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "countersign", &mut script);
            let script = String::from_utf8(script).unwrap();
            for verb in Cli::command().get_subcommands() {
                assert!(script.contains(verb.get_name()), "{shell}: {}", verb.get_name());
            }
        }
    }
}
