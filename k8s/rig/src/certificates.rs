//! A certificate for each service, as `identity` gives them: the services know
//! each other by mutual TLS here, too.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};

/// Makes an authority, and certificates in folders of their own below `folder`.
///
/// # Errors
/// A folder or a file that cannot be written.
pub fn certify(folder: &Path, services: &[&str]) -> anyhow::Result<()> {
    let key = KeyPair::generate()?;
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let authorities = authority.self_signed(&key)?.pem();
    let issuer = Issuer::from_ca_cert_pem(&authorities, key)?;
    for service in services {
        let mut params = CertificateParams::new([(*service).to_owned()])?;
        let uri = format!("spiffe://mongodb-osb/{service}").try_into()?;
        params.subject_alt_names.push(SanType::URI(uri));
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?.pem();
        let own = of(folder, service);
        fs::create_dir_all(&own).with_context(|| format!("make {}", own.display()))?;
        for (name, text) in [
            ("ca.crt", &authorities),
            ("tls.crt", &certificate),
            ("tls.key", &key.serialize_pem()),
        ] {
            let path = own.join(name);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
    }
    Ok(())
}

/// The folder of a service's certificate, for `BROKER_TLS`.
#[must_use]
pub fn of(folder: &Path, service: &str) -> PathBuf {
    folder.join("certificates").join(service)
}
