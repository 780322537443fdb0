//! Runs kubectl against one cluster.

use std::{
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::{process::Command, time::timeout};

/// kubectl, bound to a cluster.
#[derive(Debug, Clone)]
pub struct Kubectl {
    /// The program.
    pub program: PathBuf,
    /// How it finds the cluster.
    pub cluster: Access,
}

/// How a cluster is found. Never by what the environment happens to say.
#[derive(Debug, Clone)]
pub enum Access {
    /// A kubeconfig file of its own.
    File(PathBuf),
    /// A context of the user's kubeconfig.
    Context(String),
}

impl Kubectl {
    /// The command line that a person would type, up to the verb.
    pub fn prefix(&self) -> String {
        match &self.cluster {
            Access::File(path) => {
                format!("{} --kubeconfig {}", self.program.display(), path.display())
            }
            Access::Context(name) => format!("kubectl --context {name}"),
        }
    }

    /// A command with these arguments.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        match &self.cluster {
            Access::File(path) => command.arg("--kubeconfig").arg(path),
            Access::Context(name) => command.arg("--context").arg(name),
        };
        command.args(args).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs to the end and shows what kubectl says.
    pub async fn show(&self, args: &[&str], limit: Duration) -> anyhow::Result<()> {
        let status = self.end(self.command(args).status(), args, limit).await?;
        succeeded(status, args, "")
    }

    /// Runs to the end and returns what kubectl wrote to standard output.
    pub async fn output(&self, args: &[&str], limit: Duration) -> anyhow::Result<String> {
        let output = self.end(self.command(args).output(), args, limit).await?;
        succeeded(
            output.status,
            args,
            &String::from_utf8_lossy(&output.stderr),
        )?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    async fn end<T>(
        &self,
        work: impl Future<Output = std::io::Result<T>>,
        args: &[&str],
        limit: Duration,
    ) -> anyhow::Result<T> {
        match timeout(limit, work).await {
            Ok(ended) => ended.with_context(|| format!("run {}", self.program.display())),
            Err(_) => bail!(
                "kubectl {} did not end within {} s",
                args.join(" "),
                limit.as_secs()
            ),
        }
    }
}

fn succeeded(status: ExitStatus, args: &[&str], stderr: &str) -> anyhow::Result<()> {
    if !status.success() {
        bail!(
            "kubectl {} failed ({status}): {}",
            args.join(" "),
            stderr.trim()
        );
    }
    Ok(())
}
