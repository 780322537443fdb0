//! What nobody owns any more: a second look at what a paused replica may have
//! left after an end, revisions that no record names, tombstones and bundles
//! past their time. Paced, on one replica, each decision from a fresh read.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use cluster::{
    error::{call, optional},
    gate,
    inventory::{self, Entry},
    kinds, names,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Preconditions, PropagationPolicy},
    core::GroupVersionKind,
};
use service::telemetry::chain;
use tokio_util::sync::CancellationToken;

use crate::{
    context::Context, error::Error, resource::ServiceInstance, state::Record, work::BundleKinds,
};

/// The name whose owner sweeps.
const SWEEP: &str = "sweep";
/// No step of a paused replica takes longer: lease time and call deadline.
const SETTLED: SignedDuration = SignedDuration::from_secs(60);
/// A revision is written just before its record.
const REVISION_AGE: SignedDuration = SignedDuration::from_secs(300);
/// How long a bundle stays that is neither current nor named.
const BUNDLE_AGE: SignedDuration = SignedDuration::from_hours(24);

/// Labels and stamps of stored bundles, as catalog-svc writes them.
const BUNDLE: &str = "mongodb-osb.io/bundle";
const SUPERSEDED_AT: &str = "mongodb-osb.io/superseded-at";

/// Sweeps until `stop`.
pub(crate) async fn run(context: Arc<Context>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(context.args.sweep_interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if !context.members.borrow().owns(SWEEP) {
            continue;
        }
        if let Err(error) = sweep(&context).await {
            tracing::warn!(error = chain(&error), "sweep interrupted");
        }
    }
}

async fn sweep(context: &Context) -> Result<(), Error> {
    // What is looked for is listed before the records: whatever is found has
    // had its record before it.
    let namespaces: Api<Namespace> = Api::all(context.client());
    let ours = ListParams::default().labels(&format!(
        "{}={},{}={}",
        names::MANAGED_BY,
        names::MANAGER,
        names::BROKER,
        context.args.broker.namespace
    ));
    let namespaces = call(namespaces.list_metadata(&ours)).await?.items;
    let revisions = context.revisions.list(None).await?;
    let records = context.records.list("").await?;
    let now = Timestamp::now();
    sweep_shared_namespaces(context, &records).await?;

    for namespace in namespaces {
        let labels = namespace.labels();
        let (Some(record), Some(incarnation)) =
            (labels.get(names::INSTANCE), labels.get(names::INCARNATION))
        else {
            continue;
        };
        let settled = namespace
            .metadata
            .creation_timestamp
            .as_ref()
            .is_some_and(|created| now.duration_since(created.0) > SETTLED);
        let deleting = namespace.metadata.deletion_timestamp.is_some();
        if settled && !deleting && !lives(&records, record, incarnation)? {
            let labels = names::instance_labels(record, incarnation);
            tracing::warn!(namespace = %namespace.name_any(), "namespace of an instance that is gone: deleted");
            gate::delete_namespace(&context.client(), &namespace.name_any(), &labels).await?;
        }
    }

    let named = named_revisions(&records)?;
    for revision in revisions {
        if !named.contains(&revision.name) && now.duration_since(revision.created) > REVISION_AGE {
            context.revisions.delete(&revision.name).await?;
        }
    }

    for resource in &records {
        let record = Record::new(resource.clone())?;
        let expired = record.state.retained_until.is_none()
            && record
                .state
                .deleted_at
                .is_some_and(|at| now.duration_since(at) > context.keep());
        if expired {
            match context.records.delete(resource).await {
                Ok(()) | Err(cluster::Error::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    sweep_bundles(context, &records, now).await
}

/// Deletes what came late (its process was paused) into a namespace that is
/// not its instance's own. Nobody's objects are judged but those of instances
/// that this broker knows to have ended.
async fn sweep_shared_namespaces(
    context: &Context,
    records: &[ServiceInstance],
) -> Result<(), Error> {
    let mut places: BTreeMap<String, Vec<Record>> = BTreeMap::new();
    for resource in records {
        let record = Record::new(resource.clone())?;
        let ended = record.is_tombstone() && record.state.retained_until.is_none();
        if ended && !record.resource.spec.own_namespace {
            let namespace = record.resource.spec.namespace.clone();
            places.entry(namespace).or_default().push(record);
        }
    }
    let selector = format!(
        "{}={},{},{}",
        names::MANAGED_BY,
        names::MANAGER,
        names::INSTANCE,
        names::INCARNATION
    );
    for (namespace, ended) in places {
        let kinds = kinds_of(context, &ended).await?;
        let found = match inventory::discover(&context.kinds, &kinds, &namespace, &selector).await {
            Ok(found) => found,
            // Its owner took the broker's rights away, or the namespace.
            Err(cluster::Error::Forbidden(_) | cluster::Error::NotFound) => continue,
            Err(error) => return Err(error.into()),
        };
        for (gvk, object) in found {
            let labels = object.labels();
            let is_of = |record: &Record| {
                labels.get(names::INSTANCE) == Some(&record.instance())
                    && labels.get(names::INCARNATION) == Some(&record.resource.spec.incarnation)
            };
            if !ended.iter().any(is_of) {
                continue;
            }
            let entry = Entry::of(&gvk, &object, 0);
            tracing::warn!(%namespace, object = entry.label(), "object of an instance that is gone: deleted");
            inventory::delete(&context.kinds, &entry, PropagationPolicy::Foreground).await?;
        }
    }
    Ok(())
}

/// The kinds that these instances may have had objects of. Bundles that are
/// not kept any more add none.
async fn kinds_of(context: &Context, records: &[Record]) -> Result<Vec<GroupVersionKind>, Error> {
    let always = [
        kinds::parse("v1", "Secret"),
        kinds::parse("v1", "PersistentVolumeClaim"),
    ];
    let records: Vec<&Record> = records.iter().collect();
    let found = BundleKinds::of(&context.catalog, &records, always).await;
    match found.missing {
        Some(error) if error.is_transient() => Err(error.into()),
        Some(_) | None => Ok(found.kinds),
    }
}

/// Whether an instance lives, or its data is kept, in this incarnation.
fn lives(records: &[ServiceInstance], name: &str, incarnation: &str) -> Result<bool, Error> {
    for resource in records {
        let record = Record::new(resource.clone())?;
        let keeps = !record.is_tombstone() || record.state.retained_until.is_some();
        let same = record.instance() == name && record.resource.spec.incarnation == incarnation;
        if same && keeps {
            return Ok(true);
        }
    }
    Ok(false)
}

fn named_revisions(records: &[ServiceInstance]) -> Result<HashSet<String>, Error> {
    let mut named = HashSet::new();
    for resource in records {
        let record = Record::new(resource.clone())?;
        named.extend(record.operation().revision.clone());
        named.extend(record.state.applied.map(|applied| applied.revision));
    }
    Ok(named)
}

/// Deletes bundles that stopped being current long ago and that no record
/// names; catalog-svc stamps them, but only this service knows the records.
async fn sweep_bundles(
    context: &Context,
    records: &[ServiceInstance],
    now: Timestamp,
) -> Result<(), Error> {
    let mut named: HashSet<String> = HashSet::new();
    for resource in records {
        let record = Record::new(resource.clone())?;
        if record.is_tombstone() && record.state.retained_until.is_none() {
            continue;
        }
        named.extend(record.operation().bundles.iter().cloned());
        named.extend(record.state.applied.map(|applied| applied.bundle));
    }
    let api: Api<ConfigMap> = Api::namespaced(context.client(), &context.args.broker.namespace);
    let stored = call(api.list_metadata(&ListParams::default().labels(BUNDLE)))
        .await?
        .items;
    for part in stored {
        let Some(label) = part.labels().get(BUNDLE) else {
            continue;
        };
        let stamp = part
            .annotations()
            .get(SUPERSEDED_AT)
            .and_then(|text| text.parse::<Timestamp>().ok());
        let old = stamp.is_some_and(|at| now.duration_since(at) > BUNDLE_AGE);
        // The label holds the beginning of the digest.
        let is_named = named
            .iter()
            .any(|digest| digest.starts_with(label.as_str()));
        if !old || is_named {
            continue;
        }
        let params = DeleteParams::default().preconditions(Preconditions {
            uid: part.uid(),
            // It may have become current again.
            resource_version: part.resource_version(),
        });
        match optional(call(api.delete(&part.name_any(), &params)).await) {
            Ok(_) | Err(cluster::Error::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
