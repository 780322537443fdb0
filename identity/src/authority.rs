//! An authority: a key pair that signs, and what is stored of those there are.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use crate::{
    args::Lives,
    leaf::{Certificate, moment},
    names,
    step::{self, Life},
};

/// The content of a Secret.
pub(crate) type Data = BTreeMap<String, ByteString>;

const CURRENT: (&str, &str) = ("tls.crt", "tls.key");
const NEXT: (&str, &str) = ("next.crt", "next.key");
const RETIRED: &str = "retired.crt";
const PUBLISHED: &str = "next-published";
const RETIRED_AT: &str = "retired-at";

/// A key pair in PEM.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// What the authority's Secret holds.
#[derive(Clone)]
pub(crate) struct Stored {
    current: Pair,
    next: Option<Pair>,
    published: Option<Timestamp>,
    retired: Option<(String, Timestamp)>,
}

impl Stored {
    /// The first one.
    pub(crate) fn make(lives: &Lives, now: Timestamp) -> Result<Self, rcgen::Error> {
        Ok(Self {
            current: make(lives, now)?,
            next: None,
            published: None,
            retired: None,
        })
    }

    /// None if what is stored is not what this process stores.
    pub(crate) fn read(data: &Data) -> Option<Self> {
        let time = |key: &str| text(data, key)?.parse::<Timestamp>().ok();
        let next = pair(data, NEXT);
        let stored = Self {
            current: pair(data, CURRENT)?,
            published: next.as_ref().and_then(|_| time(PUBLISHED)),
            next,
            retired: text(data, RETIRED).zip(time(RETIRED_AT)),
        };
        stored.life().map(|_| stored)
    }

    pub(crate) fn data(&self) -> Data {
        let mut data = BTreeMap::new();
        let mut put = |key: &str, text: String| {
            data.insert(key.to_owned(), ByteString(text.into_bytes()));
        };
        let pairs = [(CURRENT, Some(&self.current)), (NEXT, self.next.as_ref())];
        for ((certificate, key), pair) in pairs {
            if let Some(pair) = pair {
                put(certificate, pair.certificate.clone());
                put(key, pair.key.clone());
            }
        }
        if let Some(published) = self.published {
            put(PUBLISHED, published.to_string());
        }
        if let Some((certificate, at)) = &self.retired {
            put(RETIRED, certificate.clone());
            put(RETIRED_AT, at.to_string());
        }
        data
    }

    /// As the decision sees it.
    pub(crate) fn observed(&self) -> Option<step::Authority> {
        Some(step::Authority {
            current: self.life()?,
            next: self.next.as_ref().map(|_| step::Next {
                published: self.published,
            }),
            retired: self.retired.as_ref().map(|(_, at)| *at),
        })
    }

    fn life(&self) -> Option<Life> {
        Some(Certificate::parse(&self.current.certificate)?.life)
    }

    /// All that are believed, for `ca.crt`.
    pub(crate) fn bundle(&self) -> String {
        let next = self.next.as_ref().map(|next| next.certificate.as_str());
        let retired = self.retired.as_ref().map(|(old, _)| old.as_str());
        let all = [Some(self.current.certificate.as_str()), next, retired];
        all.into_iter().flatten().collect()
    }

    /// The certificate that signs.
    pub(crate) fn signer(&self) -> &str {
        &self.current.certificate
    }

    pub(crate) fn with_next(mut self, lives: &Lives, now: Timestamp) -> Result<Self, rcgen::Error> {
        self.next = Some(make(lives, now)?);
        self.published = None;
        Ok(self)
    }

    pub(crate) fn published(mut self, now: Timestamp) -> Self {
        self.published = Some(now);
        self
    }

    pub(crate) fn promoted(mut self, now: Timestamp) -> Self {
        if let Some(next) = self.next.take() {
            self.retired = Some((self.current.certificate, now));
            self.current = next;
            self.published = None;
        }
        self
    }

    pub(crate) fn forgotten(mut self) -> Self {
        self.retired = None;
        self
    }

    /// A new key pair for `caller`; it ends no later than the authority.
    pub(crate) fn sign(
        &self,
        caller: &str,
        lives: &Lives,
        now: Timestamp,
    ) -> Result<Pair, rcgen::Error> {
        let signer = KeyPair::from_pem(&self.current.key)?;
        let issuer = Issuer::from_ca_cert_pem(&self.current.certificate, signer)?;
        let names = if names::serves(caller) {
            vec![caller.to_owned()]
        } else {
            Vec::new()
        };
        let mut params = CertificateParams::new(names)?;
        let uri = names::uri(caller).try_into()?;
        params.subject_alt_names.push(SanType::URI(uri));
        params.distinguished_name.push(DnType::CommonName, caller);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if names::serves(caller) {
            params
                .extended_key_usages
                .push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        params.use_authority_key_identifier_extension = true;
        let end = self.life().map_or(now, |life| life.ends);
        valid(&mut params, now, step::after(now, lives.leaf).min(end));
        let key = KeyPair::generate()?;
        Ok(Pair {
            certificate: params.signed_by(&key, &issuer)?.pem(),
            key: key.serialize_pem(),
        })
    }
}

fn make(lives: &Lives, now: Timestamp) -> Result<Pair, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Its own for each: verifiers look the issuer up by it.
    let name = format!("mongodb-osb services {}", cluster::names::random(8));
    params.distinguished_name.push(DnType::CommonName, name);
    valid(&mut params, now, step::after(now, lives.authority));
    Ok(Pair {
        certificate: params.self_signed(&key)?.pem(),
        key: key.serialize_pem(),
    })
}

fn valid(params: &mut CertificateParams, now: Timestamp, ends: Timestamp) {
    params.not_before = moment(now - crate::leaf::SKEW);
    params.not_after = moment(ends);
}

fn pair(data: &Data, (certificate, key): (&str, &str)) -> Option<Pair> {
    Some(Pair {
        certificate: text(data, certificate)?,
        key: text(data, key)?,
    })
}

fn text(data: &Data, key: &str) -> Option<String> {
    String::from_utf8(data.get(key)?.0.clone()).ok()
}
