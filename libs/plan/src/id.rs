//! Ids and names: stable uuids of offerings and plans, and the digest of a bundle.
//!
//! An id is uuid v5 in one constant namespace, so that the same folder has the same id after a
//! restart and on every machine; a descriptor may give another one.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The namespace of all ids. It must never change: every id in every platform hangs on it.
const NAMESPACE: Uuid = Uuid::from_u128(0x6d6f_6e67_6f64_4f73_8b6f_7362_2e69_6f01);

/// An id that cannot be used in a catalog.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// OSB ids are used in URLs: letters, digits, `-`, `.`, `_` and `~` only.
    #[error("id must be 1 to 255 letters, digits, '-', '.', '_' or '~'")]
    Characters,
    /// A digest is 64 lower-case hexadecimal digits.
    #[error("digest must be 64 lower-case hexadecimal digits")]
    Digest,
}

macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

string_id! {
    /// The id of a service offering (`service_id` in OSB).
    OfferingId
}
string_id! {
    /// The id of a plan (`plan_id` in OSB).
    PlanId
}
string_id! {
    /// The content address of a bundle: sha256 in hexadecimal.
    Digest
}

impl TryFrom<String> for OfferingId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        unreserved(&text)
            .then_some(Self(text))
            .ok_or(Error::Characters)
    }
}

impl TryFrom<String> for PlanId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        unreserved(&text)
            .then_some(Self(text))
            .ok_or(Error::Characters)
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (text.len() == 64 && text.bytes().all(hex))
            .then_some(Self(text))
            .ok_or(Error::Digest)
    }
}

impl OfferingId {
    /// The id of the offering whose templates are in `<provider>/`.
    pub fn derive(provider: &str) -> Self {
        Self(Uuid::new_v5(&NAMESPACE, provider.as_bytes()).to_string())
    }
}

impl PlanId {
    /// The id of the plan in `<provider>/<plan>/`.
    pub fn derive(provider: &str, plan: &str) -> Self {
        Self(Uuid::new_v5(&NAMESPACE, format!("{provider}/{plan}").as_bytes()).to_string())
    }
}

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(HEXLOWER.encode(&Sha256::digest(bytes)))
    }
}

/// RFC 3986 unreserved characters, which OSB asks of ids that a broker issues (U-01).
fn unreserved(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    (1..=255).contains(&text.len()) && text.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_same_on_every_machine() {
        assert_eq!(
            OfferingId::derive("mongodb").as_str(),
            "d2d20d30-affb-5b98-b304-d41d12da323f"
        );
        assert_eq!(
            PlanId::derive("mongodb", "small").as_str(),
            "708c2271-f5bd-5060-b12d-d4e1e3bf2231"
        );
    }

    #[test]
    fn an_id_that_needs_escaping_in_a_url_is_refused() {
        assert_eq!("a/b".parse::<PlanId>(), Err(Error::Characters));
        assert_eq!("".parse::<OfferingId>(), Err(Error::Characters));
        assert_eq!("ABC".parse::<Digest>(), Err(Error::Digest));
    }
}
