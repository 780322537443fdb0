//! Where commands learn of kinds that the broker does not know by itself.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use futures::StreamExt as _;
use plan::kinds::ServedKinds;
use serde_json::Value;

use super::{client, wait};
use crate::served::{DEADLINE, answers};

/// Kinds of others.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct KindArgs {
    /// File with CustomResourceDefinitions (apiextensions.k8s.io/v1) in YAML: plans may apply their
    /// kinds, and fields are checked by their schemas. Other documents in it are passed over. May be
    /// repeated.
    #[arg(long, value_name = "FILE")]
    crds: Vec<PathBuf>,
    /// Ask the current cluster for the kinds that the broker does not know by itself.
    #[arg(long)]
    cluster: bool,
}

impl KindArgs {
    /// The same, and the cluster.
    pub(super) fn and_cluster(self) -> Self {
        Self {
            cluster: true,
            ..self
        }
    }

    /// What the files and the cluster say. `named` are the `apiVersion`s to ask for.
    pub(super) fn served(&self, named: &BTreeSet<String>) -> anyhow::Result<ServedKinds> {
        let mut served = ServedKinds::default();
        for path in &self.crds {
            add_file(&mut served, path).with_context(|| format!("read {}", path.display()))?;
        }
        if self.cluster && !named.is_empty() {
            wait(add_cluster(&mut served, named)).context("ask the cluster what it serves")?;
        }
        Ok(served)
    }
}

fn add_file(served: &mut ServedKinds, path: &Path) -> anyhow::Result<()> {
    let text = fs::read_to_string(path)?;
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text)?;
    let mut found = false;
    // `kubectl get crds -o yaml` prints a list.
    let items = documents
        .iter()
        .flat_map(|document| match document["items"].as_array() {
            Some(items) => items.as_slice(),
            None => std::slice::from_ref(document),
        });
    for document in items {
        found |= served
            .add_definition(document)
            .map_err(anyhow::Error::msg)?;
    }
    anyhow::ensure!(
        found,
        "there is no CustomResourceDefinition of apiextensions.k8s.io/v1 in it"
    );
    Ok(())
}

async fn add_cluster(served: &mut ServedKinds, named: &BTreeSet<String>) -> anyhow::Result<()> {
    let client = client().await?;
    let mut silent = named.clone();
    let named: Vec<String> = named.iter().cloned().collect();
    let asked = answers(&client, &named).take_until(tokio::time::sleep(DEADLINE));
    let mut asked = std::pin::pin!(asked);
    while let Some((version, answer)) = asked.next().await {
        if let Ok(kinds) = answer {
            silent.remove(&version);
            served.add_answer(&version, kinds);
        }
    }
    // One API whose server is away keeps nobody from the others; a plan that needs it has a fault.
    for version in silent {
        eprintln!("warning: the cluster does not say what it serves of {version}");
    }
    Ok(())
}
