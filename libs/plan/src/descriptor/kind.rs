//! A kind of Kubernetes object as plans write it: `v1/Secret`, `apps/v1/StatefulSet`, and with
//! its plural where the broker cannot know it: `example.com/v1/Widget=widgets`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A group, version and kind, and the plural resource name if it was given.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KindRef {
    /// The API group; empty for the core group.
    pub group: String,
    /// The version in the group.
    pub version: String,
    /// The kind.
    pub kind: String,
    /// The plural resource name, if the author gave it.
    pub plural: Option<String>,
}

/// A text that names no kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not <version>/<Kind>, <group>/<version>/<Kind> or either with =<plural>")]
pub struct KindError(String);

impl KindRef {
    /// The kind of an object with this `apiVersion` and `kind`.
    pub fn new(api_version: &str, kind: &str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            plural: None,
        }
    }

    /// What manifests call `apiVersion`.
    pub fn api_version(&self) -> String {
        match self.group.as_str() {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// Whether an object is of this kind; the plural does not count.
    pub fn matches(&self, other: &KindRef) -> bool {
        (&self.group, &self.version, &self.kind) == (&other.group, &other.version, &other.kind)
    }
}

impl FromStr for KindRef {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, KindError> {
        let fail = || KindError(text.to_owned());
        let (name, plural) = match text.split_once('=') {
            Some((name, plural)) if is_word(plural) => (name, Some(plural.to_owned())),
            Some(_) => return Err(fail()),
            None => (text, None),
        };
        let (api_version, kind) = name.rsplit_once('/').ok_or_else(fail)?;
        let parsed = Self {
            plural,
            ..Self::new(api_version, kind)
        };
        let legal = is_word(&parsed.version)
            && is_word(kind)
            && kind.starts_with(|c: char| c.is_ascii_uppercase())
            && (parsed.group.is_empty() != api_version.contains('/'))
            && parsed
                .group
                .split('.')
                .all(|part| parsed.group.is_empty() || is_word(part));
        legal.then_some(parsed).ok_or_else(fail)
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

impl fmt::Display for KindRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.api_version(), self.kind)?;
        match &self.plural {
            Some(plural) => write!(f, "={plural}"),
            None => Ok(()),
        }
    }
}

impl TryFrom<String> for KindRef {
    type Error = KindError;

    fn try_from(text: String) -> Result<Self, KindError> {
        text.parse()
    }
}

impl From<KindRef> for String {
    fn from(kind: KindRef) -> Self {
        kind.to_string()
    }
}

#[cfg(test)]
impl schemars::JsonSchema for KindRef {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "KindRef".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "<version>/<Kind> or <group>/<version>/<Kind>, with =<plural> where \
                            the broker cannot know the plural",
            "pattern": "^([a-z0-9.-]+/)?[a-z0-9]+/[A-Z][A-Za-z0-9]*(=[a-z0-9]+)?$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_and_written_alike() {
        for text in [
            "v1/Secret",
            "apps/v1/StatefulSet",
            "mongodb.com/v1/MongoDB=mongodb",
        ] {
            assert_eq!(text.parse::<KindRef>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_kind_is_refused() {
        for text in [
            "Secret",
            "v1/secret",
            "/v1/Secret",
            "v1/",
            "a/b/c/D",
            "v1/Secret=",
        ] {
            assert!(text.parse::<KindRef>().is_err(), "{text}");
        }
    }
}
