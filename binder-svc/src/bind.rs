//! OSB bind: decide, write request and record, work, answer.

use std::sync::Arc;

use broker_proto::{
    Error as ProtoError, ErrorCode, json,
    v1::{self, BindRequest, BindResponse, Instance, Outcome},
};
use cluster::names;
use jiff::Timestamp;
use plan::{Loaded, descriptor};
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::{
    credentials::Issued,
    databases,
    decide::{self, BindDecision, Patience},
    error::Error,
    expiry::{self, Lifetime},
    grant::Grant,
    ledger::Record,
    login,
    request::{Identity, Request},
    resource::{Kind, Phase, ServiceBindingSpec},
    shared::Shared,
    step::Step,
    workers::{Seed, Settled, Workers},
};

/// A rival won the race for a record this often: the client had better ask again.
const RACES: usize = 4;

/// What is asked, read once.
struct Asked<'a> {
    request: &'a BindRequest,
    record: String,
    parameters: Map<String, Value>,
    predecessor: Option<&'a str>,
    patience: Patience,
    deadline: Instant,
}

/// The instance and its pinned plan, as far as there are any.
struct Known {
    instance: Option<Instance>,
    plan: Option<Arc<Loaded>>,
}

/// Answers a bind.
pub(crate) async fn bind(
    shared: &Shared,
    workers: &Workers,
    request: &BindRequest,
    deadline: Instant,
) -> Result<BindResponse, Error> {
    let predecessor = Some(request.predecessor_binding_id.as_str()).filter(|id| !id.is_empty());
    let asked = Asked {
        record: names::binding_record(&request.instance_id, &request.binding_id),
        parameters: object(request.parameters.clone()),
        predecessor,
        patience: patience(request.accepts_incomplete),
        deadline,
        request,
    };
    let known = look_up(shared, &request.instance_id).await?;
    // Whether the record is there is decided by its creation; a record that
    // the cache knows is read first.
    let mut existing = match shared.cache.get(&asked.record) {
        Some(_) => shared.store.read(&asked.record).await?,
        None => None,
    };
    for _ in 0..RACES {
        match decision(shared, &asked, &known, existing.as_ref()).await? {
            BindDecision::Unchanged => return unchanged(shared, existing).await,
            BindDecision::Join => return join(shared, workers, &asked, existing).await,
            BindDecision::Create => {}
        }
        match create(shared, &asked, &known, existing).await {
            Ok(seed) => return work(shared, workers, &asked, seed).await,
            Err(Error::Cluster(cluster::Error::AlreadyExists | cluster::Error::Conflict)) => {
                existing = shared.store.read(&asked.record).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Err(Error::Cluster(cluster::Error::Conflict))
}

async fn look_up(shared: &Shared, instance_id: &str) -> Result<Known, Error> {
    let instance = shared.instances.get(instance_id).await?;
    let plan = match &instance {
        Some(instance) if !instance.bundle_digest.is_empty() => {
            Some(shared.bundles.get(&instance.bundle_digest).await?)
        }
        Some(_) | None => None,
    };
    Ok(Known { instance, plan })
}

async fn decision(
    shared: &Shared,
    asked: &Asked<'_>,
    known: &Known,
    existing: Option<&Record>,
) -> Result<BindDecision, Error> {
    let same = match existing {
        Some(record) if matches!(record.phase(), Phase::Binding | Phase::Ready) => {
            let stored = shared.store.read_request(&record.spec().request).await?;
            let bundle = known.plan.as_ref().map(|plan| plan.bundle().as_ref());
            identity(asked).is_same(record.spec(), &stored, bundle)
        }
        Some(_) | None => false,
    };
    let request = asked.request;
    let bind = decide::Bind {
        service_id: &request.service_id,
        plan_id: &request.plan_id,
        rotation: asked.predecessor.is_some(),
        names_app: !request.app_guid.is_empty(),
        patience: asked.patience,
        verdict: request.verdict.as_ref(),
    };
    let instance = known.instance.as_ref().map(|instance| decide::Instance {
        phase: instance.phase(),
        service_id: &instance.service_id,
        plan_id: &instance.plan_id,
        incarnation: &instance.incarnation,
        plan: known.plan.as_deref().map(plan_facts),
    });
    let found = existing.map(|record| decide::Existing {
        phase: record.phase(),
        instance_incarnation: &record.spec().instance_incarnation,
        same,
    });
    decide::bind(&bind, instance.as_ref(), found.as_ref()).map_err(Error::Refused)
}

/// The plan as far as it decides.
pub(crate) fn plan_facts(plan: &Loaded) -> decide::Plan {
    let bundle = plan.bundle();
    let method = match bundle.method() {
        _ if !bundle.is_bindable() => decide::Method::None,
        descriptor::Method::Database => decide::Method::Database,
        descriptor::Method::Resources => decide::Method::Resources,
        descriptor::Method::None => decide::Method::None,
    };
    decide::Plan {
        method,
        asynchronous: bundle.binds_asynchronously(),
        rotatable: bundle.is_binding_rotatable(),
        requires_app: bundle.binding_requires_app(),
    }
}

fn identity<'a>(asked: &'a Asked<'_>) -> Identity<'a> {
    Identity {
        service_id: &asked.request.service_id,
        plan_id: &asked.request.plan_id,
        app_guid: &asked.request.app_guid,
        predecessor: asked.predecessor,
        parameters: &asked.parameters,
    }
}

/// Writes request and record. [`cluster::Error::AlreadyExists`] or
/// [`cluster::Error::Conflict`] if somebody else was first.
async fn create(
    shared: &Shared,
    asked: &Asked<'_>,
    known: &Known,
    existing: Option<Record>,
) -> Result<Seed, Error> {
    let (Some(instance), Some(plan)) = (&known.instance, &known.plan) else {
        return Err(Error::Refused(ProtoError::internal()));
    };
    let request = Arc::new(resolve(shared, asked, instance, plan).await?);
    let name = shared.store.write_request(&asked.record, &request).await?;
    service::failpoint::reach(Step::WriteRequest.name());
    let seq = existing.as_ref().map_or(1, Record::next_seq);
    let attempts = existing.as_ref().map_or(0, |record| record.ledger.attempts) + 1;
    let lifetime = Lifetime::of(plan.bundle(), Timestamp::now());
    let spec = ServiceBindingSpec {
        instance_id: instance.instance_id.clone(),
        binding_id: asked.request.binding_id.clone(),
        service_id: instance.service_id.clone(),
        plan_id: instance.plan_id.clone(),
        plan: plan.bundle().name().to_owned(),
        bundle_digest: instance.bundle_digest.clone(),
        instance_incarnation: instance.incarnation.clone(),
        incarnation: names::incarnation(),
        request: name.clone(),
        predecessor_binding_id: asked.predecessor.map(str::to_owned),
        expires_at: lifetime.expires_at,
        renew_before: lifetime.renew_before,
        operation: shared.operation(Kind::Bind, seq, requester(asked.request.requester.as_ref())),
    };
    let attempt = login::attempt(
        &asked.record,
        attempts,
        &shared.holder,
        &instance.incarnation,
    );
    let written = match existing {
        None => {
            let labels = names::instance_labels(
                &names::instance_record(&instance.instance_id),
                &instance.incarnation,
            );
            let mut record = Record::new(&asked.record, labels, spec.clone());
            record.begin_again(spec, attempt);
            shared.store.create(record).await
        }
        Some(mut record) => {
            record.begin_again(spec, attempt);
            shared.store.replace(record).await
        }
    };
    match written {
        Ok(record) => {
            service::failpoint::reach(Step::WriteRecord.name());
            shared.cache.observe(record.object().clone());
            Ok(Seed {
                record,
                request: Some(request),
            })
        }
        Err(error) => {
            // Nobody names it. If this fails too, the sweep finds it; if the
            // write did happen after all, the record does name it.
            if let Error::Cluster(cluster::Error::AlreadyExists | cluster::Error::Conflict) = &error
            {
                let _ = shared.store.delete_secret(&name).await;
            }
            Err(error)
        }
    }
}

async fn resolve(
    shared: &Shared,
    asked: &Asked<'_>,
    instance: &Instance,
    plan: &Loaded,
) -> Result<Request, Error> {
    let inherited = match asked.predecessor {
        Some(id) => Some(predecessor(shared, asked, instance, id).await?),
        None => None,
    };
    let unsaid = asked.parameters.is_empty();
    let parameters = match &inherited {
        Some(old) if unsaid => old.parameters.clone(),
        Some(_) | None => asked.parameters.clone(),
    };
    let resolved = plan
        .bundle()
        .bind_parameters(&parameters)
        .map_err(|violations| invalid(plan::schema::refusal(&violations)))?;
    let target = shared.databases.of(instance, plan).await?;
    let default = databases::default_database(instance, &target);
    let grant = Grant::from_parameters(&resolved.effective, &default)
        .map_err(|error| invalid(plan::schema::refusal(&[error])))?;
    let app_guid = match &inherited {
        Some(old) if asked.request.app_guid.is_empty() => old.app_guid.clone(),
        Some(_) | None => asked.request.app_guid.clone(),
    };
    Ok(Request {
        app_guid,
        bind_resource: object(asked.request.bind_resource.clone()),
        context: object(asked.request.context.clone()),
        parameters: resolved.sent,
        effective: resolved.effective,
        grant,
    })
}

/// The binding that a rotation takes over from: a living one of this instance.
async fn predecessor(
    shared: &Shared,
    asked: &Asked<'_>,
    instance: &Instance,
    id: &str,
) -> Result<Request, Error> {
    let refused =
        || invalid("predecessor_binding_id names no usable binding of this instance.".to_owned());
    if id == asked.request.binding_id {
        return Err(refused());
    }
    let name = names::binding_record(&instance.instance_id, id);
    let record = shared.store.read(&name).await?.ok_or_else(refused)?;
    if record.phase() != Phase::Ready
        || record.spec().instance_incarnation != instance.incarnation
        || expiry::is_over(record.spec(), Timestamp::now())
    {
        return Err(refused());
    }
    shared.store.read_request(&record.spec().request).await
}

async fn work(
    shared: &Shared,
    workers: &Workers,
    asked: &Asked<'_>,
    seed: Seed,
) -> Result<BindResponse, Error> {
    let operation = seed.record.operation().id.clone();
    let parameters = seed
        .request
        .as_ref()
        .map(|request| request.parameters.clone());
    let asynchronous = asynchronous(shared, &seed.record).await;
    let reports = workers.ensure(&asked.record, Some(seed));
    if asynchronous {
        return Ok(accepted(operation));
    }
    match workers
        .settled(&asked.record, &operation, reports, asked.deadline)
        .await
    {
        Ok(settled) => answer(shared, settled, Outcome::Done, parameters).await,
        Err(error) => later(asked.patience, operation, error),
    }
}

/// The same request again while the first is worked: who can poll gets its
/// operation, who cannot waits for it.
async fn join(
    shared: &Shared,
    workers: &Workers,
    asked: &Asked<'_>,
    existing: Option<Record>,
) -> Result<BindResponse, Error> {
    let Some(record) = existing else {
        return Err(Error::Cluster(cluster::Error::NotFound));
    };
    let operation = record.operation().id.clone();
    if asked.patience == Patience::Polls {
        if shared.is_responsible(&record) {
            drop(workers.ensure(&asked.record, None));
        }
        return Ok(accepted(operation));
    }
    let reports = workers.ensure(&asked.record, None);
    let settled = workers
        .settled(&asked.record, &operation, reports, asked.deadline)
        .await?;
    answer(shared, settled, Outcome::Unchanged, None).await
}

/// The work goes on: who can poll is told so, who cannot gets the error.
fn later(patience: Patience, operation: String, error: Error) -> Result<BindResponse, Error> {
    match patience {
        Patience::Polls => Ok(accepted(operation)),
        Patience::Waits => Err(error),
    }
}

async fn asynchronous(shared: &Shared, record: &Record) -> bool {
    match shared.bundles.get(&record.spec().bundle_digest).await {
        Ok(plan) => plan.bundle().binds_asynchronously(),
        Err(_) => false,
    }
}

async fn answer(
    shared: &Shared,
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
    let issued = match settled.issued {
        Some(issued) => issued,
        None => Arc::new(issued_of(shared, &settled.record).await?),
    };
    let parameters = match parameters {
        Some(parameters) => parameters,
        None => {
            shared
                .store
                .read_request(&settled.record.spec().request)
                .await?
                .parameters
        }
    };
    Ok(BindResponse {
        outcome: outcome.into(),
        operation: String::new(),
        binding: Some(binding(&issued, settled.record.spec(), &parameters)?),
    })
}

async fn unchanged(shared: &Shared, existing: Option<Record>) -> Result<BindResponse, Error> {
    let Some(record) = existing else {
        return Err(Error::Cluster(cluster::Error::NotFound));
    };
    Ok(BindResponse {
        outcome: Outcome::Unchanged.into(),
        operation: String::new(),
        binding: Some(read_binding(shared, &record).await?),
    })
}

/// A ready binding as it is handed out: the committed attempt's credentials.
pub(crate) async fn read_binding(shared: &Shared, record: &Record) -> Result<v1::Binding, Error> {
    let issued = issued_of(shared, record).await?;
    let request = shared.store.read_request(&record.spec().request).await?;
    binding(&issued, record.spec(), &request.parameters)
}

async fn issued_of(shared: &Shared, record: &Record) -> Result<Issued, Error> {
    let attempt = record.ledger.attempt.as_ref();
    let secret = attempt
        .map(|attempt| attempt.login.secret.clone())
        .unwrap_or_default();
    shared
        .store
        .read_login(&secret)
        .await?
        .ok_or(Error::Secret(secret))
}

fn binding(
    issued: &Issued,
    spec: &ServiceBindingSpec,
    parameters: &Map<String, Value>,
) -> Result<v1::Binding, Error> {
    let message = |object| json::to_struct(object).map_err(|error| Error::Plan(error.to_string()));
    Ok(v1::Binding {
        credentials: Some(message(&issued.credentials)?),
        endpoints: issued.endpoints(),
        expires_at: expiry::shown(spec.expires_at),
        renew_before: expiry::shown(spec.renew_before),
        parameters: (!parameters.is_empty())
            .then(|| message(parameters))
            .transpose()?,
    })
}

fn accepted(operation: String) -> BindResponse {
    BindResponse {
        outcome: Outcome::Accepted.into(),
        operation,
        binding: None,
    }
}

/// Whether the platform can poll.
pub(crate) fn patience(accepts_incomplete: bool) -> Patience {
    if accepts_incomplete {
        Patience::Polls
    } else {
        Patience::Waits
    }
}

/// Who asked, as JSON text for audit.
pub(crate) fn requester(requester: Option<&v1::Requester>) -> String {
    requester.map_or_else(String::new, |requester| {
        serde_json::json!({
            "user": requester.broker_user,
            "platform": requester.platform,
            "identity": object(requester.identity.clone()),
        })
        .to_string()
    })
}

fn object(message: Option<prost_types::Struct>) -> Map<String, Value> {
    message.map(json::from_struct).unwrap_or_default()
}

fn invalid(message: String) -> Error {
    Error::Refused(ProtoError::new(ErrorCode::InvalidArgument, message))
}
