//! Provision until 202, beside one raw create of a small custom resource, which
//! a broker without a database of its own needs at least.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
    runtime::{conditions, wait::await_condition},
};
use serde_json::json;

use super::{at_once, id, instances::deprovision_all};
use crate::{
    args::Args,
    stack::Stack,
    table::{Pair, Table},
};

/// Between two, where each is measured alone: of the baseline, too, since an
/// API server that has rested answers later.
pub(super) const PACE: Duration = Duration::from_millis(100);
const GROUP: &str = "bench.mongodb-osb.io";
/// For the API server to serve a new kind.
const ESTABLISHED: Duration = Duration::from_secs(30);

pub(super) async fn measure(stack: &Stack, args: &Args, table: &mut Table) -> anyhow::Result<()> {
    define(stack).await?;
    for clients in [1, 16] {
        let count = if args.quick { 16 } else { 48 };
        let mut pairs = Vec::new();
        for _ in 0..args.rounds() {
            let baseline = creates(stack, count, clients).await?;
            let ours = provisions(stack, count, clients).await?;
            pairs.push(Pair::of_times(baseline, ours));
        }
        let what = format!(
            "provision to 202, {clients} at a time, beside one create of a custom resource"
        );
        let aim = if clients == 1 { "≤ 2.5x" } else { "all 202" };
        table.compare(&what, "ms", aim, &pairs);
    }
    Ok(())
}

/// The custom resource of the raw creates.
fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, "v1", "Small"))
}

/// Has the API server serve it.
async fn define(stack: &Stack) -> anyhow::Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(stack.client());
    let name = format!("smalls.{GROUP}");
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": {
            "group": GROUP, "scope": "Namespaced",
            "names": {"plural": "smalls", "singular": "small", "kind": "Small"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {"key": {"type": "string"}}}
                }}}
            }]
        }
    });
    let params = PatchParams::apply("bench");
    api.patch(&name, &params, &Patch::Apply(&definition))
        .await
        .context("define a custom resource")?;
    let established = conditions::is_crd_established();
    let established = await_condition(api, &name, established);
    tokio::time::timeout(ESTABLISHED, established)
        .await
        .context("wait for a custom resource")??;
    Ok(())
}

/// The median of raw creates.
async fn creates(stack: &Stack, count: usize, clients: usize) -> anyhow::Result<Duration> {
    let resource = resource();
    let api: Api<DynamicObject> = Api::namespaced_with(stack.client(), "default", &resource);
    let create = async |_| {
        let object =
            DynamicObject::new(&id("raw"), &resource).data(json!({"spec": {"key": "value"}}));
        let began = Instant::now();
        api.create(&PostParams::default(), &object)
            .await
            .context("create")?;
        let took = began.elapsed();
        if clients == 1 {
            tokio::time::sleep(PACE).await;
        }
        anyhow::Ok(took)
    };
    let (took, _) = at_once(0..count, clients, create).await?;
    Ok(median(took))
}

/// The median of provisions; the instances are removed afterwards.
async fn provisions(stack: &Stack, count: usize, clients: usize) -> anyhow::Result<Duration> {
    let platform = stack.platform.polling(Duration::from_millis(200));
    let provision = async |_| {
        let id = id("accept");
        let accepted = platform.provision(&id, 0).await?;
        if clients == 1 {
            // Alone: not beside the work on the one before, nor beside what
            // the cluster's controllers do in its new namespace.
            platform.succeeded(&id, &accepted.operation).await?;
            tokio::time::sleep(PACE).await;
        }
        anyhow::Ok((id, accepted))
    };
    let (accepted, _) = at_once(0..count, clients, provision).await?;
    for (id, accepted) in &accepted {
        platform.succeeded(id, &accepted.operation).await?;
    }
    let took = accepted.iter().map(|(_, accepted)| accepted.took).collect();
    let instances: Vec<String> = accepted.into_iter().map(|(id, _)| id).collect();
    deprovision_all(&platform, &instances, clients).await?;
    Ok(median(took))
}

pub(super) fn median(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took.get(took.len() / 2).copied().unwrap_or_default()
}
