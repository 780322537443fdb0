//! OSB unbind: decide, write the operation, have it worked on, answer.

use std::pin::pin;

use broker_proto::{
    decide::{Completion, Mode},
    v1::{Outcome, UnbindRequest, UnbindResponse},
};
use cluster::{audit, names};
use futures::{FutureExt as _, select_biased};
use tokio::time::Instant;

use super::{MAX_CONFLICTS, plan_facts, platform, requester, wait};
use crate::{
    context::{Context, Handover, Seed},
    decide::{self, UnbindDecision},
    error::Error,
    ledger::Record,
    resource::{Kind, Phase},
    step::Step,
};

/// Answers an unbind.
pub(crate) async fn unbind(
    context: &Context,
    request: &UnbindRequest,
    deadline: Instant,
) -> Result<UnbindResponse, Error> {
    let name = names::binding_record(&request.instance_id, &request.binding_id);
    let mode = Mode::from(request.accepts_incomplete);
    let mut seen = match context.cache.get(&name) {
        Some(seen) => Some(Record::read(seen.as_ref().clone())?),
        None => None,
    };
    // A removal begins on the record as it was seen last: the write finds out
    // whether it still is. Any other answer is that of a consistent read.
    seen = seen.filter(|seen| seen.phase() == Phase::Ready);
    for _ in 0..MAX_CONFLICTS {
        let (record, is_read) = match seen.take() {
            Some(seen) => (Some(seen), false),
            None => (context.store.read(&name).await?, true),
        };
        let asking = platform(request.requester.as_ref());
        let record = record.filter(|record| record.is_of(asking));
        let completion = completion(context, request, record.as_ref()).await;
        let asked = decide::Unbind {
            service_id: &request.service_id,
            plan_id: &request.plan_id,
            mode,
            completion,
        };
        let decision = match decide::unbind(&asked, record.as_ref()) {
            Ok(UnbindDecision::Join(_)) | Err(_) if !is_read => continue,
            decision => decision.map_err(Error::Refused)?,
        };
        let _expected = context.pool.expect(&name);
        let (operation, seed) = match decision {
            UnbindDecision::Join(record) => (record.operation().id.clone(), None),
            UnbindDecision::Start(record) => match begin(context, request, record.clone()).await {
                Ok(seed) => (seed.object.spec.operation.id.clone(), Some(seed)),
                Err(Error::Cluster(cluster::Error::Conflict)) => continue,
                Err(error) => return Err(error),
            },
        };
        let joined = seed.is_none();
        let reports = context.pool.ensure(&name, seed);
        if completion == Completion::Asynchronous || (joined && mode == Mode::AcceptsIncomplete) {
            return Ok(accepted(operation));
        }
        let settled = wait::settled(context, &name, &operation, reports, deadline).await;
        return match (settled, mode) {
            (Ok(_), _) => Ok(UnbindResponse {
                outcome: Outcome::Done.into(),
                operation: String::new(),
            }),
            (Err(_), Mode::AcceptsIncomplete) => Ok(accepted(operation)),
            (Err(error), Mode::MustBeDone) => Err(error),
        };
    }
    Err(Error::Cluster(cluster::Error::Conflict))
}

async fn begin(
    context: &Context,
    request: &UnbindRequest,
    mut record: Record,
) -> Result<Seed, Error> {
    let requester = requester(request.requester.as_ref());
    let operation = context.operation(Kind::Unbind, record.next_seq(), requester);
    let before = record.clone();
    record.begin_unbind(operation);
    let term = context.tenure.now();
    // Beside the write, not after it; what has not come by then, or is an error,
    // is asked for again by the worker.
    let mut looked = pin!(context.instances.get(&request.instance_id).fuse());
    let store = context.store.clone();
    let write = async move {
        let record = store.replace(record).await?;
        record.tell_unbind(&before);
        Ok::<_, Error>(record)
    };
    let mut written = pin!(audit::told(write).fuse());
    let mut instance = None;
    let record = loop {
        select_biased! {
            record = written => break record?,
            looked = looked => instance = looked.ok().flatten(),
        }
    };
    service::failpoint::reach(Step::WriteRecord.name());
    let handover = instance.map(|instance| Handover {
        request: None,
        instance,
    });
    Ok(Context::seed(term, &record, handover))
}

/// How the plan unbinds: the pinned one, else the catalog's. A catalog that is
/// away must not keep a login alive.
async fn completion(
    context: &Context,
    request: &UnbindRequest,
    record: Option<&Record>,
) -> Completion {
    let verdict = request.verdict.as_ref();
    let listed = verdict.is_some_and(|verdict| verdict.binding_async).into();
    match record {
        None => listed,
        Some(record) => match context.bundles.get(&record.spec().bundle_digest).await {
            Ok(plan) => plan_facts(&plan).completion,
            Err(_) => listed,
        },
    }
}

fn accepted(operation: String) -> UnbindResponse {
    UnbindResponse {
        outcome: Outcome::Accepted.into(),
        operation,
    }
}
