//! OSB provision.

use std::collections::BTreeMap;

use broker_proto::{
    ErrorCode,
    v1::{CatalogVerdict, Outcome, ProvisionRequest, ProvisionResponse},
};
use cluster::{names, operation::OperationId};
use jiff::Timestamp;
use kube::api::ObjectMeta;
use plan::{Loaded, descriptor::Namespace};
use serde_json::{Map, Value};

use super::{
    ATTEMPTS, Limits, invalid, named, object, requester,
    shown::{self, Fields},
    wait,
};
use crate::{
    context::Context,
    decide::{self, Identity, Mode, Provision},
    error::Error,
    place,
    resource::{Kind, Operation, Requester, ServiceInstance, ServiceInstanceSpec},
    revision::Revision,
    state::{ANNOTATION, FINALIZER, Phase, Record, State, encode},
};

/// A provision, decoded.
struct Asked {
    instance_id: String,
    service_id: String,
    plan_id: String,
    organization_guid: String,
    space_guid: String,
    context: Map<String, Value>,
    parameters: Map<String, Value>,
    maintenance_version: Option<String>,
    mode: Mode,
    requester: Requester,
    verdict: CatalogVerdict,
}

impl From<ProvisionRequest> for Asked {
    fn from(request: ProvisionRequest) -> Self {
        Self {
            instance_id: request.instance_id,
            service_id: request.service_id,
            plan_id: request.plan_id,
            organization_guid: request.organization_guid,
            space_guid: request.space_guid,
            context: object(request.context),
            parameters: object(request.parameters),
            maintenance_version: request.maintenance_version,
            mode: request.accepts_incomplete.into(),
            requester: requester(request.requester),
            verdict: request.verdict.unwrap_or_default(),
        }
    }
}

/// Answers a provision. Two durable writes come before an acceptance: the
/// revision, and the record that names it.
pub(crate) async fn provision(
    context: &Context,
    request: ProvisionRequest,
) -> Result<ProvisionResponse, Error> {
    let asked = Asked::from(request);
    named(&asked.context)?;
    let name = names::instance_record(&asked.instance_id);
    for _ in 0..ATTEMPTS {
        let record = context.read(&name).await?;
        let (asynchronous, identity) = match &record {
            Some(record) if !record.is_tombstone() => compare(context, record, &asked).await?,
            _ => (false, Identity::Different),
        };
        let judged = record
            .as_ref()
            .map(|record| (record, asynchronous, identity));
        let version = asked.maintenance_version.as_deref();
        match decide::provision(judged, &asked.verdict, version, asked.mode)? {
            Provision::Unchanged => {
                let shown = match &record {
                    Some(record) => shown::applied(context, record).await?,
                    None => Fields::default(),
                };
                return Ok(answer(Outcome::Unchanged, String::new(), shown));
            }
            Provision::Running => {
                if let Some(record) = &record {
                    return conclude(context, record, asynchronous, asked.mode).await;
                }
            }
            Provision::Create => {
                let loaded = context.catalog.bundle(&asked.verdict.bundle_digest).await?;
                if let Some(made) = create(context, &name, record.as_ref(), &asked, &loaded).await?
                {
                    let asynchronous = loaded.bundle().provisions_asynchronously();
                    return conclude(context, &made, asynchronous, asked.mode).await;
                }
                // A rival made the record: its word counts.
            }
        }
    }
    Err(Error::Contended)
}

async fn conclude(
    context: &Context,
    record: &Record,
    asynchronous: bool,
    mode: Mode,
) -> Result<ProvisionResponse, Error> {
    let shown = shown::aimed_at(context, record).await?;
    let (outcome, operation) = wait::conclude(context, record, asynchronous, mode).await?;
    Ok(answer(outcome, operation, shown))
}

fn answer(outcome: Outcome, operation: String, shown: Fields) -> ProvisionResponse {
    ProvisionResponse {
        outcome: outcome.into(),
        operation,
        dashboard_url: shown.dashboard_url,
        metadata: shown.metadata,
    }
}

/// Whether the record's plan is asynchronous, and whether the request asks
/// for what the record is.
async fn compare(
    context: &Context,
    record: &Record,
    asked: &Asked,
) -> Result<(bool, Identity), Error> {
    let digest = record
        .operation()
        .bundles
        .first()
        .cloned()
        .unwrap_or_default();
    let applied = record.state.applied.as_ref();
    let (revision, digest) = match (record.phase(), applied) {
        (Phase::Provisioning | Phase::ProvisionFailed, _) | (_, None) => {
            (record.operation().revision.clone(), digest)
        }
        (_, Some(applied)) => (Some(applied.revision.clone()), applied.bundle.clone()),
    };
    let loaded = context.catalog.bundle(&digest).await?;
    let asynchronous = loaded.bundle().provisions_asynchronously();
    let spec = &record.resource.spec;
    let Some(revision) = revision else {
        return Ok((asynchronous, Identity::Different));
    };
    if spec.service_id != asked.service_id
        || spec.organization_guid != asked.organization_guid
        || spec.space_guid != asked.space_guid
    {
        return Ok((asynchronous, Identity::Different));
    }
    let revision: Revision = context.revisions.read(&revision).await?;
    let same =
        revision.plan_id == asked.plan_id && same_parameters(&loaded, &revision, &asked.parameters);
    Ok((
        asynchronous,
        if same {
            Identity::Same
        } else {
            Identity::Different
        },
    ))
}

/// The request, resolved by the pinned bundle, against the revision. What is
/// equal as sent is equal, whatever a bundle says by now.
fn same_parameters(loaded: &Loaded, revision: &Revision, sent: &Map<String, Value>) -> bool {
    revision.parameters.sent == *sent
        || loaded
            .bundle()
            .create_parameters(sent)
            .is_ok_and(|resolved| resolved.effective == revision.parameters.effective)
}

/// Writes revision and record. `None`: a rival was faster.
async fn create(
    context: &Context,
    name: &str,
    tombstone: Option<&Record>,
    asked: &Asked,
    loaded: &Loaded,
) -> Result<Option<Record>, Error> {
    let bundle = loaded.bundle();
    let parameters = bundle
        .create_parameters(&asked.parameters)
        .map_err(|violations| invalid(&violations))?;
    let revision = Revision {
        service_id: asked.service_id.clone(),
        plan_id: asked.plan_id.clone(),
        plan_name: bundle.name().to_owned(),
        bundle: bundle.digest().to_string(),
        maintenance_version: bundle
            .version()
            .map(ToString::to_string)
            .unwrap_or_default(),
        parameters,
        context: asked.context.clone(),
        broker: context.args.broker.variables(),
    };
    shown::check(loaded, &revision, &asked.instance_id)?;
    let place = find_place(bundle.namespace(), asked, name)?;
    if !place.own {
        check(context, bundle.namespace(), &place.namespace).await?;
    }
    let revision_name = context.revisions.write(name, &revision).await?;
    let resource = resource(
        context,
        name,
        tombstone,
        asked,
        loaded,
        &revision_name,
        place,
    );
    let written = match tombstone {
        Some(tombstone) => {
            put_aside(context, tombstone).await?;
            context.replace(&resource).await?
        }
        None => match context.records.create(&resource).await {
            Ok(made) => {
                context.cache.observe(made.clone());
                Some(Record::new(made)?)
            }
            Err(cluster::Error::AlreadyExists) => None,
            Err(error) => return Err(error.into()),
        },
    };
    match &written {
        Some(record) => {
            tracing::info!(
                instance.id = %asked.instance_id, plan = bundle.name(), op.id = %record.operation().id,
                "provision accepted"
            );
        }
        // Nothing names it: it would be swept, but need not wait for that.
        None => context.revisions.delete(&revision_name).await?,
    }
    Ok(written)
}

/// What an earlier incarnation still owes gets a record of its own, named by
/// digest and incarnation, before its place is taken.
async fn put_aside(context: &Context, tombstone: &Record) -> Result<(), Error> {
    if tombstone.state.retained_until.is_none() {
        return Ok(());
    }
    let spec = tombstone.resource.spec.clone();
    let aside = ServiceInstance {
        metadata: ObjectMeta {
            name: Some(format!("{}-{}", tombstone.name(), spec.incarnation)),
            labels: tombstone.resource.metadata.labels.clone(),
            annotations: Some(BTreeMap::from([(
                ANNOTATION.to_owned(),
                encode(&tombstone.state),
            )])),
            finalizers: Some(vec![FINALIZER.to_owned()]),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    };
    match context.records.create(&aside).await {
        Ok(made) => {
            context.cache.observe(made);
            Ok(())
        }
        // By a rival, or by an earlier try.
        Err(cluster::Error::AlreadyExists) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn resource(
    context: &Context,
    name: &str,
    tombstone: Option<&Record>,
    asked: &Asked,
    loaded: &Loaded,
    revision: &str,
    place: Place,
) -> ServiceInstance {
    let bundle = loaded.bundle();
    // Counting goes on over incarnations, so that no old operation id means a new operation.
    let seq = tombstone.map_or(1, |record| record.operation().seq + 1);
    let state = tombstone.map(State::succeed).unwrap_or_default();
    let limits = Limits::of(loaded);
    let spec = ServiceInstanceSpec {
        instance_id: asked.instance_id.clone(),
        incarnation: place.incarnation,
        namespace: place.namespace,
        own_namespace: place.own,
        service_id: asked.service_id.clone(),
        service_name: bundle
            .service()
            .name
            .clone()
            .unwrap_or_else(|| bundle.provider().to_owned()),
        plan_id: asked.plan_id.clone(),
        plan_name: bundle.name().to_owned(),
        organization_guid: asked.organization_guid.clone(),
        space_guid: asked.space_guid.clone(),
        operation: Operation {
            id: OperationId::new(Kind::Create.as_str(), seq).to_string(),
            seq,
            kind: Kind::Create,
            revision: Some(revision.to_owned()),
            bundles: vec![bundle.digest().to_string()],
            started_at: Timestamp::now(),
            idle_seconds: limits.idle,
            total_seconds: limits.total,
            driver: context.driver(bundle.provisions_asynchronously()),
            requested_by: asked.requester.clone(),
        },
        held: false,
    };
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(BTreeMap::from([(
            names::MANAGED_BY.to_owned(),
            names::MANAGER.to_owned(),
        )])),
        annotations: Some(BTreeMap::from([(ANNOTATION.to_owned(), encode(&state))])),
        finalizers: Some(vec![FINALIZER.to_owned()]),
        resource_version: tombstone
            .and_then(|record| record.resource.metadata.resource_version.clone()),
        ..ObjectMeta::default()
    };
    ServiceInstance {
        metadata,
        spec,
        status: None,
    }
}

/// Where the objects of a new life go.
struct Place {
    incarnation: String,
    namespace: String,
    /// Whether it is made for the instance.
    own: bool,
}

fn find_place(namespace: &Namespace, asked: &Asked, name: &str) -> Result<Place, Error> {
    let of_others = |namespace: &str| Place {
        incarnation: names::incarnation(),
        namespace: namespace.to_owned(),
        own: false,
    };
    match namespace {
        Namespace::Own => {
            let incarnation = names::incarnation();
            Ok(Place {
                namespace: names::namespace(name, &incarnation),
                incarnation,
                own: true,
            })
        }
        Namespace::Shared(shared) => Ok(of_others(shared)),
        Namespace::Context => match named(&asked.context)? {
            Some(namespace) => Ok(of_others(namespace)),
            None => Err(Error::refusal(
                ErrorCode::InvalidArgument,
                "This plan needs context.namespace, the namespace to put the instance into.",
            )),
        },
    }
}

/// Refuses namespaces that instances must not be put into: the user's mistake
/// where the platform names it, else the plan's.
async fn check(context: &Context, named: &Namespace, namespace: &str) -> Result<(), Error> {
    let broker = &context.args.broker.namespace;
    let Err(refusal) = place::check(context.client(), namespace, broker).await? else {
        return Ok(());
    };
    Err(match named {
        Namespace::Own | Namespace::Context => {
            Error::refusal(ErrorCode::InvalidArgument, refusal.to_string())
        }
        Namespace::Shared(_) => Error::refusal(
            ErrorCode::NotOrderable,
            format!("The plan cannot be ordered here: {refusal}"),
        ),
    })
}
