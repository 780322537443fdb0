//! Which broker a cluster of the user's has already, and who deployed it.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail};
use k8s_openapi::{
    api::core::v1::Namespace,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
};

use crate::deploy::{DEMO, LABEL, NAMESPACE, TILT};

/// The kinds of the broker's records.
pub const KINDS: [&str; 2] = ["ServiceInstance", "ServiceBinding"];

/// What is there of a broker.
#[derive(Debug, Default)]
pub struct Found {
    /// Kind and name of the namespace and of the resource definitions.
    pub objects: Vec<String>,
    /// Whether the broker's namespace is among them.
    pub has_namespace: bool,
    /// The objects whose label names neither the demo nor Tilt.
    foreign: Vec<String>,
    deployers: BTreeSet<String>,
}

impl Found {
    /// Who deployed it, for a person to read.
    pub fn deployers(&self) -> String {
        let known = self.deployers.iter().map(String::as_str);
        let unknown = (!self.foreign.is_empty()).then_some("somebody else");
        known.chain(unknown).collect::<Vec<_>>().join(" and ")
    }

    /// Refuses to deploy over a broker that the demo did not deploy.
    pub fn refuse_deployment(&self, context: &str) -> anyhow::Result<()> {
        if !self.foreign.is_empty() {
            bail!(
                "{} in {context} {} not deployed by the demo (no label {LABEL}={DEMO}): use another cluster, \
                 or, if nobody needs that broker and its databases, remove both with `make down CONTEXT={context} FORCE=1`",
                self.foreign.join(", "),
                if self.foreign.len() == 1 {
                    "was"
                } else {
                    "were"
                },
            );
        }
        if self.deployers.iter().any(|deployer| deployer != DEMO) {
            bail!(
                "{} in {context} came from {}: end `tilt up`, then `make down CONTEXT={context}` removes it with its databases",
                self.objects.join(", "),
                self.deployers(),
            );
        }
        Ok(())
    }

    /// Refuses to remove a broker that neither the demo nor Tilt deployed.
    pub fn refuse_removal(&self, context: &str) -> anyhow::Result<()> {
        if self.foreign.is_empty() {
            return Ok(());
        }
        bail!(
            "nothing was removed: {} in {context} came neither from the demo nor from Tilt \
             (no label {LABEL}); FORCE=1 removes that broker with its databases all the same",
            self.foreign.join(", "),
        )
    }

    fn add<K: Resource<DynamicType = ()>>(&mut self, object: Option<K>) {
        let Some(object) = object else {
            return;
        };
        let name = format!("{} {}", K::kind(&()), object.name_any());
        match object.labels().get(LABEL).map(String::as_str) {
            Some(deployer @ (DEMO | TILT)) => {
                self.deployers.insert(deployer.to_owned());
            }
            Some(_) | None => self.foreign.push(name.clone()),
        }
        self.objects.push(name);
    }
}

/// Looks for a broker: its namespace and the definitions of its kinds.
pub async fn find(client: &Client) -> anyhow::Result<Found> {
    let mut found = Found::default();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = namespaces
        .get_opt(NAMESPACE)
        .await
        .context("look for the broker's namespace")?;
    found.has_namespace = namespace.is_some();
    found.add(namespace);
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for kind in KINDS {
        let name = format!("{}s.{}", kind.to_lowercase(), cluster::names::GROUP);
        let definition = definitions
            .get_opt(&name)
            .await
            .context("look for the definitions of the broker's kinds")?;
        found.add(definition);
    }
    Ok(found)
}

/// The records of a kind in all namespaces; none where the kind is unknown.
pub async fn records(client: &Client, kind: &str) -> anyhow::Result<Vec<DynamicObject>> {
    let kind = GroupVersionKind::gvk(cluster::names::GROUP, cluster::names::VERSION, kind);
    let records: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::from_gvk(&kind));
    match records.list(&ListParams::default()).await {
        Ok(list) => Ok(list.items),
        // A path that the API server does not serve gets a 404 without a reason.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
        Err(error) => Err(error).context("list the broker's records"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(label: Option<&str>) -> Found {
        let labels = label.map_or_else(|| json!({}), |value| json!({ LABEL: value }));
        let namespace: Namespace =
            serde_json::from_value(json!({"metadata": {"name": NAMESPACE, "labels": labels}}))
                .unwrap();
        let mut found = Found::default();
        found.add(Some(namespace));
        found
    }

    #[test]
    fn only_a_broker_of_the_demo_is_deployed_over_and_only_known_ones_are_removed() {
        for (label, deploys, removes) in [
            (Some(DEMO), true, true),
            (Some(TILT), false, true),
            (Some("a-pipeline"), false, false),
            (None, false, false),
        ] {
            let found = found(label);
            assert_eq!(
                found.refuse_deployment("kind-dev").is_ok(),
                deploys,
                "{label:?}"
            );
            assert_eq!(
                found.refuse_removal("kind-dev").is_ok(),
                removes,
                "{label:?}"
            );
        }
        let nothing = Found::default();
        assert!(nothing.refuse_deployment("kind-dev").is_ok());
        assert!(nothing.refuse_removal("kind-dev").is_ok());
    }

    #[test]
    fn a_refusal_names_what_is_there_and_the_command_that_helps() {
        let text = found(Some(TILT)).refuse_deployment("kind-dev").unwrap_err();
        let text = text.to_string();
        assert!(text.contains("Namespace mongodb-osb"), "{text}");
        assert!(text.contains("`make down CONTEXT=kind-dev`"), "{text}");
        let text = found(None)
            .refuse_removal("kind-dev")
            .unwrap_err()
            .to_string();
        assert!(text.contains("FORCE=1"), "{text}");
    }
}
