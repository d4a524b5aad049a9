//! `man`: the manual pages, made from the descriptions of the commands. It prints one page, or writes all of them.

use super::error::CliError;
use super::output::print_ok;
use clap::builder::Resettable;
use clap::{Command, Parser};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

/// Print the manual page, or write the pages of all commands
///
/// The pages are in section 1, as in `man countersign-events-list`.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The folder in which to write one page for each command [default: print the program's page]
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  countersign man | man -l -
  sudo countersign man /usr/local/share/man/man1";

/// Makes the pages of the program that `command` describes.
pub(super) fn run(args: &Args, command: Command) -> Result<ExitCode, CliError> {
    // Each page names the commands below it. A page about `help` would only repeat them.
    let mut command = command.disable_help_subcommand(true);
    command.build();
    match &args.folder {
        Some(folder) => write_pages(folder, &command).map_err(|error| {
            CliError::failed(format!("cannot write manual pages to {}: {error}", folder.display()))
        })?,
        None => print_ok(&page(&command).map_err(|error| CliError::failed(error.to_string()))?.1),
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the page of this command, and those of the commands below it.
fn write_pages(folder: &Path, command: &Command) -> io::Result<()> {
    let (name, page) = page(command)?;
    fs::write(folder.join(name), page)?;
    command.get_subcommands().try_for_each(|command| write_pages(folder, command))
}

/// Returns a page's file name and its text.
fn page(command: &Command) -> io::Result<(String, Vec<u8>)> {
    let after_help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let man = Man::new(command.clone().after_help(Resettable::Reset));
    let mut page = Vec::new();
    man.render(&mut page)?;
    sections(&after_help).to_writer(&mut page)?;
    Ok((man.get_filename(), page))
}

/// Turns the paragraphs after a command's help into sections: each begins with its title and a colon. Lines stay as they
/// are, since they are commands with columns of comments.
fn sections(after_help: &str) -> Roff {
    let mut sections = Roff::new();
    for (title, body) in after_help.split("\n\n").filter_map(|paragraph| paragraph.split_once(':')) {
        sections.control("SH", [title.to_uppercase().as_str()]);
        sections.control("nf", []);
        for line in body.trim_start_matches('\n').lines() {
            sections.text([roman(line.trim_start_matches(' '))]);
        }
        sections.control("fi", []);
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paragraph_becomes_a_section_and_keeps_its_lines() {
        let text =
            "Examples:\n  a --x   do it\n  .b      a line that begins with a dot\n\nExit status: 0 success";
        let expected = ".SH EXAMPLES\n.nf\na \\-\\-x   do it\n\\&.b      a line that begins with a dot\n.fi\n\
                        .SH \"EXIT STATUS\"\n.nf\n0 success\n.fi\n";
        assert!(sections(text).render().ends_with(expected), "{}", sections(text).render());
    }
}
