//! Namespaces that are not an instance's own.

use cluster::names;
use kube::{
    ResourceExt as _,
    api::PropagationPolicy,
    core::{DynamicObject, GroupVersionKind},
};
use objects::{
    inventory::{self, Entry},
    kinds,
};
use service::telemetry::chain;

use super::census::Census;
use crate::{context::Context, error::Error, state::Record, work::BundleKinds};

/// Deletes what came late (its process was paused) into a namespace that is
/// not its instance's own. Only objects of instances known to have ended are
/// considered.
pub(super) async fn sweep(context: &Context, census: &Census) {
    for (namespace, ended) in &census.guests {
        if let Err(error) = sweep_one(context, namespace, ended).await {
            tracing::warn!(%namespace, error = chain(&error), "namespace not swept");
        }
    }
}

async fn sweep_one(context: &Context, namespace: &str, ended: &[Record]) -> Result<(), Error> {
    let selector = format!(
        "{}={},{},{}",
        names::MANAGED_BY,
        names::MANAGER,
        names::INSTANCE,
        names::INCARNATION
    );
    let kinds = kinds_of(context, ended).await?;
    let found = match inventory::discover(&context.kinds, &kinds, namespace, &selector).await {
        Ok(found) => found,
        // Its owner took the broker's rights away, or the namespace.
        Err(cluster::Error::Forbidden(_) | cluster::Error::NotFound) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for (gvk, object) in found {
        if !ended.iter().any(|record| is_of(record, &object)) {
            continue;
        }
        let entry = Entry::of(&gvk, &object, 0);
        tracing::warn!(%namespace, object = entry.label(), "deleting an object of an instance that ended");
        inventory::delete(&context.kinds, &entry, PropagationPolicy::Foreground).await?;
    }
    Ok(())
}

fn is_of(record: &Record, object: &DynamicObject) -> bool {
    let labels = object.labels();
    labels.get(names::INSTANCE).map(String::as_str) == Some(record.instance())
        && labels.get(names::INCARNATION) == Some(&record.resource.spec.incarnation)
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
