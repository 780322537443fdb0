//! Sees to it that every record is worked: on each change, when replicas come
//! and go, and from time to time for what only time brings about.

use std::{sync::Arc, time::Duration};

use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::{shared::Shared, workers::Workers};

/// Between looks at all records: second looks, tombstones, deadlines, and
/// whatever an event did not tell.
const TICK: Duration = Duration::from_secs(5);

/// Runs until `stop`.
pub(crate) async fn run(shared: Arc<Shared>, workers: Workers, stop: CancellationToken) {
    let mut changes = shared.cache.changes();
    let mut members = shared.members.clone();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let name = tokio::select! {
            () = stop.cancelled() => return,
            change = changes.recv() => match change {
                Ok(name) => Some(name),
                Err(RecvError::Lagged(_)) => None,
                Err(RecvError::Closed) => return,
            },
            changed = members.changed() => match changed {
                Ok(()) => None,
                Err(_) => return,
            },
            _ = ticks.tick() => None,
        };
        match name {
            Some(name) => {
                if let Some(object) = shared.cache.get(&name) {
                    workers.consider(&object);
                }
            }
            None => {
                for object in shared.cache.all() {
                    workers.consider(&object);
                }
            }
        }
    }
}
