//! `completions`: prints the completion script of a shell.

use super::output::print_ok;
use clap::{Command, Parser};
use clap_complete::Shell;
use std::process::ExitCode;

/// Print the completion script of a shell
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The shell that is to complete the commands and options
    shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  countersign completions bash >/etc/bash_completion.d/countersign
  countersign completions zsh >/usr/share/zsh/vendor-completions/_countersign
  countersign completions fish >~/.config/fish/completions/countersign.fish";

/// Prints the script for the program that `command` describes.
pub(super) fn run(args: &Args, mut command: Command) -> ExitCode {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    print_ok(&script);
    ExitCode::SUCCESS
}
