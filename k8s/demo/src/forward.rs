//! A port of a pod or Service on loopback, through the API server: works alike
//! on every cluster.

use std::{process::Stdio, time::Duration};

use anyhow::{Context as _, bail};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Child,
    time::timeout,
};

use crate::{deploy::NAMESPACE, kubectl::Kubectl};

const LIMIT: Duration = Duration::from_secs(30);

/// Ends when dropped.
#[derive(Debug)]
pub struct Forward {
    port: u16,
    // Killed by its drop.
    _child: Child,
}

impl Forward {
    /// Forwards a free local port to `port` of `target` (`service/gateway`, `pod/…`).
    pub async fn start(kubectl: &Kubectl, target: &str, port: u16) -> anyhow::Result<Self> {
        let ports = format!(":{port}");
        let args = [
            "--namespace",
            NAMESPACE,
            "port-forward",
            "--address",
            "127.0.0.1",
            target,
            &ports,
        ];
        let mut child = kubectl
            .command(&args)
            .stdout(Stdio::piped())
            .spawn()
            .context("start kubectl port-forward")?;
        let stdout = child
            .stdout
            .take()
            .context("read from kubectl port-forward")?;
        let mut lines = BufReader::new(stdout).lines();
        let first = match timeout(LIMIT, lines.next_line()).await {
            Ok(line) => line
                .context("read from kubectl port-forward")?
                .unwrap_or_default(),
            Err(_) => bail!(
                "kubectl port-forward {target} said nothing within {} s",
                LIMIT.as_secs()
            ),
        };
        let port = local_port(&first)
            .with_context(|| format!("kubectl port-forward {target} did not start: {first}"))?;
        // It writes a line for each connection: unread, the pipe would fill and stop it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self {
            port,
            _child: child,
        })
    }

    /// `http://127.0.0.1:…`
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// From `Forwarding from 127.0.0.1:40123 -> 8080`.
fn local_port(line: &str) -> Option<u16> {
    line.strip_prefix("Forwarding from 127.0.0.1:")?
        .split(' ')
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_port_is_read_from_kubectls_first_line() {
        assert_eq!(
            local_port("Forwarding from 127.0.0.1:40123 -> 8080"),
            Some(40123)
        );
        assert_eq!(local_port("error: unable to forward"), None);
    }
}
