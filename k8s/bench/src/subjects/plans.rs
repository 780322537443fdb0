//! From a changed ConfigMap of a plan to the catalog.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use cluster::names::State;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use rig::NAMESPACE;

use super::{accept::median, id};
use crate::{
    args::Args,
    stack::Stack,
    table::{Table, short},
};

const LIMIT: Duration = Duration::from_secs(120);

/// Plans that are there, beside the shipped ones, in the second measure.
const CROWD: usize = 500;
/// Plans that are applied at a time.
const AT_A_TIME: usize = 16;

pub(super) async fn measure(stack: &Stack, args: &Args, table: &mut Table) -> anyhow::Result<()> {
    let site = Site {
        api: Api::namespaced(stack.client(), &State::Plans.namespace(NAMESPACE)),
        stack,
    };
    let took = site.changes(args.rounds()).await?;
    table.note("changed plan ConfigMap to catalog", millis(took), "–");

    let began = Instant::now();
    let names: Vec<String> = (0..CROWD).map(|_| id("crowd")).collect();
    let applied = futures::stream::iter(&names).map(|name| site.apply(name, "crowd"));
    applied
        .buffer_unordered(AT_A_TIME)
        .try_collect::<Vec<()>>()
        .await?;
    site.until("they are not all served", |catalog| {
        names.iter().all(|name| catalog.contains(name.as_str()))
    })
    .await?;
    let took = millis(began.elapsed());
    table.note(&format!("{CROWD} new plans to catalog"), took, "–");
    let took = site.changes(args.rounds()).await?;
    let what = format!("the same, beside {CROWD} plans");
    table.note(&what, millis(took), "≤ 3000 ms");
    for name in &names {
        site.remove(name).await?;
    }
    Ok(())
}

fn millis(took: Duration) -> String {
    format!("{} ms", short(took.as_secs_f64() * 1e3))
}

/// The site's plans, and the catalog that they are to be in.
struct Site<'a> {
    api: Api<ConfigMap>,
    stack: &'a Stack,
}

impl Site<'_> {
    /// The median of so many changes of one plan.
    async fn changes(&self, rounds: u16) -> anyhow::Result<Duration> {
        let name = id("plan");
        let mut took = Vec::new();
        for round in 0..=rounds {
            let text = format!("round-{round} of {name}");
            let began = Instant::now();
            self.apply(&name, &text).await?;
            self.until("the changed plan is not served", |catalog| {
                catalog.contains(&text)
            })
            .await?;
            // The first one is an addition, and no change.
            if round > 0 {
                took.push(began.elapsed());
            }
        }
        self.remove(&name).await?;
        Ok(median(took))
    }

    async fn apply(&self, name: &str, description: &str) -> anyhow::Result<()> {
        let object = site_plan(name, description)?;
        let patch = Patch::Apply(&object);
        let parameters = PatchParams::apply("bench");
        let applied = self.api.patch(name, &parameters, &patch);
        applied.await.context("apply a plan")?;
        Ok(())
    }

    async fn remove(&self, name: &str) -> anyhow::Result<()> {
        self.api.delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    async fn until(&self, missed: &str, is_so: impl Fn(&str) -> bool) -> anyhow::Result<()> {
        let began = Instant::now();
        while !is_so(&self.stack.platform.catalog().await?.to_string()) {
            ensure!(began.elapsed() < LIMIT, "{missed}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
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
