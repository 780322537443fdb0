//! OSB bind: decide, write request and record, have it worked on, answer.

mod create;

use std::sync::Arc;

use broker_proto::{
    Error as ProtoError, ErrorCode,
    decide::{Completion, Mode},
    v1::{BindRequest, BindResponse, Instance, Outcome},
};
use cluster::names;
use plan::Loaded;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{
    MAX_CONFLICTS, answer, object, plan_facts, platform,
    wait::{self, Settled},
};
use crate::{
    context::{Context, Seed},
    decide::{self, BindDecision},
    error::Error,
    ledger::Record,
    request::Identity,
    resource::Phase,
};

/// What is asked, read once.
struct Asked<'a> {
    request: &'a BindRequest,
    record: String,
    parameters: Map<String, Value>,
    predecessor: Option<&'a str>,
    mode: Mode,
    deadline: Instant,
}

/// The instance and its pinned plan, as far as there are any.
struct Known {
    instance: Option<Instance>,
    plan: Option<Arc<Loaded>>,
}

/// Answers a bind.
pub(crate) async fn bind(
    context: &Context,
    request: &BindRequest,
    deadline: Instant,
) -> Result<BindResponse, Error> {
    names::context_namespace(&object(request.context.clone()))
        .map_err(|refusal| invalid(refusal.to_string()))?;
    let predecessor = Some(request.predecessor_binding_id.as_str()).filter(|id| !id.is_empty());
    let asked = Asked {
        record: names::binding_record(&request.instance_id, &request.binding_id),
        parameters: object(request.parameters.clone()),
        predecessor,
        mode: request.accepts_incomplete.into(),
        deadline,
        request,
    };
    let known = look_up(context, request).await?;
    // Whether the record is there is decided by its creation; a record that
    // the cache knows is read first.
    let mut existing = match context.cache.get(&asked.record) {
        Some(_) => context.store.read(&asked.record).await?,
        None => None,
    };
    for _ in 0..MAX_CONFLICTS {
        let existing_now = existing.take();
        let (method, before) =
            match decision(context, &asked, &known, existing_now.as_ref()).await? {
                BindDecision::Unchanged(record) => return unchanged(context, record).await,
                BindDecision::Join(record) => return join(context, &asked, record).await,
                BindDecision::Failed(record) => {
                    return Ok(accepted(record.operation().id.clone()));
                }
                BindDecision::Create(method, before) => (method, before.cloned()),
            };
        let _expected = context.pool.expect(&asked.record);
        match create::create(context, &asked, &known, method, before).await {
            Ok(seed) => return work(context, &asked, &known, seed).await,
            Err(Error::Cluster(cluster::Error::AlreadyExists | cluster::Error::Conflict)) => {
                existing = context.store.read(&asked.record).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Err(Error::Cluster(cluster::Error::Conflict))
}

async fn look_up(context: &Context, request: &BindRequest) -> Result<Known, Error> {
    let asking = platform(request.requester.as_ref());
    let instance = context.instances.get(&request.instance_id).await?;
    let instance = instance.filter(|instance| instance.platform == asking);
    let plan = match &instance {
        Some(instance) if !instance.bundle_digest.is_empty() => {
            Some(context.bundles.get(&instance.bundle_digest).await?)
        }
        Some(_) | None => None,
    };
    Ok(Known { instance, plan })
}

async fn decision<'a>(
    context: &Context,
    asked: &Asked<'_>,
    known: &Known,
    existing: Option<&'a Record>,
) -> Result<BindDecision<'a>, Error> {
    // Without an instance, or with that of another platform, there is no binding either.
    let found = match existing.filter(|_| known.instance.is_some()) {
        None => None,
        Some(record) => Some(decide::Existing {
            record,
            identity: compare(context, asked, known, record).await?,
        }),
    };
    let request = asked.request;
    let bind = decide::Bind {
        service_id: &request.service_id,
        plan_id: &request.plan_id,
        purpose: match asked.predecessor {
            Some(_) => decide::Purpose::Rotation,
            None => decide::Purpose::NewBinding,
        },
        app_guid: &request.app_guid,
        mode: asked.mode,
        verdict: request.verdict.as_ref(),
    };
    let instance = known.instance.as_ref().map(|instance| decide::Instance {
        phase: instance.phase(),
        service_id: &instance.service_id,
        plan_id: &instance.plan_id,
        incarnation: &instance.incarnation,
        plan: known.plan.as_deref().map(plan_facts),
    });
    decide::bind(&bind, instance.as_ref(), found.as_ref()).map_err(Error::Refused)
}

/// Compares the request with the one that made the binding; a binding that
/// goes or is gone may not have that any more.
async fn compare(
    context: &Context,
    asked: &Asked<'_>,
    known: &Known,
    record: &Record,
) -> Result<decide::Identity, Error> {
    if !matches!(
        record.phase(),
        Phase::Binding | Phase::Ready | Phase::Failed
    ) {
        return Ok(decide::Identity::Different);
    }
    let stored = context.store.read_request(&record.spec().request).await?;
    let bundle = known.plan.as_ref().map(|plan| plan.bundle().as_ref());
    let identity = Identity {
        service_id: &asked.request.service_id,
        plan_id: &asked.request.plan_id,
        app_guid: &asked.request.app_guid,
        predecessor: asked.predecessor,
        parameters: &asked.parameters,
    };
    Ok(if identity.is_same(record.spec(), &stored, bundle) {
        decide::Identity::Same
    } else {
        decide::Identity::Different
    })
}

/// The answer of the one request that made the binding.
async fn work(
    context: &Context,
    asked: &Asked<'_>,
    known: &Known,
    seed: Seed,
) -> Result<BindResponse, Error> {
    let operation = seed.object.spec.operation.id.clone();
    let parameters = seed
        .extra
        .as_ref()
        .and_then(|handover| handover.request.as_ref())
        .map(|request| request.parameters.clone());
    let reports = context.pool.ensure(&asked.record, Some(seed));
    let completion = known
        .plan
        .as_deref()
        .map_or(Completion::Synchronous, |plan| plan_facts(plan).completion);
    if completion == Completion::Asynchronous {
        return Ok(accepted(operation));
    }
    let settled = wait::settled(context, &asked.record, &operation, reports, asked.deadline).await;
    match (settled, asked.mode) {
        (Ok(settled), _) => conclude(context, settled, Outcome::Done, parameters).await,
        // The work goes on, and the platform can poll it.
        (Err(_), Mode::AcceptsIncomplete) => Ok(accepted(operation)),
        (Err(error), Mode::MustBeDone) => Err(error),
    }
}

/// The same request again while the first is worked on: who can poll gets its
/// operation, who cannot waits for it. The binding was made by the first one,
/// so that this answer is 200.
async fn join(
    context: &Context,
    asked: &Asked<'_>,
    record: &Record,
) -> Result<BindResponse, Error> {
    let operation = &record.operation().id;
    let reports = context.pool.ensure(&asked.record, None);
    if asked.mode == Mode::AcceptsIncomplete {
        return Ok(accepted(operation.clone()));
    }
    let settled = wait::settled(context, &asked.record, operation, reports, asked.deadline).await?;
    conclude(context, settled, Outcome::Unchanged, None).await
}

async fn conclude(
    context: &Context,
    settled: Settled,
    outcome: Outcome,
    parameters: Option<Map<String, Value>>,
) -> Result<BindResponse, Error> {
    if let Some(refusal) = settled.refusal {
        return Err(Error::Refused(refusal));
    }
    if !settled.ended.succeeded {
        return Err(Error::Refused(ProtoError::new(
            ErrorCode::OperationFailed,
            settled.ended.description,
        )));
    }
    let record = &settled.record;
    let issued = match settled.issued {
        Some(issued) => issued,
        None => Arc::new(answer::issued_of(context, record).await?),
    };
    let parameters = match parameters {
        Some(parameters) => parameters,
        None => {
            context
                .store
                .read_request(&record.spec().request)
                .await?
                .parameters
        }
    };
    Ok(BindResponse {
        outcome: outcome.into(),
        operation: String::new(),
        binding: Some(answer::binding(&issued, record.spec(), &parameters)?),
    })
}

async fn unchanged(context: &Context, record: &Record) -> Result<BindResponse, Error> {
    Ok(BindResponse {
        outcome: Outcome::Unchanged.into(),
        operation: String::new(),
        binding: Some(answer::of_record(context, record).await?),
    })
}

fn accepted(operation: String) -> BindResponse {
    BindResponse {
        outcome: Outcome::Accepted.into(),
        operation,
        binding: None,
    }
}

fn invalid(message: String) -> Error {
    Error::Refused(ProtoError::new(ErrorCode::InvalidArgument, message))
}
