//! Whether a plan can be ordered on this cluster: the kinds that it requires and
//! those that it applies are served, and the plans' ClusterRole covers the
//! latter. A plan that cannot be is listed all the same, with what mends it.

mod rights;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::{Api, Client};
use plan::{
    Bundle,
    descriptor::{KindRef, Scope},
    kinds::{self, ServedKind, ServedKinds},
    rbac::PLANS_ROLE,
};
use service::telemetry::chain;

use crate::served::{DEADLINE, Served};

/// What the cluster was last seen to serve and to allow.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    served: Served,
    role: Role,
}

#[derive(Debug, Default)]
enum Role {
    /// Not asked, or not to be seen: then it decides nothing.
    #[default]
    Unknown,
    Absent,
    Present(Box<ClusterRole>),
}

/// Asks the cluster, and judges plans by what it said last.
pub(crate) struct Cluster {
    client: Client,
    namespace: String,
    checks: Checks,
    /// The `apiVersion`s of others that plans name, valid or not.
    named: BTreeSet<String>,
    /// Those of them that were asked for in this round.
    learned: BTreeSet<String>,
    facts: Facts,
}

/// What decides whether a plan can be ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Checks {
    /// What the cluster serves, and the plans' ClusterRole.
    ServedAndRights,
    /// What the cluster serves.
    Served,
}

impl Cluster {
    /// Nothing is known yet. `namespace` is the broker's own.
    pub(crate) fn new(client: Client, namespace: &str) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            checks: Checks::ServedAndRights,
            named: BTreeSet::new(),
            learned: BTreeSet::new(),
            facts: Facts::default(),
        }
    }

    /// Leaves the ClusterRole aside: the services run with a developer's
    /// rights.
    pub(crate) fn assume_rights(&mut self) {
        self.checks = Checks::Served;
    }

    /// Asks for what plans name that are still to be checked, and says what is
    /// known of it.
    pub(crate) async fn learn(&mut self, named: BTreeSet<String>) -> ServedKinds {
        self.facts.served.ask(&self.client, &named).await;
        self.learned.clone_from(&named);
        self.named = named;
        self.known()
    }

    /// What is known by now of the kinds of others that plans name.
    pub(crate) fn known(&self) -> ServedKinds {
        self.facts.served.known(&self.named)
    }

    /// Asks for all that these plans need, and again for what others name. What
    /// gets no answer stays as it was.
    pub(crate) async fn refresh(&mut self, bundles: impl IntoIterator<Item = &Bundle>) {
        let mut versions: BTreeSet<String> = bundles.into_iter().flat_map(versions).collect();
        versions.extend(self.named.iter().cloned());
        self.facts.served.keep(&versions);
        let learned = std::mem::take(&mut self.learned);
        let others = versions.difference(&learned).cloned().collect();
        self.facts.served.ask(&self.client, &others).await;
        if self.checks == Checks::ServedAndRights {
            match deadline(role(&self.client)).await {
                Ok(role) => self.facts.role = role,
                Err(error) => tracing::warn!(
                    error,
                    "cannot read the ClusterRole {PLANS_ROLE}; the last answer counts",
                ),
            }
        }
    }

    /// Why a plan cannot be ordered; empty if it can.
    pub(crate) fn reason(&self, bundle: &Bundle) -> String {
        self.facts.reason(bundle, &self.namespace)
    }
}

impl Facts {
    /// Why a plan cannot be ordered; empty if it can. `namespace` is the
    /// broker's own.
    pub(crate) fn reason(&self, bundle: &Bundle, namespace: &str) -> String {
        if let Some(reason) = self.unserved(bundle) {
            return reason;
        }
        if bundle.scope() == Scope::Cluster {
            return "It installs objects outside of namespaces, for which this broker has no \
                    installer."
                .to_owned();
        }
        let command = format!(
            "kubectl --namespace {namespace} exec deploy/catalog-svc -- \
             /catalog-svc plan rbac --config-maps --in-use | kubectl apply -f -"
        );
        let needed = match plan::rbac::rules([bundle]) {
            Ok(needed) => needed,
            Err(error) => return format!("{error}."),
        };
        match &self.role {
            Role::Unknown => String::new(),
            Role::Absent => {
                format!("The ClusterRole {PLANS_ROLE} does not exist; create it with: {command}")
            }
            Role::Present(role) => {
                let lacking = rights::lacking(role.rules.as_deref().unwrap_or_default(), &needed);
                if lacking.is_empty() {
                    return String::new();
                }
                let lacking = lacking.join(", ");
                format!(
                    "The ClusterRole {PLANS_ROLE} does not cover {lacking}; update it with: {command}"
                )
            }
        }
    }

    /// What of the kinds of a plan the cluster does not serve, or not in
    /// namespaces.
    fn unserved(&self, bundle: &Bundle) -> Option<String> {
        let requires = &bundle.descriptor().requires;
        let mut lacking: BTreeMap<Lack, BTreeSet<String>> = BTreeMap::new();
        for kind in requires.iter().chain(bundle.kinds()) {
            let version = kind.api_version();
            match self.served.kinds(&version) {
                // Every cluster has them in some version: without an answer they
                // hold nobody up.
                None if kinds::is_of_kubernetes(kind) && !requires.contains(kind) => {}
                None => {
                    return Some(format!(
                        "It is not known yet whether this cluster serves {version}."
                    ));
                }
                Some(served) => {
                    if let Some(lack) = Lack::of(kind, served.get(&kind.kind), bundle) {
                        let name = format!("{version}/{}", kind.kind);
                        lacking.entry(lack).or_default().insert(name);
                    }
                }
            }
        }
        let (lack, names) = lacking.into_iter().next()?;
        let names: Vec<_> = names.into_iter().collect();
        Some(lack.told(&names.join(", ")))
    }
}

/// Why a plan cannot have a kind, in the order in which it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lack {
    /// Its operator, or its definition, is not installed.
    Missing,
    /// This Kubernetes has its group in other versions.
    Outdated,
    /// Its objects live outside of namespaces.
    Outside,
}

impl Lack {
    fn of(kind: &KindRef, served: Option<&ServedKind>, bundle: &Bundle) -> Option<Self> {
        let is_confined = bundle.scope() == Scope::Namespace && bundle.kinds().contains(kind);
        match served {
            Some(served) => (!served.namespaced && is_confined).then_some(Self::Outside),
            None if kinds::is_of_kubernetes(kind) => Some(Self::Outdated),
            None => Some(Self::Missing),
        }
    }

    fn told(self, kinds: &str) -> String {
        match self {
            Self::Missing => format!(
                "This cluster does not serve {kinds}; install the operator or the \
                 CustomResourceDefinitions that bring it."
            ),
            Self::Outdated => format!(
                "This cluster does not serve {kinds}; the plan has to name an apiVersion that it \
                 serves, as kubectl api-resources shows."
            ),
            Self::Outside => format!(
                "In this cluster {kinds} lives outside of namespaces, where a plan cannot apply \
                 anything."
            ),
        }
    }
}

/// The `apiVersion`s of the kinds that a plan requires, and of those that it
/// applies.
fn versions(bundle: &Bundle) -> impl Iterator<Item = String> {
    let needed = bundle.descriptor().requires.iter().chain(bundle.kinds());
    needed.map(KindRef::api_version)
}

async fn role(client: &Client) -> kube::Result<Role> {
    let api: Api<ClusterRole> = Api::all(client.clone());
    match api.get_opt(PLANS_ROLE).await {
        Ok(Some(role)) => Ok(Role::Present(Box::new(role))),
        Ok(None) => Ok(Role::Absent),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(Role::Unknown),
        Err(error) => Err(error),
    }
}

async fn deadline<T>(future: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(outcome) => outcome.map_err(|error| chain(&error)),
        Err(_) => Err(format!("no answer within {DEADLINE:?}")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::rbac::v1::PolicyRule;
    use plan::{Tree, catalog};

    use super::*;
    use crate::served::Kinds;

    fn bundle(text: &str) -> Arc<Bundle> {
        let mut tree = Tree::new();
        tree.insert("p/a/plan.yaml", text);
        tree.insert(
            "p/a/1.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map}\n",
        );
        let catalog = catalog::build(&[tree]);
        assert_eq!(catalog.faults, []);
        Arc::clone(&catalog.plans[0])
    }

    fn reason(facts: &Facts, text: &str) -> String {
        facts.reason(&bundle(text), "broker")
    }

    fn kinds(kinds: &[(&str, bool)]) -> Kinds {
        let kinds = kinds.iter();
        kinds
            .map(|(kind, namespaced)| {
                let plural = format!("{}s", kind.to_lowercase());
                ((*kind).to_owned(), ServedKind::new(plural, *namespaced))
            })
            .collect()
    }

    #[test]
    fn what_is_not_known_yet_cannot_be_ordered_yet() {
        let mut facts = Facts::default();
        let text = "requires: [example.com/v1/Widget]";
        assert!(reason(&facts, text).contains("not known yet"));
        facts.served.insert("example.com/v1", Kinds::new());
        assert!(reason(&facts, text).contains("does not serve example.com/v1/Widget"));
        // What is only required may live anywhere.
        facts
            .served
            .insert("example.com/v1", kinds(&[("Widget", false)]));
        assert_eq!(reason(&facts, text), "");
    }

    #[test]
    fn what_a_plan_applies_has_to_be_served() {
        let mut facts = Facts::default();
        let text = "kinds: [v1/ConfigMap, apps/v1beta1/Deployment, example.com/v1/Widget=widgets]";
        assert!(reason(&facts, text).contains("not known yet whether this cluster serves example"));
        facts.served.insert("example.com/v1", Kinds::new());
        assert!(reason(&facts, text).contains("does not serve example.com/v1/Widget; install"));
        facts
            .served
            .insert("example.com/v1", kinds(&[("Widget", true)]));
        // Kubernetes' own hold nobody up before there is an answer.
        assert_eq!(reason(&facts, text), "");
        facts.served.insert("v1", kinds(&[("ConfigMap", true)]));
        facts.served.insert("apps/v1beta1", Kinds::new());
        let outdated = reason(&facts, text);
        assert!(
            outdated.contains("does not serve apps/v1beta1/Deployment; the plan has to name"),
            "{outdated}"
        );
        facts
            .served
            .insert("apps/v1beta1", kinds(&[("Deployment", true)]));
        facts
            .served
            .insert("example.com/v1", kinds(&[("Widget", false)]));
        assert!(reason(&facts, text).contains("Widget lives outside of namespaces"));
    }

    #[test]
    fn the_cluster_role_decides_where_it_can_be_seen() {
        let facts = |role| Facts {
            role,
            ..Facts::default()
        };
        assert_eq!(reason(&facts(Role::Unknown), ""), "");
        let absent = reason(&facts(Role::Absent), "");
        assert!(
            absent.contains("kubectl --namespace broker exec"),
            "{absent}"
        );
        let role = |verbs: &[&str]| {
            Role::Present(Box::new(ClusterRole {
                rules: Some(vec![PolicyRule {
                    api_groups: Some(vec![String::new()]),
                    resources: Some(vec!["*".to_owned()]),
                    verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
                    ..PolicyRule::default()
                }]),
                ..ClusterRole::default()
            }))
        };
        assert_eq!(reason(&facts(role(&["*"])), ""), "");
        let lacking = reason(&facts(role(&["get", "list"])), "");
        assert!(
            lacking.contains("configmaps (create, delete, patch, watch)"),
            "{lacking}"
        );
    }
}
