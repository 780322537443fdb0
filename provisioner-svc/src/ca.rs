//! The broker's certificate authority: one Secret in the instances' namespace,
//! supplied by a person or made once, and the leaves that it signs.

use std::collections::BTreeMap;

use cluster::{
    error::{call, optional},
    names,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::OffsetDateTime;
use x509_parser::pem::parse_x509_pem;

/// The Secret, of type kubernetes.io/tls: `tls.crt`, `tls.key`.
pub(crate) const SECRET: &str = "mongodb-osb-ca";

const TEN_YEARS: SignedDuration = SignedDuration::from_hours(3650 * 24);
/// Clocks of pods may be behind ours.
const SKEW: SignedDuration = SignedDuration::from_hours(1);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The API server.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// The Secret holds no usable key pair.
    #[error("read Secret {SECRET}: tls.crt and tls.key must hold a CA in PEM")]
    Malformed,
    /// From rcgen.
    #[error("make a certificate")]
    Make(#[from] rcgen::Error),
}

/// A key pair that signs.
pub(crate) struct Authority {
    certificate: String,
    /// The end of the certificate, and of all that it signs.
    not_after: OffsetDateTime,
    issuer: Issuer<'static, KeyPair>,
}

/// A signed key pair, in PEM.
pub(crate) struct Leaf {
    /// Its certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
    /// The authority's certificate.
    pub ca: String,
}

/// The broker's authority; made and stored if nobody has supplied one.
pub(crate) async fn ensure(client: &Client, namespace: &str) -> Result<Authority, Error> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    if let Some(found) = optional(call(api.get(SECRET)).await)? {
        return Authority::read(&found);
    }
    let secret = make()?;
    match call(api.create(&PostParams::default(), &secret)).await {
        Ok(created) => Authority::read(&created),
        Err(cluster::Error::AlreadyExists) => Authority::read(&call(api.get(SECRET)).await?),
        Err(error) => Err(error.into()),
    }
}

fn make() -> Result<Secret, Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
        .distinguished_name
        .push(DnType::CommonName, "MongoDB Open Service Broker CA");
    let now = Timestamp::now();
    params.not_before = day(now, -SKEW);
    params.not_after = day(now, TEN_YEARS);
    let certificate = params.self_signed(&key)?;
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(SECRET.to_owned()),
            labels: Some(BTreeMap::from([(
                names::MANAGED_BY.to_owned(),
                names::MANAGER.to_owned(),
            )])),
            ..ObjectMeta::default()
        },
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(BTreeMap::from([
            (
                "tls.crt".to_owned(),
                ByteString(certificate.pem().into_bytes()),
            ),
            (
                "tls.key".to_owned(),
                ByteString(key.serialize_pem().into_bytes()),
            ),
        ])),
        ..Secret::default()
    })
}

impl Authority {
    fn read(secret: &Secret) -> Result<Self, Error> {
        let text = |key: &str| {
            let bytes = secret.data.as_ref().and_then(|data| data.get(key));
            bytes
                .and_then(|bytes| String::from_utf8(bytes.0.clone()).ok())
                .ok_or(Error::Malformed)
        };
        let certificate = text("tls.crt")?;
        let key = KeyPair::from_pem(&text("tls.key")?).map_err(|_| Error::Malformed)?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).map_err(|_| Error::Malformed)?;
        let not_after = end(&certificate).ok_or(Error::Malformed)?;
        Ok(Self {
            certificate,
            not_after,
            issuer,
        })
    }

    /// Signs a new key pair for `names` (DNS names or IP addresses), good for
    /// both ends of a connection (members are clients of one another) and valid
    /// as long as the authority: nothing renews it before.
    pub(crate) fn issue(&self, names: &[String]) -> Result<Leaf, Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        if let Some(first) = names.first() {
            // X.520 limits a common name to 64 characters; verification uses the names above.
            let common: String = first.chars().take(64).collect();
            params.distinguished_name.push(DnType::CommonName, common);
        }
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        params.not_before = day(Timestamp::now(), -SKEW);
        params.not_after = self.not_after;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Leaf {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            ca: self.certificate.clone(),
        })
    }
}

/// The day of a moment some time before or after another.
fn day(from: Timestamp, by: SignedDuration) -> OffsetDateTime {
    let at = from.checked_add(by).unwrap_or(from);
    let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
    let part = |number: i8| u8::try_from(number).unwrap_or(1);
    rcgen::date_time_ymd(i32::from(date.year()), part(date.month()), part(date.day()))
}

/// When the first certificate of a PEM text ends.
fn end(certificate: &str) -> Option<OffsetDateTime> {
    let (_, pem) = parse_x509_pem(certificate.as_bytes()).ok()?;
    Some(pem.parse_x509().ok()?.validity().not_after.to_datetime())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_ends_with_its_authority_and_not_before() {
        let authority = Authority::read(&make().unwrap()).unwrap();
        let leaf = authority.issue(&["mdb-0.example".to_owned()]).unwrap();
        assert_eq!(end(&leaf.certificate), Some(authority.not_after));
        let ten_years = day(Timestamp::now(), TEN_YEARS);
        assert_eq!(authority.not_after, ten_years);
    }
}
