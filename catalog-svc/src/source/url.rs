//! Fetches what `*.url` files name: at discovery, never while an instance is
//! provisioned. https only, from hosts that are allowed by configuration, with
//! bounds on size and time.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::Context as _;
use futures::{StreamExt as _, stream};
use http::StatusCode;
use plan::id::Digest;
use reqwest::{Certificate, Client, Response, Url, redirect};
use tokio::{sync::Semaphore, time::Instant};

/// Bytes of one file; the largest bundle of CRDs that we know has 3 MiB.
const MAX_SIZE: usize = 8 << 20;
const DEADLINE: Duration = Duration::from_secs(30);
/// Bytes of all that is asked for at once; a bundle has at most 16 MiB.
const MAX_ALL: usize = 12 << 20;
/// How many of these are fetched at a time.
const PARALLEL: usize = 2;
/// Who asks at a time: what they hold together fits the memory of the pod.
const AT_ONCE: usize = 8;
/// How long all that is asked for at once may take.
const DEADLINE_OF_ALL: Duration = Duration::from_secs(120);
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

/// Why an address is not asked. The texts are for the author of the plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("not an https URL with a host")]
    Url,
    #[error("host {0} is not allowed; the broker's operator allows it with --url-allow {0}")]
    Host(String),
    #[error("more than {MAX_HOPS} redirects")]
    Hops,
}

/// Why nothing was fetched. The texts are for the author of the plan.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("no answer from {0}")]
    Connect(String, #[source] reqwest::Error),
    #[error("{0} answers {1}")]
    Status(String, StatusCode),
    #[error("not finished within {DEADLINE:?}")]
    Deadline,
    #[error("the body is larger than {} MiB, or incomplete", MAX_SIZE >> 20)]
    Body,
    #[error("the addresses of the file have more than {} MiB in all: use several plans", MAX_ALL >> 20)]
    Total,
    #[error("the content has sha256 {0}, not the one that is pinned")]
    Pin(Digest),
}

/// What to fetch: an address, and the sha256 that its content must have.
pub(crate) type Address = (String, Option<String>);

/// Asks the hosts that are allowed.
#[derive(Debug)]
pub(crate) struct Fetcher {
    client: Client,
    allow: Vec<String>,
    askers: Semaphore,
}

impl Fetcher {
    /// Verifies peers by the given authorities, or by the system's.
    pub(crate) fn new(args: &UrlArgs) -> anyhow::Result<Self> {
        // An empty variable in the environment is one empty name.
        let allow = args.allow.iter().filter(|host| !host.is_empty());
        let allow: Vec<String> = allow.map(|host| host.to_lowercase()).collect();
        let hosts = allow.clone();
        // Each hop is asked, as the first address is.
        let follow = redirect::Policy::custom(move |hop| {
            if hop.previous().len() > MAX_HOPS {
                return hop.error(Refusal::Hops);
            }
            match admit(&hosts, hop.url()) {
                Ok(_) => hop.follow(),
                Err(refusal) => hop.error(refusal),
            }
        });
        let builder = Client::builder()
            .user_agent("mongodb-osb")
            .https_only(true)
            .no_proxy()
            .redirect(follow)
            .timeout(DEADLINE);
        let builder = match &args.ca {
            Some(path) => builder.tls_certs_only(authorities(path)?),
            // Nothing can be fetched, so a machine without authorities is as good as any.
            None if allow.is_empty() => builder.tls_certs_only([]),
            None => builder,
        };
        let client = builder
            .build()
            .context("read the certificate authorities; name others with --url-ca")?;
        Ok(Self {
            client,
            allow,
            askers: Semaphore::new(AT_ONCE),
        })
    }

    /// Whether an address may be asked.
    pub(crate) fn admits(&self, url: &str) -> Result<(), Refusal> {
        let url = Url::parse(url).map_err(|_| Refusal::Url)?;
        admit(&self.allow, &url).map(|_| ())
    }

    /// The content behind each address, checked against its pin.
    pub(crate) async fn fetch(
        &self,
        addresses: BTreeSet<Address>,
    ) -> BTreeMap<Address, Result<Vec<u8>, Error>> {
        // It is never closed.
        let _turn = self.askers.acquire().await;
        let (left, ends) = (AtomicUsize::new(MAX_ALL), Instant::now() + DEADLINE_OF_ALL);
        let left = &left;
        stream::iter(addresses)
            .map(|address| async move {
                let content = tokio::time::timeout_at(ends, self.fetch_one(&address, left)).await;
                (address, content.unwrap_or(Err(Error::Deadline)))
            })
            .buffer_unordered(PARALLEL)
            .collect()
            .await
    }

    /// `left` is how many bytes may still come.
    async fn fetch_one(&self, (url, pin): &Address, left: &AtomicUsize) -> Result<Vec<u8>, Error> {
        let url = Url::parse(url).map_err(|_| Refusal::Url)?;
        let host = admit(&self.allow, &url)?;
        let response = self.client.get(url).send().await;
        let response = response.map_err(|error| unanswered(host, error))?;
        if response.status() != StatusCode::OK {
            let host = shown(response.url());
            return Err(Error::Status(host, response.status()));
        }
        let content = body(response, left).await?;
        let digest = Digest::of(&content);
        if pin
            .as_ref()
            .is_some_and(|pin| !pin.eq_ignore_ascii_case(digest.as_str()))
        {
            return Err(Error::Pin(digest));
        }
        Ok(content)
    }
}

async fn body(mut response: Response, left: &AtomicUsize) -> Result<Vec<u8>, Error> {
    let mut content = Vec::new();
    let failed = |error: reqwest::Error| {
        if error.is_timeout() {
            Error::Deadline
        } else {
            Error::Body
        }
    };
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if content.len() + chunk.len() > MAX_SIZE {
            return Err(Error::Body);
        }
        let take = |left: usize| left.checked_sub(chunk.len());
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .map_err(|_| Error::Total)?;
        content.extend_from_slice(&chunk);
    }
    Ok(content)
}

/// What a request without an answer means: a hop that was refused, or trouble on the way.
fn unanswered(host: String, error: reqwest::Error) -> Error {
    let mut cause = std::error::Error::source(&error);
    while let Some(current) = cause {
        if let Some(refusal) = current.downcast_ref::<Refusal>() {
            return refusal.clone().into();
        }
        cause = current.source();
    }
    if error.is_timeout() {
        return Error::Deadline;
    }
    Error::Connect(host, error.without_url())
}

/// The host of a URL that may be fetched.
fn admit(allow: &[String], url: &Url) -> Result<String, Refusal> {
    let is_plain = url.scheme() == "https" && url.username().is_empty() && url.password().is_none();
    if !is_plain {
        return Err(Refusal::Url);
    }
    let host = shown(url);
    if allow.contains(&host) {
        Ok(host)
    } else {
        Err(Refusal::Host(host))
    }
}

/// The host, with its port unless that is the usual one.
fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        None => host.to_owned(),
        Some(port) => format!("{host}:{port}"),
    }
}

fn authorities(path: &Path) -> anyhow::Result<Vec<Certificate>> {
    let place = || {
        format!(
            "read certificate authorities from {} (--url-ca)",
            path.display()
        )
    };
    let text = std::fs::read(path).with_context(place)?;
    let found = Certificate::from_pem_bundle(&text).with_context(place)?;
    anyhow::ensure!(!found.is_empty(), "{}: there are none in the file", place());
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_from_allowed_hosts_is_admitted() {
        let allow = ["example.com", "other.example:8443"].map(str::to_owned);
        let admit = |url: &str| admit(&allow, &Url::parse(url).unwrap());
        assert!(admit("https://example.com/a.yaml").is_ok());
        assert!(admit("https://EXAMPLE.com:443/a.yaml").is_ok());
        assert!(admit("https://other.example:8443/a.yaml").is_ok());
        for url in [
            "http://example.com/a.yaml",
            "https://example.com:8443/a.yaml",
            "https://example.com.evil.example/a.yaml",
            "https://user@example.com/a.yaml",
            "https://:secret@example.com/a.yaml",
            "file:///a.yaml",
        ] {
            assert!(admit(url).is_err(), "{url}");
        }
    }
}
