//! `plan rbac`.

use std::io::Write;

use clap::Args;
use cluster::names::State;
use plan::{
    Bundle,
    rbac::{PLANS_ROLE, Rule, by_scope, rules},
};

use super::{Failure, Roots};
use crate::source::config_map;

/// Print the plans' ClusterRole.
#[derive(Debug, Args)]
pub struct Rbac {
    #[command(flatten)]
    roots: Roots,
    /// Include the plans that are ConfigMaps in the current cluster.
    #[arg(long)]
    config_maps: bool,
    /// Namespace of these ConfigMaps. By default the broker's own with "-plans"
    /// added.
    #[arg(long, env = "BROKER_PLANS_NAMESPACE", value_name = "NAMESPACE")]
    plans_namespace: Option<String>,
}

impl Rbac {
    /// A plan with a fault might need more than is seen, and a role that gives
    /// less than before would stop it: then nothing is printed.
    pub(super) fn run(&self, out: &mut impl Write, err: &mut impl Write) -> Result<(), Failure> {
        let (mut trees, mut faults) = self.roots.existing_trees()?;
        if self.config_maps {
            let named = self.plans_namespace.as_ref();
            let namespace = State::Plans.named_or_default(named, &self.roots.namespace);
            let content = config_map::list_blocking(&namespace)?;
            trees.extend(content.trees);
            faults.extend(content.faults);
        }
        let plans = self.roots.build(&trees, faults)?;
        if !plans.faults.is_empty() {
            self.roots.print(&plans.faults, err)?;
            return Err(Failure::Faults);
        }
        let bundles: Vec<&Bundle> = plans.catalog.plans.iter().map(AsRef::as_ref).collect();
        let (namespaced, _) = by_scope(bundles);
        out.write_all(cluster_role(&rules(namespaced)?).as_bytes())?;
        Ok(())
    }
}

/// The role as a file to commit. All values in it are Kubernetes names, which
/// YAML takes unquoted.
fn cluster_role(rules: &[Rule]) -> String {
    let mut text = format!(
        "# What the broker may apply in the namespace of an instance: made from the kinds of its\n\
         # plans by `catalog-svc plan rbac`, and applied by people.\n\
         apiVersion: rbac.authorization.k8s.io/v1\n\
         kind: ClusterRole\n\
         metadata:\n  \
           name: {PLANS_ROLE}\n\
         rules:\n"
    );
    for rule in rules {
        let groups = rule.api_groups.iter().map(|group| group_name(group));
        let groups = groups.collect::<Vec<_>>().join(", ");
        let (resources, verbs) = (rule.resources.join(", "), rule.verbs.join(", "));
        let lines = [
            "  - apiGroups: [",
            &groups,
            "]\n    resources: [",
            &resources,
            "]\n    verbs: [",
            &verbs,
            "]\n",
        ];
        text.extend(lines);
    }
    text
}

fn group_name(group: &str) -> &str {
    if group.is_empty() { "\"\"" } else { group }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_is_yaml_that_says_the_rules() {
        let bundles: [&Bundle; 0] = [];
        let rules = rules(bundles).unwrap();
        let text = cluster_role(&rules);
        let read: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(read["metadata"]["name"], PLANS_ROLE);
        assert_eq!(read["rules"], serde_json::to_value(&rules).unwrap());
    }
}
