//! Names of members: the pods of a StatefulSet, numbered from 0.

use std::{collections::BTreeSet, str::FromStr};

/// A member's number: that of its pod.
pub type Ordinal = u32;

/// The place of the number in a pattern.
const PLACEHOLDER: &str = "{ordinal}";

/// The `host:port` of every member, by its ordinal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberNames {
    before: String,
    after: String,
}

/// A pattern or a pod name that names no member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// The pattern has no place for the ordinal, or no port.
    #[error("{0:?} is not a host and port with {PLACEHOLDER} once in the host")]
    Pattern(String),
    /// The pod is not of a StatefulSet.
    #[error("the pod's name {0:?} does not end in a dash and a number")]
    Pod(String),
}

impl MemberNames {
    /// Host and port of a member.
    pub fn host(&self, ordinal: Ordinal) -> String {
        format!("{}{ordinal}{}", self.before, self.after)
    }

    /// The ordinal of a member by its host and port; none if it is not a pod of this set.
    pub fn ordinal(&self, host: &str) -> Option<Ordinal> {
        // mongod keeps the case in which a name was given; names have none.
        let host = host.to_ascii_lowercase();
        let number = host.strip_prefix(&self.before)?.strip_suffix(&self.after)?;
        canonical(number)
    }

    /// The ordinals of the hosts that are pods of this set, in order.
    pub fn ordinals<'a>(&self, hosts: impl Iterator<Item = &'a str>) -> Vec<Ordinal> {
        let found: BTreeSet<_> = hosts.filter_map(|host| self.ordinal(host)).collect();
        found.into_iter().collect()
    }
}

impl FromStr for MemberNames {
    type Err = MemberError;

    fn from_str(text: &str) -> Result<Self, MemberError> {
        let fail = || MemberError::Pattern(text.to_owned());
        let (before, after) = text.split_once(PLACEHOLDER).ok_or_else(fail)?;
        let (_, port) = after.rsplit_once(':').ok_or_else(fail)?;
        if port.parse::<u16>().is_err() || after.contains(PLACEHOLDER) {
            return Err(fail());
        }
        Ok(Self {
            before: before.to_ascii_lowercase(),
            after: after.to_ascii_lowercase(),
        })
    }
}

/// The ordinal of a StatefulSet's pod.
pub fn ordinal_of_pod(pod: &str) -> Result<Ordinal, MemberError> {
    pod.rsplit_once('-')
        .and_then(|(_, number)| canonical(number))
        .ok_or_else(|| MemberError::Pod(pod.to_owned()))
}

/// A number as Kubernetes writes it: `07` is another name, not 7.
fn canonical(number: &str) -> Option<Ordinal> {
    number
        .parse()
        .ok()
        .filter(|ordinal: &Ordinal| ordinal.to_string() == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> MemberNames {
        "mdb-{ordinal}.mdb.ns1.svc.cluster.local:27017"
            .parse()
            .unwrap()
    }

    #[test]
    fn ordinals_and_hosts_are_two_ways_of_the_same_name() {
        for ordinal in [0, 1, 10] {
            assert_eq!(names().ordinal(&names().host(ordinal)), Some(ordinal));
        }
        assert_eq!(names().host(2), "mdb-2.mdb.ns1.svc.cluster.local:27017");
        assert_eq!(
            names().ordinal("MDB-2.mdb.ns1.svc.cluster.local:27017"),
            Some(2)
        );
    }

    #[test]
    fn a_host_that_is_not_ours_has_no_ordinal() {
        for host in [
            "mdb-0.mdb.ns2.svc.cluster.local:27017",
            "mdb-0.mdb.ns1.svc.cluster.local:27018",
            "mdb-00.mdb.ns1.svc.cluster.local:27017",
            "mdb-.mdb.ns1.svc.cluster.local:27017",
            "",
        ] {
            assert_eq!(names().ordinal(host), None, "{host}");
        }
    }

    #[test]
    fn a_text_that_is_not_a_pattern_is_refused() {
        for text in [
            "",
            "mdb-0:27017",
            "mdb-{ordinal}",
            "mdb-{ordinal}:x",
            "{ordinal}{ordinal}:1",
        ] {
            assert!(text.parse::<MemberNames>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_pod_has_the_ordinal_of_its_name() {
        assert_eq!(ordinal_of_pod("mdb-0"), Ok(0));
        assert_eq!(ordinal_of_pod("my-mdb-12"), Ok(12));
        for pod in ["mdb", "mdb-", "mdb-x", "mdb-01"] {
            assert!(ordinal_of_pod(pod).is_err(), "{pod}");
        }
    }
}
