//! OSB unbind: decide, write the operation, work, answer.

use broker_proto::v1::{Outcome, UnbindRequest, UnbindResponse};
use cluster::names;
use tokio::time::Instant;

use crate::{
    bind::{patience, plan_facts, requester},
    decide::{self, Patience, UnbindDecision},
    error::Error,
    ledger::Record,
    resource::Kind,
    shared::Shared,
    step::Step,
    workers::{Seed, Workers},
};

/// A rival won the race for a record this often: the client had better ask again.
const RACES: usize = 4;

/// Answers an unbind.
pub(crate) async fn unbind(
    shared: &Shared,
    workers: &Workers,
    request: &UnbindRequest,
    deadline: Instant,
) -> Result<UnbindResponse, Error> {
    let name = names::binding_record(&request.instance_id, &request.binding_id);
    for _ in 0..RACES {
        let record = shared.store.read(&name).await?;
        let asynchronous = asynchronous(shared, request, record.as_ref()).await;
        let asked = decide::Unbind {
            service_id: &request.service_id,
            plan_id: &request.plan_id,
            patience: patience(request.accepts_incomplete),
            asynchronous,
        };
        let phase = record.as_ref().map(Record::phase);
        let service = record
            .as_ref()
            .map(|record| record.spec().service_id.as_str());
        let decision = decide::unbind(&asked, phase, service).map_err(Error::Refused)?;
        let Some(record) = record else {
            continue;
        };
        let seed = match decision {
            UnbindDecision::Join => None,
            UnbindDecision::Start => match begin(shared, request, record.clone()).await {
                Ok(seed) => Some(seed),
                Err(Error::Cluster(cluster::Error::Conflict)) => continue,
                Err(error) => return Err(error),
            },
        };
        let joined = seed.is_none();
        let operation = match &seed {
            Some(seed) => seed.record.operation().id.clone(),
            None => record.operation().id.clone(),
        };
        let reports = workers.ensure(&name, seed);
        if asynchronous || (joined && asked.patience == Patience::Polls) {
            return Ok(accepted(operation));
        }
        return match workers.settled(&name, &operation, reports, deadline).await {
            Ok(_) => Ok(UnbindResponse {
                outcome: Outcome::Done.into(),
                operation: String::new(),
            }),
            Err(_) if asked.patience == Patience::Polls => Ok(accepted(operation)),
            Err(error) => Err(error),
        };
    }
    Err(Error::Cluster(cluster::Error::Conflict))
}

async fn begin(
    shared: &Shared,
    request: &UnbindRequest,
    mut record: Record,
) -> Result<Seed, Error> {
    let requester = requester(request.requester.as_ref());
    let operation = shared.operation(Kind::Unbind, record.next_seq(), requester);
    record.begin_unbind(operation, shared.times.keep);
    let record = shared.store.replace(record).await?;
    service::failpoint::reach(Step::WriteRecord.name());
    shared.cache.observe(record.object().clone());
    Ok(Seed {
        record,
        request: None,
    })
}

/// Whether the plan unbinds only with polling: the pinned one, else the
/// catalog's. A catalog that is away must not keep a login alive.
async fn asynchronous(shared: &Shared, request: &UnbindRequest, record: Option<&Record>) -> bool {
    let listed = request
        .verdict
        .as_ref()
        .is_some_and(|verdict| verdict.binding_async);
    match record {
        None => listed,
        Some(record) => match shared.bundles.get(&record.spec().bundle_digest).await {
            Ok(plan) => plan_facts(&plan).asynchronous,
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
