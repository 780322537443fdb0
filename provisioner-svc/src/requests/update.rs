//! OSB update: parameters, plan, context, maintenance version.

use std::sync::Arc;

use broker_proto::v1::{CatalogVerdict, Outcome, UpdateRequest, UpdateResponse};
use cluster::{audit::Requester, names};
use jiff::Timestamp;
use plan::Loaded;
use serde_json::{Map, Value};

use super::{
    MAX_CONFLICTS, aim, invalid, named, object, requester,
    shown::{self, Fields},
    wait::{self, Part},
};
use crate::{
    context::{Begun, Context},
    decide::{self, BundleAsked, Completion, Instance, Mode, Update, UpdateAsked},
    error::Error,
    revision::Revision,
    state::{Applied, Phase, Record, begin::Order},
    work::Known,
};

/// What a change of the instance may come from; absent means "as it is".
struct Asked {
    plan_id: Option<String>,
    patch: Option<Map<String, Value>>,
    context: Option<Map<String, Value>>,
    maintenance_version: Option<String>,
    verdict: Option<CatalogVerdict>,
}

/// Answers an update.
pub(crate) async fn update(
    context: &Context,
    request: UpdateRequest,
) -> Result<UpdateResponse, Error> {
    let name = names::instance_record(&request.instance_id);
    let mode = Mode::from(request.accepts_incomplete);
    let by = requester(request.requester);
    let asked = Asked {
        plan_id: request.plan_id,
        patch: request.parameters.map(broker_proto::json::from_struct),
        context: request.context.map(|context| object(Some(context))),
        maintenance_version: request.maintenance_version,
        verdict: request.verdict,
    };
    if let Some(context) = &asked.context {
        named(context)?;
    }
    for _ in 0..MAX_CONFLICTS {
        let record = context.read(&name).await?;
        let instance = match &record {
            Some(record) if !record.is_tombstone() && record.is_of(&by.platform) => {
                Instance::of(record, completion(context, record).await?)
            }
            Some(_) | None => None,
        };
        let ids = UpdateAsked {
            service_id: &request.service_id,
            plan_id: asked.plan_id.as_deref(),
            verdict: asked.verdict.as_ref(),
            mode,
        };
        match decide::update(instance, ids)? {
            Update::CompareWithRunning(instance, applied) => {
                let target = target(context, applied, &asked).await?;
                let record = instance.record;
                let running = record.operation().revision.as_deref().unwrap_or_default();
                let running: Revision = context.revisions.read(running).await?;
                if running.same_target(&target.revision) {
                    let part = Part::Joined(record);
                    return conclude(context, part, instance.completion, mode).await;
                }
                return Err(decide::busy("is being updated").into());
            }
            Update::Consider(instance, applied) => {
                let target = target(context, applied, &asked).await?;
                let record = instance.record;
                // After a failed update the objects may be anywhere: the same target is a repair.
                if record.phase() == Phase::Ready && target.before.same_target(&target.revision) {
                    let shown = shown::applied(context, record).await?;
                    return Ok(answer(Outcome::Unchanged, String::new(), shown));
                }
                if asked.is_context_only(applied) {
                    decide::context_only(target.loaded.bundle().service().allow_context_updates)?;
                }
                shown::check(
                    context,
                    &target.loaded,
                    &target.revision,
                    &request.instance_id,
                )
                .await?;
                if let Some(begun) = begin(context, instance, applied, &target, &by).await? {
                    let part = Part::Began(&begun);
                    return conclude(context, part, instance.completion, mode).await;
                }
            }
        }
    }
    Err(Error::Contended)
}

impl Asked {
    /// Whether nothing but the context is to change.
    fn is_context_only(&self, applied: &Applied) -> bool {
        self.context.is_some()
            && self.patch.as_ref().is_none_or(Map::is_empty)
            && self.maintenance_version.is_none()
            && self
                .plan_id
                .as_ref()
                .is_none_or(|plan| *plan == applied.plan_id)
    }
}

struct Target {
    /// What was applied last.
    before: Revision,
    revision: Revision,
    loaded: Arc<Loaded>,
}

/// How the operations of the plan that the instance has end.
async fn completion(context: &Context, record: &Record) -> Result<Completion, Error> {
    let applied = record.state.applied.as_ref().map(|applied| &applied.bundle);
    let digest = applied
        .or_else(|| record.operation().bundles.first())
        .cloned()
        .unwrap_or_default();
    let loaded = context.catalog.bundle(&digest).await?;
    Ok(loaded.bundle().provisions_asynchronously().into())
}

/// Works out what the instance would be. The pinned bundle stays unless the
/// plan changes or a maintenance version asks for today's.
async fn target(context: &Context, applied: &Applied, asked: &Asked) -> Result<Target, Error> {
    let before: Revision = context.revisions.read(&applied.revision).await?;
    let pinned = context.catalog.bundle(&applied.bundle).await?;
    let changes_plan = asked
        .plan_id
        .as_ref()
        .is_some_and(|plan| *plan != applied.plan_id);
    let wanted = BundleAsked {
        plan_id: asked.plan_id.as_deref(),
        maintenance_version: asked.maintenance_version.as_deref(),
        verdict: asked.verdict.as_ref(),
    };
    let listed = || context.catalog.listed(&applied.plan_id);
    let digest = decide::target_bundle(applied, wanted, listed)?;
    let loaded = context.catalog.bundle(&digest).await?;
    if changes_plan && !pinned.bundle().may_update_to(loaded.bundle().name()) {
        return Err(decide::unsupported(format!(
            "An instance of plan {} cannot change to plan {}.",
            pinned.bundle().name(),
            loaded.bundle().name()
        ))
        .into());
    }
    if let Some(refusal) = loaded.bundle().is_not_for_instances_of(pinned.bundle()) {
        return Err(decide::unsupported(refusal).into());
    }
    let patch = asked.patch.clone().unwrap_or_default();
    let parameters = loaded
        .bundle()
        .update_parameters(&before.parameters, &patch)
        .map_err(|violations| refuse(&violations))?;
    let bundle = loaded.bundle();
    let revision = Revision {
        service_id: before.service_id.clone(),
        plan_id: bundle.plan_id().to_string(),
        plan_name: bundle.name().to_owned(),
        bundle: bundle.digest().to_string(),
        maintenance_version: bundle.version().to_string(),
        parameters,
        context: asked
            .context
            .clone()
            .unwrap_or_else(|| before.context.clone()),
        // Pinned like the bundle; an upgrade moves both.
        broker: if digest == applied.bundle {
            before.broker.clone()
        } else {
            context.args.broker.variables()
        },
    };
    Ok(Target {
        before,
        revision,
        loaded,
    })
}

/// Legal values that the instance cannot come to (immutable, or out of order)
/// are a change that is not supported; any other violation is invalid data.
fn refuse(violations: &[plan::schema::Violation]) -> Error {
    let unsupported = violations
        .iter()
        .all(plan::schema::Violation::is_unsupported_change);
    if unsupported {
        let all: Vec<String> = violations.iter().map(ToString::to_string).collect();
        decide::unsupported(format!("{}.", all.join("; "))).into()
    } else {
        invalid(violations).into()
    }
}

/// Writes revision and record. `None`: a rival was faster.
async fn begin(
    context: &Context,
    instance: Instance<'_>,
    applied: &Applied,
    target: &Target,
    by: &Requester,
) -> Result<Option<Begun>, Error> {
    let record = instance.record;
    let revision = context
        .revisions
        .write(&record.name(), &target.revision)
        .await?;
    let order = Order {
        at: Timestamp::now(),
        driver: context.driver(instance.completion),
        by: by.clone(),
    };
    let aim = aim(&target.loaded, revision);
    let known = Known {
        revision: Some((aim.revision.clone(), target.revision.clone())),
    };
    let begun = context
        .begin(Some(record), record.begin_update(&aim, order), known)
        .await?;
    let Some(begun) = begun else {
        context.revisions.delete(&aim.revision).await?;
        return Ok(None);
    };
    // That of a failed update; a failure here leaves it to the sweep.
    let superseded = record.operation().revision.as_ref();
    if let Some(superseded) = superseded.filter(|name| **name != applied.revision)
        && let Err(error) = context.revisions.delete(superseded).await
    {
        tracing::debug!(%error, "superseded revision not deleted");
    }
    Ok(Some(begun))
}

async fn conclude(
    context: &Context,
    part: Part<'_>,
    completion: Completion,
    mode: Mode,
) -> Result<UpdateResponse, Error> {
    let shown = shown::aimed_at(context, part.record()).await?;
    let (outcome, operation) = wait::conclude(context, part, completion, mode).await?;
    Ok(answer(outcome, operation, shown))
}

fn answer(outcome: Outcome, operation: String, shown: Fields) -> UpdateResponse {
    UpdateResponse {
        outcome: outcome.into(),
        operation,
        dashboard_url: shown.dashboard_url,
        metadata: shown.metadata,
    }
}
