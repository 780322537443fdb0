//! Namespaces of instances, and instances without one.

use std::collections::{BTreeSet, HashSet};

use cluster::{
    error::{call, optional},
    gate, names,
    orphan::{self, Mark},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, ObjectReference};
use kube::{Api, Resource as _, ResourceExt as _, core::PartialObjectMeta};
use service::telemetry::chain;

use super::census::{Census, Fate, Home};
use crate::{context::Context, error::Error, metrics::Orphan, resource::ServiceInstance, work};

type Found = PartialObjectMeta<Namespace>;

/// Deletes what is proven to be over, marks what has no record, and takes the
/// mark from what has one again. The result names the instances that have an
/// orphan.
pub(super) async fn sweep(context: &Context, census: &Census, found: &[Found]) -> HashSet<String> {
    let mut orphans = HashSet::new();
    let mut count = 0;
    for namespace in found {
        let labels = namespace.labels();
        let (Some(instance), Some(incarnation)) =
            (labels.get(names::INSTANCE), labels.get(names::INCARNATION))
        else {
            continue;
        };
        if namespace.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let fate = census.fate(instance, incarnation);
        if fate == Fate::Orphan {
            count += 1;
            orphans.insert(instance.clone());
        }
        if let Err(error) = settle(context, namespace, fate, instance, incarnation).await {
            let name = namespace.name_any();
            tracing::warn!(
                namespace = name,
                error = chain(&error),
                "namespace not swept"
            );
        }
    }
    context.metrics.orphans(Orphan::Namespace, count);
    orphans
}

async fn settle(
    context: &Context,
    namespace: &Found,
    fate: Fate,
    instance: &str,
    incarnation: &str,
) -> Result<(), Error> {
    let name = namespace.name_any();
    let labels = names::instance_labels(instance, incarnation);
    let is_marked = namespace.labels().contains_key(names::ORPHANED);
    match fate {
        Fate::Lives if is_marked => {
            orphan::mark_namespace(&context.client(), &name, &labels, Mark::Owned).await?;
            tracing::info!(namespace = name, "namespace has its record again");
        }
        Fate::Orphan if !is_marked => {
            let mark = Mark::Orphaned(Timestamp::now());
            orphan::mark_namespace(&context.client(), &name, &labels, mark).await?;
            tell(context, &name, instance).await;
        }
        Fate::Ended => {
            tracing::warn!(
                namespace = name,
                "deleting the namespace of an instance that ended"
            );
            gate::delete_namespace(&context.client(), &name, &labels).await?;
        }
        Fate::Lives | Fate::Orphan | Fate::Unclear => {}
    }
    Ok(())
}

/// On the record that is not there: in the namespace of the records, where people look.
async fn tell(context: &Context, namespace: &str, instance: &str) {
    tracing::warn!(
        namespace,
        record = instance,
        "namespace has no record: kept, and marked with the label {}",
        names::ORPHANED
    );
    let on = ObjectReference {
        api_version: Some(ServiceInstance::api_version(&()).into_owned()),
        kind: Some(ServiceInstance::kind(&()).into_owned()),
        name: Some(instance.to_owned()),
        namespace: Some(context.args.broker.instances_namespace()),
        ..ObjectReference::default()
    };
    let note = format!(
        "Namespace {namespace} has no record. It is kept: restore the record, or delete the namespace."
    );
    context.events.warn_about(&on, "Orphaned", note).await;
}

/// Shows of each instance at rest whether its namespace is there.
pub(super) async fn show_missing(context: &Context, census: &Census, found: &[Found]) {
    let listed: HashSet<String> = found.iter().map(kube::ResourceExt::name_any).collect();
    let others = others_missing(context, census).await;
    for home in &census.homes {
        let missing = if home.own {
            !listed.contains(&home.namespace)
        } else {
            others.contains(&home.namespace)
        };
        if missing == home.shown_missing {
            continue;
        }
        if let Err(error) = show(context, home).await {
            tracing::warn!(
                record = home.record,
                error = chain(&error),
                "status not rebuilt"
            );
        }
    }
}

/// Namespaces of others that instances are in and that are not there.
async fn others_missing(context: &Context, census: &Census) -> HashSet<String> {
    let api: Api<Namespace> = Api::all(context.client());
    let homes = census.homes.iter().filter(|home| !home.own);
    let names: BTreeSet<&str> = homes.map(|home| home.namespace.as_str()).collect();
    let mut missing = HashSet::new();
    for name in names {
        match optional(call(api.get_metadata(name)).await) {
            Ok(Some(_)) => {}
            Ok(None) => {
                missing.insert(name.to_owned());
            }
            Err(error) => {
                tracing::warn!(
                    namespace = name,
                    error = chain(&error),
                    "namespace not looked up"
                );
            }
        }
    }
    missing
}

/// From a fresh read: the lists may be old by now.
async fn show(context: &Context, home: &Home) -> Result<(), Error> {
    match context.read(&home.record).await? {
        Some(record) if record.needs_namespace() => work::rebuild(context, &record).await,
        Some(_) | None => Ok(()),
    }
}
