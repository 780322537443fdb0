//! Who lives, and which record is whose: rendezvous hashing, so that a replica
//! that leaves moves only its own records.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

/// Who lives, as this replica sees it; empty while it cannot renew its own
/// lease, and until those that live have seen it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    own: String,
    pub(super) live: BTreeSet<String>,
}

impl Members {
    /// Members for tests and for single use: `own` among `live`.
    pub fn new(own: &str, live: impl IntoIterator<Item = String>) -> Self {
        Self {
            own: own.to_owned(),
            live: live.into_iter().collect(),
        }
    }

    /// Whether the record of that name is this replica's to work on.
    pub fn owns(&self, record: &str) -> bool {
        self.owner(record) == Some(self.own.as_str())
    }

    /// The owner of the record: the live replica with the highest hash.
    pub fn owner(&self, record: &str) -> Option<&str> {
        self.live
            .iter()
            .max_by_key(|replica| weight(replica, record))
            .map(String::as_str)
    }

    /// Whether the record is this replica's to work on, if `driver` took the
    /// request that it came with: the driver's while it lives, else the owner's.
    pub fn works_on(&self, record: &str, driver: Option<&str>) -> bool {
        match driver {
            Some(driver) if self.lives(driver) => driver == self.own && self.lives(&self.own),
            Some(_) | None => self.owns(record),
        }
    }

    /// Whether a replica lives.
    pub fn lives(&self, replica: &str) -> bool {
        self.live.contains(replica)
    }

    /// Whether this replica lives, and no other.
    pub fn is_alone(&self) -> bool {
        self.live.len() == 1 && self.live.contains(&self.own)
    }

    /// How many replicas live.
    pub fn count(&self) -> usize {
        self.live.len()
    }
}

fn weight(replica: &str, record: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update((replica.len() as u64).to_be_bytes());
    hash.update(replica);
    hash.update(record);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names;

    fn members(own: &str, live: &[&str]) -> Members {
        Members::new(own, live.iter().map(|name| (*name).to_owned()))
    }

    #[test]
    fn every_record_has_exactly_one_owner_and_a_leave_moves_only_its_own() {
        let three = members("a", &["a", "b", "c"]);
        let two = members("a", &["a", "b"]);
        let mut moved = 0;
        for number in 0..300 {
            let record = names::instance_record(&number.to_string());
            let before = three.owner(&record).unwrap();
            let after = two.owner(&record).unwrap();
            if before == "c" {
                moved += 1;
            } else {
                assert_eq!(before, after);
            }
        }
        assert!(
            (50..150).contains(&moved),
            "{moved} of 300 were the leaver's"
        );
    }

    #[test]
    fn a_replica_that_cannot_renew_owns_nothing() {
        assert!(!members("a", &[]).owns("x"));
    }

    #[test]
    fn a_driver_works_while_it_lives_and_the_owner_afterwards() {
        let three = members("a", &["a", "b", "c"]);
        let foreign = |number: &u32| !three.owns(&number.to_string());
        let record = (0..100).find(foreign).unwrap().to_string();
        assert!(three.works_on(&record, Some("a")));
        assert!(!three.works_on(&record, Some("b")));
        assert!(!three.works_on(&record, None));
        assert!(!three.works_on(&record, Some("gone")));
        assert!(members("a", &["a"]).works_on(&record, Some("b")));
        assert!(
            !members("a", &[]).works_on(&record, Some("a")),
            "a driver that cannot renew works on nothing"
        );
    }
}
