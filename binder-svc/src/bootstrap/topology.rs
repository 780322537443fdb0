//! What the ConfigMap `mdb-topology` says: how many members are wanted, of which version of the
//! server, whether the set was ever initiated, and what was last reported of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    member::Ordinal,
    version::{ServerVersion, VersionError},
};

/// The key of the ConfigMap's data with the wanted number of members.
pub const MEMBERS: &str = "members";
/// The key of the ConfigMap's data with the version of the server that the members shall run.
pub const VERSION: &str = "version";
/// The annotation that says that the set was initiated. It is never on the data disk: a lost disk
/// must not look like a set that never was.
pub const BOOTSTRAPPED: &str = "mongodb-osb.io/bootstrapped";
/// The annotation with the [`Report`], as JSON.
pub const REPORT: &str = "mongodb-osb.io/topology-report";
/// The most members that a set of ours has: MongoDB lets no more than seven vote.
pub const MAX_MEMBERS: u32 = 7;

/// What the ConfigMap says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// How many members are wanted: those with the ordinals below it.
    pub desired: u32,
    /// The version that they shall run, if it says so.
    pub version: Option<ServerVersion>,
    /// Whether the set was initiated before.
    pub bootstrapped: bool,
    /// What was last reported. One that cannot be read counts as none.
    pub report: Option<Report>,
}

/// What is, for those who wait for it. It has no time in it: an unchanged report is not written
/// again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The wanted number that this speaks of (a ConfigMap has no generation).
    pub desired: u32,
    /// The wanted version that this speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<ServerVersion>,
    /// The feature compatibility version that the data has, or is about to have: no older server
    /// opens it. It is said before it is raised, and never taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_version: Option<ServerVersion>,
    /// The members in the replica-set configuration.
    pub members: Vec<Ordinal>,
    /// Those of them that must go.
    pub excess: Vec<Ordinal>,
    /// The primary, if there is one.
    pub primary_ordinal: Option<Ordinal>,
    /// What is being waited for, or what went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A ConfigMap that does not say how many members are wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// It does not say it at all.
    #[error("the topology has no key {MEMBERS:?}")]
    Missing,
    /// It says something else.
    #[error("the topology asks for {0:?} members, not for a number from 1 to {MAX_MEMBERS}")]
    Number(String),
    /// It asks for a version that is none.
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
