//! Who a service is, and whom it believes: key, certificate and authorities
//! from a mounted Secret, read again while the process runs. And the key and
//! certificate of an HTTP server, likewise.

mod files;
mod leaf;
mod metrics;

use std::{path::PathBuf, sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use rustls::{ClientConfig, ServerConfig};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::{
    files::{Audience, Files, Identity},
    metrics::Metrics,
};
use crate::{args::ServiceArgs, telemetry::chain};

pub use self::leaf::Leaf;

/// What connections are made with. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tls(Option<Folder>);

#[derive(Debug, Clone)]
struct Folder {
    path: PathBuf,
    reload: Duration,
    sender: Arc<watch::Sender<Identity>>,
    /// None for a server that anybody may connect to.
    client: Option<watch::Sender<Arc<ClientConfig>>>,
    audience: Audience,
    metrics: Metrics,
}

impl Tls {
    /// Neither encryption nor callers.
    pub fn plaintext() -> Self {
        Self(None)
    }

    /// Of the folder that the arguments name; without one, plaintext with a warning.
    pub fn load(args: &ServiceArgs, registry: &mut Registry) -> anyhow::Result<Self> {
        let Some(path) = args.tls.clone() else {
            tracing::warn!(
                "gRPC is plaintext and anybody may call: set BROKER_TLS to a folder with tls.crt, \
                 tls.key and ca.crt"
            );
            return Ok(Self::plaintext());
        };
        Self::of(path, Audience::Services, args.tls_reload, registry)
    }

    /// For an HTTP server, of a folder with tls.crt and tls.key, looked at once a `reload`; without
    /// one, plaintext with a warning. The metrics' names begin with `https`.
    pub fn load_https(
        folder: Option<PathBuf>,
        reload: Duration,
        registry: &mut Registry,
    ) -> anyhow::Result<Self> {
        let Some(path) = folder else {
            tracing::warn!(
                "HTTP is plaintext: logins and credentials can be read on the way, unless something \
                 in front of the gateway ends TLS. Set BROKER_HTTPS to a folder with tls.crt and \
                 tls.key"
            );
            return Ok(Self::plaintext());
        };
        let registry = registry.sub_registry_with_prefix("https");
        Self::of(path, Audience::Anybody, reload, registry)
    }

    fn of(
        path: PathBuf,
        audience: Audience,
        reload: Duration,
        registry: &mut Registry,
    ) -> anyhow::Result<Self> {
        let identity = Files::read(&path, audience)?.identity()?;
        tracing::info!(
            folder = %path.display(),
            service = identity.leaf.service(),
            not_after = %identity.leaf.not_after(),
            "certificate loaded"
        );
        let metrics = Metrics::register(registry);
        metrics.loaded(&identity.leaf);
        Ok(Self(Some(Folder {
            path,
            reload,
            client: identity.client.clone().map(watch::Sender::new),
            sender: Arc::new(watch::Sender::new(identity)),
            audience,
            metrics,
        })))
    }

    /// For the clients of a service: each new connection takes the newest.
    pub fn client(&self) -> Option<watch::Receiver<Arc<ClientConfig>>> {
        let folder = self.0.as_ref()?;
        folder.client.as_ref().map(watch::Sender::subscribe)
    }

    /// The service's own certificate, as it is now.
    pub fn leaf(&self) -> Option<Leaf> {
        let folder = self.0.as_ref()?;
        Some(folder.sender.borrow().leaf.clone())
    }

    /// For a server, as it is now.
    pub(crate) fn server(&self) -> Option<Arc<ServerConfig>> {
        let folder = self.0.as_ref()?;
        Some(Arc::clone(&folder.sender.borrow().server))
    }

    /// A client could not prove who it is.
    pub(crate) fn refused(&self) {
        if let Some(folder) = &self.0 {
            folder.metrics.refused();
        }
    }

    /// Reads the folder again and again until `stop`. While something is wrong
    /// with it, the last good identity stays.
    pub async fn follow(self, stop: CancellationToken) {
        let Some(folder) = self.0 else {
            return stop.cancelled().await;
        };
        let mut last = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(folder.reload) => {}
                () = stop.cancelled() => return,
            }
            let (path, audience) = (folder.path.clone(), folder.audience);
            // A mounted Secret is memory, but the mount may be anything.
            let Ok(read) = tokio::task::spawn_blocking(move || Files::read(&path, audience)).await
            else {
                continue;
            };
            folder.take(read, &mut last);
        }
    }
}

impl Folder {
    /// Changes to what was `read`; `last` is what was wrong the last time.
    fn take(&self, read: Result<Files, files::Fault>, last: &mut Option<String>) {
        let identity = match read {
            Ok(files) if files == self.sender.borrow().files => {
                *last = None;
                self.metrics.sound();
                return;
            }
            Ok(files) => files.identity(),
            Err(fault) => Err(fault),
        };
        match identity {
            Ok(identity) => {
                tracing::info!(not_after = %identity.leaf.not_after(), "certificate changed");
                self.metrics.loaded(&identity.leaf);
                if let (Some(sender), Some(client)) = (&self.client, &identity.client) {
                    sender.send_replace(Arc::clone(client));
                }
                self.sender.send_replace(identity);
                *last = None;
            }
            Err(fault) => {
                let text = chain(&fault);
                self.metrics.faulty();
                if last.as_ref() != Some(&text) {
                    tracing::error!(
                        error = %text,
                        "certificate could not be read again; the last good one stays"
                    );
                    *last = Some(text);
                }
            }
        }
    }
}
