//! How operations begin: the record with its next operation, a pure function
//! of the record before and of what is asked.

use std::collections::BTreeMap;

use cluster::{
    audit::Requester,
    names,
    operation::{Ended, OperationId},
};
use jiff::Timestamp;
use kube::{ResourceExt as _, api::ObjectMeta};

use super::{ANNOTATION, FINALIZER, Record, State, encode};
use crate::resource::{Kind, Operation, ServiceInstance, ServiceInstanceSpec};

/// How an operation ends that a deprovision interrupts.
pub const INTERRUPTED: &str = "Interrupted by a deprovision.";

/// What a request says of the operation that it begins.
#[derive(Debug, Clone)]
pub struct Order {
    /// When it is accepted.
    pub at: Timestamp,
    /// The replica that works on it while the client waits.
    pub driver: Option<String>,
    /// Who asked.
    pub by: Requester,
}

/// What a provision or an update aims at.
#[derive(Debug, Clone)]
pub struct Aim {
    /// The Secret that holds it.
    pub revision: String,
    /// Digest of the plan's bundle.
    pub bundle: String,
    /// Id of the plan.
    pub plan_id: String,
    /// Name of the plan.
    pub plan_name: String,
    /// Seconds without progress.
    pub idle_seconds: u32,
    /// Seconds in all.
    pub total_seconds: u32,
}

/// The facts of a new instance that are no operation's.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields of the record")]
pub struct Birth {
    pub instance_id: String,
    pub incarnation: String,
    pub namespace: String,
    pub own_namespace: bool,
    pub service_id: String,
    pub service_name: String,
    pub organization_guid: String,
    pub space_guid: String,
    pub platform: String,
}

fn operation(kind: Kind, seq: u64, order: Order, aim: Option<&Aim>) -> Operation {
    Operation {
        id: OperationId::new(kind.as_str(), seq).to_string(),
        seq,
        kind,
        revision: aim.map(|aim| aim.revision.clone()),
        bundles: aim.map(|aim| aim.bundle.clone()).into_iter().collect(),
        started_at: order.at,
        idle_seconds: aim.map_or(0, |aim| aim.idle_seconds),
        total_seconds: aim.map_or(0, |aim| aim.total_seconds),
        driver: order.driver,
        requested_by: order.by,
    }
}

/// The record `name` of a new instance, in place of the tombstone if there is
/// one. The count of operations goes on over incarnations, so that no old
/// operation id means a new operation.
pub fn create(
    name: &str,
    tombstone: Option<&Record>,
    birth: Birth,
    aim: &Aim,
    order: Order,
) -> ServiceInstance {
    let seq = tombstone.map_or(1, |record| record.operation().seq + 1);
    let state = tombstone.map(State::succeed).unwrap_or_default();
    let labels = BTreeMap::from([(names::MANAGED_BY.to_owned(), names::MANAGER.to_owned())]);
    ServiceInstance {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels),
            annotations: Some(BTreeMap::from([(ANNOTATION.to_owned(), encode(&state))])),
            finalizers: Some(vec![FINALIZER.to_owned()]),
            resource_version: tombstone.and_then(|record| record.resource.resource_version()),
            ..ObjectMeta::default()
        },
        spec: ServiceInstanceSpec {
            instance_id: birth.instance_id,
            incarnation: birth.incarnation,
            namespace: birth.namespace,
            own_namespace: birth.own_namespace,
            service_id: birth.service_id,
            service_name: birth.service_name,
            plan_id: aim.plan_id.clone(),
            plan_name: aim.plan_name.clone(),
            organization_guid: birth.organization_guid,
            space_guid: birth.space_guid,
            platform: birth.platform,
            operation: operation(Kind::Create, seq, order, Some(aim)),
            held: false,
        },
        status: None,
    }
}

impl Record {
    /// The record with an update.
    pub fn begin_update(&self, aim: &Aim, order: Order) -> ServiceInstance {
        let mut resource = self.resource.clone();
        let spec = &mut resource.spec;
        spec.plan_id.clone_from(&aim.plan_id);
        spec.plan_name.clone_from(&aim.plan_name);
        spec.operation = operation(Kind::Update, self.operation().seq + 1, order, Some(aim));
        spec.operation.bundles = self.bundles(&aim.bundle);
        resource
    }

    /// The record with a deletion; what it interrupts has failed.
    pub fn begin_delete(&self, order: Order) -> ServiceInstance {
        let before = self.operation();
        let mut resource = match self.open_operation() {
            None => self.resource.clone(),
            Some(interrupted) => {
                let id = &interrupted.id;
                let mut ended = Ended::failed(id, INTERRUPTED, order.at);
                if interrupted.kind == Kind::Update {
                    ended.instance_usable = Some(false);
                    ended.update_repeatable = Some(false);
                }
                self.with_state(&self.after(ended))
            }
        };
        let first = before.bundles.first().cloned().unwrap_or_default();
        resource.spec.operation = Operation {
            // What it interrupts, or the failed operation before it, may have
            // written one that was never applied: it goes with the rest.
            revision: before.revision.clone(),
            bundles: self.bundles(&first),
            idle_seconds: before.idle_seconds,
            total_seconds: before.total_seconds,
            ..operation(Kind::Delete, before.seq + 1, order, None)
        };
        resource
    }

    /// The target's bundle first, then those that objects may be left of.
    fn bundles(&self, target: &str) -> Vec<String> {
        let mut all = vec![target.to_owned()];
        let applied = self.state.applied.iter().map(|applied| &applied.bundle);
        for digest in self.operation().bundles.iter().chain(applied) {
            if !all.contains(digest) {
                all.push(digest.clone());
            }
        }
        all
    }

    /// The record while bindings exist, or when they are gone.
    pub fn with_hold(&self, held: bool) -> ServiceInstance {
        let mut resource = self.resource.clone();
        resource.spec.held = held;
        resource
    }

    /// A record of its own for what an earlier life still owes, named by
    /// digest and incarnation, so that its place can be taken. `None` if that
    /// life owes nothing.
    pub fn archived(&self) -> Option<ServiceInstance> {
        self.state.retained_until?;
        let spec = self.resource.spec.clone();
        Some(ServiceInstance {
            metadata: ObjectMeta {
                name: Some(format!("{}-{}", self.name(), spec.incarnation)),
                labels: self.resource.metadata.labels.clone(),
                annotations: Some(BTreeMap::from([(
                    ANNOTATION.to_owned(),
                    encode(&self.state),
                )])),
                finalizers: Some(vec![FINALIZER.to_owned()]),
                ..ObjectMeta::default()
            },
            spec,
            status: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{
        Phase,
        tests::{ended, record},
    };

    fn order() -> Order {
        Order {
            at: Timestamp::UNIX_EPOCH,
            driver: Some("replica".into()),
            by: Requester::default(),
        }
    }

    fn aim(bundle: &str) -> Aim {
        Aim {
            revision: "rev-2".into(),
            bundle: bundle.into(),
            plan_id: "p2".into(),
            plan_name: "large".into(),
            idle_seconds: 5,
            total_seconds: 50,
        }
    }

    fn birth() -> Birth {
        Birth {
            instance_id: "i".into(),
            incarnation: "two".into(),
            namespace: "mdb-r-two".into(),
            own_namespace: true,
            service_id: "s".into(),
            service_name: "mongodb".into(),
            organization_guid: "org".into(),
            space_guid: "space".into(),
            platform: "cf".into(),
        }
    }

    #[test]
    fn a_new_instance_is_provisioning_and_keeps_its_finalizer() {
        let made = create("r", None, birth(), &aim("d"), order());
        let made = Record::new(made).unwrap();
        assert_eq!(made.phase(), Phase::Provisioning);
        assert!(!made.lacks_finalizer());
        assert_eq!(made.operation().seq, 1);
        assert_eq!(made.operation().driver.as_deref(), Some("replica"));
    }

    #[test]
    fn a_new_life_counts_on_and_is_written_over_its_tombstone_only() {
        let mut tombstone = ended(record(Kind::Delete), true);
        tombstone.state.deleted_at = Some(Timestamp::UNIX_EPOCH);
        let made = create("r", Some(&tombstone), birth(), &aim("d"), order());
        assert_eq!(made.metadata.resource_version.as_deref(), Some("1"));
        let made = Record::new(made).unwrap();
        assert_eq!(made.operation().seq, 2);
        assert_eq!(made.state.ended, ["one"]);
        assert!(made.state.operations.get("delete-1-x").is_some());
        assert_eq!(made.phase(), Phase::Provisioning);
    }

    #[test]
    fn an_update_names_the_new_plan_and_every_bundle_that_objects_may_be_of() {
        let before = ended(record(Kind::Create), true);
        let updating = Record::new(before.begin_update(&aim("new"), order())).unwrap();
        assert_eq!(updating.phase(), Phase::Updating);
        assert_eq!(updating.operation().bundles, ["new", "d"]);
        assert_eq!(updating.operation().seq, 2);
        assert_eq!(updating.resource.spec.plan_name, "large");
        let same = Record::new(before.begin_update(&aim("d"), order())).unwrap();
        assert_eq!(same.operation().bundles, ["d"]);
    }

    #[test]
    fn a_deletion_fails_what_it_interrupts() {
        for (kind, usable) in [(Kind::Create, None), (Kind::Update, Some(false))] {
            let before = record(kind);
            let id = before.operation().id.clone();
            let deleting = Record::new(before.begin_delete(order())).unwrap();
            assert_eq!(deleting.phase(), Phase::Deprovisioning);
            let interrupted = deleting.state.operations.get(&id).unwrap();
            assert!(!interrupted.succeeded);
            assert_eq!(interrupted.instance_usable, usable);
            assert_eq!(deleting.operation().total_seconds, 6000);
        }
        let ready = ended(record(Kind::Create), true);
        let ready = Record::new(ready.with_state(&ready.state)).unwrap();
        let deleting = Record::new(ready.begin_delete(order())).unwrap();
        assert!(
            deleting
                .state
                .operations
                .get("create-1-x")
                .unwrap()
                .succeeded
        );
    }

    #[test]
    fn only_a_life_that_owes_something_is_archived() {
        let mut tombstone = ended(record(Kind::Delete), true);
        tombstone.state.deleted_at = Some(Timestamp::UNIX_EPOCH);
        assert!(tombstone.archived().is_none());
        tombstone.state.retained_until = Some(Timestamp::UNIX_EPOCH);
        let archived = Record::new(tombstone.archived().unwrap()).unwrap();
        assert_eq!(archived.name(), "r-one");
        assert_eq!(archived.instance(), "r");
        assert_eq!(archived.state, tombstone.state);
        assert!(archived.resource.metadata.resource_version.is_none());
    }

    #[test]
    fn a_hold_changes_nothing_else() {
        let before = record(Kind::Create);
        let held = before.with_hold(true);
        assert!(held.spec.held);
        let released = Record::new(held).unwrap().with_hold(false);
        assert_eq!(released.spec, before.resource.spec);
    }
}
