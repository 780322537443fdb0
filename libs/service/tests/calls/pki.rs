//! Authorities, the leaves that they sign, and folders of them as the kubelet
//! mounts a Secret.

use std::{fs, path::Path, time::Duration};

use prometheus_client::registry::Registry;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use service::{ServiceArgs, Tls};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// Key pair of a service.
pub(crate) struct Leaf {
    pub(crate) chain: String,
    pub(crate) key: String,
}

/// From an hour ago until then; in the past where `ends` is none.
struct Life(Option<Duration>);

impl Life {
    fn of(self, params: &mut CertificateParams) {
        let now = jiff::Timestamp::now().as_second();
        let now = OffsetDateTime::from_unix_timestamp(now).unwrap();
        params.not_before = now - HOUR;
        params.not_after = self.0.map_or(now - HOUR / 2, |left| now + left);
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        Life(Some(24 * HOUR)).of(&mut params);
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::from_ca_cert_pem(&pem, key).unwrap();
        Self { pem, issuer }
    }

    /// Of `service`, for an hour.
    pub(crate) fn leaf(&self, service: &str) -> Leaf {
        self.signed(service, Life(Some(HOUR)))
    }

    pub(crate) fn leaf_for(&self, service: &str, left: Duration) -> Leaf {
        self.signed(service, Life(Some(left)))
    }

    pub(crate) fn expired(&self, service: &str) -> Leaf {
        self.signed(service, Life(None))
    }

    fn signed(&self, service: &str, life: Life) -> Leaf {
        let uri = format!("spiffe://mongodb-osb/{service}");
        let uri = SanType::URI(uri.try_into().unwrap());
        self.with_names(vec![uri], service, life)
    }

    /// A certificate of ours that names no service of ours.
    pub(crate) fn nameless(&self, uris: &[&str]) -> Leaf {
        let uris = uris.iter().map(|uri| {
            let uri = (*uri).to_owned();
            SanType::URI(uri.try_into().unwrap())
        });
        self.with_names(uris.collect(), "nameless", Life(Some(HOUR)))
    }

    fn with_names(&self, uris: Vec<SanType>, dns: &str, life: Life) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([dns.to_owned()]).unwrap();
        params.subject_alt_names.extend(uris);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        life.of(&mut params);
        Leaf {
            chain: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

/// For tonic's own client, which believes `authority` and shows `leaf`.
pub(crate) fn shows(leaf: Option<&Leaf>, authority: &Authority) -> ClientTlsConfig {
    let config = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&authority.pem))
        .domain_name("provisioner-svc");
    match leaf {
        Some(leaf) => config.identity(Identity::from_pem(&leaf.chain, &leaf.key)),
        None => config,
    }
}

/// A mounted Secret and what a service has read of it.
pub(crate) struct Mounted {
    folder: TempDir,
    pub(crate) tls: Tls,
    pub(crate) registry: Registry,
    stop: CancellationToken,
}

impl Mounted {
    pub(crate) fn new(leaf: &Leaf, authorities: &[&Authority]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), leaf, authorities);
        let args = ServiceArgs {
            tls: Some(folder.path().to_owned()),
            ..ServiceArgs::for_tests()
        };
        let mut registry = Registry::default();
        let tls = Tls::load(&args, &mut registry).unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(tls.clone().follow(stop.clone()));
        Self {
            folder,
            tls,
            registry,
            stop,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes, and waits until it has been read: a leaf ends at another second
    /// than the one before.
    pub(crate) async fn change(&self, leaf: &Leaf, authorities: &[&Authority]) {
        let before = self.tls.leaf();
        write(self.folder.path(), leaf, authorities);
        while self.tls.leaf() == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// All three at once, through a link that is swapped.
fn write(folder: &Path, leaf: &Leaf, authorities: &[&Authority]) {
    let version = tempfile::Builder::new()
        .prefix("..")
        .tempdir_in(folder)
        .unwrap()
        .keep();
    let bundle: String = authorities.iter().map(|one| one.pem.as_str()).collect();
    for (name, content) in [
        ("tls.crt", &leaf.chain),
        ("tls.key", &leaf.key),
        ("ca.crt", &bundle),
    ] {
        fs::write(version.join(name), content).unwrap();
        let link = folder.join(name);
        if !link.exists() {
            let _ = std::os::unix::fs::symlink(Path::new("..data").join(name), link);
        }
    }
    std::os::unix::fs::symlink(&version, folder.join("..next")).unwrap();
    fs::rename(folder.join("..next"), folder.join("..data")).unwrap();
}
