//! `plan refresh`.

use std::io::Write;

use clap::Args;
use cluster::names::State;
use k8s_openapi::jiff::Timestamp;
use plan::Tree;

use super::{Failure, Roots, client, fetcher, wait};
use crate::{
    snapshot::PlanKey,
    source::{
        config_map,
        fetched::{self, List},
    },
    store::{IfKnown, Store},
};

/// Fetch again what `*.url` files name.
#[derive(Debug, Args)]
pub struct Refresh {
    /// The plan or base, as `<service provider>/<plan>`; without it all of them.
    #[arg(long, value_parser = super::key)]
    plan: Option<PlanKey>,
    /// Namespace of the ConfigMaps with the site's plans. By default the broker's own
    /// with "-plans" added.
    #[arg(long, env = "BROKER_PLANS_NAMESPACE", value_name = "NAMESPACE")]
    plans_namespace: Option<String>,
    /// Namespace in which the broker stores what was fetched. By default the broker's
    /// own with "-bundles" added.
    #[arg(long, env = "BROKER_BUNDLES_NAMESPACE", value_name = "NAMESPACE")]
    bundles_namespace: Option<String>,
    #[command(flatten)]
    roots: Roots,
}

impl Refresh {
    /// What cannot be fetched stays as it was.
    pub(super) fn run(&self, out: &mut impl Write, err: &mut impl Write) -> Result<(), Failure> {
        let lists = self.lists()?;
        let fetcher = fetcher(&self.roots.url)?;
        let namespace =
            State::Bundles.named_or_default(self.bundles_namespace.as_ref(), &self.roots.namespace);
        let mut faults = Vec::new();
        wait(async {
            let store = Store::new(client().await?, &namespace);
            for list in &lists {
                match list.fetch(&fetcher).await {
                    Ok(text) => {
                        let line = replace(&store, list, text.as_bytes()).await?;
                        writeln!(out, "{}: {line}", list.path)?;
                    }
                    Err(mut found) => faults.append(&mut found),
                }
            }
            Ok(())
        })?;
        if faults.is_empty() {
            writeln!(out, "the broker serves what is new within a minute")?;
            return Ok(());
        }
        self.roots.print(&faults, err)?;
        Err(Failure::Faults)
    }

    /// The files of all plans, those in ConfigMaps included, or of the one that is asked for.
    fn lists(&self) -> anyhow::Result<Vec<List>> {
        let named = self.plans_namespace.as_ref();
        let namespace = State::Plans.named_or_default(named, &self.roots.namespace);
        let mut trees: Vec<Tree> = self.roots.existing_trees()?.0;
        let content = wait(async { config_map::list(client().await?, &namespace).await })?;
        trees.extend(content.trees);
        let folder = self.plan.as_ref().map(|plan| format!("{plan}/"));
        let is_wanted = |list: &List| {
            let folder = folder.as_ref();
            folder.is_none_or(|folder| list.path.starts_with(folder))
        };
        let lists: Vec<_> = fetched::lists(&trees)
            .into_iter()
            .filter(is_wanted)
            .collect();
        if !lists.is_empty() {
            return Ok(lists);
        }
        match &self.plan {
            Some(plan) => anyhow::bail!("{plan} has no file of addresses (*.url) that can be read"),
            None => anyhow::bail!("no plan has a file of addresses (*.url) that can be read"),
        }
    }
}

/// What became of a file.
async fn replace(store: &Store, list: &List, text: &[u8]) -> anyhow::Result<String> {
    let before = store.list_of(&list.key).await?;
    let (key, now) = (&list.key, Timestamp::now());
    let digest = store
        .put_fetched(key, &list.path, text, now, IfKnown::Replace)
        .await?;
    let what = if before.as_ref() == Some(&digest) {
        "as before"
    } else {
        "new"
    };
    Ok(format!("{what}, sha256 {digest}"))
}
