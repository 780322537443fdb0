//! What must hold: looked up behind the broker's back, past every proxy.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use cluster::names::State;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::{Api, ResourceExt as _, api::ListParams};
use tokio::time::Instant;

use crate::{
    plans::{GENERATED, Wanted},
    world::{NAMESPACE, World},
};

/// Kubernetes makes it in each namespace.
const NOT_OURS: &str = "kube-root-ca.crt";
const PAUSE: Duration = Duration::from_millis(500);

/// The namespaces of an instance.
async fn namespaces(world: &World, instance: &str) -> anyhow::Result<Vec<String>> {
    let record = cluster::names::instance_record(instance);
    let params = ListParams::default().labels(&format!("{}={record}", cluster::names::INSTANCE));
    let api: Api<Namespace> = Api::all(world.client());
    let found = api.list(&params).await.context("list namespaces")?;
    Ok(found.iter().map(kube::ResourceExt::name_any).collect())
}

/// The objects of an instance are the rendered ones, and no others. Returns the
/// generated value, which must never change.
pub(crate) async fn objects(
    world: &World,
    instance: &str,
    wanted: &Wanted,
) -> anyhow::Result<String> {
    let namespaces = namespaces(world, instance).await?;
    let [namespace] = &namespaces[..] else {
        bail!("the instance has the namespaces {namespaces:?}, and must have one");
    };
    let api: Api<ConfigMap> = Api::namespaced(world.client(), namespace);
    let found = api
        .list(&ListParams::default())
        .await
        .context("list ConfigMaps")?;
    let objects: BTreeMap<String, BTreeMap<String, String>> = found
        .into_iter()
        .filter(|object| object.name_any() != NOT_OURS)
        .map(|object| (object.name_any(), object.data.unwrap_or_default()))
        .collect();
    let secrets: Api<Secret> = Api::namespaced(world.client(), namespace);
    let first = secrets.get("first").await.context("read Secret first")?;
    let generated = first
        .data
        .and_then(|mut data| data.remove(GENERATED))
        .map(|value| String::from_utf8_lossy(&value.0).into_owned())
        .unwrap_or_default();
    ensure!(
        objects == wanted.objects(),
        "the objects are {objects:?} and must be {:?}",
        wanted.objects()
    );
    ensure!(!generated.is_empty(), "there is no generated value");
    Ok(generated)
}

/// An instance that was deleted has nothing any more.
pub(crate) async fn is_gone(world: &World, instance: &str) -> anyhow::Result<()> {
    let namespaces = namespaces(world, instance).await?;
    ensure!(
        namespaces.is_empty(),
        "its delete succeeded, and there still is {}",
        namespaces.join(", ")
    );
    Ok(())
}

/// What else may be left for some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Late {
    /// Secrets that no record names: the sweeps spare the young ones, since
    /// their records may be written in a moment.
    Secrets,
    /// Nothing.
    Nothing,
}

/// Waits until nothing of any instance or binding is left but what is known to be.
pub(crate) async fn nothing_left(world: &World, late: Late) -> anyhow::Result<()> {
    let limit = Duration::from_secs(match late {
        Late::Secrets => 120,
        // The binder's sweep waits for ten minutes.
        Late::Nothing => 720,
    });
    let deadline = Instant::now() + limit;
    loop {
        let mut left = left(world, late).await?;
        left.retain(|name| !world.knows(name));
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            world.remember(&left);
            bail!("left after {} s: {}", limit.as_secs(), left.join(", "));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn left(world: &World, late: Late) -> anyhow::Result<Vec<String>> {
    let all = ListParams::default();
    let ours = format!("{}={NAMESPACE}", cluster::names::BROKER);
    let ours = all.clone().labels(&ours);
    let namespaces: Api<Namespace> = Api::all(world.client());
    let namespaces = namespaces.list(&ours).await.context("list namespaces")?;
    let mut left: Vec<String> = namespaces
        .iter()
        .map(|namespace| format!("namespace {}", namespace.name_any()))
        .collect();
    if late == Late::Nothing {
        let of_records = all.labels(cluster::names::PURPOSE);
        for state in [State::Instances, State::Bindings] {
            let secrets: Api<Secret> = Api::namespaced(world.client(), &state.namespace(NAMESPACE));
            let secrets = secrets.list(&of_records).await.context("list Secrets")?;
            left.extend(
                secrets
                    .iter()
                    .map(|secret| format!("Secret {}", secret.name_any())),
            );
        }
    }
    let users: BTreeSet<String> = world.database.users().await?;
    left.extend(users.iter().map(|user| format!("user {user}")));
    Ok(left)
}
