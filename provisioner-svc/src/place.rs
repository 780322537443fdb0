//! Namespaces that instances must not be put into. In a namespace of somebody
//! else a person's RoleBinding is the consent; the broker's own and other
//! instances' have such rights already, so there it is nobody's.

use cluster::{
    error::{call, optional},
    names,
};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Map, Value};

/// Why a namespace is refused, as a sentence for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// Not the name of a namespace.
    #[error(
        "context.namespace must be the name of a namespace: at most 63 lower-case letters, digits and hyphens."
    )]
    Malformed,
    /// The broker's own.
    #[error("Instances cannot be put into namespace {0}, which is the broker's.")]
    Broker(String),
    /// Kubernetes' own.
    #[error("Instances cannot be put into namespace {0}, which is Kubernetes' own.")]
    System(String),
    /// Made for an instance.
    #[error("Instances cannot be put into namespace {0}, which is another instance's own.")]
    Instance(String),
}

/// The namespace that a platform's context names, if it names one.
pub(crate) fn named(platform_context: &Map<String, Value>) -> Result<Option<&str>, Refusal> {
    match platform_context.get("namespace") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) if name.is_empty() => Ok(None),
        Some(Value::String(name)) if names::is_dns_label(name) => Ok(Some(name)),
        Some(_) => Err(Refusal::Malformed),
    }
}

/// Judges a namespace that is not made for the instance, by its name and by
/// its labels. One that is not there is no instance's.
pub(crate) async fn check(
    client: Client,
    name: &str,
    broker: &str,
) -> Result<Result<(), Refusal>, cluster::Error> {
    if let Err(refusal) = check_name(name, broker) {
        return Ok(Err(refusal));
    }
    let api: Api<Namespace> = Api::all(client);
    let found = optional(call(api.get_metadata(name)).await)?;
    let by = found
        .as_ref()
        .and_then(|found| found.labels().get(names::MANAGED_BY));
    Ok(if by.is_some_and(|by| by == names::MANAGER) {
        Err(Refusal::Instance(name.to_owned()))
    } else {
        Ok(())
    })
}

fn check_name(name: &str, broker: &str) -> Result<(), Refusal> {
    if !names::is_dns_label(name) {
        Err(Refusal::Malformed)
    } else if name == broker {
        Err(Refusal::Broker(name.to_owned()))
    } else if name.starts_with("kube-") {
        Err(Refusal::System(name.to_owned()))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_platform_names_a_namespace_or_none_but_never_a_path() {
        let named = |value: Value| {
            let context = Map::from_iter([("namespace".to_owned(), value)]);
            named(&context).map(|name| name.map(str::to_owned))
        };
        assert_eq!(named(json!("team-a")), Ok(Some("team-a".to_owned())));
        for none in [json!(null), json!("")] {
            assert_eq!(named(none), Ok(None));
        }
        for bad in [
            json!("../../x"),
            json!("a/secrets/b?"),
            json!(7),
            json!(["a"]),
        ] {
            assert_eq!(named(bad.clone()), Err(Refusal::Malformed), "{bad}");
        }
        assert_eq!(super::named(&Map::new()), Ok(None));
    }

    #[test]
    fn the_brokers_namespace_and_those_of_kubernetes_are_refused_by_name() {
        let check = |name: &str| check_name(name, "mongodb-osb");
        assert_eq!(check("team-a"), Ok(()));
        assert!(matches!(check("mongodb-osb"), Err(Refusal::Broker(_))));
        for name in ["kube-system", "kube-public", "kube-node-lease"] {
            assert!(matches!(check(name), Err(Refusal::System(_))), "{name}");
        }
        assert_eq!(check(".."), Err(Refusal::Malformed));
    }
}
