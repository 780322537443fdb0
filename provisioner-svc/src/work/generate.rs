//! Values that a plan generates: made once, stored in a Secret, and only then
//! used. One that is missing later is an error, never a new value.

use std::collections::{BTreeMap, BTreeSet};

use cluster::{
    FIELD_MANAGER,
    error::{call, optional},
};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, ResourceExt as _,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use plan::descriptor::Generate;
use serde_json::{Map, Value, json};
use service::telemetry::chain;

use super::{
    Done, Halt, Job,
    grant::{generated_purpose, generated_secret},
    halt::ended,
    refuse,
};
use crate::{ca, values};

type Data = BTreeMap<String, ByteString>;

impl Job {
    pub(super) async fn generate(&mut self) -> Done {
        let inputs = self.inputs().await?;
        let sandbox = &self.context.sandbox;
        let wanted = sandbox
            .generate(&inputs.loaded, &self.variables(&inputs))
            .await
            .map_err(|error| ended(&inputs.loaded, "the evaluation of generate", &error))?
            .map_err(|error| refuse(error.to_string()))?;
        if wanted.is_empty() {
            return Ok(());
        }
        let api: Api<Secret> = Api::namespaced(self.context.client(), self.namespace());
        let name = generated_secret(&self.record.resource.spec.incarnation);
        let found = match optional(call(api.get(&name)).await)? {
            Some(found) => found,
            None if self.record.state.applied.is_some() => return Err(self.missing(&wanted)),
            None => {
                let data = self.make(&wanted).await?;
                let mut labels = self.record.labels();
                labels.extend([generated_purpose()]);
                let secret = Secret {
                    metadata: ObjectMeta {
                        name: Some(name.clone()),
                        labels: Some(labels),
                        ..ObjectMeta::default()
                    },
                    data: Some(data),
                    ..Secret::default()
                };
                let params = PostParams {
                    field_manager: Some(FIELD_MANAGER.to_owned()),
                    ..PostParams::default()
                };
                // If a rival was faster, what it stored is what counts.
                call(api.create(&params, &secret)).await?
            }
        };
        let found = self.complete(&api, found, &wanted).await?;
        self.generated = variables(&found);
        Ok(())
    }

    /// Adds what a newer bundle generates beyond the stored values.
    async fn complete(
        &self,
        api: &Api<Secret>,
        stored: Secret,
        wanted: &BTreeMap<String, Generate>,
    ) -> Result<Data, Halt> {
        let mut found = stored.data.clone().unwrap_or_default();
        let known: BTreeSet<&str> = found.keys().map(|key| head(key)).collect();
        let absent: BTreeMap<String, Generate> = wanted
            .iter()
            .filter(|(name, _)| !known.contains(name.as_str()))
            .map(|(name, generate)| (name.clone(), generate.clone()))
            .collect();
        if absent.is_empty() {
            return Ok(found);
        }
        if let Some(applied) = &self.record.state.applied {
            let bundle = self.context.catalog.bundle(&applied.bundle).await?;
            let known = &bundle.bundle().descriptor().generate;
            if absent.keys().any(|name| known.contains_key(name)) {
                return Err(self.missing(&absent));
            }
        }
        let made = self.make(&absent).await?;
        // Conditional: values that a rival stored meanwhile stay.
        let patch = json!({
            "metadata": { "resourceVersion": stored.resource_version() },
            "data": made,
        });
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let name = stored.name_any();
        match call(api.patch(&name, &params, &Patch::Merge(&patch))).await {
            Ok(written) => {
                found.extend(written.data.unwrap_or_default());
                Ok(found)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn make(&self, wanted: &BTreeMap<String, Generate>) -> Result<Data, Halt> {
        let mut data = Data::new();
        let mut put = |key: String, text: String| {
            data.insert(key, ByteString(text.into_bytes()));
        };
        for (name, generate) in wanted {
            match generate {
                Generate::Password { length } => put(name.clone(), values::password(*length)),
                Generate::Key { bytes } => put(name.clone(), values::key(*bytes)),
                Generate::Certificate { sans } => {
                    let authority = ca::ensure(&self.context.client(), &self.context.args.broker.instances_namespace())
                        .await
                        .map_err(|error| match error {
                            ca::Error::Cluster(error) => error.into(),
                            ca::Error::Malformed | ca::Error::Make(_) => {
                                tracing::error!(error = chain(&error), "the broker's CA cannot be used");
                                refuse("The broker's certificate authority cannot be used; see the broker's log.")
                            }
                        })?;
                    let names: Vec<String> = sans.iter().map(|san| san.0.clone()).collect();
                    let leaf = authority.issue(&names).map_err(|_| {
                        refuse(format!(
                            "A certificate for generate.{name} cannot be made; check its sans."
                        ))
                    })?;
                    put(
                        format!("{name}.pem"),
                        format!("{}{}", leaf.key, leaf.certificate),
                    );
                    put(format!("{name}.key"), leaf.key);
                    put(format!("{name}.certificate"), leaf.certificate);
                    put(format!("{name}.ca"), leaf.ca);
                }
            }
        }
        Ok(data)
    }

    fn missing(&self, wanted: &BTreeMap<String, Generate>) -> Halt {
        let names: Vec<&str> = wanted.keys().map(String::as_str).collect();
        tracing::error!(
            record = %self.record.name(),
            namespace = self.namespace(),
            secret = generated_secret(&self.record.resource.spec.incarnation),
            "generated values are gone; restore the Secret"
        );
        refuse(format!(
            "GeneratedValueMissing: the generated values {} of this instance are gone; \
             the broker's operator must restore their Secret.",
            names.join(", "),
        ))
    }
}

fn head(key: &str) -> &str {
    key.split_once('.').map_or(key, |(head, _)| head)
}

/// The Secret's keys as templates see them: `a` a string, `a.b` a part of `a`.
fn variables(data: &Data) -> Map<String, Value> {
    let mut all = Map::new();
    for (key, bytes) in data {
        let text = json!(String::from_utf8_lossy(&bytes.0));
        match key.split_once('.') {
            None => {
                all.insert(key.clone(), text);
            }
            Some((name, part)) => {
                let slot = all.entry(name).or_insert_with(|| json!({}));
                if let Some(parts) = slot.as_object_mut() {
                    parts.insert(part.to_owned(), text);
                }
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_value_are_grouped_under_its_name() {
        let data = [("admin", "pw"), ("tls.key", "k"), ("tls.ca", "c")]
            .map(|(key, text)| (key.to_owned(), ByteString(text.into())));
        assert_eq!(
            Value::Object(variables(&data.into())),
            json!({"admin": "pw", "tls": {"key": "k", "ca": "c"}})
        );
    }
}
