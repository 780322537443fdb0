//! What a certificate says of who shows it.

use jiff::Timestamp;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// Before the name of a service in a certificate's URI.
const TRUST_DOMAIN: &str = "spiffe://mongodb-osb/";

/// A certificate whose chain was verified, or one's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    service: Option<String>,
    not_after: Timestamp,
}

impl Leaf {
    pub(crate) fn parse(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let not_after = certificate.validity().not_after.timestamp();
        Some(Self {
            service: service(&certificate),
            not_after: Timestamp::from_second(not_after).ok()?,
        })
    }

    /// The service that it is made for: none if it has no URI of ours, or more
    /// than one URI.
    pub fn service(&self) -> Option<&str> {
        self.service.as_deref()
    }

    /// When it ends.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }
}

fn service(certificate: &X509Certificate<'_>) -> Option<String> {
    let names = certificate.subject_alternative_name().ok()??;
    let mut uris = names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
    let (only, None) = (uris.next()?, uris.next()) else {
        return None;
    };
    let service = only.strip_prefix(TRUST_DOMAIN)?;
    (!service.is_empty()).then(|| service.to_owned())
}
