//! The broker's certificate authority: one Secret in the broker's namespace,
//! supplied by a person or made once, and the leaves that it signs.

use std::{collections::BTreeMap, time::Duration};

use cluster::{
    error::{call, optional},
    names,
};
use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// The Secret, of type kubernetes.io/tls: `tls.crt`, `tls.key`.
pub(crate) const SECRET: &str = "mongodb-osb-ca";

const TEN_YEARS: Duration = Duration::from_secs(3650 * 86_400);
/// Clocks of pods may be behind ours.
const SKEW: Duration = Duration::from_secs(3600);

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
    validity(&mut params, TEN_YEARS);
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
        Ok(Self {
            certificate,
            issuer,
        })
    }

    /// Signs a new key pair for `names` (DNS names or IP addresses), good for
    /// both ends of a connection: members are clients of one another.
    pub(crate) fn issue(&self, names: &[String], lifetime: Duration) -> Result<Leaf, Error> {
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
        validity(&mut params, lifetime);
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Leaf {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            ca: self.certificate.clone(),
        })
    }
}

fn validity(params: &mut CertificateParams, lifetime: Duration) {
    // Whole days, rounded outwards by SKEW at the beginning.
    let day = |at: Timestamp| {
        let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
        let part = |number: i8| u8::try_from(number).unwrap_or(1);
        rcgen::date_time_ymd(i32::from(date.year()), part(date.month()), part(date.day()))
    };
    let now = Timestamp::now();
    params.not_before = day(now.checked_sub(SKEW).unwrap_or(now));
    params.not_after = day(now.checked_add(lifetime).unwrap_or(now));
}
