//! The real programs: built or fetched once a machine, at pinned versions, and cached by content.
//!
//! A program in the cache is whole: it is made beside its place and renamed into it. Two processes
//! that need the same one make it once.

mod debian;
mod go;
mod mongod;

use std::{env, path::PathBuf};

pub use mongod::provide as mongod;

pub use crate::paths::is_executable;

pub(crate) use debian::CNI_PLUGINS;
pub use debian::node_packages;

use crate::{
    error::{Error, Result},
    paths,
};

/// A folder with kube-apiserver, etcd and kubectl of the user's choice.
const ASSETS: &str = "KUBEBUILDER_ASSETS";

/// A program that is built from pinned Go modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Binary {
    /// The store of the API server.
    Etcd,
    /// The API server.
    KubeApiServer,
    /// The built-in controllers.
    KubeControllerManager,
    /// Chooses a node for each pod.
    KubeScheduler,
    /// Runs pods.
    Kubelet,
    /// Makes Services reachable.
    KubeProxy,
    /// The command line.
    Kubectl,
    /// Enforces NetworkPolicies: of kube-router, the firewall alone runs.
    KubeRouter,
    /// Gives names to Services and pods.
    CoreDns,
    /// An image registry.
    Registry,
    /// Pushes image archives to a registry.
    Crane,
    /// Calls gRPC services by hand.
    Grpcurl,
    /// The sandbox process of a pod.
    Pause,
    /// Makes volumes.
    VolumeProvisioner,
}

impl Binary {
    /// What a control plane on its own needs.
    pub const CONTROL_PLANE: [Self; 3] =
        [Self::Etcd, Self::KubeApiServer, Self::KubeControllerManager];

    /// What a cluster with a node needs.
    pub const CLUSTER: [Self; 11] = [
        Self::Etcd,
        Self::KubeApiServer,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::Kubelet,
        Self::KubeProxy,
        Self::KubeRouter,
        Self::CoreDns,
        Self::Pause,
        Self::VolumeProvisioner,
        Self::Kubectl,
    ];

    /// What people, and a registry of their own, need beside that.
    pub const TOOLS: [Self; 3] = [Self::Registry, Self::Crane, Self::Grpcurl];

    /// The file name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiServer => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::KubeRouter => "kube-router",
            Self::Kubectl => "kubectl",
            Self::CoreDns => "coredns",
            Self::Registry => "registry",
            Self::Crane => "crane",
            Self::Grpcurl => "grpcurl",
            Self::Pause => "pause",
            Self::VolumeProvisioner => "volume-provisioner",
        }
    }
}

/// The path of the program, which is built if it is not there yet.
///
/// Where `KUBEBUILDER_ASSETS` names a folder, etcd, kube-apiserver and kubectl are taken from it.
pub async fn provide(binary: Binary) -> Result<PathBuf> {
    provide_counted(binary, "").await
}

/// Provides all of them, one after the other.
pub async fn provide_all(binaries: &[Binary]) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::with_capacity(binaries.len());
    for (index, &binary) in binaries.iter().enumerate() {
        paths.push(provide_counted(binary, &format!(" ({}/{})", index + 1, binaries.len())).await?);
    }
    Ok(paths)
}

async fn provide_counted(binary: Binary, count: &str) -> Result<PathBuf> {
    match asset(binary)? {
        Some(path) => Ok(path),
        None => go::provide(binary, count).await,
    }
}

/// The user's own program, if they have one.
fn asset(binary: Binary) -> Result<Option<PathBuf>> {
    let Some(folder) = env::var_os(ASSETS).filter(|folder| !folder.is_empty()) else {
        return Ok(None);
    };
    match binary {
        Binary::Etcd | Binary::KubeApiServer | Binary::Kubectl => {
            let path = PathBuf::from(folder).join(binary.name());
            if paths::is_executable(&path) {
                return Ok(Some(path));
            }
            Err(Error::Unsupported {
                reason: format!(
                    "{ASSETS} is set, but there is no program {}",
                    path.display()
                ),
            })
        }
        Binary::KubeControllerManager
        | Binary::KubeScheduler
        | Binary::Kubelet
        | Binary::KubeProxy
        | Binary::KubeRouter
        | Binary::CoreDns
        | Binary::Registry
        | Binary::Crane
        | Binary::Grpcurl
        | Binary::Pause
        | Binary::VolumeProvisioner => Ok(None),
    }
}
