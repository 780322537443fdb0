//! From a changed ConfigMap of a plan to the catalog.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use cluster::names::State;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use rig::NAMESPACE;

use super::{accept::median, id};
use crate::{
    args::Args,
    stack::Stack,
    table::{Table, short},
};

const LIMIT: Duration = Duration::from_secs(120);

pub(super) async fn measure(stack: &Stack, args: &Args, table: &mut Table) -> anyhow::Result<()> {
    let api: Api<ConfigMap> = Api::namespaced(stack.client(), &State::Plans.namespace(NAMESPACE));
    let name = id("plan");
    let mut took = Vec::new();
    for round in 0..=args.rounds() {
        let text = format!("round-{round}");
        let object = site_plan(&name, &text)?;
        let began = Instant::now();
        api.patch(&name, &PatchParams::apply("bench"), &Patch::Apply(&object))
            .await
            .context("apply a plan")?;
        while !stack.platform.catalog().await?.to_string().contains(&text) {
            ensure!(began.elapsed() < LIMIT, "the changed plan is not served");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The first one is an addition, and no change.
        if round > 0 {
            took.push(began.elapsed());
        }
    }
    api.delete(&name, &kube::api::DeleteParams::default())
        .await?;
    let took = format!("{} ms", short(median(took).as_secs_f64() * 1e3));
    table.note("changed plan ConfigMap to catalog", took, "–");
    Ok(())
}

/// A plan of an offering of its own, with one object.
fn site_plan(name: &str, description: &str) -> anyhow::Result<ConfigMap> {
    let data = BTreeMap::from([
        ("plan.yaml", format!("description: {description}\n")),
        (
            "10-object.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n".to_owned(),
        ),
    ]);
    serde_json::from_value(serde_json::json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"mongodb-osb.io/plan": format!("site.{name}")}},
        "data": data,
    }))
    .context("a plan")
}
