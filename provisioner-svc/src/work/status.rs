//! The status: a cache of what spec, state and cluster say.

use cluster::{
    error::{call, optional},
    operation::bounded,
    orphan::{self, Found, Mark},
};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::Namespace,
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use kube::Api;

use objects::inventory::{self, Entry};

use super::{Job, discover::BundleKinds};
use crate::{
    context::Context,
    error::Error,
    resource::ServiceInstanceStatus,
    state::{Phase, Record},
};

/// Reason of the condition `Ready` of an instance that lost its namespace.
const NAMESPACE_MISSING: &str = "NamespaceMissing";

impl Job {
    /// Shows what is waited for, the phase and what was made so far; writes
    /// only what changed. Before the first wait nothing is written: an
    /// operation that never waits ends with its only status.
    pub(super) async fn say(&mut self, message: String) {
        if !message.is_empty() {
            self.message = message;
        }
        if let Err(error) = self.write_status().await {
            tracing::debug!(%error, "status not written");
        }
    }

    pub(super) async fn write_status(&mut self) -> Result<(), cluster::Error> {
        let message = (!self.message.is_empty()).then(|| self.message.clone());
        let mut status = of(&self.record, message, self.objects.inventory().to_vec());
        status.progress = Some(self.progress.shown(self.record.operation()));
        if self.record.resource.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let name = self.record.name();
        let written = self.context.write_status(&name, &status).await?;
        let resource = &mut self.record.resource;
        resource.status = Some(status);
        // Only the status is another one: what is written next is based on that
        // version. If somebody else wrote before, it must not be.
        if let Some(written) = written
            && written.spec == resource.spec
            && written.metadata.annotations == resource.metadata.annotations
            && written.metadata.finalizers == resource.metadata.finalizers
            && written.metadata.deletion_timestamp == resource.metadata.deletion_timestamp
        {
            let version = written.metadata.resource_version.clone();
            resource.metadata.resource_version = version;
        }
        Ok(())
    }
}

/// The status of a record.
pub(super) fn of(
    record: &Record,
    message: Option<String>,
    inventory: Vec<Entry>,
) -> ServiceInstanceStatus {
    let phase = record.phase();
    let message = message
        .filter(|message| !message.is_empty())
        .map(|message| bounded(&message));
    let ready = phase == Phase::Ready;
    let before = record
        .resource
        .status
        .as_ref()
        .and_then(|status| status.conditions.first());
    let state = if ready { "True" } else { "False" };
    let since = before
        .filter(|condition| condition.status == state)
        .map_or_else(
            || Time(Timestamp::now()),
            |condition| condition.last_transition_time.clone(),
        );
    ServiceInstanceStatus {
        phase: record.shown_phase().to_owned(),
        observed_generation: record.resource.metadata.generation.unwrap_or_default(),
        conditions: vec![Condition {
            type_: "Ready".to_owned(),
            status: state.to_owned(),
            reason: record.shown_phase().to_owned(),
            message: message.clone().unwrap_or_default(),
            observed_generation: record.resource.metadata.generation,
            last_transition_time: since,
        }],
        message,
        progress: None,
        inventory,
    }
}

/// What the open operation was last seen to wait for, whoever worked on it.
pub(super) fn message_of(record: &Record) -> Option<String> {
    let status = record.resource.status.as_ref()?;
    let current = status.phase == record.shown_phase()
        && Some(status.observed_generation) == record.resource.metadata.generation;
    status.message.clone().filter(|_| current)
}

/// Whether a finished record's status needs to be made anew: backups drop it.
pub(crate) fn is_outdated(record: &Record) -> bool {
    record.resource.status.as_ref().is_none_or(|status| {
        status.phase != record.shown_phase()
            || Some(status.observed_generation) != record.resource.metadata.generation
    })
}

/// Whether the status shows that the instance's namespace is not there.
pub(crate) fn lacks_namespace(record: &Record) -> bool {
    let status = record.resource.status.iter();
    let mut conditions = status.flat_map(|status| &status.conditions);
    conditions.any(|condition| condition.reason == NAMESPACE_MISSING)
}

/// Shows that an instance has no namespace, whatever its last operation came to.
fn without_namespace(mut status: ServiceInstanceStatus, record: &Record) -> ServiceInstanceStatus {
    let message = format!(
        "Namespace {} of this instance is not there: restore it with its contents.",
        record.resource.spec.namespace
    );
    for condition in &mut status.conditions {
        "False".clone_into(&mut condition.status);
        NAMESPACE_MISSING.clone_into(&mut condition.reason);
        condition.message.clone_from(&message);
        if !lacks_namespace(record) {
            condition.last_transition_time = Time(Timestamp::now());
        }
    }
    status.message = Some(message);
    status
}

/// Makes the status of a finished record anew: phase and message from the
/// state, the inventory by label. A namespace that was an orphan has its
/// record again; one that is missing is shown.
pub(crate) async fn rebuild(context: &Context, record: &Record) -> Result<(), Error> {
    let known = record
        .resource
        .status
        .as_ref()
        .map(|status| status.inventory.clone())
        .unwrap_or_default();
    if is_behind(record) && !lacks_namespace(record) {
        // A hold came or went: nothing else changes a finished record.
        let status = of(record, message_of_end(record), known);
        context.write_status(&record.name(), &status).await?;
        return Ok(());
    }
    let is_there = is_namespace_there(context, record).await?;
    let inventory = if record.is_tombstone() || !is_there {
        Vec::new()
    } else {
        find(context, record, known).await?
    };
    let mut status = of(record, message_of_end(record), inventory);
    if !is_there {
        status = without_namespace(status, record);
    }
    context.write_status(&record.name(), &status).await?;
    Ok(())
}

/// Whether the status shows the phase that the record is in, and an earlier
/// generation. A record that was restored begins with the first one again: its
/// status is never behind.
fn is_behind(record: &Record) -> bool {
    let generation = record.resource.metadata.generation.unwrap_or_default();
    let status = record.resource.status.as_ref();
    status.is_some_and(|status| {
        status.phase == record.shown_phase() && status.observed_generation < generation
    })
}

fn message_of_end(record: &Record) -> Option<String> {
    let ended = record.state.operations.get(&record.operation().id);
    ended.map(|ended| ended.description.clone())
}

/// Looks for the namespace of an instance that should have one, and takes the
/// mark of an orphan from it.
async fn is_namespace_there(context: &Context, record: &Record) -> Result<bool, Error> {
    if !record.needs_namespace() {
        return Ok(true);
    }
    let spec = &record.resource.spec;
    let found = if spec.own_namespace {
        orphan::mark_namespace(
            &context.client(),
            &spec.namespace,
            &record.labels(),
            Mark::Owned,
        )
        .await?
    } else {
        let api: Api<Namespace> = Api::all(context.client());
        match optional(call(api.get_metadata(&spec.namespace)).await)? {
            Some(_) => Found::Ours,
            None => Found::Missing,
        }
    };
    Ok(match found {
        Found::Ours | Found::Terminating => true,
        Found::Missing => false,
    })
}

async fn find(context: &Context, record: &Record, known: Vec<Entry>) -> Result<Vec<Entry>, Error> {
    let inventory = known.iter().map(Entry::gvk);
    let BundleKinds { kinds, missing } =
        BundleKinds::of(&context.catalog, &[record], inventory).await;
    if let Some(error) = missing {
        return Err(error.into());
    }
    let spec = &record.resource.spec;
    let found =
        inventory::discover(&context.kinds, &kinds, &spec.namespace, &record.selector()).await;
    match found {
        Ok(found) => Ok(inventory::of_found(&found, &known)),
        Err(cluster::Error::Forbidden(_)) => Ok(known),
        Err(error) => Err(error.into()),
    }
}
