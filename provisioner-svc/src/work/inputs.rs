//! What an operation works with: revision, bundle, and the variables of its
//! templates.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
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

impl Job<'_> {
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
        let revision: Revision = match self.context.revisions.read(name).await {
            Ok(revision) => revision,
            Err(RevisionError::Cluster(error)) => return Err(error.into()),
            Err(error @ (RevisionError::Missing(_) | RevisionError::Malformed(_))) => {
                tracing::error!(record = %self.record.name(), error = %error, "revision cannot be used");
                return Err(refuse("What was asked for is no longer on record."));
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

    /// What the templates see now.
    pub(super) fn variables(&self, inputs: &Inputs) -> Variables {
        let spec = &self.record.resource.spec;
        Variables {
            instance: Instance {
                id: spec.instance_id.clone(),
                name: names::short(self.record.instance()).to_owned(),
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
        let api: Api<Secret> =
            Api::namespaced(self.context.client(), &self.context.args.broker.namespace);
        let mut all = Map::new();
        for (name, input) in &loaded.bundle().descriptor().secrets {
            let Some(secret) = optional(call(api.get(&input.name)).await)? else {
                return Err(Halt::Wait(format!(
                    "waiting for the Secret {} of the broker's operator",
                    input.name
                )));
            };
            let values: BTreeMap<String, String> = secret
                .data
                .unwrap_or_default()
                .into_iter()
                .map(|(key, bytes)| (key, String::from_utf8_lossy(&bytes.0).into_owned()))
                .collect();
            all.insert(name.clone(), json!(values));
        }
        Ok(all)
    }
}
