//! Writing a new binding: what is asked, resolved by the plan, then the record.

use std::sync::Arc;

use broker_proto::v1::Instance;
use cluster::{audit, names};
use jiff::Timestamp;
use plan::{Loaded, descriptor};

use super::{
    super::{object, requester},
    Asked, Known, invalid,
};
use crate::{
    context::{Context, Handover, Seed},
    databases,
    error::Error,
    expiry::{self, Lifetime},
    grant::Grant,
    ledger::Record,
    login,
    request::Request,
    resource::{Kind, Method, Phase, Server, ServiceBindingSpec},
    step::Step,
};

/// Writes request and record. [`cluster::Error::AlreadyExists`] or
/// [`cluster::Error::Conflict`] if another request was first.
pub(super) async fn create(
    context: &Context,
    asked: &Asked<'_>,
    known: &Known,
    method: Method,
    existing: Option<Record>,
) -> Result<Seed, Error> {
    let (Some(instance), Some(plan)) = (&known.instance, &known.plan) else {
        return Err(Error::Refused(broker_proto::Error::unavailable(
            "The instance's plan",
        )));
    };
    let request = Arc::new(resolve(context, asked, instance, plan).await?);
    let name = context.store.write_request(&asked.record, &request).await?;
    service::failpoint::reach(Step::WriteRequest.name());
    let seq = existing.as_ref().map_or(1, Record::next_seq);
    let attempts = existing.as_ref().map_or(0, |record| record.ledger.attempts) + 1;
    let lifetime = Lifetime::of(plan.bundle(), Timestamp::now());
    let spec = ServiceBindingSpec {
        instance_id: instance.instance_id.clone(),
        binding_id: asked.request.binding_id.clone(),
        service_id: instance.service_id.clone(),
        platform: instance.platform.clone(),
        plan_id: instance.plan_id.clone(),
        plan: plan.bundle().name().to_owned(),
        bundle_digest: instance.bundle_digest.clone(),
        method,
        server: match plan.bundle().binding_server() {
            descriptor::Server::Own => Server::Own,
            descriptor::Server::Shared => Server::Shared,
        },
        instance_incarnation: instance.incarnation.clone(),
        incarnation: names::incarnation(),
        request: name.clone(),
        predecessor_binding_id: asked.predecessor.map(str::to_owned),
        expires_at: lifetime.expires_at,
        renew_before: lifetime.renew_before,
        operation: context.operation(Kind::Bind, seq, requester(asked.request.requester.as_ref())),
    };
    let term = context.tenure.now();
    let attempt = login::attempt(
        &asked.record,
        attempts,
        &context.holder,
        &instance.incarnation,
    );
    let is_new = existing.is_none();
    let mut record = existing.unwrap_or_else(|| {
        let labels = names::instance_labels(
            &names::instance_record(&instance.instance_id),
            &instance.incarnation,
        );
        Record::new(&asked.record, labels, spec.clone())
    });
    record.begin_again(spec, attempt);
    let store = context.store.clone();
    let write = async move {
        let record = if is_new {
            store.create(record).await?
        } else {
            store.replace(record).await?
        };
        record.audit().accepted();
        Ok(record)
    };
    match audit::told(write).await {
        Ok(record) => {
            service::failpoint::reach(Step::WriteRecord.name());
            let handover = Handover {
                request: Some(request),
                instance: instance.clone(),
            };
            Ok(Context::seed(term, &record, Some(handover)))
        }
        Err(error) => {
            // No record names the Secret. If this fails too, the sweep finds it;
            // if the write did happen after all, the record does name it.
            if let Error::Cluster(cluster::Error::AlreadyExists | cluster::Error::Conflict) = &error
            {
                let _ = context.store.delete_secret(&name).await;
            }
            Err(error)
        }
    }
}

async fn resolve(
    context: &Context,
    asked: &Asked<'_>,
    instance: &Instance,
    plan: &Loaded,
) -> Result<Request, Error> {
    let inherited = match asked.predecessor {
        Some(id) => Some(predecessor(context, asked, instance, id).await?),
        None => None,
    };
    let inherits = asked.parameters.is_empty();
    let parameters = match &inherited {
        Some(old) if inherits => old.parameters.clone(),
        Some(_) | None => asked.parameters.clone(),
    };
    let resolved = plan
        .bundle()
        .bind_parameters(&parameters)
        .map_err(|violations| invalid(plan::schema::refusal(&violations)))?;
    let target = context.databases.of(instance, plan).await?;
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
    context: &Context,
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
    let record = context.store.read(&name).await?.ok_or_else(refused)?;
    if record.phase() != Phase::Ready
        || record.spec().instance_incarnation != instance.incarnation
        || expiry::is_over(record.spec(), Timestamp::now())
    {
        return Err(refused());
    }
    context.store.read_request(&record.spec().request).await
}
