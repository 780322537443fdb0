//! From an instance to its database: the pinned bundle says how, the Secret
//! with the generated values holds the admin's password.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use broker_proto::{json, v1::Instance};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use plan::{Loaded, Variables, variables};
use sandbox::Sandbox;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::{error::Error, grant, mongo::Target};

/// How long a target is used before its Secret is read again: a bind costs one
/// read less, and a rotated admin password is noticed by the failed login.
const FRESH: Duration = Duration::from_secs(60);

/// Targets by instance; cheap to clone.
#[derive(Clone)]
pub struct Databases {
    client: Client,
    sandbox: Sandbox,
    known: Arc<Mutex<HashMap<String, Known>>>,
}

impl std::fmt::Debug for Databases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Databases").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Known {
    target: Arc<Target>,
    /// What it was worked out from.
    fingerprint: [u8; 32],
    read: Instant,
}

impl Databases {
    /// With the rights of `client` to read Secrets in instance namespaces. Plans are evaluated in
    /// `sandbox`.
    pub fn new(client: Client, sandbox: Sandbox) -> Self {
        Self {
            client,
            sandbox,
            known: Arc::default(),
        }
    }

    /// The instance's database.
    pub async fn of(&self, instance: &Instance, plan: &Loaded) -> Result<Arc<Target>, Error> {
        let fingerprint = fingerprint(instance);
        if let Some(target) = self.fresh(&instance.instance_id, &fingerprint) {
            return Ok(target);
        }
        // A plan that generates nothing has no such Secret.
        let secret = if plan.bundle().descriptor().generate.is_empty() {
            Secret::default()
        } else {
            self.generated(instance).await?
        };
        let variables = variables(instance, generated(&secret));
        let database = self.sandbox.database(plan, &variables).await??;
        let target = Arc::new(Target {
            key: key(&fingerprint, &secret),
            database,
        });
        let known = Known {
            target: Arc::clone(&target),
            fingerprint,
            read: Instant::now(),
        };
        self.known().insert(instance.instance_id.clone(), known);
        Ok(target)
    }

    /// The next use reads everything anew.
    pub fn forget(&self, instance_id: &str) {
        self.known().remove(instance_id);
    }

    /// Drops what was not used for long.
    pub fn evict_old(&self) {
        let now = Instant::now();
        self.known().retain(|_, known| now - known.read < FRESH);
    }

    fn fresh(&self, instance_id: &str, fingerprint: &[u8; 32]) -> Option<Arc<Target>> {
        let known = self.known();
        known
            .get(instance_id)
            .filter(|known| known.fingerprint == *fingerprint && known.read.elapsed() < FRESH)
            .map(|known| Arc::clone(&known.target))
    }

    async fn generated(&self, instance: &Instance) -> Result<Secret, Error> {
        if instance.generated_secret.is_empty() {
            return Ok(Secret::default());
        }
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &instance.namespace);
        match cluster::error::call(secrets.get(&instance.generated_secret)).await {
            Ok(secret) => Ok(secret),
            // Not our record, which is what NotFound means elsewhere.
            Err(cluster::Error::NotFound) => Err(Error::Secret(instance.generated_secret.clone())),
            Err(error) => Err(error.into()),
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The database of a binding that names none.
pub fn default_database(instance: &Instance, target: &Target) -> String {
    let fixed = target.database.database.clone();
    fixed.unwrap_or_else(|| grant::default_database(&instance.instance_id))
}

fn fingerprint(instance: &Instance) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut put = |part: &str| {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    };
    put(&instance.incarnation);
    put(&instance.bundle_digest);
    put(&instance.namespace);
    put(&instance.generated_secret);
    for object in [
        &instance.outputs,
        &instance.parameters,
        &instance.broker,
        &instance.context,
    ] {
        let value = Value::Object(object.clone().map(json::from_struct).unwrap_or_default());
        put(&value.to_string());
    }
    hash.finalize().into()
}

/// A name for connections to the database with these credentials.
fn key(fingerprint: &[u8; 32], secret: &Secret) -> String {
    let version = secret
        .metadata
        .resource_version
        .as_deref()
        .unwrap_or_default();
    let uid = secret.metadata.uid.as_deref().unwrap_or_default();
    let digest =
        Sha256::digest([fingerprint.as_slice(), uid.as_bytes(), version.as_bytes()].concat());
    data_encoding::HEXLOWER.encode(&digest)
}

fn variables(instance: &Instance, generated: Map<String, Value>) -> Variables {
    let object = |field: &Option<_>| field.clone().map(json::from_struct).unwrap_or_default();
    let broker = Value::Object(object(&instance.broker));
    Variables {
        instance: variables::Instance {
            id: instance.instance_id.clone(),
            name: instance.name.clone(),
            namespace: instance.namespace.clone(),
        },
        parameters: object(&instance.parameters),
        context: object(&instance.context),
        generated,
        outputs: object(&instance.outputs),
        broker: serde_json::from_value(broker).unwrap_or_default(),
        ..Variables::default()
    }
}

/// The Secret's keys as templates see them: `<name>`, or `<name>.<part>` as an
/// object of parts.
fn generated(secret: &Secret) -> Map<String, Value> {
    let mut values = Map::new();
    for (key, bytes) in secret.data.iter().flatten() {
        let Ok(text) = std::str::from_utf8(&bytes.0) else {
            continue;
        };
        match key.split_once('.') {
            None => {
                values.insert(key.clone(), Value::from(text));
            }
            Some((name, part)) => {
                let parts = values
                    .entry(name)
                    .or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(parts) = parts {
                    parts.insert(part.to_owned(), Value::from(text));
                }
            }
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use serde_json::json;

    use super::*;

    #[test]
    fn generated_values_are_texts_or_objects_of_parts() {
        let secret = Secret {
            data: Some(
                [("admin", "pw"), ("tls.ca", "CA"), ("tls.pem", "PEM")]
                    .map(|(key, value)| (key.to_owned(), ByteString(value.into())))
                    .into(),
            ),
            ..Secret::default()
        };
        assert_eq!(
            Value::Object(generated(&secret)),
            json!({"admin": "pw", "tls": {"ca": "CA", "pem": "PEM"}})
        );
    }

    #[test]
    fn connections_are_made_anew_when_the_secret_or_the_instance_changes() {
        let instance = Instance {
            incarnation: "a".into(),
            ..Instance::default()
        };
        let other = Instance {
            incarnation: "b".into(),
            ..Instance::default()
        };
        let mut secret = Secret::default();
        let first = key(&fingerprint(&instance), &secret);
        assert_ne!(first, key(&fingerprint(&other), &secret));
        secret.metadata.resource_version = Some("2".into());
        assert_ne!(first, key(&fingerprint(&instance), &secret));
    }
}
