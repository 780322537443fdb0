//! Namespaces that instances must not be put into. In a namespace of somebody
//! else a person's RoleBinding is the consent; the broker's own and other
//! instances' have such rights already, so there it is nobody's.
//!
//! Judged at each order and again before anything is applied, since a namespace
//! may become an instance's meanwhile. What the name in a plan tells by itself
//! is refused when the plan is loaded (libs/plan, `lint/describe.rs`).

pub(crate) use cluster::names::context_namespace as named;
use cluster::{
    error::{call, optional},
    names::{self, NoNamespace},
};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt as _};

/// Why a namespace is refused, as a sentence for the user, who need not know its
/// name: a plan may have given it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// Not the name of a namespace.
    #[error(transparent)]
    Malformed(#[from] NoNamespace),
    /// The broker's own.
    #[error("Instances cannot be put into the broker's own namespace.")]
    Broker,
    /// Kubernetes' own.
    #[error("Instances cannot be put into a namespace of Kubernetes itself.")]
    System,
    /// Made for an instance.
    #[error("Instances cannot be put into another instance's own namespace.")]
    Instance,
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
        Err(Refusal::Instance)
    } else {
        Ok(())
    })
}

fn check_name(name: &str, broker: &str) -> Result<(), Refusal> {
    if !names::is_dns_label(name) {
        Err(Refusal::Malformed(NoNamespace))
    } else if name == broker {
        Err(Refusal::Broker)
    } else if name.starts_with("kube-") {
        Err(Refusal::System)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brokers_namespace_and_those_of_kubernetes_are_refused_by_name() {
        let check = |name: &str| check_name(name, "mongodb-osb");
        assert_eq!(check("team-a"), Ok(()));
        assert!(matches!(check("mongodb-osb"), Err(Refusal::Broker)));
        for name in ["kube-system", "kube-public", "kube-node-lease"] {
            assert!(matches!(check(name), Err(Refusal::System)), "{name}");
        }
        assert_eq!(check(".."), Err(Refusal::Malformed(NoNamespace)));
    }
}
