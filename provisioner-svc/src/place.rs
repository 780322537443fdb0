//! Namespaces of others that instances may be put into: those whose owner labelled
//! them for this broker. The broker's own and other instances' never, whatever
//! their labels.
//!
//! Judged at each order and again before anything is applied, since a namespace
//! may become an instance's meanwhile. What the name in a plan tells by itself
//! is refused when the plan is loaded (libs/plan, `lint/describe.rs`).

use std::collections::BTreeMap;

pub(crate) use cluster::names::context_namespace as named;
use cluster::{
    error::{call, optional},
    names::{self, NoNamespace},
};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt};

use crate::args::BrokerArgs;

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
    /// Not there, or not labelled by its owner.
    #[error(
        "The namespace takes no instances: whoever owns it must label it {label}={0}.",
        label = names::ACCEPTS_INSTANCES_OF
    )]
    NotAccepted(String),
}

/// Judges a namespace that is not made for the instance, by its name and by
/// its labels.
pub(crate) async fn check(
    client: Client,
    name: &str,
    broker: &BrokerArgs,
) -> Result<Result<(), Refusal>, cluster::Error> {
    if let Err(refusal) = check_name(name, broker) {
        return Ok(Err(refusal));
    }
    let api: Api<Namespace> = Api::all(client);
    let found = optional(call(api.get_metadata(name)).await)?;
    let labels = found.as_ref().map(ResourceExt::labels);
    Ok(check_labels(labels, &broker.namespace))
}

fn check_name(name: &str, broker: &BrokerArgs) -> Result<(), Refusal> {
    let own = &broker.namespace;
    let state = [
        broker.instances_namespace(),
        broker.bundles_namespace(),
        broker.plans_namespace(),
    ];
    let rest = name.strip_prefix(own.as_str());
    if !names::is_dns_label(name) {
        Err(Refusal::Malformed(NoNamespace))
    } else if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        || state.iter().any(|state| state == name)
    {
        Err(Refusal::Broker)
    } else if name.starts_with("kube-") {
        Err(Refusal::System)
    } else {
        Ok(())
    }
}

fn check_labels(labels: Option<&BTreeMap<String, String>>, broker: &str) -> Result<(), Refusal> {
    let is = |key: &str, value: &str| {
        let found = labels.and_then(|labels| labels.get(key));
        found.is_some_and(|found| found == value)
    };
    if is(names::MANAGED_BY, names::MANAGER) {
        Err(Refusal::Instance)
    } else if is(names::ACCEPTS_INSTANCES_OF, broker) {
        Ok(())
    } else {
        Err(Refusal::NotAccepted(broker.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Args;

    #[test]
    fn the_brokers_namespace_and_those_of_kubernetes_are_refused_by_name() {
        let mut broker = Args::parse_from(["provisioner-svc"]).broker;
        broker.plans_namespace = Some("catalogue".to_owned());
        let check = |name: &str| check_name(name, &broker);
        for name in ["team-a", "mongodb-osbx", "mongodb"] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        for name in ["mongodb-osb", "mongodb-osb-bindings", "catalogue"] {
            assert!(matches!(check(name), Err(Refusal::Broker)), "{name}");
        }
        for name in ["kube-system", "kube-public", "kube-node-lease"] {
            assert!(matches!(check(name), Err(Refusal::System)), "{name}");
        }
        assert_eq!(check(".."), Err(Refusal::Malformed(NoNamespace)));
    }

    #[test]
    fn others_take_instances_of_the_broker_that_their_label_names() {
        let check = |labels: &[(&str, &str)]| {
            let labels = labels
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            check_labels(Some(&labels.collect()), "mongodb-osb")
        };
        let refused = Err(Refusal::NotAccepted("mongodb-osb".to_owned()));
        let accepts = names::ACCEPTS_INSTANCES_OF;
        assert_eq!(check_labels(None, "mongodb-osb"), refused);
        assert_eq!(check(&[]), refused);
        assert_eq!(check(&[(accepts, "another")]), refused);
        assert_eq!(check(&[(accepts, "mongodb-osb")]), Ok(()));
        let instance = [
            (accepts, "mongodb-osb"),
            (names::MANAGED_BY, names::MANAGER),
        ];
        assert_eq!(check(&instance), Err(Refusal::Instance));
    }
}
