//! OSB provision.

use broker_proto::{
    ErrorCode,
    v1::{CatalogVerdict, Outcome, ProvisionRequest, ProvisionResponse},
};
use cluster::{audit::Requester, names};
use jiff::Timestamp;
use plan::{Loaded, descriptor::Namespace};
use serde_json::{Map, Value};

use super::{
    MAX_CONFLICTS, aim, invalid, named, object, requester,
    shown::{self, Fields},
    wait::{self, Part},
};
use crate::{
    context::{Begun, Context},
    decide::{self, Completion, Existing, Identity, Mode, Provision},
    error::Error,
    place,
    revision::Revision,
    state::{
        Phase, Record,
        begin::{self, Birth, Order},
    },
    work::Known,
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
    if context.knows_none(&name)
        && let Some(answer) = first(context, &name, &asked).await
    {
        return answer;
    }
    for _ in 0..MAX_CONFLICTS {
        let record = context.read(&name).await?;
        let existing = match &record {
            Some(record) if !record.is_of(&asked.requester.platform) => {
                return Err(decide::taken().into());
            }
            Some(record) if record.is_tombstone() => Some(Existing::Tombstone(record)),
            Some(record) => Some(compare(context, record, &asked).await?),
            None => None,
        };
        let version = asked.maintenance_version.as_deref();
        match decide::provision(existing, &asked.verdict, version, asked.mode)? {
            Provision::Unchanged(record) => {
                let shown = shown::applied(context, record).await?;
                return Ok(answer(Outcome::Unchanged, String::new(), shown));
            }
            Provision::Join(record, completion) => {
                return conclude(context, Part::Joined(record), completion, asked.mode).await;
            }
            Provision::Create(tombstone) => {
                let loaded = context.catalog.bundle(&asked.verdict.bundle_digest).await?;
                if let Some(begun) = create(context, &name, tombstone, &asked, &loaded).await? {
                    return begin(context, &begun, &loaded, asked.mode).await;
                }
                // A rival made the record: its word counts.
            }
        }
    }
    Err(Error::Contended)
}

/// Answers for an id that this replica knows nothing of, without asking the API
/// server first: the creation of the record finds out. `None`: another replica
/// may know the id, and refuses, or answers, otherwise.
async fn first(
    context: &Context,
    name: &str,
    asked: &Asked,
) -> Option<Result<ProvisionResponse, Error>> {
    let version = asked.maintenance_version.as_deref();
    decide::provision(None, &asked.verdict, version, asked.mode).ok()?;
    let loaded = context.catalog.bundle(&asked.verdict.bundle_digest).await;
    let loaded = loaded.ok()?;
    match create(context, name, None, asked, &loaded).await {
        Ok(Some(begun)) => Some(begin(context, &begun, &loaded, asked.mode).await),
        Ok(None) | Err(Error::Refused(_)) => None,
        Err(error) => Some(Err(error)),
    }
}

async fn begin(
    context: &Context,
    begun: &Begun,
    loaded: &Loaded,
    mode: Mode,
) -> Result<ProvisionResponse, Error> {
    let completion = loaded.bundle().provisions_asynchronously().into();
    conclude(context, Part::Began(begun), completion, mode).await
}

async fn conclude(
    context: &Context,
    part: Part<'_>,
    completion: Completion,
    mode: Mode,
) -> Result<ProvisionResponse, Error> {
    let shown = shown::aimed_at(context, part.record()).await?;
    let (outcome, operation) = wait::conclude(context, part, completion, mode).await?;
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

/// How the operations of the record's plan end, and whether the request asks
/// for what the record is.
async fn compare<'a>(
    context: &Context,
    record: &'a Record,
    asked: &Asked,
) -> Result<Existing<'a>, Error> {
    let operation = record.operation();
    let (revision, digest) = match (record.phase(), &record.state.applied) {
        (Phase::Provisioning | Phase::ProvisionFailed, _) | (_, None) => {
            let digest = operation.bundles.first().cloned().unwrap_or_default();
            (operation.revision.clone(), digest)
        }
        (_, Some(applied)) => (Some(applied.revision.clone()), applied.bundle.clone()),
    };
    let loaded = context.catalog.bundle(&digest).await?;
    let completion = loaded.bundle().provisions_asynchronously().into();
    let spec = &record.resource.spec;
    let same_place = spec.service_id == asked.service_id
        && spec.organization_guid == asked.organization_guid
        && spec.space_guid == asked.space_guid;
    let identity = match revision {
        Some(revision) if same_place => {
            let revision: Revision = context.revisions.recall(&revision).await?;
            same_request(&loaded, &revision, asked)
        }
        Some(_) | None => Identity::Different,
    };
    Ok(Existing::of(record, completion, identity))
}

/// The request, resolved by the pinned bundle, against the revision. What is
/// equal as sent is equal, whatever a bundle says by now.
fn same_request(loaded: &Loaded, revision: &Revision, asked: &Asked) -> Identity {
    let sent = &asked.parameters;
    let same_parameters = || {
        let resolved = loaded.bundle().create_parameters(sent);
        revision.parameters.sent == *sent
            || resolved.is_ok_and(|resolved| resolved.effective == revision.parameters.effective)
    };
    if revision.plan_id == asked.plan_id && same_parameters() {
        Identity::Same
    } else {
        Identity::Different
    }
}

/// Writes revision and record. `None`: a rival was faster.
async fn create(
    context: &Context,
    name: &str,
    tombstone: Option<&Record>,
    asked: &Asked,
    loaded: &Loaded,
) -> Result<Option<Begun>, Error> {
    let bundle = loaded.bundle();
    let parameters = bundle
        .create_parameters(&asked.parameters)
        .map_err(|violations| invalid(&violations))?;
    let revision = Revision {
        service_id: asked.service_id.clone(),
        plan_id: asked.plan_id.clone(),
        plan_name: bundle.name().to_owned(),
        bundle: bundle.digest().to_string(),
        maintenance_version: bundle.version().to_string(),
        parameters,
        context: asked.context.clone(),
        broker: context.args.broker.variables(),
    };
    shown::check(context, loaded, &revision, &asked.instance_id).await?;
    let place = find_place(bundle.namespace(), asked, name)?;
    if !place.own {
        check(context, bundle.namespace(), &place.namespace).await?;
    }
    let written = context.revisions.write(name, &revision).await?;
    if let Some(tombstone) = tombstone {
        archive(context, tombstone).await?;
    }
    let completion = bundle.provisions_asynchronously().into();
    let order = Order {
        at: Timestamp::now(),
        driver: context.driver(completion),
        by: asked.requester.clone(),
    };
    let aim = aim(loaded, written);
    let known = Known {
        revision: Some((aim.revision.clone(), revision)),
    };
    let resource = begin::create(name, tombstone, birth(asked, loaded, place), &aim, order);
    let begun = context.begin(tombstone, resource, known).await?;
    if begun.is_none() {
        // Nothing names it: it would be swept, but need not wait for that.
        context.revisions.delete(&aim.revision).await?;
    }
    Ok(begun)
}

/// Gives what an earlier life still owes a record of its own, before its place is taken.
async fn archive(context: &Context, tombstone: &Record) -> Result<(), Error> {
    let Some(archived) = tombstone.archived() else {
        return Ok(());
    };
    match context.records.create(&archived).await {
        Ok(made) => {
            context.cache.observe(made);
            Ok(())
        }
        // By a rival, or by an earlier try.
        Err(cluster::Error::AlreadyExists) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn birth(asked: &Asked, loaded: &Loaded, place: Place) -> Birth {
    let bundle = loaded.bundle();
    let name = bundle.service().name.as_deref();
    Birth {
        instance_id: asked.instance_id.clone(),
        incarnation: place.incarnation,
        namespace: place.namespace,
        own_namespace: place.own,
        service_id: asked.service_id.clone(),
        service_name: name.unwrap_or_else(|| bundle.provider()).to_owned(),
        organization_guid: asked.organization_guid.clone(),
        space_guid: asked.space_guid.clone(),
        platform: asked.requester.platform.clone(),
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
    let broker = &context.args.broker;
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
