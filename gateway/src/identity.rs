//! `X-Broker-API-Originating-Identity`: on whose behalf the platform asks.
//!
//! Only who that is is kept, for audit: `user_id` of Cloud Foundry, `username` of Kubernetes. It
//! decides nothing, so a malformed header is logged (without its value, which names a person) and
//! otherwise ignored: refusing it would let a platform's fault block a clean-up.

use axum::http::HeaderValue;
use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::{Map, Value};

use crate::{extract::json, text::is_invisible};

/// The header's name.
pub(crate) const HEADER: &str = "x-broker-api-originating-identity";

/// Base64 with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What names a user, by platform.
const KEYS: [&str; 2] = ["user_id", "username"];

/// The most characters of a name that are kept.
const MAX_NAME: usize = 256;

/// Who the header says that it is; empty if it does not.
pub(crate) fn user(header: Option<&HeaderValue>) -> String {
    let Some(header) = header else {
        return String::new();
    };
    let Some(identity) = read(header) else {
        tracing::info!("originating identity ignored, it is malformed");
        return String::new();
    };
    let named = KEYS.iter().find_map(|key| identity.get(*key)?.as_str());
    let named = named.unwrap_or_default().chars();
    named.filter(|c| !is_invisible(*c)).take(MAX_NAME).collect()
}

/// The object behind the platform's name, if it can be read.
fn read(value: &HeaderValue) -> Option<Map<String, Value>> {
    let (_platform, encoded) = value.to_str().ok()?.trim().split_once(' ')?;
    let bytes = BASE64.decode(encoded.trim()).ok()?;
    json::parse_object(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user_of(text: &str) -> String {
        user(Some(&HeaderValue::from_str(text).unwrap()))
    }

    fn encoded(identity: &str) -> String {
        user_of(&format!("any {}", BASE64.encode(identity)))
    }

    /// H-05, H-06, H-07.
    #[test]
    fn only_who_asks_is_read_of_an_identity() {
        // {"user_id":"683ea748-3092-4ff4-b656-39cacc4d5360","extra":1}
        let text =
            "eyJ1c2VyX2lkIjoiNjgzZWE3NDgtMzA5Mi00ZmY0LWI2NTYtMzljYWNjNGQ1MzYwIiwiZXh0cmEiOjF9";
        let user = user_of(&format!("cloudfoundry {text}"));
        assert_eq!(user, "683ea748-3092-4ff4-b656-39cacc4d5360");
        let kubernetes = r#"{"username":"duke","uid":"c2","groups":["admin"],"extra":{}}"#;
        assert_eq!(encoded(kubernetes), "duke");
        assert_eq!(encoded(r#"{"user_id":7,"email":"duke@example.org"}"#), "");
        assert_eq!(encoded("{\"user_id\":\"a\\nb\"}"), "ab");
        assert_eq!(encoded("{\"user_id\":\"a\u{2028}\u{202e}b\"}"), "ab");
        let long = format!(r#"{{"user_id":"{}"}}"#, "ü".repeat(9000));
        assert_eq!(encoded(&long).chars().count(), MAX_NAME);
    }

    #[test]
    fn a_malformed_identity_is_ignored() {
        for text in ["", "alone", "kubernetes %%%", "kubernetes W10=", "a b c"] {
            assert_eq!(user_of(text), "", "{text}");
        }
        assert_eq!(user(None), "");
    }
}
