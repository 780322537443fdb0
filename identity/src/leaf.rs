//! A service's Secret, and what can be told of a certificate.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use rcgen::{KeyPair, PublicKeyData as _};
use time::OffsetDateTime;
use x509_parser::{pem::parse_x509_pem, prelude::GeneralName};

use crate::{
    authority::{Data, Pair, Stored},
    names,
    step::{self, Life},
};

/// Clocks of pods may be behind ours.
pub(crate) const SKEW: SignedDuration = SignedDuration::from_hours(1);

const CHAIN: &str = "tls.crt";
const KEY: &str = "tls.key";
const AUTHORITIES: &str = "ca.crt";

/// What is told of a certificate.
pub(crate) struct Certificate {
    pub(crate) life: Life,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    public_key: Vec<u8>,
    uris: Vec<String>,
}

impl Certificate {
    pub(crate) fn parse(pem: &str) -> Option<Self> {
        let (_, pem) = parse_x509_pem(pem.as_bytes()).ok()?;
        let certificate = pem.parse_x509().ok()?;
        let validity = certificate.validity();
        let time = |at: &x509_parser::time::ASN1Time| Timestamp::from_second(at.timestamp()).ok();
        let names = certificate.subject_alternative_name().ok()?;
        let names = names.map_or(&[][..], |names| &names.value.general_names);
        let uris = names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        });
        Some(Self {
            life: Life {
                made: time(&validity.not_before)? + SKEW,
                ends: time(&validity.not_after)?,
            },
            subject: certificate.subject().as_raw().to_vec(),
            issuer: certificate.issuer().as_raw().to_vec(),
            public_key: certificate.public_key().raw.to_vec(),
            uris: uris.collect(),
        })
    }
}

/// What a Secret's content is worth.
pub(crate) fn observed(caller: &'static str, data: &Data, stored: &Stored) -> step::Leaf {
    let text = |key: &str| std::str::from_utf8(&data.get(key)?.0).ok();
    step::Leaf {
        caller,
        life: text(CHAIN)
            .zip(text(KEY))
            .and_then(|(chain, key)| usable(caller, chain, key, stored)),
        believes_all: text(AUTHORITIES) == Some(&stored.bundle()),
    }
}

fn usable(caller: &str, chain: &str, key: &str, stored: &Stored) -> Option<Life> {
    let leaf = Certificate::parse(chain)?;
    let signer = Certificate::parse(stored.signer())?;
    let key = KeyPair::from_pem(key).ok()?;
    let ours = leaf.issuer == signer.subject
        && leaf.uris == [names::uri(caller)]
        && leaf.public_key == key.subject_public_key_info();
    ours.then_some(leaf.life)
}

/// A new certificate with all authorities.
pub(crate) fn signed(pair: Pair, stored: &Stored) -> Data {
    BTreeMap::from([
        (CHAIN.to_owned(), ByteString(pair.certificate.into_bytes())),
        (KEY.to_owned(), ByteString(pair.key.into_bytes())),
        authorities(stored),
    ])
}

/// The same certificate with all authorities.
pub(crate) fn published(mut data: Data, stored: &Stored) -> Data {
    data.extend([authorities(stored)]);
    data
}

fn authorities(stored: &Stored) -> (String, ByteString) {
    (
        AUTHORITIES.to_owned(),
        ByteString(stored.bundle().into_bytes()),
    )
}

/// For rcgen; certificates know no fractions of a second.
pub(crate) fn moment(at: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.as_second()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
