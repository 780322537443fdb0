//! The command lines of etcd, the API server and the controller manager, which a control plane on
//! its own and a cluster with a node share.

use std::{net::Ipv4Addr, path::Path};

use crate::pki::Authority;

/// Services get their addresses from here.
pub(crate) const SERVICE_RANGE: &str = "10.96.0.0/16";
/// The address of the Service `kubernetes`: the first of [`SERVICE_RANGE`].
pub(crate) const SERVICE_ADDRESS: &str = "10.96.0.1";

/// Which controllers run beside an API server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Controllers {
    /// None: objects are stored, and nothing acts on them.
    #[default]
    None,
    /// kube-controller-manager: garbage collection, the end of namespaces, service accounts,
    /// StatefulSets and so on.
    Manager,
}

/// Where an etcd listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Etcd {
    pub(crate) clients: u16,
    pub(crate) peers: u16,
}

impl Etcd {
    /// The URL for its clients.
    pub(crate) fn url(self) -> String {
        format!("http://127.0.0.1:{}", self.clients)
    }

    /// The command line. Data survives a killed etcd, not a killed machine: tests need no more.
    pub(crate) fn args(self, data: &Path) -> Vec<String> {
        let clients = self.url();
        let peers = format!("http://127.0.0.1:{}", self.peers);
        vec![
            "--name=default".to_owned(),
            format!("--data-dir={}", data.display()),
            format!("--listen-client-urls={clients}"),
            format!("--advertise-client-urls={clients}"),
            format!("--listen-peer-urls={peers}"),
            format!("--initial-advertise-peer-urls={peers}"),
            format!("--initial-cluster=default={peers}"),
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
        ]
    }
}

/// Where an API server listens, and what it needs.
#[derive(Debug)]
pub(crate) struct ApiServer<'a> {
    pub(crate) address: Ipv4Addr,
    pub(crate) port: u16,
    pub(crate) etcd: Etcd,
    pub(crate) authority: &'a Authority,
    /// Certificate and key of the server.
    pub(crate) serving: (&'a Path, &'a Path),
}

impl ApiServer<'_> {
    /// The URL for its clients.
    pub(crate) fn url(&self) -> String {
        format!("https://{}:{}", self.address, self.port)
    }

    /// The command line.
    pub(crate) fn args(&self) -> Vec<String> {
        let Self {
            address,
            port,
            etcd,
            authority,
            serving,
        } = self;
        let mut args = vec![
            format!("--bind-address={address}"),
            format!("--advertise-address={address}"),
            format!("--secure-port={port}"),
            format!("--etcd-servers={}", etcd.url()),
            format!("--tls-cert-file={}", serving.0.display()),
            format!("--tls-private-key-file={}", serving.1.display()),
            format!(
                "--client-ca-file={}",
                authority.certificate_file().display()
            ),
            format!(
                "--service-account-signing-key-file={}",
                authority.accounts_key_file().display()
            ),
            format!(
                "--service-account-key-file={}",
                authority.accounts_public_file().display()
            ),
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
            format!("--service-cluster-ip-range={SERVICE_RANGE}"),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--allow-privileged=true".to_owned(),
        ];
        if address.is_loopback() {
            // An endpoint must not be a loopback address, so there can be none.
            args.push("--endpoint-reconciler-type=none".to_owned());
        }
        args
    }
}

/// The command line of the controller manager.
pub(crate) fn controller_manager_args(
    port: u16,
    kubeconfig: &Path,
    authority: &Authority,
) -> Vec<String> {
    let plugins = kubeconfig.with_file_name("volume-plugins");
    let kubeconfig = kubeconfig.display();
    vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        "--leader-elect=false".to_owned(),
        "--use-service-account-credentials=true".to_owned(),
        format!("--root-ca-file={}", authority.certificate_file().display()),
        format!(
            "--service-account-private-key-file={}",
            authority.accounts_key_file().display()
        ),
        // It makes that folder, which by default is one of the machine's.
        format!("--flex-volume-plugin-dir={}", plugins.display()),
    ]
}
