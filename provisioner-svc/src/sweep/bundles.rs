//! Bundles that stopped being current long ago and that no record names;
//! catalog-svc stamps them, but only this service knows the records.

use bundles::stored::{BUNDLE, SUPERSEDED_AT};
use cluster::{
    error::{call, optional},
    list,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Preconditions},
    core::PartialObjectMeta,
};
use service::telemetry::chain;

use super::census::Census;
use crate::{context::Context, error::Error};

/// How long a bundle stays that is neither current nor named.
const BUNDLE_AGE: SignedDuration = SignedDuration::from_hours(24);

/// Whether there is anything whose record is missing, and may come back with
/// the name of any bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Records {
    Complete,
    Missing,
}

/// Deletes those that are old and that no record can name.
pub(super) async fn sweep(
    context: &Context,
    census: &Census,
    records: Records,
    now: Timestamp,
) -> Result<(), Error> {
    if records == Records::Missing {
        return Ok(());
    }
    let api: Api<ConfigMap> =
        Api::namespaced(context.client(), &context.args.broker.bundles_namespace());
    for part in list::metadata(&api, BUNDLE).await? {
        // The label holds the beginning of the digest.
        let named = part
            .labels()
            .get(BUNDLE)
            .is_none_or(|label| census.may_use_bundle(label));
        if named || !is_old(&part, now) {
            continue;
        }
        let params = DeleteParams::default().preconditions(Preconditions {
            uid: part.uid(),
            // It may have become current again.
            resource_version: part.resource_version(),
        });
        match optional(call(api.delete(&part.name_any(), &params)).await) {
            Ok(_) | Err(cluster::Error::Conflict) => {}
            Err(error) => tracing::warn!(error = chain(&error), "bundle not deleted"),
        }
    }
    Ok(())
}

/// Superseded long ago, and not brought back by a restore just now.
fn is_old(part: &PartialObjectMeta<ConfigMap>, now: Timestamp) -> bool {
    let superseded = part
        .annotations()
        .get(SUPERSEDED_AT)
        .and_then(|text| text.parse::<Timestamp>().ok());
    let created = part.creation_timestamp().map(|created| created.0);
    let is_past = |at: Timestamp| now.duration_since(at) > BUNDLE_AGE;
    superseded.is_some_and(is_past) && created.is_some_and(is_past)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    #[test]
    fn a_bundle_is_old_only_if_superseded_and_stored_long_ago() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(100);
        let hours = |hours: i64| now - SignedDuration::from_hours(hours);
        for (superseded, created, old) in [
            (Some(30), 50, true),
            (Some(10), 50, false),
            (None, 50, false),
            (Some(30), 1, false),
        ] {
            let mut part = PartialObjectMeta::<ConfigMap>::default();
            part.metadata.creation_timestamp = Some(Time(hours(created)));
            if let Some(at) = superseded {
                let text = hours(at).to_string();
                part.annotations_mut().insert(SUPERSEDED_AT.into(), text);
            }
            assert_eq!(is_old(&part, now), old, "{superseded:?} {created}");
        }
    }
}
