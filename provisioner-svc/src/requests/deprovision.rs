//! OSB deprovision: sets the operation, whatever runs now.

use broker_proto::v1::{DeprovisionRequest, DeprovisionResponse};
use cluster::{
    names,
    operation::{Ended, OperationId},
};
use jiff::Timestamp;

use super::{ATTEMPTS, requester, update::bundles, wait};
use crate::{
    context::Context,
    decide::{self, Deprovision, Mode},
    error::Error,
    resource::{Kind, Operation, Requester, ServiceInstance},
    state::Record,
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
    for _ in 0..ATTEMPTS {
        let record = context.read(&name).await?;
        let asynchronous = match &record {
            Some(record) if !record.is_tombstone() => is_asynchronous(context, record).await,
            _ => false,
        };
        let judged = record.as_ref().map(|record| (record, asynchronous));
        let decision = decide::deprovision(judged, &request.service_id, &verdict, mode)?;
        let Some(record) = record else { continue };
        let record = match decision {
            Deprovision::Running => record,
            Deprovision::Start => match context
                .replace(&started(
                    context,
                    &record,
                    context.driver(asynchronous),
                    &by,
                ))
                .await?
            {
                Some(started) => {
                    tracing::info!(
                        instance.id = %request.instance_id, op.id = %started.operation().id,
                        "deprovision accepted"
                    );
                    started
                }
                None => continue,
            },
        };
        let (outcome, operation) = wait::conclude(context, &record, asynchronous, mode).await?;
        return Ok(DeprovisionResponse {
            outcome: outcome.into(),
            operation,
        });
    }
    Err(Error::Contended)
}

/// Deleting must work without the plan: what cannot be known is asynchronous.
async fn is_asynchronous(context: &Context, record: &Record) -> bool {
    let digest = record
        .operation()
        .bundles
        .first()
        .cloned()
        .unwrap_or_default();
    match context.catalog.bundle(&digest).await {
        Ok(loaded) => loaded.bundle().provisions_asynchronously(),
        Err(_) => true,
    }
}

/// The record with the delete as its operation; what it interrupts has failed.
fn started(
    context: &Context,
    record: &Record,
    driver: Option<String>,
    by: &Requester,
) -> ServiceInstance {
    let now = Timestamp::now();
    let mut resource = match record.open_operation() {
        None => record.resource.clone(),
        Some(interrupted) => {
            let mut ended = Ended::failed(&interrupted.id, "Interrupted by a deprovision.", now);
            if interrupted.kind == Kind::Update {
                ended.instance_usable = Some(false);
                ended.update_repeatable = Some(false);
            }
            record.with_state(&record.after(ended, context.keep()))
        }
    };
    let seq = record.operation().seq + 1;
    let first = record
        .operation()
        .bundles
        .first()
        .cloned()
        .unwrap_or_default();
    resource.spec.operation = Operation {
        id: OperationId::new(Kind::Delete.as_str(), seq).to_string(),
        seq,
        kind: Kind::Delete,
        revision: None,
        bundles: bundles(record, &first),
        started_at: now,
        idle_seconds: record.operation().idle_seconds,
        total_seconds: record.operation().total_seconds,
        driver,
        requested_by: by.clone(),
    };
    resource
}
