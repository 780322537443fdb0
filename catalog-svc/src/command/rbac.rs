//! `plan rbac`.

use std::{collections::BTreeSet, fmt::Write as _, io::Write, sync::Arc};

use clap::Args;
use cluster::names::{ACCEPTS_INSTANCES_OF, State};
use plan::{
    Bundle, Fault,
    descriptor::Namespace,
    rbac::{PLANS_ROLE, Rule, by_scope, rules},
};
use service::telemetry::chain;

use super::{Failure, Roots, client, wait};
use crate::{
    snapshot::PlanKey,
    source::config_map,
    store::{self, Store},
};

/// Print the plans' ClusterRole.
#[derive(Debug, Args)]
pub struct Rbac {
    #[command(flatten)]
    roots: Roots,
    /// Include the plans that are ConfigMaps in the current cluster. It is asked
    /// for kinds, too, as by --cluster.
    #[arg(long)]
    config_maps: bool,
    /// Namespace of these ConfigMaps. By default the broker's own with "-plans"
    /// added.
    #[arg(long, env = "BROKER_PLANS_NAMESPACE", value_name = "NAMESPACE")]
    plans_namespace: Option<String>,
    /// Include the versions of plans that the broker in the current cluster keeps for
    /// instances, which may need what no plan needs any more.
    #[arg(long)]
    in_use: bool,
    /// Namespace in which the broker keeps them. By default the broker's own with
    /// "-bundles" added.
    #[arg(long, env = "BROKER_BUNDLES_NAMESPACE", value_name = "NAMESPACE")]
    bundles_namespace: Option<String>,
}

impl Rbac {
    /// Prints what is known, and says what is not: a plan with a fault may need more than is seen,
    /// and its instances would lose what the role gave before.
    pub(super) fn run(&self, out: &mut impl Write, err: &mut impl Write) -> Result<(), Failure> {
        let (mut trees, mut faults) = self.roots.existing_trees()?;
        let mut kinds = self.roots.kinds.clone();
        if self.config_maps {
            kinds = kinds.and_cluster();
            let named = self.plans_namespace.as_ref();
            let namespace = State::Plans.named_or_default(named, &self.roots.namespace);
            let content = wait(async { config_map::list(client().await?, &namespace).await })?;
            trees.extend(content.trees);
            faults.extend(content.faults);
        }
        let bundles_namespace =
            State::Bundles.named_or_default(self.bundles_namespace.as_ref(), &self.roots.namespace);
        let broker = (self.config_maps || self.in_use).then_some(bundles_namespace.as_str());
        let mut plans = self.roots.build_with(&kinds, broker, &trees, faults)?;
        // What was not looked at may need more, too.
        plans.faults.extend(plans.unseen.iter().cloned());
        if self.in_use {
            let kept = kept(&bundles_namespace)?;
            plans.faults.extend(kept.faults);
            plans.catalog.plans.extend(kept.bundles);
        }
        let bundles = plans.catalog.plans.iter().map(AsRef::as_ref);
        let (namespaced, clusterwide) = by_scope(bundles.collect::<Vec<_>>());
        let faulty = plans.faults.iter().map(|fault| {
            let plan = fault.plan.as_deref().unwrap_or("*");
            format!("{}/{plan}, which has a fault", fault.provider)
        });
        let clusterwide = clusterwide.iter().map(|bundle| {
            let key = PlanKey::of(bundle);
            format!(
                "{key}, whose scope: cluster needs an installer, which this version does not have"
            )
        });
        let left_out: BTreeSet<_> = faulty.chain(clusterwide).collect();
        let shared = namespaces(&namespaced);
        let mut text = cluster_role(&rules(namespaced)?, &left_out);
        for namespace in &shared {
            text.push_str(&role_binding(namespace, &self.roots.namespace));
        }
        out.write_all(text.as_bytes())?;
        if plans.faults.is_empty() {
            return Ok(());
        }
        self.roots.print(&plans.faults, err)?;
        writeln!(
            err,
            "the role is printed without what these plans need: do not apply it where they have instances"
        )?;
        Err(Failure::Faults)
    }
}

/// The versions of plans that a broker keeps, and what cannot be read of them.
#[derive(Default)]
struct Kept {
    bundles: Vec<Arc<Bundle>>,
    faults: Vec<Fault>,
}

fn kept(namespace: &str) -> anyhow::Result<Kept> {
    wait(async {
        let store = Store::new(client().await?, namespace);
        let mut kept = Kept::default();
        for entry in store.list().await? {
            // Content that was fetched is part of bundles.
            let Some(plan) = &entry.plan else {
                continue;
            };
            let unread = |why: String| plan.fault(format!("a version that is kept: {why}"));
            match store.read(&entry.digest).await {
                // Deleted meanwhile.
                Ok(None) => {}
                Ok(Some(bytes)) => match Bundle::from_bytes(&bytes, &entry.digest) {
                    Ok(bundle) => kept.bundles.push(Arc::new(bundle)),
                    Err(error) => kept.faults.push(unread(chain(&error))),
                },
                Err(error @ store::Error::Damaged(..)) => {
                    kept.faults.push(unread(chain(&error)));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(kept)
    })
}

/// The namespaces of others that plans apply objects in.
fn namespaces(bundles: &[&Bundle]) -> BTreeSet<String> {
    let of_plan = |bundle: &&Bundle| match &bundle.descriptor().namespace {
        Namespace::Shared(name) => Some(name.clone()),
        Namespace::Own | Namespace::Context => None,
    };
    bundles.iter().filter_map(of_plan).collect()
}

/// The role as a file to commit. All values in it are Kubernetes names, which
/// YAML takes unquoted.
fn cluster_role(rules: &[Rule], left_out: &BTreeSet<String>) -> String {
    let mut text = "\
        # What the broker may apply in the namespace of an instance: made from the kinds of its\n\
        # plans by `catalog-svc plan rbac`, and applied by people.\n"
        .to_owned();
    for plan in left_out {
        let _ = writeln!(text, "# Without {plan}.");
    }
    let _ = write!(
        text,
        "apiVersion: rbac.authorization.k8s.io/v1\n\
         kind: ClusterRole\n\
         metadata:\n  \
           name: {PLANS_ROLE}\n  \
           labels: {{app.kubernetes.io/part-of: mongodb-osb}}\n\
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

/// What the owner of a namespace allows for plans with `namespace: {shared: …}`.
fn role_binding(namespace: &str, broker: &str) -> String {
    format!(
        "---\n\
         # Its owner agrees, too: kubectl label namespace {namespace} {ACCEPTS_INSTANCES_OF}={broker}\n\
         apiVersion: rbac.authorization.k8s.io/v1\n\
         kind: RoleBinding\n\
         metadata:\n  \
           name: {PLANS_ROLE}\n  \
           namespace: {namespace}\n  \
           labels: {{app.kubernetes.io/part-of: mongodb-osb}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {PLANS_ROLE}}}\n\
         subjects: [{{kind: ServiceAccount, name: provisioner-svc, namespace: {broker}}}]\n"
    )
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
        let text = cluster_role(&rules, &BTreeSet::new());
        let read: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(read["metadata"]["name"], PLANS_ROLE);
        assert_eq!(read["rules"], serde_json::to_value(&rules).unwrap());
    }
}
