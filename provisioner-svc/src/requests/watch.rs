//! The stream of instance states, for those who follow deletions.

use std::sync::Arc;

use broker_proto::v1::InstanceState;
use tokio::sync::{broadcast::error::RecvError, mpsc};
use tonic::Status;

use super::fetch::phase;
use crate::{context::Context, state::Record};

/// Sends every instance, then each change, until the receiver is gone.
pub(crate) async fn stream(
    context: Arc<Context>,
    sender: mpsc::Sender<Result<InstanceState, Status>>,
) {
    let mut changes = context.cache.changes();
    context.cache.synced().await;
    let mut names = all(&context);
    loop {
        for name in names.drain(..) {
            let Ok(Some(record)) = context.seen(&name) else {
                continue;
            };
            if record.is_archived() {
                continue;
            }
            if sender.send(Ok(state(&record))).await.is_err() {
                return;
            }
        }
        let change = tokio::select! {
            change = changes.recv() => change,
            () = sender.closed() => return,
        };
        names = match change {
            Ok(name) => vec![name],
            Err(RecvError::Lagged(_)) => all(&context),
            Err(RecvError::Closed) => return,
        };
    }
}

fn all(context: &Context) -> Vec<String> {
    use kube::ResourceExt as _;
    context
        .cache
        .all()
        .iter()
        .map(|record| record.name_any())
        .collect()
}

fn state(record: &Record) -> InstanceState {
    InstanceState {
        instance_id: record.resource.spec.instance_id.clone(),
        incarnation: record.resource.spec.incarnation.clone(),
        phase: phase(record.phase()).into(),
        held: record.resource.spec.held,
    }
}
