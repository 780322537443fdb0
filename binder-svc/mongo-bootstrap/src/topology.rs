//! The ConfigMap `mdb-topology`: how many members are wanted, of which server version, whether the
//! set was ever initiated, and the last report on it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    member::Ordinal,
    version::{ServerVersion, VersionError},
};

/// The key of the ConfigMap's data with the wanted number of members.
pub const MEMBERS: &str = "members";
/// The key of the ConfigMap's data with the server version that the members should run.
pub const VERSION: &str = "version";
/// The annotation that marks a set that was initiated. It is not kept on the data volume: a lost
/// volume must not look like a set that was never initiated.
pub const BOOTSTRAPPED: &str = "mongodb-osb.io/bootstrapped";
/// The annotation with the [`Report`], as JSON.
pub const REPORT: &str = "mongodb-osb.io/topology-report";
/// The most members of a set: MongoDB lets no more than seven vote.
pub const MAX_MEMBERS: u32 = 7;

/// The content of the ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// How many members are wanted: those with the ordinals below it.
    pub desired: u32,
    /// The server version that the members should run, if one is named.
    pub version: Option<ServerVersion>,
    /// Whether the set was initiated before.
    pub bootstrapped: bool,
    /// The last report. One that cannot be read counts as none.
    pub report: Option<Report>,
}

/// The state of the set, for those who wait for it. It contains no time: an unchanged report is not
/// written again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The wanted number of members when this was written (a ConfigMap has no generation).
    pub desired: u32,
    /// The wanted version when this was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<ServerVersion>,
    /// The feature compatibility version that the data has, or is about to have: no older server
    /// opens it. It is reported before it is raised, and never lowered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_version: Option<ServerVersion>,
    /// The members in the replica set configuration.
    pub members: Vec<Ordinal>,
    /// Those of them that are to be removed.
    pub excess: Vec<Ordinal>,
    /// The primary, if there is one.
    pub primary_ordinal: Option<Ordinal>,
    /// What is waited for, or why the last step failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A ConfigMap without a usable number of members.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// It has no such key.
    #[error("the topology has no key {MEMBERS:?}")]
    Missing,
    /// It is not a number that a set can have.
    #[error("the topology asks for {0:?} members, not for a number from 1 to {MAX_MEMBERS}")]
    Number(String),
    /// The version is not one.
    #[error("read the topology's version")]
    Version(#[from] VersionError),
}

impl Topology {
    /// Reads a ConfigMap's data and annotations.
    pub fn read(
        data: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Self, TopologyError> {
        let text = data.get(MEMBERS).ok_or(TopologyError::Missing)?;
        let desired = text
            .parse()
            .ok()
            .filter(|number| (1..=MAX_MEMBERS).contains(number))
            .ok_or_else(|| TopologyError::Number(text.clone()))?;
        let version = data.get(VERSION).map(|text| text.parse()).transpose()?;
        Ok(Self {
            desired,
            version,
            bootstrapped: annotations.contains_key(BOOTSTRAPPED),
            report: annotations
                .get(REPORT)
                .and_then(|text| serde_json::from_str(text).ok()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_new_topology_has_only_a_number() {
        let topology = Topology::read(&map(&[("members", "3")]), &map(&[])).unwrap();
        assert_eq!(
            topology,
            Topology {
                desired: 3,
                version: None,
                bootstrapped: false,
                report: None
            }
        );
    }

    #[test]
    fn a_number_that_no_set_can_have_is_refused() {
        assert_eq!(
            Topology::read(&map(&[]), &map(&[])),
            Err(TopologyError::Missing)
        );
        for text in ["", "0", "8", "-1", "three", "3.0"] {
            let read = Topology::read(&map(&[("members", text)]), &map(&[]));
            assert_eq!(read, Err(TopologyError::Number(text.to_owned())));
        }
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let report = Report {
            desired: 1,
            version: Some("8.0".parse().unwrap()),
            data_version: Some("7.0".parse().unwrap()),
            members: vec![0, 2],
            excess: vec![2],
            primary_ordinal: None,
            message: Some("no primary".to_owned()),
        };
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"desired":1,"version":"8.0","dataVersion":"7.0","members":[0,2],"excess":[2],"#,
                r#""primaryOrdinal":null,"message":"no primary"}"#
            )
        );
        let annotations = map(&[(REPORT, &text), (BOOTSTRAPPED, "mdb")]);
        let topology = Topology::read(&map(&[("members", "1")]), &annotations).unwrap();
        assert_eq!(topology.report, Some(report));
        assert!(topology.bootstrapped);
    }

    #[test]
    fn a_version_is_optional_but_must_be_one() {
        let read = |text| Topology::read(&map(&[("members", "1"), ("version", text)]), &map(&[]));
        assert_eq!(read("8.0").unwrap().version, Some("8.0".parse().unwrap()));
        assert!(matches!(read("latest"), Err(TopologyError::Version(_))));
    }

    #[test]
    fn a_report_that_cannot_be_read_is_written_anew() {
        let annotations = map(&[(REPORT, "{")]);
        let topology = Topology::read(&map(&[("members", "1")]), &annotations).unwrap();
        assert_eq!(topology.report, None);
    }
}
