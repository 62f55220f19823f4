//! `idp completions SHELL`: what a shell needs to complete our verbs and options.

use clap_complete::Shell;

use super::{CliError, Exit, output};

/// Prints the script for a shell.
pub fn run(mut command: clap::Command, shell: Shell) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "idp", &mut script);
    output::print(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Exit::Good)
}
