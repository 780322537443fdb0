//! `X-Broker-API-Originating-Identity`: on whose behalf the platform asks.
//!
//! It is kept for audit and decides nothing, so a malformed header is logged
//! (without its value, which names a person) and otherwise ignored: refusing
//! it would let a platform's fault block a clean-up.

use axum::http::HeaderValue;
use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use broker_proto::v1::Requester;
use prost_types::Struct;

use crate::extract::json;

/// The header's name.
pub(crate) const HEADER: &str = "x-broker-api-originating-identity";

/// Base64 with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Who asked: the login, and what the header says.
pub(crate) fn requester(user: &str, header: Option<&HeaderValue>) -> Requester {
    let (platform, identity) = header.map_or_else(Default::default, |value| {
        let (platform, identity) = read(value);
        if identity.is_none() {
            tracing::info!("originating identity ignored, it is malformed");
        }
        (platform, identity)
    });
    Requester {
        broker_user: user.to_owned(),
        platform,
        identity,
    }
}

/// The platform's name, and the object if it can be read.
fn read(value: &HeaderValue) -> (String, Option<Struct>) {
    let Some((platform, encoded)) = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().split_once(' '))
    else {
        return Default::default();
    };
    let identity = BASE64
        .decode(encoded.trim())
        .ok()
        .and_then(|bytes| json::parse_object(&bytes).ok())
        .and_then(|object| json::to_struct(&object, "").ok());
    (platform.to_owned(), identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requester_of(text: &str) -> Requester {
        requester("cf", Some(&HeaderValue::from_str(text).unwrap()))
    }

    /// H-05, H-06, H-07.
    #[test]
    fn an_identity_is_decoded_with_whatever_it_holds() {
        // {"user_id":"683ea748-3092-4ff4-b656-39cacc4d5360","extra":1}
        let encoded =
            "eyJ1c2VyX2lkIjoiNjgzZWE3NDgtMzA5Mi00ZmY0LWI2NTYtMzljYWNjNGQ1MzYwIiwiZXh0cmEiOjF9";
        let requester = requester_of(&format!("cloudfoundry {encoded}"));
        assert_eq!(requester.broker_user, "cf");
        assert_eq!(requester.platform, "cloudfoundry");
        let identity = requester.identity.unwrap();
        assert!(identity.fields.contains_key("user_id"));
        assert!(identity.fields.contains_key("extra"));
    }

    #[test]
    fn a_malformed_identity_is_ignored() {
        for text in ["", "alone", "kubernetes %%%", "kubernetes W10=", "a b c"] {
            assert!(requester_of(text).identity.is_none(), "{text}");
        }
        assert_eq!(requester_of("kubernetes W10=").platform, "kubernetes");
        assert!(requester("cf", None).platform.is_empty());
    }
}
