//! Running a program to its end, with a deadline, and with its output in the error if it fails.

use std::{process::Stdio, time::Duration};

use tokio::process::Command;

use crate::error::{Error, Result};

/// How many of the last lines of a program's output go into an error.
const TAIL: usize = 20;

/// Runs the program and returns what it wrote to standard output.
pub(crate) async fn output(command: &mut Command, limit: Duration) -> Result<String> {
    let program = describe(command);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let child = command.spawn().map_err(|source| Error::Start {
        program: program.clone(),
        source,
    })?;
    let Ok(ended) = tokio::time::timeout(limit, child.wait_with_output()).await else {
        return Err(Error::Stuck { program, limit });
    };
    let ended = ended.map_err(|source| Error::Start {
        program: program.clone(),
        source,
    })?;
    let stdout = String::from_utf8_lossy(&ended.stdout).into_owned();
    if ended.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&ended.stderr);
    let output = tail(&format!("{stdout}{stderr}"));
    Err(Error::Failed {
        program,
        status: ended.status,
        output,
    })
}

/// The last lines of a text.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}

fn describe(command: &Command) -> String {
    let command = command.as_std();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
