//! What the platform shows of an instance: its dashboard and metadata. A
//! function of the revision, so that every answer about one says the same.

use broker_proto::{ErrorCode, json, v1::InstanceMetadata};
use cluster::names;
use plan::{Loaded, Variables, display::Display, variables::Instance};

use crate::{context::Context, error::Error, revision::Revision, state::Record};

/// The fields of an answer.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// Empty if the plan has none.
    pub(super) dashboard_url: String,
    pub(super) metadata: Option<InstanceMetadata>,
}

/// By what the newest operation aims at.
pub(super) async fn aimed_at(context: &Context, record: &Record) -> Result<Fields, Error> {
    let operation = record.operation();
    match (operation.bundles.first(), &operation.revision) {
        (Some(bundle), Some(revision)) => by(context, record, bundle, revision).await,
        _ => Ok(Fields::default()),
    }
}

/// By what was last applied.
pub(super) async fn applied(context: &Context, record: &Record) -> Result<Fields, Error> {
    match &record.state.applied {
        Some(applied) => by(context, record, &applied.bundle, &applied.revision).await,
        None => Ok(Fields::default()),
    }
}

/// A plan that shows nothing costs no read.
async fn by(
    context: &Context,
    record: &Record,
    bundle: &str,
    revision: &str,
) -> Result<Fields, Error> {
    let loaded = context.catalog.bundle(bundle).await?;
    if !loaded.bundle().descriptor().has_display() {
        return Ok(Fields::default());
    }
    let revision: Revision = context.revisions.recall(revision).await?;
    let spec = &record.resource.spec;
    let shown = evaluate(
        context,
        &loaded,
        &revision,
        &spec.instance_id,
        &spec.namespace,
    )
    .await?;
    fields(shown)
}

/// Refuses what could not be shown, before anything is written.
pub(super) async fn check(
    context: &Context,
    loaded: &Loaded,
    revision: &Revision,
    instance_id: &str,
) -> Result<(), Error> {
    if loaded.bundle().descriptor().has_display() {
        evaluate(context, loaded, revision, instance_id, "not-known-yet")
            .await
            .and_then(fields)?;
    }
    Ok(())
}

async fn evaluate(
    context: &Context,
    loaded: &Loaded,
    revision: &Revision,
    instance_id: &str,
    namespace: &str,
) -> Result<Display, Error> {
    let variables = Variables {
        instance: Instance {
            id: instance_id.to_owned(),
            name: names::object(&names::instance_record(instance_id)),
            namespace: namespace.to_owned(),
        },
        parameters: revision.parameters.effective.clone(),
        context: revision.context.clone(),
        broker: revision.broker.clone(),
        ..Variables::default()
    };
    let shown = context.sandbox.display(loaded, &variables).await;
    let shown = shown.map_err(|error| {
        if error.is_transient() {
            return broker_proto::Error::unavailable("The evaluation of the plan").into();
        }
        let bundle = loaded.bundle();
        Error::refusal(
            ErrorCode::InvalidArgument,
            format!(
                "The plan {}/{} cannot be used with these parameters: the evaluation of \
                 dashboard_url, labels and attributes was ended, since {error}.",
                bundle.provider(),
                bundle.name()
            ),
        )
    })?;
    shown.map_err(|error| {
        Error::refusal(
            ErrorCode::InvalidArgument,
            format!("The plan's {error}; does the request lack something?"),
        )
    })
}

fn fields(shown: Display) -> Result<Fields, Error> {
    let attributes = (!shown.attributes.is_empty())
        .then(|| json::to_struct(&shown.attributes))
        .transpose()?;
    let metadata = InstanceMetadata {
        labels: shown.labels.into_iter().collect(),
        attributes,
    };
    let has_any = !metadata.labels.is_empty() || metadata.attributes.is_some();
    Ok(Fields {
        dashboard_url: shown.dashboard_url.unwrap_or_default(),
        metadata: has_any.then_some(metadata),
    })
}
