//! Whether a plan can be ordered on this cluster: the kinds that it requires
//! are served, and the plans' ClusterRole covers the kinds that it applies. A
//! plan that cannot be is listed all the same, with what mends it.

mod rights;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::{Api, Client};
use plan::{
    Bundle,
    descriptor::{KindRef, Scope},
    rbac::PLANS_ROLE,
};
use service::telemetry::chain;

const DEADLINE: Duration = Duration::from_secs(10);

/// What the cluster was last seen to serve and to allow.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// The kinds of each `apiVersion` that was asked for.
    served: BTreeMap<String, BTreeSet<String>>,
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
            facts: Facts::default(),
        }
    }

    /// Leaves the ClusterRole aside: the services run with a developer's
    /// rights.
    pub(crate) fn assume_rights(&mut self) {
        self.checks = Checks::Served;
    }

    /// Asks for all that these plans need. What gets no answer stays as it was.
    pub(crate) async fn refresh(&mut self, bundles: impl IntoIterator<Item = &Bundle>) {
        let versions: BTreeSet<String> = bundles
            .into_iter()
            .flat_map(|bundle| &bundle.descriptor().requires)
            .map(KindRef::api_version)
            .collect();
        self.facts
            .served
            .retain(|version, _| versions.contains(version));
        for version in versions {
            match deadline(kinds(&self.client, &version)).await {
                Ok(kinds) => {
                    self.facts.served.insert(version, kinds);
                }
                Err(error) => tracing::warn!(
                    api_version = version,
                    error,
                    "cannot find out whether the cluster serves an API; the last answer counts",
                ),
            }
        }
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
        let mut missing = Vec::new();
        for kind in &bundle.descriptor().requires {
            match self.served.get(&kind.api_version()) {
                None => {
                    let version = kind.api_version();
                    return format!("It is not known yet whether this cluster serves {version}.");
                }
                Some(kinds) if kinds.contains(&kind.kind) => {}
                Some(_) => missing.push(format!("{}/{}", kind.api_version(), kind.kind)),
            }
        }
        if !missing.is_empty() {
            return format!(
                "This cluster does not serve {}; install the operator or the \
                 CustomResourceDefinitions that bring it.",
                missing.join(", "),
            );
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
}

/// The kinds of an `apiVersion`; none if the cluster does not know it.
async fn kinds(client: &Client, version: &str) -> kube::Result<BTreeSet<String>> {
    let list = if version.contains('/') {
        client.list_api_group_resources(version).await
    } else {
        client.list_core_api_resources(version).await
    };
    match list {
        // A subresource ("pods/log") has the kind of something else.
        Ok(list) => Ok(list
            .resources
            .into_iter()
            .filter(|resource| !resource.name.contains('/'))
            .map(|resource| resource.kind)
            .collect()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
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

    #[test]
    fn what_is_not_known_yet_cannot_be_ordered_yet() {
        let mut facts = Facts::default();
        let text = "requires: [example.com/v1/Widget]";
        assert!(reason(&facts, text).contains("not known yet"));
        facts
            .served
            .insert("example.com/v1".to_owned(), BTreeSet::new());
        assert!(reason(&facts, text).contains("does not serve example.com/v1/Widget"));
        let kinds = BTreeSet::from(["Widget".to_owned()]);
        facts.served.insert("example.com/v1".to_owned(), kinds);
        assert_eq!(reason(&facts, text), "");
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
