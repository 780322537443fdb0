//! `plan configmap`.

use std::{collections::BTreeMap, io::Write};

use anyhow::Context as _;
use clap::Args;
use cluster::names::State;
use plan::Tree;
use serde_json::json;

use super::{Failure, Roots};
use crate::{
    snapshot::PlanKey,
    source::{
        self,
        config_map::{PLAN_LABEL, key},
    },
};

/// What a ConfigMap holds at most, its keys and metadata included.
const MAX_BYTES: usize = 1 << 20;

/// Print a plan's ConfigMap.
#[derive(Debug, Args)]
pub struct ConfigMap {
    /// The plan or base, as `<service provider>/<plan>`.
    #[arg(long, value_parser = super::key)]
    plan: PlanKey,
    /// Namespace of the ConfigMap. By default the broker's own with "-plans" added.
    #[arg(long, env = "BROKER_PLANS_NAMESPACE", value_name = "NAMESPACE")]
    plans_namespace: Option<String>,
    #[command(flatten)]
    roots: Roots,
}

impl ConfigMap {
    /// A plan with a fault is not printed: it would take the place of one that works.
    pub(super) fn run(&self, out: &mut impl Write, err: &mut impl Write) -> Result<(), Failure> {
        let (trees, faults) = self.roots.trees()?;
        let files = self.files(&trees);
        if files.is_empty() {
            return Err(self.unknown(&trees).into());
        }
        let plans = self.roots.build(&trees, faults)?;
        let own = plans.faults_of(&self.plan);
        if !own.is_empty() {
            self.roots.print(&own, err)?;
            return Err(Failure::Faults);
        }
        let text = serde_saphyr::to_string(&self.manifest(&files)?);
        out.write_all(text.context("print a ConfigMap")?.as_bytes())?;
        Ok(())
    }

    /// The files of the folder, of the last root that has it.
    fn files<'a>(&self, trees: &'a [Tree]) -> BTreeMap<&'a str, &'a [u8]> {
        let folder = format!("{}/", self.plan);
        let of_root = |tree: &'a Tree| {
            let files = tree.iter();
            files
                .filter_map(|(path, content)| Some((path.strip_prefix(&folder)?, content)))
                .collect::<BTreeMap<_, _>>()
        };
        let mut all = trees.iter().rev().map(of_root);
        all.find(|files| !files.is_empty()).unwrap_or_default()
    }

    fn unknown(&self, trees: &[Tree]) -> anyhow::Error {
        let folders = source::folders(trees).into_iter();
        let folders: Vec<_> = folders.map(|folder| folder.to_string()).collect();
        anyhow::anyhow!(
            "there is no {}; there are {}",
            self.plan,
            folders.join(", ")
        )
    }

    fn manifest(&self, files: &BTreeMap<&str, &[u8]>) -> anyhow::Result<serde_json::Value> {
        let mut data = BTreeMap::new();
        for (file, content) in files {
            let text = std::str::from_utf8(content);
            data.insert(key(file), text.with_context(|| format!("read {file}"))?);
        }
        let size: usize = data.iter().map(|(key, text)| key.len() + text.len()).sum();
        anyhow::ensure!(
            size < MAX_BYTES,
            "the files of {} have {size} bytes, and a ConfigMap holds less than {MAX_BYTES}: \
             distribute them over several ConfigMaps with the label {PLAN_LABEL}",
            self.plan
        );
        let namespace =
            State::Plans.named_or_default(self.plans_namespace.as_ref(), &self.roots.namespace);
        let PlanKey { provider, plan } = &self.plan;
        Ok(json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": object_name(&format!("plan-{provider}-{plan}")),
                "namespace": namespace,
                "labels": {PLAN_LABEL: format!("{provider}.{plan}")},
            },
            "data": data,
        }))
    }
}

/// Names of folders may have capitals and underscores, those of objects may not.
fn object_name(name: &str) -> String {
    let legal = |c: char| {
        if c == '_' {
            '-'
        } else {
            c.to_ascii_lowercase()
        }
    };
    name.chars()
        .map(legal)
        .collect::<String>()
        .replace("--", "-")
}
