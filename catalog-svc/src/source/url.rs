//! Fetches what `*.url` files name: at discovery, never while an instance is
//! provisioned. https only, from hosts that are allowed by configuration, with
//! bounds on size and time. A failure is a fault of that plan alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use futures::{StreamExt as _, stream};
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use plan::id::Digest;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

/// Bytes of one file; the largest bundle of CRDs that we know has 3 MiB.
const MAX_SIZE: usize = 8 << 20;
const DEADLINE: Duration = Duration::from_secs(30);
/// How many are fetched at a time.
const PARALLEL: usize = 8;
/// Release files are often two hops away.
const MAX_HOPS: usize = 5;

/// What `*.url` files may name.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct UrlArgs {
    /// Hosts from which `*.url` files may fetch manifests, as `host` or
    /// `host:port`; none by default. Repeat the option, or separate with ",".
    #[arg(long = "url-allow", env = "BROKER_URL_ALLOW", value_delimiter = ',')]
    pub allow: Vec<String>,

    /// PEM file with the certificate authorities that these hosts are verified
    /// by; by default the system's.
    #[arg(long = "url-ca", env = "BROKER_URL_CA")]
    pub ca: Option<PathBuf>,
}

/// Why nothing was fetched. The texts are for the author of the plan.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("not an https URL with a host")]
    Url,
    #[error("host {0} is not allowed; the broker's operator allows it with --url-allow {0}")]
    Host(String),
    #[error("no answer from {0}")]
    Connect(String, #[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("{0} answers {1}")]
    Status(String, StatusCode),
    #[error("more than {MAX_HOPS} redirects")]
    Hops,
    #[error("not finished within {DEADLINE:?}")]
    Deadline,
    #[error("the body is larger than {} MiB, or incomplete", MAX_SIZE >> 20)]
    Body,
    #[error("the content has sha256 {0}, not the one that is pinned")]
    Pin(Digest),
}

/// What to fetch: an address, and the sha256 that its content must have.
pub(crate) type Address = (String, Option<String>);

/// The same URL with the same pin is fetched once.
#[derive(Debug)]
pub(crate) struct Fetcher {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    allow: Vec<String>,
    cache: BTreeMap<Address, Vec<u8>>,
}

impl Fetcher {
    /// Verifies peers by the given authorities, or by the system's.
    pub(crate) fn new(args: &UrlArgs) -> anyhow::Result<Self> {
        // An empty variable in the environment is one empty name.
        let allow = args.allow.iter().filter(|host| !host.is_empty());
        let allow: Vec<String> = allow.map(|host| host.to_lowercase()).collect();
        let builder = hyper_rustls::HttpsConnectorBuilder::new();
        let builder = match &args.ca {
            Some(path) => builder.with_tls_config(
                ClientConfig::builder()
                    .with_root_certificates(roots(path)?)
                    .with_no_client_auth(),
            ),
            None if allow.is_empty() => builder.with_tls_config(
                // Nothing can be fetched, so a machine without authorities is
                // as good as any.
                ClientConfig::builder()
                    .with_root_certificates(RootCertStore::empty())
                    .with_no_client_auth(),
            ),
            None => builder
                .with_native_roots()
                .context("read the system's certificate authorities; name others with --url-ca")?,
        };
        let connector = builder.https_only().enable_http1().build();
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            allow,
            cache: BTreeMap::new(),
        })
    }

    /// The content behind each address, checked against its pin. What is no
    /// longer asked for is forgotten.
    pub(crate) async fn fetch(
        &mut self,
        addresses: BTreeSet<Address>,
    ) -> BTreeMap<Address, Result<Vec<u8>, Error>> {
        self.cache.retain(|address, _| addresses.contains(address));
        let this = &*self;
        let fetched: BTreeMap<Address, Result<Vec<u8>, Error>> = stream::iter(addresses)
            .map(|address| async move {
                let content = match this.cache.get(&address) {
                    Some(content) => Ok(content.clone()),
                    None => this.fetch_one(&address).await,
                };
                (address, content)
            })
            .buffer_unordered(PARALLEL)
            .collect()
            .await;
        let good = fetched.iter().filter_map(|(address, content)| {
            let content = content.as_ref().ok()?;
            Some((address.clone(), content.clone()))
        });
        self.cache = good.collect();
        fetched
    }

    async fn fetch_one(&self, (url, pin): &Address) -> Result<Vec<u8>, Error> {
        let content = tokio::time::timeout(DEADLINE, self.follow(url))
            .await
            .map_err(|_| Error::Deadline)??;
        let digest = Digest::of(&content);
        if pin
            .as_ref()
            .is_some_and(|pin| !pin.eq_ignore_ascii_case(digest.as_str()))
        {
            return Err(Error::Pin(digest));
        }
        Ok(content)
    }

    async fn follow(&self, url: &str) -> Result<Vec<u8>, Error> {
        let mut url: Uri = url.parse().map_err(|_| Error::Url)?;
        for _ in 0..=MAX_HOPS {
            let host = self.admit(&url)?;
            let connect = |error: Box<dyn std::error::Error + Send + Sync>| {
                Error::Connect(host.clone(), error)
            };
            let request = Request::get(url.clone())
                .header(header::USER_AGENT, "mongodb-osb")
                .body(Empty::new())
                .map_err(|error| connect(error.into()))?;
            let response = self.client.request(request).await;
            let response = response.map_err(|error| connect(error.into()))?;
            let status = response.status();
            if status.is_redirection() {
                url = target(&url, response.headers()).ok_or(Error::Status(host, status))?;
                continue;
            }
            if status != StatusCode::OK {
                return Err(Error::Status(host, status));
            }
            let body = Limited::new(response.into_body(), MAX_SIZE).collect().await;
            return Ok(body.map_err(|_| Error::Body)?.to_bytes().to_vec());
        }
        Err(Error::Hops)
    }

    /// The host of a URL that may be fetched; each hop of a redirect is asked.
    fn admit(&self, url: &Uri) -> Result<String, Error> {
        let authority = url.authority().ok_or(Error::Url)?;
        if url.scheme_str() != Some("https") || authority.as_str().contains('@') {
            return Err(Error::Url);
        }
        let host = authority.host().to_lowercase();
        let host = match authority.port_u16() {
            None | Some(443) => host,
            Some(port) => format!("{host}:{port}"),
        };
        if self.allow.contains(&host) {
            Ok(host)
        } else {
            Err(Error::Host(host))
        }
    }
}

fn roots(path: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let failed = || {
        format!(
            "read certificate authorities from {} (--url-ca)",
            path.display()
        )
    };
    for certificate in CertificateDer::pem_file_iter(path).with_context(failed)? {
        roots
            .add(certificate.with_context(failed)?)
            .with_context(failed)?;
    }
    anyhow::ensure!(
        !roots.is_empty(),
        "{}: there are none in the file",
        failed()
    );
    Ok(roots)
}

/// Where a redirect leads; a path alone stays on the host.
fn target(from: &Uri, headers: &http::HeaderMap) -> Option<Uri> {
    let location: Uri = headers.get(header::LOCATION)?.to_str().ok()?.parse().ok()?;
    if location.authority().is_some() {
        return Some(location);
    }
    let mut parts = from.clone().into_parts();
    parts.path_and_query = location.into_parts().path_and_query;
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetcher(allow: &[&str]) -> Fetcher {
        service::process::install_tls_provider();
        let allow = allow.iter().map(|host| (*host).to_owned()).collect();
        Fetcher {
            allow,
            ..Fetcher::new(&UrlArgs::default()).unwrap()
        }
    }

    #[test]
    fn only_https_from_allowed_hosts_is_admitted() {
        let fetcher = fetcher(&["example.com", "other.example:8443"]);
        let admit = |url: &str| fetcher.admit(&url.parse().unwrap());
        assert!(admit("https://example.com/a.yaml").is_ok());
        assert!(admit("https://EXAMPLE.com:443/a.yaml").is_ok());
        assert!(admit("https://other.example:8443/a.yaml").is_ok());
        for url in [
            "http://example.com/a.yaml",
            "https://example.com:8443/a.yaml",
            "https://example.com.evil.example/a.yaml",
            "https://user@example.com/a.yaml",
            "/a.yaml",
        ] {
            assert!(admit(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_redirect_may_leave_out_the_host() {
        let from: Uri = "https://example.com/a?b".parse().unwrap();
        let to = |location: &'static str| {
            let value = http::HeaderValue::from_static(location);
            let headers = http::HeaderMap::from_iter([(header::LOCATION, value)]);
            target(&from, &headers).unwrap().to_string()
        };
        assert_eq!(to("/c"), "https://example.com/c");
        assert_eq!(to("http://other/c"), "http://other/c");
    }
}
