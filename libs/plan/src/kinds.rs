//! What is known of kinds: plural resource names (which are not derived: half of MongoDB's are
//! irregular), and whether they live in a namespace.

pub(crate) mod named;
mod served;

use crate::descriptor::KindRef;
use crate::node::nearest;

pub use served::{ServedKind, ServedKinds};

/// A kind that the broker knows.
struct Known {
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    namespaced: bool,
}

const fn namespaced(group: &'static str, kind: &'static str, plural: &'static str) -> Known {
    Known {
        group,
        kind,
        plural,
        namespaced: true,
    }
}

const fn cluster(group: &'static str, kind: &'static str, plural: &'static str) -> Known {
    Known {
        group,
        kind,
        plural,
        namespaced: false,
    }
}

const RBAC: &str = "rbac.authorization.k8s.io";
const ATLAS: &str = "atlas.mongodb.com";

const KNOWN: &[Known] = &[
    namespaced("", "ConfigMap", "configmaps"),
    namespaced("", "Endpoints", "endpoints"),
    namespaced("", "LimitRange", "limitranges"),
    cluster("", "Namespace", "namespaces"),
    cluster("", "PersistentVolume", "persistentvolumes"),
    namespaced("", "PersistentVolumeClaim", "persistentvolumeclaims"),
    namespaced("", "Pod", "pods"),
    namespaced("", "ResourceQuota", "resourcequotas"),
    namespaced("", "Secret", "secrets"),
    namespaced("", "Service", "services"),
    namespaced("", "ServiceAccount", "serviceaccounts"),
    namespaced("apps", "DaemonSet", "daemonsets"),
    namespaced("apps", "Deployment", "deployments"),
    namespaced("apps", "StatefulSet", "statefulsets"),
    namespaced(
        "autoscaling",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
    ),
    namespaced("batch", "CronJob", "cronjobs"),
    namespaced("batch", "Job", "jobs"),
    namespaced("discovery.k8s.io", "EndpointSlice", "endpointslices"),
    namespaced("networking.k8s.io", "Ingress", "ingresses"),
    namespaced("networking.k8s.io", "NetworkPolicy", "networkpolicies"),
    namespaced("policy", "PodDisruptionBudget", "poddisruptionbudgets"),
    namespaced(RBAC, "Role", "roles"),
    namespaced(RBAC, "RoleBinding", "rolebindings"),
    cluster(RBAC, "ClusterRole", "clusterroles"),
    cluster(RBAC, "ClusterRoleBinding", "clusterrolebindings"),
    cluster("scheduling.k8s.io", "PriorityClass", "priorityclasses"),
    cluster("storage.k8s.io", "StorageClass", "storageclasses"),
    cluster(
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        "customresourcedefinitions",
    ),
    cluster(
        "admissionregistration.k8s.io",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
    ),
    cluster(
        "admissionregistration.k8s.io",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
    ),
    namespaced("cert-manager.io", "Certificate", "certificates"),
    namespaced("cert-manager.io", "Issuer", "issuers"),
    cluster("cert-manager.io", "ClusterIssuer", "clusterissuers"),
    namespaced("monitoring.coreos.com", "ServiceMonitor", "servicemonitors"),
    namespaced("mongodb.com", "MongoDB", "mongodb"),
    namespaced("mongodb.com", "MongoDBUser", "mongodbusers"),
    namespaced("mongodb.com", "MongoDBOpsManager", "opsmanagers"),
    namespaced("mongodb.com", "MongoDBMultiCluster", "mongodbmulticluster"),
    cluster("mongodb.com", "ClusterMongoDBRole", "clustermongodbroles"),
    namespaced("mongodb.com", "MongoDBSearch", "mongodbsearch"),
    namespaced(
        "mongodbcommunity.mongodb.com",
        "MongoDBCommunity",
        "mongodbcommunity",
    ),
    namespaced("ai.mongodb.com", "VoyageAI", "voyageais"),
    namespaced(ATLAS, "AtlasProject", "atlasprojects"),
    namespaced(ATLAS, "AtlasDeployment", "atlasdeployments"),
    namespaced(ATLAS, "AtlasDatabaseUser", "atlasdatabaseusers"),
    namespaced(ATLAS, "AtlasIPAccessList", "atlasipaccesslists"),
    namespaced(ATLAS, "AtlasBackupSchedule", "atlasbackupschedules"),
    namespaced(ATLAS, "AtlasBackupPolicy", "atlasbackuppolicies"),
];

fn find(kind: &KindRef) -> Option<&'static Known> {
    KNOWN
        .iter()
        .find(|known| known.group == kind.group && known.kind == kind.kind)
}

/// The plural resource name: the one in the plan, else the known one.
pub fn plural(kind: &KindRef) -> Option<&str> {
    kind.plural
        .as_deref()
        .or_else(|| find(kind).map(|known| known.plural))
}

/// What is said of `kind: List`.
pub(crate) const NO_LISTS: &str = "lists are not supported: write documents, with --- between them";

/// Why no object of the kind can be applied, and what was meant. `served` are kinds of others.
pub(crate) fn refused(kind: &KindRef, served: &ServedKinds) -> Option<String> {
    if kind.kind == "List" {
        return Some(NO_LISTS.to_owned());
    }
    if plural(kind).is_some() || served.of(kind).is_some() {
        return None;
    }
    if kind.group == "core" {
        let meant = KindRef {
            group: String::new(),
            ..kind.clone()
        };
        return Some(format!("unknown kind {kind}, did you mean {meant}?"));
    }
    let remedy = served.remedy(kind);
    if let Some(other) = KNOWN.iter().find(|known| known.kind == kind.kind) {
        let of = match other.group {
            "" => "the core group, whose apiVersion has no group".to_owned(),
            group => format!("the group {group}"),
        };
        let told = format!("unknown kind {kind}: {} is of {of}", kind.kind);
        let is_known_group = KNOWN.iter().any(|known| known.group == kind.group);
        return Some(if is_known_group {
            told
        } else {
            format!("{told}. If another one is meant: {remedy}")
        });
    }
    let of_group = KNOWN.iter().filter(|known| known.group == kind.group);
    let of_group = of_group.map(|known| known.kind);
    let near = nearest(&kind.kind, of_group.chain(served.beside(kind)));
    Some(match near {
        Some(near) => {
            let meant = KindRef {
                kind: near.to_owned(),
                ..kind.clone()
            };
            format!("unknown kind {kind}, did you mean {meant}? If not: {remedy}")
        }
        None => format!("unknown kind {kind}: {remedy}"),
    })
}

/// The kind with its plural, where the broker does not know that by itself and another does.
pub(crate) fn with_plural(kind: &KindRef, served: &ServedKinds) -> KindRef {
    let theirs = served.of(kind).filter(|_| plural(kind).is_none());
    KindRef {
        plural: theirs.map_or_else(|| kind.plural.clone(), |of| Some(of.plural.clone())),
        ..kind.clone()
    }
}

/// Whether objects of the kind are known to live outside of namespaces.
pub fn is_cluster_scoped(kind: &KindRef) -> bool {
    find(kind).is_some_and(|known| !known.namespaced)
}

/// The same, of kinds of others, too.
pub(crate) fn is_cluster_scoped_in(kind: &KindRef, served: &ServedKinds) -> bool {
    let theirs = || served.of(kind).is_some_and(|of| !of.namespaced);
    find(kind).map_or_else(theirs, |known| !known.namespaced)
}

/// Whether the kind is of a group that Kubernetes brings, in whatever version.
pub fn is_of_kubernetes(kind: &KindRef) -> bool {
    is_group_of_kubernetes(&kind.group)
}

fn is_group_of_kubernetes(group: &str) -> bool {
    let is_known = KNOWN.iter().any(|known| known.group == group);
    is_known && (!group.contains('.') || group.ends_with(".k8s.io"))
}

/// Whether the kind gives rights: only plans of scope `cluster` may have it.
pub fn is_rbac(kind: &KindRef) -> bool {
    kind.group == RBAC
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plurals_are_known_not_derived() {
        let plural_of = |text: &str| plural(&text.parse().unwrap()).map(str::to_owned);
        assert_eq!(
            plural_of("mongodb.com/v1/MongoDB").as_deref(),
            Some("mongodb")
        );
        assert_eq!(
            plural_of("mongodb.com/v1/MongoDBOpsManager").as_deref(),
            Some("opsmanagers")
        );
        assert_eq!(plural_of("example.com/v1/Widget"), None);
        assert_eq!(
            plural_of("example.com/v1/Widget=widgetry").as_deref(),
            Some("widgetry")
        );
        assert!(is_cluster_scoped(&"v1/Namespace".parse().unwrap()));
    }
}
