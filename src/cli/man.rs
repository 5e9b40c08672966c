//! `man`: the manual pages, made from the same definitions as `--help`, so that the two cannot disagree.

use super::args::Cli;
use super::output::{Answer, CliError, Output};
use clap::CommandFactory;
use clap_mangen::Man;
use std::io;
use std::path::{Path, PathBuf};

const AFTER_HELP: &str = "\
Examples:
  Read the main page:
    countersign man | man -l -
  Write one page per verb:
    countersign man --out /usr/share/man/man1";

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
        let page = render(&page_of(&command), &command)?;
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
    std::fs::write(&path, render(&page, command)?).map_err(|error| failed(&path, &error))?;
    written.push(path.display().to_string());
    command.get_subcommands().try_for_each(|verb| write_all(verb, directory, written))
}

fn page_of(command: &clap::Command) -> Man {
    Man::new(command.clone()).source(concat!("countersign ", env!("CARGO_PKG_VERSION"))).manual("Countersign manual")
}

/// The sections of the help, in the order of man-pages(7).
fn render(page: &Man, command: &clap::Command) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let mut sections = || {
        page.render_title(&mut bytes)?;
        page.render_name_section(&mut bytes)?;
        page.render_synopsis_section(&mut bytes)?;
        page.render_description_section(&mut bytes)?;
        page.render_options_section(&mut bytes)?;
        if command.has_subcommands() {
            page.render_subcommands_section(&mut bytes)?;
        }
        if let Some(notes) = command.get_after_help() {
            bytes.extend_from_slice(notes_section(&notes.to_string()).as_bytes());
        }
        io::Result::Ok(())
    };
    sections().map_err(|error| CliError::Failed(format!("cannot render a manual page: {error}")))?;
    Ok(bytes)
}

/// What stands below the options in the help: prose is filled, indented lines (commands) stay as they are.
fn notes_section(text: &str) -> String {
    let mut section = String::from(".SH NOTES\n");
    for paragraph in text.split("\n\n") {
        section.push_str(".PP\n");
        let mut kept = false;
        for line in paragraph.lines() {
            let keep = line.starts_with("  ");
            if keep != kept {
                section.push_str(if keep { ".nf\n" } else { ".fi\n" });
                kept = keep;
            }
            // A leading dot or quote would be a request to troff; a plain hyphen might not be pasted as one.
            section.push_str("\\&");
            section.push_str(&line.replace('\\', "\\e").replace('-', "\\-"));
            section.push('\n');
        }
        if kept {
            section.push_str(".fi\n");
        }
    }
    section
}

fn failed(path: &Path, error: &io::Error) -> CliError {
    CliError::Failed(format!("cannot write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_every_verb_and_it_keeps_its_commands_whole() {
        let directory = tempfile::tempdir().unwrap();
        let args = Args { out: Some(directory.path().to_owned()) };
        let mut command = Cli::command();
        command.build();
        let mut written = Vec::new();
        write_all(&command, args.out.as_deref().unwrap(), &mut written).unwrap();
        for name in ["countersign", "countersign-run", "countersign-explain", "countersign-keys-generate"] {
            assert!(written.iter().any(|path| path.ends_with(&format!("/{name}.1"))), "{name}: {written:?}");
        }
        let page = std::fs::read_to_string(directory.path().join("countersign-run.1")).unwrap();
        assert!(page.contains(".nf\n\\&  From a file:\n\\&    countersign run \\-\\-config"), "{page}");
    }

    #[test]
    fn no_line_of_a_page_can_be_a_request_to_troff() {
        let section = notes_section(".so /etc/passwd\n\n  'x' and \\fB");
        for line in section.lines().filter(|line| line.starts_with('.')) {
            assert!([".SH NOTES", ".PP", ".nf", ".fi"].contains(&line), "{line}");
        }
        assert!(section.contains("\\&.so") && section.contains("\\efB"), "{section}");
    }
}
