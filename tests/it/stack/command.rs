//! A tool that is run to its end for what it prints.

use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::process::Command;
use tokio::time::timeout;

/// Runs a tool and returns what it did, whether or not it succeeded. It ends with the test that waits for it.
pub async fn output(command: &mut Command, limit: Duration) -> anyhow::Result<Output> {
    let program = name(command);
    command.stdin(Stdio::null()).kill_on_drop(true);
    timeout(limit, command.output())
        .await
        .with_context(|| format!("{program} did not end in {limit:?}"))?
        .with_context(|| format!("run {program}"))
}

/// Runs a tool that must succeed and returns its standard output; an error shows what it wrote.
pub async fn run(command: &mut Command, limit: Duration) -> anyhow::Result<String> {
    let output = output(command, limit).await?;
    ensure!(
        output.status.success(),
        "{} ended with {}\n{}{}",
        name(command),
        output.status,
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout),
    );
    String::from_utf8(output.stdout).with_context(|| format!("read the output of {}", name(command)))
}

fn name(command: &Command) -> String {
    command.as_std().get_program().to_string_lossy().into_owned()
}
