//! What belongs to nothing any more: a second look at what a paused replica
//! may have left after an end, revisions that no record names, tombstones and
//! bundles past their time. Paced, on one replica, from a fresh list.
//!
//! That a record is missing proves nothing: records are lost in restores, or
//! deleted by mistake. Deleted is only what a record proves to be over; what
//! has no record is marked, counted and left.

mod bundles;
mod census;
mod namespaces;
mod revisions;
mod shared;

use std::sync::Arc;

use cluster::{list, names};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use service::telemetry::chain;
use tokio_util::sync::CancellationToken;

use self::{bundles::Records, census::Census};
use crate::{context::Context, error::Error, metrics::Orphan, resource::ServiceInstance};

/// The name whose owner sweeps.
const SWEEP: &str = "sweep";

/// Sweeps until `stop`. A sweep that is under way then is dropped: each of its
/// decisions stands alone.
pub(crate) async fn run(context: Arc<Context>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(context.args.sweep_interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if !context.members.borrow().owns(SWEEP) {
            // Another replica counts them.
            context.metrics.orphans(Orphan::Namespace, 0);
            context.metrics.orphans(Orphan::Revision, 0);
            continue;
        }
        let swept = tokio::select! {
            () = stop.cancelled() => return,
            swept = sweep(&context) => swept,
        };
        if let Err(error) = swept {
            tracing::warn!(error = chain(&error), "sweep interrupted");
        }
    }
}

/// One sweep. What concerns a single object fails alone; only lists end it.
async fn sweep(context: &Context) -> Result<(), Error> {
    // What is judged is listed before the records: whatever is found has had
    // its record before it.
    let namespaces: Api<Namespace> = Api::all(context.client());
    let ours = format!(
        "{}={},{}={}",
        names::MANAGED_BY,
        names::MANAGER,
        names::BROKER,
        context.args.broker.namespace
    );
    let found = list::metadata(&namespaces, &ours).await?;
    let revisions = context.revisions.list(None).await?;
    let now = Timestamp::now();
    let census = census(context, now).await?;

    let orphans = namespaces::sweep(context, &census, &found).await;
    namespaces::show_missing(context, &census, &found).await;
    let unknown = revisions::sweep(context, &census, revisions, &orphans, now).await;
    shared::sweep(context, &census).await;
    for tombstone in &census.expired {
        match context.records.delete(tombstone).await {
            Ok(()) | Err(cluster::Error::Conflict) => {}
            Err(error) => tracing::warn!(error = chain(&error), "tombstone not deleted"),
        }
    }
    let records = if orphans.is_empty() && unknown == 0 {
        Records::Complete
    } else {
        Records::Missing
    };
    bundles::sweep(context, &census, records, now).await
}

/// Reads each record once, and keeps of it what the sweep asks for.
async fn census(context: &Context, now: Timestamp) -> Result<Census, Error> {
    let keep: SignedDuration = context.keep();
    let take = |census: &mut Census, page: Vec<ServiceInstance>| {
        for resource in page {
            census.take(resource, now, keep);
        }
    };
    Ok(context.records.fold(Census::default, take).await?)
}
