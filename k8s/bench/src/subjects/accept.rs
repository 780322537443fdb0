//! Provision until 202, beside one raw create of a small object.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, api::PostParams};
use serde_json::json;

use super::id;
use crate::{
    args::Args,
    stack::Stack,
    table::{Pair, Table},
};

pub(super) async fn measure(stack: &Stack, args: &Args, table: &mut Table) -> anyhow::Result<()> {
    for clients in [1, 16] {
        let count = if args.quick { 16 } else { 48 };
        let mut pairs = Vec::new();
        for _ in 0..args.rounds() {
            let baseline = creates(stack, count, clients).await?;
            let ours = provisions(stack, count, clients).await?;
            pairs.push(Pair::of_times(baseline, ours));
        }
        let what = format!("provision to 202, {clients} at a time, beside one create");
        table.compare(&what, "ms", "≤ 2.5x", &pairs);
    }
    Ok(())
}

/// The median of raw creates.
async fn creates(stack: &Stack, count: usize, clients: usize) -> anyhow::Result<Duration> {
    let api: Api<ConfigMap> = Api::namespaced(stack.client(), "default");
    let took = stream::iter(0..count)
        .map(async |_| {
            let object: ConfigMap = serde_json::from_value(json!({
                "metadata": {"name": id("raw")}, "data": {"key": "value"}
            }))?;
            let began = Instant::now();
            api.create(&PostParams::default(), &object)
                .await
                .context("create")?;
            anyhow::Ok(began.elapsed())
        })
        .buffer_unordered(clients)
        .try_collect()
        .await?;
    Ok(median(took))
}

/// The median of provisions; the instances are removed afterwards.
async fn provisions(stack: &Stack, count: usize, clients: usize) -> anyhow::Result<Duration> {
    let platform = stack.platform.polling(Duration::from_millis(200));
    let accepted: Vec<(String, crate::platform::Accepted)> = stream::iter(0..count)
        .map(async |_| {
            let id = id("accept");
            let accepted = platform.provision(&id, 0).await?;
            if clients == 1 {
                // Alone: not beside the work on the one before.
                platform.succeeded(&id, &accepted.operation).await?;
            }
            anyhow::Ok((id, accepted))
        })
        .buffer_unordered(clients)
        .try_collect()
        .await?;
    for (id, accepted) in &accepted {
        platform.succeeded(id, &accepted.operation).await?;
    }
    let took = accepted.iter().map(|(_, accepted)| accepted.took).collect();
    for (id, _) in &accepted {
        let removed = platform.deprovision(id, 0).await?;
        platform.succeeded(id, &removed.operation).await?;
    }
    Ok(median(took))
}

pub(super) fn median(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took.get(took.len() / 2).copied().unwrap_or_default()
}
