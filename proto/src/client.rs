//! Thin clients. Every call has a deadline and goes to one of the replicas
//! that DNS names, since one long HTTP/2 connection would pin all calls to one
//! replica of a headless Service; what the transport fails at is tried again
//! at another (`transport`). Streams are followed through replacements of
//! replicas ([`follow`]).

mod fault;
mod follow;
mod replicas;
mod rpc;
mod transport;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tonic::{
    Request, Status,
    service::interceptor::InterceptedService,
    transport::{ClientTlsConfig, Endpoint},
};

use crate::v1::{
    binder_client::BinderClient, catalog_client::CatalogClient,
    provisioner_client::ProvisionerClient,
};

use self::replicas::Replicas;
pub use self::{
    follow::{Event, follow},
    replicas::Lookup,
    transport::{Calls, within},
};

/// How often a host name is looked up again. A replica that ends must go on
/// serving for longer than this.
pub const RESOLVE_EVERY: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// A bundle may be several MiB of manifests.
const MAX_MESSAGE: usize = 32 * 1024 * 1024;

/// What is done to each request before it is sent: request id, trace context.
pub type Interceptor = fn(Request<()>) -> Result<Request<()>, Status>;

/// The connection under every client.
pub type Transport = InterceptedService<Calls, Interceptor>;

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
#[derive(Clone)]
pub struct Target {
    /// `host:port`, with `https://` before it where TLS is wanted.
    pub address: String,
    /// Longest time for one call with all its tries, and for opening a stream.
    pub deadline: Duration,
    /// How to verify the peer where the address says `https://`; tonic's default if absent.
    pub tls: Option<ClientTlsConfig>,
    /// Applied to every request.
    pub interceptor: Interceptor,
    /// How the addresses of the replicas are found; by DNS if absent.
    pub lookup: Option<Lookup>,
    /// How often they are looked up again.
    pub resolve_every: Duration,
}

impl Target {
    /// A target with a deadline of `deadline` for each call, without TLS settings.
    pub fn new(address: impl Into<String>, deadline: Duration, interceptor: Interceptor) -> Self {
        Self {
            address: address.into(),
            deadline,
            tls: None,
            interceptor,
            lookup: None,
            resolve_every: RESOLVE_EVERY,
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

    /// Starts looking for replicas in the background; calls wait for the
    /// first address. Must be called inside a tokio runtime. The look-ups end
    /// when the last clone of the client is dropped.
    fn connect(&self) -> Result<Transport, Error> {
        let parsed = Parsed::new(&self.address).ok_or_else(|| Error::Target {
            target: self.address.clone(),
        })?;
        let lookup = self.lookup.clone().unwrap_or_else(|| dns(&parsed));
        let template = Template {
            parsed,
            tls: self.tls.clone(),
            target: self.address.clone(),
        };
        // A bad TLS configuration is an error at start, not at the first call.
        template.endpoint(SocketAddr::from(([127, 0, 0, 1], 1)))?;
        let endpoint = move |address| template.endpoint(address).ok();
        let replicas = Replicas::follow(lookup, self.resolve_every, endpoint);
        let calls = Calls::new(replicas, self.deadline);
        Ok(InterceptedService::new(calls, self.interceptor))
    }
}

fn dns(parsed: &Parsed) -> Lookup {
    let (host, port): (Arc<str>, u16) = (parsed.host.as_str().into(), parsed.port);
    Arc::new(move || {
        let host = Arc::clone(&host);
        Box::pin(async move {
            let found = tokio::net::lookup_host((&*host, port)).await?;
            Ok(found.collect())
        })
    })
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
    tls: Option<ClientTlsConfig>,
    target: String,
}

impl Template {
    fn endpoint(&self, address: SocketAddr) -> Result<Endpoint, Error> {
        let failed = |source| Error::Transport {
            target: self.target.clone(),
            source,
        };
        let endpoint = Endpoint::from_shared(format!("{}://{address}", self.parsed.scheme))
            .map_err(failed)?
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
}
