//! The ConfigMap `mdb-compatibility`: the feature compatibility version that is wanted, and the last
//! report on it. A plan applies it as its last file: raising the version cannot be undone, so
//! everything else of an upgrade is done by then.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::version::{ServerVersion, VersionError};

/// The key of the ConfigMap's data with the wanted version.
pub const VERSION: &str = "version";
/// The annotation with the [`CompatibilityReport`], as JSON.
pub const REPORT: &str = "mongodb-osb.io/compatibility-report";

/// The content of the ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compatibility {
    /// The version that is wanted.
    pub wanted: ServerVersion,
    /// The last report. One that cannot be read counts as none.
    pub report: Option<CompatibilityReport>,
}

/// The state of the set, for those who wait for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CompatibilityReport {
    /// The wanted version when this was written.
    pub desired: ServerVersion,
    /// The version that the set has.
    pub version: ServerVersion,
    /// What is waited for, or why the last step failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A ConfigMap without a wanted version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompatibilityError {
    /// It has no such key.
    #[error("the ConfigMap has no key {VERSION:?}")]
    Missing,
    /// The value is not a version.
    #[error("read the wanted feature compatibility version")]
    Version(#[from] VersionError),
}

impl Compatibility {
    /// Reads a ConfigMap's data and annotations.
    pub fn read(
        data: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Self, CompatibilityError> {
        let text = data.get(VERSION).ok_or(CompatibilityError::Missing)?;
        Ok(Self {
            wanted: text.parse()?,
            report: annotations
                .get(REPORT)
                .and_then(|text| serde_json::from_str(text).ok()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(key: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(key.to_owned(), value.to_owned())])
    }

    #[test]
    fn a_report_is_read_as_it_was_written_and_anew_where_it_cannot_be_read() {
        let report = CompatibilityReport {
            desired: "8.0".parse().unwrap(),
            version: "7.0".parse().unwrap(),
            message: None,
        };
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(text, r#"{"desired":"8.0","version":"7.0"}"#);
        let read = |text| Compatibility::read(&map(VERSION, "8.0"), &map(REPORT, text));
        assert_eq!(read(&text).unwrap().report, Some(report));
        assert_eq!(read("{").unwrap().report, None);
    }

    #[test]
    fn a_value_that_is_not_a_version_is_refused() {
        let none = BTreeMap::new();
        assert_eq!(
            Compatibility::read(&none, &none),
            Err(CompatibilityError::Missing)
        );
        let read = Compatibility::read(&map(VERSION, "latest"), &none);
        assert!(matches!(read, Err(CompatibilityError::Version(_))));
    }
}
