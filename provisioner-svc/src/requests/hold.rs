//! Holds: while bindings exist, a deletion waits for the binder.

use broker_proto::{
    ErrorCode,
    v1::{HoldRequest, Instance, ReleaseHoldRequest},
};
use cluster::names;

use super::{MAX_CONFLICTS, fetch::message};
use crate::{
    context::Context,
    decide,
    error::Error,
    state::{Phase, Record},
};

/// Sets the hold; writes only the first time. The first one is set on the record
/// as it was seen last: the write finds out whether it still is.
pub(crate) async fn hold(context: &Context, request: &HoldRequest) -> Result<Instance, Error> {
    let mut seen = context.seen(&names::instance_record(&request.instance_id))?;
    seen = seen.filter(|seen| {
        seen.phase() == Phase::Ready
            && !seen.resource.spec.held
            && seen.resource.spec.incarnation == request.incarnation
    });
    for _ in 0..MAX_CONFLICTS {
        let record = match seen.take() {
            Some(seen) => seen,
            None => current(context, &request.instance_id, &request.incarnation).await?,
        };
        match record.phase() {
            Phase::Deprovisioning => return Err(decide::busy("is being deprovisioned").into()),
            Phase::Orphaning => return Err(decide::orphaning().into()),
            Phase::Deleted => return Err(decide::absent().into()),
            Phase::Provisioning
            | Phase::Ready
            | Phase::ProvisionFailed
            | Phase::Updating
            | Phase::UpdateFailed
            | Phase::DeprovisionFailed => {}
        }
        if record.resource.spec.held {
            return message(context, &record).await;
        }
        if let Some(held) = context.replace(&record.with_hold(true)).await? {
            return message(context, &held).await;
        }
    }
    Err(Error::Contended)
}

/// Takes the hold away. An instance that is gone, or came back since, has none
/// of this incarnation.
pub(crate) async fn release(context: &Context, request: &ReleaseHoldRequest) -> Result<(), Error> {
    for _ in 0..MAX_CONFLICTS {
        let record = match current(context, &request.instance_id, &request.incarnation).await {
            Ok(record) => record,
            Err(Error::Refused(refusal)) if refusal.code == ErrorCode::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        if !record.resource.spec.held {
            return Ok(());
        }
        if context.replace(&record.with_hold(false)).await?.is_some() {
            return Ok(());
        }
    }
    Err(Error::Contended)
}

async fn current(context: &Context, instance_id: &str, incarnation: &str) -> Result<Record, Error> {
    let record = context.read(&names::instance_record(instance_id)).await?;
    record
        .filter(|record| !record.is_tombstone() && record.resource.spec.incarnation == incarnation)
        .ok_or_else(|| decide::absent().into())
}
