//! Thin clients: deadlines on every call, and a balancer fed by DNS, since one
//! long HTTP/2 connection would pin all calls to one replica of a headless
//! Service (design: each service is scaled on its own).

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::sync::mpsc::Sender;
use tonic::{
    Request, Status,
    service::interceptor::InterceptedService,
    transport::{Channel, ClientTlsConfig, Endpoint, channel::Change},
};

use crate::v1::{
    binder_client::BinderClient, catalog_client::CatalogClient,
    provisioner_client::ProvisionerClient,
};

/// How often a host name is looked up again.
const RESOLVE_EVERY: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// A bundle may be several MiB of manifests.
const MAX_MESSAGE: usize = 32 * 1024 * 1024;

/// What is done to each request before it is sent: request id, trace context.
pub type Interceptor = fn(Request<()>) -> Result<Request<()>, Status>;

/// The connection under every client.
pub type Transport = InterceptedService<Channel, Interceptor>;

/// Why a target cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not `host:port` with an optional `http://` or `https://`.
    #[error("parse target {target:?}, expected host:port")]
    Target {
        /// As configured.
        target: String,
    },
    /// TLS settings that tonic refuses.
    #[error("set up a connection to {target:?}")]
    Transport {
        /// As configured.
        target: String,
        /// From tonic.
        #[source]
        source: tonic::transport::Error,
    },
}

/// Where a service is and how to call it.
#[derive(Debug, Clone)]
pub struct Target {
    /// `host:port`, with `https://` before it where TLS is wanted.
    pub address: String,
    /// Longest time for one call to answer; a stream's first answer.
    pub deadline: Duration,
    /// How to verify the peer where the address says `https://`; tonic's default if absent.
    pub tls: Option<ClientTlsConfig>,
    /// Applied to every request.
    pub interceptor: Interceptor,
}

impl Target {
    /// A target with a deadline of `deadline` for each call, without TLS settings.
    pub fn new(address: impl Into<String>, deadline: Duration, interceptor: Interceptor) -> Self {
        Self {
            address: address.into(),
            deadline,
            tls: None,
            interceptor,
        }
    }

    /// A client of the catalog.
    pub fn catalog(&self) -> Result<CatalogClient<Transport>, Error> {
        Ok(CatalogClient::new(self.connect()?).max_decoding_message_size(MAX_MESSAGE))
    }

    /// A client of the provisioner.
    pub fn provisioner(&self) -> Result<ProvisionerClient<Transport>, Error> {
        Ok(ProvisionerClient::new(self.connect()?).max_decoding_message_size(MAX_MESSAGE))
    }

    /// A client of the binder.
    pub fn binder(&self) -> Result<BinderClient<Transport>, Error> {
        Ok(BinderClient::new(self.connect()?).max_decoding_message_size(MAX_MESSAGE))
    }

    /// Starts connecting in the background; calls wait for the first address
    /// until their deadline. Must be called inside a tokio runtime. The
    /// look-ups end when the last clone of the channel is dropped.
    fn connect(&self) -> Result<Transport, Error> {
        let parsed = Parsed::new(&self.address).ok_or_else(|| Error::Target {
            target: self.address.clone(),
        })?;
        let template = Arc::new(Template {
            parsed,
            deadline: self.deadline,
            tls: self.tls.clone(),
            target: self.address.clone(),
        });
        // A bad TLS configuration is told at start, not at the first call.
        template.endpoint(IpAddr::from([127, 0, 0, 1]))?;
        let (channel, changes) = Channel::balance_channel(16);
        tokio::spawn(feed(template, changes));
        Ok(InterceptedService::new(channel, self.interceptor))
    }
}

#[derive(Debug)]
struct Parsed {
    scheme: &'static str,
    host: String,
    port: u16,
}

impl Parsed {
    fn new(address: &str) -> Option<Self> {
        let (scheme, rest) = if let Some(rest) = address.strip_prefix("https://") {
            ("https", rest)
        } else {
            ("http", address.strip_prefix("http://").unwrap_or(address))
        };
        let (host, port) = rest.trim_end_matches('/').rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        (!host.is_empty()).then_some(Self {
            scheme,
            host: host.to_owned(),
            port: port.parse().ok()?,
        })
    }
}

struct Template {
    parsed: Parsed,
    deadline: Duration,
    tls: Option<ClientTlsConfig>,
    target: String,
}

impl Template {
    fn endpoint(&self, ip: IpAddr) -> Result<Endpoint, Error> {
        let failed = |source| Error::Transport {
            target: self.target.clone(),
            source,
        };
        let address = SocketAddr::new(ip, self.parsed.port);
        let endpoint = Endpoint::from_shared(format!("{}://{address}", self.parsed.scheme))
            .map_err(failed)?
            .timeout(self.deadline)
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        if self.parsed.scheme != "https" {
            return Ok(endpoint);
        }
        let tls = self.tls.clone().unwrap_or_default();
        endpoint
            .tls_config(tls.domain_name(self.parsed.host.clone()))
            .map_err(failed)
    }
}

/// Keeps the balancer's set of endpoints equal to what DNS says.
async fn feed(template: Arc<Template>, changes: Sender<Change<IpAddr, Endpoint>>) {
    let mut known: HashSet<IpAddr> = HashSet::new();
    loop {
        let parsed = &template.parsed;
        match tokio::net::lookup_host((parsed.host.as_str(), parsed.port)).await {
            Ok(found) => {
                let found: HashSet<IpAddr> = found.map(|address| address.ip()).collect();
                for ip in found.difference(&known) {
                    let Ok(endpoint) = template.endpoint(*ip) else {
                        continue;
                    };
                    if changes.send(Change::Insert(*ip, endpoint)).await.is_err() {
                        return;
                    }
                }
                for ip in known.difference(&found) {
                    if changes.send(Change::Remove(*ip)).await.is_err() {
                        return;
                    }
                }
                known = found;
            }
            // The old addresses stay: a DNS server that is away for a while
            // is no reason to stop calling replicas that answer.
            Err(error) => {
                tracing::debug!(target.address = %template.target, %error, "host name not resolved");
            }
        }
        let pause = if known.is_empty() {
            RESOLVE_EVERY / 10
        } else {
            RESOLVE_EVERY
        };
        tokio::select! {
            () = changes.closed() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_host_and_port_with_an_optional_scheme() {
        for (address, scheme, host, port) in [
            ("catalog-svc:7000", "http", "catalog-svc", 7000),
            ("http://127.0.0.1:1/", "http", "127.0.0.1", 1),
            ("https://[::1]:443", "https", "::1", 443),
        ] {
            let parsed = Parsed::new(address).unwrap();
            assert_eq!(
                (parsed.scheme, parsed.host.as_str(), parsed.port),
                (scheme, host, port)
            );
        }
        for address in ["", "host", ":1", "host:", "host:99999"] {
            assert!(Parsed::new(address).is_none(), "{address}");
        }
    }

    #[tokio::test]
    async fn a_call_to_nobody_ends_with_unavailable_or_its_deadline() {
        let target = Target::new("127.0.0.1:1", Duration::from_millis(300), Ok);
        let status = target
            .catalog()
            .unwrap()
            .get_catalog(crate::v1::GetCatalogRequest {})
            .await
            .unwrap_err();
        let code = crate::Error::from_status(&status).code;
        assert!(
            matches!(
                code,
                crate::ErrorCode::Unavailable | crate::ErrorCode::DeadlineExceeded
            ),
            "{code:?}"
        );
    }
}
