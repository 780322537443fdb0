//! What an operation works with: revision, bundle, and the variables of its
//! templates.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Api, ResourceExt as _};
use plan::{Loaded, Variables, variables::Instance};
use serde_json::{Map, Value, json};
use service::telemetry::chain;

use cluster::{
    error::{call, optional},
    names,
    revision::RevisionError,
};

use super::{Done, Halt, Job, refuse};
use crate::revision::Revision;

/// Loaded once per worker and operation.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) revision: Revision,
    pub(super) loaded: Arc<Loaded>,
    pub(super) secrets: Map<String, Value>,
}

impl Job {
    /// What the operation works with, read when it is first asked for.
    pub(super) async fn inputs(&mut self) -> Result<Arc<Inputs>, Halt> {
        if let Some(inputs) = &self.inputs {
            return Ok(Arc::clone(inputs));
        }
        let Some(name) = self.record.operation().revision.clone() else {
            return Err(refuse("The operation names no revision."));
        };
        let inputs = Arc::new(self.read_inputs(&name).await?);
        self.inputs = Some(Arc::clone(&inputs));
        Ok(inputs)
    }

    pub(super) async fn load(&mut self) -> Done {
        self.inputs().await.map(drop)
    }

    /// A revision, and the bundle that it names.
    pub(super) async fn read_inputs(&self, name: &str) -> Result<Inputs, Halt> {
        let revision = match self.revision(name).await {
            Ok(revision) => revision,
            Err(RevisionError::Cluster(error)) => return Err(error.into()),
            Err(error @ (RevisionError::Missing(_) | RevisionError::Malformed(_))) => {
                tracing::error!(record = %self.record.name(), error = %error, "revision cannot be used");
                return Err(refuse(
                    "The stored request is missing or damaged; the broker's operator must restore it.",
                ));
            }
        };
        let loaded = match self.context.catalog.bundle(&revision.bundle).await {
            Ok(loaded) => loaded,
            Err(error) if error.is_transient() => {
                tracing::warn!(error = chain(&error), "bundle not fetched yet");
                return Err(Halt::Wait("waiting for the catalog service".to_owned()));
            }
            Err(error) => {
                tracing::error!(error = chain(&error), "bundle cannot be used");
                return Err(refuse(
                    "The plan's bundle cannot be used by this version of the broker.",
                ));
            }
        };
        let secrets = self.read_secrets(&loaded).await?;
        Ok(Inputs {
            revision,
            loaded,
            secrets,
        })
    }

    /// A revision: immutable, so that what the request wrote need not be read.
    async fn revision(&self, name: &str) -> Result<Revision, RevisionError> {
        match &self.known.revision {
            Some((known, revision)) if known == name => Ok(revision.clone()),
            _ => self.context.revisions.read(name).await,
        }
    }

    /// What the templates see now.
    pub(super) fn variables(&self, inputs: &Inputs) -> Variables {
        let spec = &self.record.resource.spec;
        Variables {
            instance: Instance {
                id: spec.instance_id.clone(),
                name: names::object(self.record.instance()),
                namespace: spec.namespace.clone(),
            },
            parameters: inputs.revision.parameters.effective.clone(),
            context: inputs.revision.context.clone(),
            generated: self.generated.clone(),
            secrets: inputs.secrets.clone(),
            outputs: self.outputs.clone(),
            broker: inputs.revision.broker.clone(),
            binding: None,
        }
    }

    /// The operator's Secrets that the plan asks for; in no bundle, digest or log.
    async fn read_secrets(&self, loaded: &Loaded) -> Result<Map<String, Value>, Halt> {
        let namespace = self.context.args.broker.plans_namespace();
        let api: Api<Secret> = Api::namespaced(self.context.client(), &namespace);
        let mut all = Map::new();
        for (name, input) in &loaded.bundle().descriptor().secrets {
            let Some(secret) = optional(call(api.get(&input.name)).await)? else {
                return Err(Halt::Wait(format!(
                    "waiting for the Secret {} in the namespace {namespace}",
                    input.name
                )));
            };
            let bundle = loaded.bundle();
            if !is_released(&secret, bundle.provider(), bundle.name()) {
                return Err(Halt::Wait(format!(
                    "waiting for the Secret {} to be labelled {}={}",
                    input.name,
                    names::PLAN_INPUT,
                    bundle.provider()
                )));
            }
            all.insert(name.clone(), json!(texts(&input.name, secret)?));
        }
        Ok(all)
    }
}

/// Whether plans may read it: an operator released it for this provider, or
/// for this plan, and it is none that the broker made.
fn is_released(secret: &Secret, provider: &str, plan: &str) -> bool {
    let labels = secret.labels();
    let is_ours = labels
        .get(names::MANAGED_BY)
        .is_some_and(|by| by == names::MANAGER)
        || labels.contains_key(names::PURPOSE);
    let released = labels.get(names::PLAN_INPUT);
    !is_ours && released.is_some_and(|to| to == provider || *to == format!("{provider}.{plan}"))
}

/// The values, which templates take as text.
fn texts(name: &str, secret: Secret) -> Result<BTreeMap<String, String>, Halt> {
    let text = |(key, bytes): (String, ByteString)| match String::from_utf8(bytes.0) {
        Ok(text) => Ok((key, text)),
        Err(_) => Err(refuse(format!(
            "The key {key} of the Secret {name} is not UTF-8 text, which a template needs; encode it, as base64 for example."
        ))),
    };
    secret
        .data
        .unwrap_or_default()
        .into_iter()
        .map(text)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(labels: &[(&str, &str)]) -> Secret {
        let mut secret = Secret::default();
        for (key, value) in labels {
            let labels = secret.labels_mut();
            labels.insert((*key).to_owned(), (*value).to_owned());
        }
        secret
    }

    #[test]
    fn plans_read_only_what_was_released_to_them_and_nothing_of_the_broker() {
        let label = names::PLAN_INPUT;
        for (labels, released) in [
            (vec![], false),
            (vec![(label, "acme")], true),
            (vec![(label, "acme.small")], true),
            (vec![(label, "acme.large")], false),
            (vec![(label, "acm")], false),
            (vec![(label, "")], false),
            (
                vec![(label, "acme"), (names::MANAGED_BY, names::MANAGER)],
                false,
            ),
            (
                vec![(label, "acme"), (names::PURPOSE, "binding-login")],
                false,
            ),
        ] {
            assert_eq!(
                is_released(&secret(&labels), "acme", "small"),
                released,
                "{labels:?}"
            );
        }
    }

    #[test]
    fn a_value_that_is_no_text_is_refused_by_name() {
        let mut secret = secret(&[]);
        secret.data = Some([("keytab".to_owned(), ByteString(vec![0xff, 0xfe]))].into());
        let Err(Halt::Fail(failure)) = texts("kerberos", secret) else {
            panic!("it is taken");
        };
        let message = failure.message;
        assert!(
            message.contains("keytab") && message.contains("kerberos"),
            "{message}"
        );
    }
}
