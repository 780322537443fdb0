//! Every value that must never be in a log, and every log of the broker.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use cluster::names::State;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, LogParams},
};

use crate::deploy::NAMESPACE;

/// Shorter values are words that logs hold anyway (`true`, `admin`, a host).
const SHORTEST: usize = 12;

/// The broker's namespaces and those of the instances that there are now.
pub async fn namespaces(client: &Client) -> anyhow::Result<Vec<String>> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let made = format!("{}={}", cluster::names::MANAGED_BY, cluster::names::MANAGER);
    let made = namespaces
        .list(&ListParams::default().labels(&made))
        .await
        .context("list namespaces")?;
    Ok(made
        .iter()
        .map(ResourceExt::name_any)
        .chain(State::ALL.map(|state| state.namespace(NAMESPACE)))
        .chain([NAMESPACE.to_owned()])
        .collect())
}

/// Adds the secret values of a namespace.
pub async fn collect(
    client: &Client,
    namespace: &str,
    values: &mut BTreeSet<String>,
) -> anyhow::Result<()> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    for secret in secrets
        .list(&ListParams::default())
        .await
        .context("list Secrets")?
    {
        for (key, value) in secret.data.unwrap_or_default() {
            add(&key, &value.0, values);
        }
    }
    Ok(())
}

/// A value itself, or those inside of it that are passwords.
fn add(key: &str, value: &[u8], values: &mut BTreeSet<String>) {
    let Ok(text) = std::str::from_utf8(value) else {
        return;
    };
    if let Ok(json) = serde_json::from_str::<serde_json::Value>(text)
        && json.is_object()
    {
        return add_members(&json, values);
    }
    // Certificates are public; everything else in a Secret of these is not, save for names.
    let public = text.contains("BEGIN CERTIFICATE") && !text.contains("PRIVATE KEY");
    let secret = ["password", "key", "uri", "pem", "admin", "token"]
        .iter()
        .any(|word| key.contains(word));
    if public || !secret {
        return;
    }
    // A log line never holds a line break: the longest line stands for the whole.
    if let Some(line) = text.lines().max_by_key(|line| line.len())
        && line.len() >= SHORTEST
    {
        values.insert(line.to_owned());
    }
}

fn add_members(json: &serde_json::Value, values: &mut BTreeSet<String>) {
    match json {
        serde_json::Value::Object(members) => {
            for (key, value) in members {
                match value {
                    serde_json::Value::String(text) => add(key, text.as_bytes(), values),
                    other => add_members(other, values),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| add_members(item, values)),
        _ => {}
    }
}

/// Adds the logs of all containers of a namespace, by `namespace/pod/container`.
/// A log that was read before is replaced by what it has become.
pub async fn collect_logs(
    client: &Client,
    namespace: &str,
    logs: &mut BTreeMap<String, String>,
) -> anyhow::Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    for pod in pods
        .list(&ListParams::default())
        .await
        .context("list pods")?
    {
        let name = pod.name_any();
        let Some(spec) = pod.spec else { continue };
        let containers = spec
            .containers
            .into_iter()
            .chain(spec.init_containers.unwrap_or_default());
        for container in containers.map(|container| container.name) {
            for previous in [false, true] {
                let parameters = LogParams {
                    container: Some(container.clone()),
                    previous,
                    ..LogParams::default()
                };
                // A container that did not start, or had no life before this one, has no log.
                if let Ok(log) = pods.logs(&name, &parameters).await {
                    let life = if previous { " (its last life)" } else { "" };
                    logs.insert(format!("{namespace}/{name}/{container}{life}"), log);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_collected_and_certificates_and_names_are_not() {
        let mut values = BTreeSet::new();
        add("admin", b"0123456789abcdef", &mut values);
        add(
            "tls.ca",
            b"-----BEGIN CERTIFICATE-----\nabcdefghijklmnop\n",
            &mut values,
        );
        add(
            "tls.key",
            b"-----BEGIN PRIVATE KEY-----\nprivateprivateprivateprivate\n",
            &mut values,
        );
        add("username", b"a-user-name-that-is-long", &mut values);
        add(
            "credentials",
            br#"{"password": "in-json-password", "host": "long.host.name.example"}"#,
            &mut values,
        );
        let values: Vec<_> = values.iter().map(String::as_str).collect();
        assert_eq!(
            values,
            [
                "0123456789abcdef",
                "in-json-password",
                "privateprivateprivateprivate"
            ]
        );
    }
}
