//! Query parameters, read one by one and tolerantly: unknown ones are never
//! looked at, empty ones are absent, equal duplicates are one (a public suite
//! sends `service_id` twice).

use std::borrow::Cow;

use percent_encoding::percent_decode;

use crate::error::Error;

/// The raw query.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(String);

impl Query {
    pub(super) fn new(raw: Option<&str>) -> Self {
        Self(raw.unwrap_or_default().to_owned())
    }

    /// A parameter's value, unless it is absent or empty.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, Error> {
        let mut found: Option<String> = None;
        for pair in self.0.split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if value.is_empty() || decode(key).as_deref() != Some(name) {
                continue;
            }
            let Some(value) = decode(value) else {
                return Err(Error::Invalid(format!(
                    "The query parameter {name} must be percent-encoded UTF-8."
                )));
            };
            match &found {
                Some(earlier) if *earlier != value => {
                    return Err(Error::Invalid(format!(
                        "The query parameter {name} is there twice, with different values."
                    )));
                }
                _ => found = Some(value.into_owned()),
            }
        }
        Ok(found)
    }

    /// A parameter that must be there and not be empty.
    pub(crate) fn required(&self, name: &str) -> Result<String, Error> {
        self.text(name)?.ok_or_else(|| {
            Error::Invalid(format!(
                "The query parameter {name} is required and must not be empty."
            ))
        })
    }

    /// Only `true` is true: a platform that says anything else has not said
    /// that it can wait (ASY-04).
    pub(crate) fn accepts_incomplete(&self) -> Result<bool, Error> {
        Ok(self.text("accepts_incomplete")?.as_deref() == Some("true"))
    }
}

/// Decodes once, `+` being a space as in HTML forms, which platforms' HTTP
/// libraries follow.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode(spaced.as_bytes()).decode_utf8().ok()?;
    Some(Cow::Owned(decoded.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(raw: &str) -> Result<Option<String>, Error> {
        Query::new(Some(raw)).text("service_id")
    }

    /// U-02, U-03.
    #[test]
    fn values_are_decoded_exactly_once() {
        for (raw, value) in [
            ("service_id=a", "a"),
            ("x=%FF&service_id=a%2Fb%20c+d", "a/b c d"),
            ("service%5Fid=%2541", "%41"),
            ("service_id=a=b", "a=b"),
            ("service_id=&service_id=a&service_id=a", "a"),
        ] {
            assert_eq!(text(raw).unwrap().as_deref(), Some(value), "{raw}");
        }
        for raw in ["", "service_id", "service_id=", "Service_id=a", "&&=&"] {
            assert_eq!(text(raw).unwrap(), None, "{raw}");
        }
    }

    #[test]
    fn different_duplicates_and_bad_utf8_are_refused() {
        assert!(text("service_id=a&service_id=b").is_err());
        assert!(text("service_id=%FF").is_err());
    }

    /// ASY-04.
    #[test]
    fn only_true_accepts_incomplete() {
        let ask = |raw: &str| Query::new(Some(raw)).accepts_incomplete().unwrap();
        assert!(ask("accepts_incomplete=true"));
        for value in ["false", "True", "1", "", "yes"] {
            assert!(!ask(&format!("accepts_incomplete={value}")), "{value}");
        }
        assert!(!ask(""));
    }
}
