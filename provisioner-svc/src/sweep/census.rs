//! What all records together say of what is found in the cluster.

use std::collections::{BTreeMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use service::telemetry::chain;

use crate::{
    resource::ServiceInstance,
    state::{Record, instance_of},
    work,
};

/// The lives of an id, by the name that the id hashes to.
type Life = (String, String);

/// Read from every record, once a sweep.
#[derive(Debug, Default)]
pub(super) struct Census {
    living: HashSet<Life>,
    ended: HashSet<Life>,
    /// Ids that have a record, whatever it says.
    known: HashSet<String>,
    /// Ids of whose records one cannot be read.
    unreadable: HashSet<String>,
    revisions: HashSet<String>,
    bundles: HashSet<String>,
    /// Tombstones past their time.
    pub(super) expired: Vec<ServiceInstance>,
    /// Instances that must have a namespace.
    pub(super) homes: Vec<Home>,
    /// Instances that ended in a namespace that is not their own.
    pub(super) guests: BTreeMap<String, Vec<Record>>,
}

/// Where an instance at rest must have its objects.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) record: String,
    pub(super) namespace: String,
    /// Whether it was made for the instance.
    pub(super) own: bool,
    /// Whether the status shows that it is missing.
    pub(super) shown_missing: bool,
}

/// What the records say of one life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It lives, or its data is kept.
    Lives,
    /// A record proves that it is over.
    Ended,
    /// No record knows it: that proves nothing.
    Orphan,
    /// A record that may know it cannot be read.
    Unclear,
}

impl Census {
    /// Takes in one record; one that cannot be read is told of, and harms only
    /// what may be its own.
    pub(super) fn take(&mut self, resource: ServiceInstance, now: Timestamp, keep: SignedDuration) {
        let instance = instance_of(&resource.name_any()).to_owned();
        self.known.insert(instance.clone());
        let record = match Record::new(resource) {
            Ok(record) => record,
            Err(error) => {
                tracing::error!(error = chain(&error), "skipping unreadable record");
                self.unreadable.insert(instance);
                return;
            }
        };
        let spec = &record.resource.spec;
        let life = (instance.clone(), spec.incarnation.clone());
        for ended in &record.state.ended {
            self.ended.insert((instance.clone(), ended.clone()));
        }
        self.revisions.extend(record.operation().revision.clone());
        let applied = record.state.applied.as_ref();
        self.revisions
            .extend(applied.map(|applied| applied.revision.clone()));
        let keeps = !record.is_tombstone() || record.state.retained_until.is_some();
        if keeps {
            self.living.insert(life);
            self.bundles
                .extend(record.operation().bundles.iter().cloned());
            self.bundles
                .extend(applied.map(|applied| applied.bundle.clone()));
            if record.needs_namespace() {
                self.homes.push(Home {
                    record: record.name(),
                    namespace: spec.namespace.clone(),
                    own: spec.own_namespace,
                    shown_missing: work::lacks_namespace(&record),
                });
            }
            return;
        }
        self.ended.insert(life);
        let over = |at: Timestamp| now.duration_since(at) > keep;
        if record.state.deleted_at.is_some_and(over) {
            self.expired.push(record.resource.clone());
        }
        if !spec.own_namespace {
            let namespace = spec.namespace.clone();
            self.guests.entry(namespace).or_default().push(record);
        }
    }

    /// What is known of one incarnation of an instance.
    pub(super) fn fate(&self, instance: &str, incarnation: &str) -> Fate {
        let life = (instance.to_owned(), incarnation.to_owned());
        if self.living.contains(&life) {
            Fate::Lives
        } else if self.unreadable.contains(instance) {
            Fate::Unclear
        } else if self.ended.contains(&life) {
            Fate::Ended
        } else {
            Fate::Orphan
        }
    }

    /// What is known of a revision that was written for `record`.
    pub(super) fn fate_of_revision(&self, revision: &str, record: &str) -> Fate {
        let instance = instance_of(record);
        if self.revisions.contains(revision) {
            Fate::Lives
        } else if self.unreadable.contains(instance) {
            Fate::Unclear
        } else if self.known.contains(instance) {
            Fate::Ended
        } else {
            Fate::Orphan
        }
    }

    /// Whether the bundle whose digest begins like this may be in use.
    pub(super) fn may_use_bundle(&self, digest: &str) -> bool {
        !self.unreadable.is_empty() || self.bundles.iter().any(|named| named.starts_with(digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        resource::Kind,
        state::{
            ANNOTATION, State,
            tests::{ended, record},
        },
    };

    const KEEP: SignedDuration = SignedDuration::from_hours(72);

    fn named(mut record: Record, name: &str, incarnation: &str) -> Record {
        record.resource.metadata.name = Some(name.into());
        record.resource.spec.incarnation = incarnation.into();
        record
    }

    fn with(mut record: Record, change: impl FnOnce(&mut State)) -> Record {
        change(&mut record.state);
        record
    }

    fn census(records: impl IntoIterator<Item = Record>, now: Timestamp) -> Census {
        let mut census = Census::default();
        for record in records {
            census.take(record.with_state(&record.state), now, KEEP);
        }
        census
    }

    fn tombstone(name: &str, incarnation: &str) -> Record {
        let record = named(ended(record(Kind::Delete), true), name, incarnation);
        with(record, |state| {
            state.deleted_at = Some(Timestamp::UNIX_EPOCH);
        })
    }

    #[test]
    fn only_a_tombstone_or_a_later_life_proves_an_end() {
        let reborn = with(named(record(Kind::Create), "b", "two"), |state| {
            state.ended = vec!["one".into()];
        });
        let kept = with(tombstone("c", "one"), |state| {
            state.retained_until = Some(Timestamp::MAX);
        });
        let live = named(record(Kind::Create), "d", "one");
        let records = [tombstone("a", "one"), reborn, kept, live];
        let census = census(records, Timestamp::UNIX_EPOCH);
        for (instance, incarnation, fate) in [
            ("a", "one", Fate::Ended),
            ("b", "one", Fate::Ended),
            ("b", "two", Fate::Lives),
            ("c", "one", Fate::Lives),
            ("d", "one", Fate::Lives),
            // Another life than the record's: newer, older, nobody knows.
            ("d", "zero", Fate::Orphan),
            ("e", "one", Fate::Orphan),
        ] {
            assert_eq!(
                census.fate(instance, incarnation),
                fate,
                "{instance}-{incarnation}"
            );
        }
    }

    #[test]
    fn an_archived_life_goes_on_beside_the_new_one() {
        let archived = with(tombstone("a-one", "one"), |state| {
            state.retained_until = Some(Timestamp::MAX);
        });
        let census = census(
            [named(record(Kind::Create), "a", "two"), archived],
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(census.fate("a", "one"), Fate::Lives);
        assert_eq!(census.fate("a", "two"), Fate::Lives);
    }

    #[test]
    fn a_revision_goes_only_if_its_record_is_there_and_does_not_name_it() {
        let census = census(
            [named(record(Kind::Create), "a", "one")],
            Timestamp::UNIX_EPOCH,
        );
        for (revision, record, fate) in [
            ("rev", "a", Fate::Lives),
            ("old", "a", Fate::Ended),
            ("old", "b", Fate::Orphan),
        ] {
            assert_eq!(census.fate_of_revision(revision, record), fate);
        }
    }

    #[test]
    fn a_record_that_cannot_be_read_harms_itself_alone() {
        let mut broken = named(record(Kind::Create), "a", "one").resource;
        broken
            .annotations_mut()
            .insert(ANNOTATION.into(), "{".into());
        let mut census = census(
            [
                tombstone("b", "one"),
                named(record(Kind::Create), "c", "one"),
            ],
            Timestamp::UNIX_EPOCH,
        );
        assert!(!census.may_use_bundle("x"));
        census.take(broken, Timestamp::UNIX_EPOCH, KEEP);
        assert_eq!(census.fate("a", "one"), Fate::Unclear);
        assert_eq!(census.fate("a", "two"), Fate::Unclear);
        assert_eq!(census.fate_of_revision("rev-x", "a"), Fate::Unclear);
        assert_eq!(census.fate("b", "one"), Fate::Ended);
        assert_eq!(census.fate("c", "one"), Fate::Lives);
        assert!(census.may_use_bundle("x"), "the broken record may name any");
    }

    #[test]
    fn tombstones_expire_but_not_what_is_kept() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(100);
        let kept = with(tombstone("b", "one"), |state| {
            state.retained_until = Some(Timestamp::UNIX_EPOCH);
        });
        let census = census([tombstone("a", "one"), kept], now);
        let names: Vec<String> = census
            .expired
            .iter()
            .map(kube::ResourceExt::name_any)
            .collect();
        assert_eq!(names, ["a"]);
    }

    /// Prints what it costs: `cargo test -p provisioner-svc --release --lib ten_thousand -- --ignored --nocapture`.
    #[test]
    #[ignore = "prints numbers, asserts nothing about time"]
    fn the_cost_of_ten_thousand_records() {
        let resources: Vec<ServiceInstance> = (0..10_000)
            .map(|number| {
                let mut record = named(
                    ended(record(Kind::Create), true),
                    &format!("r{number}"),
                    "one",
                );
                for past in 0..cluster::operation::KEPT {
                    let id = format!("update-{past}-x");
                    let end = cluster::operation::Ended::failed(
                        &id,
                        "x".repeat(500),
                        Timestamp::UNIX_EPOCH,
                    );
                    record.state = record.after(end);
                }
                record.with_state(&record.state)
            })
            .collect();
        let begun = std::time::Instant::now();
        let mut census = Census::default();
        for resource in resources {
            census.take(resource, Timestamp::UNIX_EPOCH, KEEP);
        }
        println!("read all records: {:?}", begun.elapsed());
        let begun = std::time::Instant::now();
        let found = (0..10_000)
            .filter(|number| census.fate(&format!("r{number}"), "one") == Fate::Lives)
            .count();
        println!("judged {found} namespaces: {:?}", begun.elapsed());
    }
}
