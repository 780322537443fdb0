//! Hides what the demo must not print: passwords, alone and inside URIs.

use serde_json::{Map, Value};

const HIDDEN: &str = "***";

/// A copy of a JSON value that may be shown.
pub fn json(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let members = object
                .iter()
                .map(|(key, value)| (key.clone(), member(key, value)));
            Value::Object(members.collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(json).collect(),
        Value::String(text) => Value::String(uri(text)),
        other => other.clone(),
    }
}

fn member(key: &str, value: &Value) -> Value {
    match value {
        Value::String(_) if key.contains("password") || key.contains("secret") => HIDDEN.into(),
        // No secret, but forty lines.
        Value::String(text) if text.starts_with("-----BEGIN") => "(certificate)".into(),
        _ => json(value),
    }
}

/// The text without the password of a URI's user information.
pub fn uri(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    let Some((user_info, _)) = authority.rsplit_once('@') else {
        return text.to_owned();
    };
    let user = user_info.split(':').next().unwrap_or_default();
    format!("{scheme}://{user}:{HIDDEN}{}", &rest[user_info.len()..])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_password_of_a_uri_is_hidden_and_the_rest_stays() {
        assert_eq!(
            uri("mongodb://user:p@ss@a:1,b:2/db?authSource=admin"),
            "mongodb://user:***@a:1,b:2/db?authSource=admin"
        );
        assert_eq!(uri("https://host/path@x"), "https://host/path@x");
        assert_eq!(uri("no uri"), "no uri");
    }

    #[test]
    fn secrets_are_hidden_at_any_depth() {
        let shown = json(&json!({
            "a": [{"password": "x", "ca_certificate": "-----BEGIN CERTIFICATE-----"}],
            "client_secret": "y",
            "port": 1,
        }));
        assert_eq!(
            shown,
            json!({"a": [{"password": "***", "ca_certificate": "(certificate)"}], "client_secret": "***", "port": 1})
        );
    }
}
