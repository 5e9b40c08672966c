//! `man`: the manual pages, made from the same definitions as `--help`, so that the two cannot disagree.

use super::args::Cli;
use super::output::{Answer, CliError, Output};
use clap::CommandFactory;
use std::path::{Path, PathBuf};

const AFTER_HELP: &str = "\
Examples:
  countersign man | man -l -                     read the main page
  countersign man --out /usr/share/man/man1      write one page per verb";

/// `countersign man`
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Write all pages into this directory (made if missing) instead of printing the main one
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Prints or writes the pages.
///
/// # Errors
/// When a page cannot be written; the error names the file.
pub fn run(args: Args, output: &Output) -> Result<Answer, CliError> {
    let mut command = Cli::command();
    command.build();
    let Some(directory) = args.out else {
        let page = render(&page_of(&command))?;
        if output.is_json() {
            output.json(&serde_json::json!({ "page": String::from_utf8_lossy(&page) }))?;
        } else {
            output.bytes(&page)?;
        }
        return Ok(Answer::Done);
    };
    std::fs::create_dir_all(&directory).map_err(|error| failed(&directory, &error))?;
    let mut written = Vec::new();
    write_all(&command, &directory, &mut written)?;
    if output.is_json() {
        output.json(&serde_json::json!({ "written": written }))?;
    } else {
        output.text(written.join("\n"))?;
    }
    Ok(Answer::Done)
}

/// Writes a command's page and those of its verbs, in the order of the help.
fn write_all(command: &clap::Command, directory: &Path, written: &mut Vec<String>) -> Result<(), CliError> {
    let page = page_of(command);
    let path = directory.join(page.get_filename());
    std::fs::write(&path, render(&page)?).map_err(|error| failed(&path, &error))?;
    written.push(path.display().to_string());
    command.get_subcommands().try_for_each(|verb| write_all(verb, directory, written))
}

fn page_of(command: &clap::Command) -> clap_mangen::Man {
    clap_mangen::Man::new(command.clone())
        .source(concat!("countersign ", env!("CARGO_PKG_VERSION")))
        .manual("Countersign manual")
}

fn render(page: &clap_mangen::Man) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    page.render(&mut bytes).map_err(|error| CliError::Failed(format!("cannot render a manual page: {error}")))?;
    Ok(bytes)
}

fn failed(path: &Path, error: &std::io::Error) -> CliError {
    CliError::Failed(format!("cannot write {}: {error}", path.display()))
}
