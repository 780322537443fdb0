//! Thin clients. Every call has a deadline and goes to one of the replicas
//! that DNS names, since one long HTTP/2 connection would pin all calls to one
//! replica of a headless Service; what the transport fails at is tried again
//! at another (`transport`). Streams are followed through replacements of
//! replicas ([`follow`]).

mod connect;
mod fault;
mod follow;
mod replicas;
mod rpc;
mod transport;

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_rustls::rustls::ClientConfig;
use tonic::{Request, Status, service::interceptor::InterceptedService};

use crate::v1::{
    binder_client::BinderClient, catalog_client::CatalogClient,
    provisioner_client::ProvisionerClient,
};

use self::{connect::Opener, replicas::Replicas};
pub use self::{
    follow::{Event, follow},
    replicas::Lookup,
    transport::{Calls, within},
};

/// How often a host name is looked up again. A replica that ends must go on
/// serving for longer than this.
pub const RESOLVE_EVERY: Duration = Duration::from_secs(5);
/// A bundle may be several MiB of manifests.
const MAX_MESSAGE: usize = 32 * 1024 * 1024;

/// What is done to each request before it is sent: request id, trace context.
pub type Interceptor = fn(Request<()>) -> Result<Request<()>, Status>;

/// The connection under every client.
pub type Transport = InterceptedService<Calls, Interceptor>;

/// Why a target cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not `host:port`.
    #[error("parse target {target:?}, expected host:port")]
    Target {
        /// As configured.
        target: String,
    },
}

/// The newest TLS settings: each new connection is made with them.
pub type Tls = watch::Receiver<Arc<ClientConfig>>;

/// Where a service is and how to call it.
#[derive(Clone)]
pub struct Target {
    /// `host:port`.
    pub address: String,
    /// Longest time for one call with all its tries, and for opening a stream.
    pub deadline: Duration,
    /// Who we are and whom we believe; plaintext if absent.
    pub tls: Option<Tls>,
    /// Applied to every request.
    pub interceptor: Interceptor,
    /// How the addresses of the replicas are found; by DNS if absent.
    pub lookup: Option<Lookup>,
    /// How often they are looked up again.
    pub resolve_every: Duration,
}

impl Target {
    /// A target with a deadline of `deadline` for each call, in plaintext.
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

    /// The same with TLS; the server must prove to be the service that is called,
    /// whatever its address.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<Tls>) -> Self {
        self.tls = tls;
        self
    }

    /// A client of the catalog.
    pub fn catalog(&self) -> Result<CatalogClient<Transport>, Error> {
        Ok(CatalogClient::new(self.connect("catalog-svc")?).max_decoding_message_size(MAX_MESSAGE))
    }

    /// A client of the provisioner.
    pub fn provisioner(&self) -> Result<ProvisionerClient<Transport>, Error> {
        Ok(ProvisionerClient::new(self.connect("provisioner-svc")?)
            .max_decoding_message_size(MAX_MESSAGE))
    }

    /// A client of the binder.
    pub fn binder(&self) -> Result<BinderClient<Transport>, Error> {
        Ok(BinderClient::new(self.connect("binder-svc")?).max_decoding_message_size(MAX_MESSAGE))
    }

    /// Starts looking for replicas in the background; calls wait for the
    /// first address. Must be called inside a tokio runtime. The look-ups end
    /// when the last clone of the client is dropped. `service` is the DNS name in
    /// the server's certificate.
    fn connect(&self, service: &'static str) -> Result<Transport, Error> {
        let parsed = Parsed::new(&self.address).ok_or_else(|| Error::Target {
            target: self.address.clone(),
        })?;
        let lookup = self.lookup.clone().unwrap_or_else(|| dns(&parsed));
        let opener = Opener::new(service, self.tls.clone());
        let open = move |address| opener.open(address);
        let replicas = Replicas::follow(lookup, self.resolve_every, open);
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
    host: String,
    port: u16,
}

impl Parsed {
    fn new(address: &str) -> Option<Self> {
        let (host, port) = address.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        // A URL's scheme would be taken for a part of the name.
        (!host.is_empty() && !host.contains('/')).then_some(Self {
            host: host.to_owned(),
            port: port.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_host_and_port() {
        for (address, host, port) in [
            ("catalog-svc:7000", "catalog-svc", 7000),
            ("[::1]:443", "::1", 443),
        ] {
            let parsed = Parsed::new(address).unwrap();
            assert_eq!((parsed.host.as_str(), parsed.port), (host, port));
        }
        for address in ["", "host", ":1", "host:", "host:99999", "https://host:1"] {
            assert!(Parsed::new(address).is_none(), "{address}");
        }
    }
}
