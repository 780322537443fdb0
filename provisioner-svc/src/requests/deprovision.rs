//! OSB deprovision: sets the operation, whatever runs now.

use broker_proto::v1::{DeprovisionRequest, DeprovisionResponse};
use cluster::names;
use jiff::Timestamp;

use super::{
    MAX_CONFLICTS, requester,
    wait::{self, Part},
};
use crate::{
    context::Context,
    decide::{self, Completion, Deprovision, Instance, Mode},
    error::Error,
    state::{Record, begin::Order},
    work::Known,
};

/// Answers a deprovision.
pub(crate) async fn deprovision(
    context: &Context,
    request: DeprovisionRequest,
) -> Result<DeprovisionResponse, Error> {
    let name = names::instance_record(&request.instance_id);
    let mode = Mode::from(request.accepts_incomplete);
    let by = requester(request.requester);
    let verdict = request.verdict.unwrap_or_default();
    for _ in 0..MAX_CONFLICTS {
        let record = context.read(&name).await?;
        let instance = match &record {
            Some(record) if !record.is_tombstone() && record.is_of(&by.platform) => {
                Instance::of(record, completion(context, record).await)
            }
            Some(_) | None => None,
        };
        match decide::deprovision(instance, &request.service_id, &verdict, mode)? {
            Deprovision::Join(instance) => {
                let part = Part::Joined(instance.record);
                return conclude(context, part, instance.completion, mode).await;
            }
            Deprovision::Start(instance) => {
                let order = Order {
                    at: Timestamp::now(),
                    driver: context.driver(instance.completion),
                    by: by.clone(),
                };
                let deleting = instance.record.begin_delete(order);
                let before = Some(instance.record);
                if let Some(begun) = context.begin(before, deleting, Known::default()).await? {
                    let part = Part::Began(&begun);
                    return conclude(context, part, instance.completion, mode).await;
                }
            }
        }
    }
    Err(Error::Contended)
}

async fn conclude(
    context: &Context,
    part: Part<'_>,
    completion: Completion,
    mode: Mode,
) -> Result<DeprovisionResponse, Error> {
    let (outcome, operation) = wait::conclude(context, part, completion, mode).await?;
    Ok(DeprovisionResponse {
        outcome: outcome.into(),
        operation,
    })
}

/// How the operations of the instance's plan end. Deleting must work without
/// the plan: what cannot be known is asynchronous.
async fn completion(context: &Context, record: &Record) -> Completion {
    let digest = record.operation().bundles.first();
    let digest = digest.cloned().unwrap_or_default();
    match context.catalog.bundle(&digest).await {
        Ok(loaded) => loaded.bundle().provisions_asynchronously().into(),
        Err(_) => Completion::Asynchronous,
    }
}
