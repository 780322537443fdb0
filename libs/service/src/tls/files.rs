//! The files of a Secret with a certificate, and what rustls makes of them.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier},
    version::TLS13,
};

use super::Leaf;

const CHAIN: &str = "tls.crt";
const KEY: &str = "tls.key";
const AUTHORITIES: &str = "ca.crt";

/// Why a folder gives no identity. Nothing of a key is shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(
        "read {} (BROKER_TLS names a folder with {CHAIN}, {KEY} and {AUTHORITIES}, BROKER_HTTPS one with the first two)",
        path.display()
    )]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{}: no {what} in PEM", path.display())]
    Pem { path: PathBuf, what: &'static str },
    #[error("{}: no certificate that can be read", path.display())]
    Leaf { path: PathBuf },
    #[error("{}: an authority that cannot be used", path.display())]
    Authority {
        path: PathBuf,
        #[source]
        source: rustls::Error,
    },
    #[error("{}: no usable authority", path.display())]
    Verifier {
        path: PathBuf,
        #[source]
        source: VerifierBuilderError,
    },
    #[error("{}: certificate and key cannot be used together", path.display())]
    Pair {
        path: PathBuf,
        #[source]
        source: rustls::Error,
    },
}

/// As they were read.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Files {
    folder: PathBuf,
    chain: Vec<u8>,
    key: Vec<u8>,
    /// Of clients; none where they need no certificate.
    authorities: Option<Vec<u8>>,
}

/// Whom a certificate is shown to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// The broker's services, who show theirs.
    Services,
    /// Whoever comes, over HTTP.
    Anybody,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

/// What a service shows and whom it believes.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) files: Files,
    pub(super) leaf: Leaf,
    pub(super) server: Arc<ServerConfig>,
    /// None where the certificate is a server's alone.
    pub(super) client: Option<Arc<ClientConfig>>,
}

impl Files {
    /// The kubelet may swap them between two reads; certificate and key do not
    /// fit together then, and the next look finds all of one time.
    pub(super) fn read(folder: &Path, audience: Audience) -> Result<Self, Fault> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read(&path).map_err(|source| Fault::Read { path, source })
        };
        Ok(Self {
            folder: folder.to_owned(),
            chain: read(CHAIN)?,
            key: read(KEY)?,
            authorities: match audience {
                Audience::Services => Some(read(AUTHORITIES)?),
                Audience::Anybody => None,
            },
        })
    }

    /// Checks them and makes the settings of both ends of a connection.
    pub(super) fn identity(self) -> Result<Identity, Fault> {
        let at = |name: &str| self.folder.join(name);
        let chain = certificates(&self.chain, || at(CHAIN))?;
        let leaf = chain.first().and_then(|leaf| Leaf::parse(leaf));
        let leaf = leaf.ok_or_else(|| Fault::Leaf { path: at(CHAIN) })?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| Fault::Pem {
            path: at(KEY),
            what: "private key",
        })?;
        let pair = |source| Fault::Pair {
            path: self.folder.clone(),
            source,
        };
        let provider = Arc::new(ring::default_provider());
        let Some(authorities) = &self.authorities else {
            let server = public(provider, chain, key).map_err(pair)?;
            return Ok(Identity {
                server: Arc::new(server),
                client: None,
                files: self,
                leaf,
            });
        };
        let roots = Arc::new(self.roots(authorities)?);
        let server = server(&provider, &roots, chain.clone(), key.clone_key());
        let server = server.map_err(|error| match error {
            Broken::Pair(source) => pair(source),
            Broken::Verifier(source) => Fault::Verifier {
                path: at(AUTHORITIES),
                source,
            },
        })?;
        let client = client(provider, roots, chain, key).map_err(pair)?;
        Ok(Identity {
            server: Arc::new(server),
            client: Some(Arc::new(client)),
            files: self,
            leaf,
        })
    }

    fn roots(&self, authorities: &[u8]) -> Result<RootCertStore, Fault> {
        let path = || self.folder.join(AUTHORITIES);
        let mut roots = RootCertStore::empty();
        for authority in certificates(authorities, path)? {
            roots.add(authority).map_err(|source| Fault::Authority {
                path: path(),
                source,
            })?;
        }
        Ok(roots)
    }
}

fn certificates(
    pem: &[u8],
    path: impl Fn() -> PathBuf,
) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = read.ok().filter(|found| !found.is_empty());
    found.ok_or_else(|| Fault::Pem {
        path: path(),
        what: "certificate",
    })
}

enum Broken {
    Pair(rustls::Error),
    Verifier(VerifierBuilderError),
}

fn server(
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, Broken> {
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider))
            .build()
            .map_err(Broken::Verifier)?;
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(Broken::Pair)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(Broken::Pair)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session is not verified again, and connections are few.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// For an HTTP server: TLS 1.2 as well, which some platforms still speak.
fn public(
    provider: Arc<CryptoProvider>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn client(
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}
