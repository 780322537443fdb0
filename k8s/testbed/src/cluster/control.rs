//! The control plane of a named cluster.

use std::net::Ipv4Addr;

use super::{Extent, Name, daemon, layout::Layout, network};
use crate::{
    api_server::{ApiServer, Etcd, SERVICE_ADDRESS, controller_manager_args},
    binaries::{self, Binary},
    control_plane,
    error::Result,
    identity::{Identity, Server},
    pki::Authority,
    port::Port,
    process::Process,
};

/// The port of the API server on the bridge.
const PORT: u16 = 6443;

/// Starts etcd, API server, controllers and scheduler, and waits until they work.
pub(super) async fn start(
    name: &Name,
    layout: &Layout,
    extent: Extent,
) -> Result<(Server, Identity)> {
    // Held until the processes have bound them.
    let ports: Vec<Port> = (0..5).map(|_| Port::reserve()).collect::<Result<_>>()?;
    let [clients, peers, manager, scheduler, api] =
        [0, 1, 2, 3, 4].map(|index| ports[index].number());
    let (address, port) = match extent {
        Extent::Node => (network::GATEWAY, PORT),
        Extent::ControlPlane => (Ipv4Addr::LOCALHOST, api),
    };

    let authority = Authority::create(&layout.file("pki"))?;
    let own = address.to_string();
    let hosts = [own.as_str(), "localhost", "127.0.0.1", SERVICE_ADDRESS];
    let service = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let (certificate, key) =
        authority.server("kube-apiserver", &[&hosts[..], &service].concat())?;
    let etcd = Etcd { clients, peers };
    let api_server = ApiServer {
        address,
        port,
        etcd,
        authority: &authority,
        serving: (&certificate, &key),
    };
    let server = layout.server(name, api_server.url());
    let admin = server.user("admin", &["system:masters"]).await?;

    let mut args = api_server.args();
    if extent == Extent::Node {
        args.extend(kubelet_client_args(&authority)?);
    }
    let etcd_args = etcd.args(&layout.file("etcd"));
    let etcd = launch(layout, Binary::Etcd, etcd_args).await?;
    let api_server = launch(layout, Binary::KubeApiServer, args).await?;
    control_plane::wait_ready(admin.client(), &[&etcd, &api_server]).await?;

    let kubeconfig = server.user_kubeconfig("system:kube-controller-manager", &[])?;
    let args = controller_manager_args(manager, &kubeconfig, &authority);
    let manager = launch(layout, Binary::KubeControllerManager, args).await?;
    let kubeconfig = server.user_kubeconfig("system:kube-scheduler", &[])?;
    let kubeconfig = kubeconfig.display();
    let scheduler_args = vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={scheduler}"),
        "--leader-elect=false".to_owned(),
    ];
    let scheduler = launch(layout, Binary::KubeScheduler, scheduler_args).await?;
    control_plane::wait_controllers(admin.client(), &[&scheduler, &manager]).await?;
    Ok((server, admin))
}

/// What the API server needs to reach the kubelet, for logs and exec.
fn kubelet_client_args(authority: &Authority) -> Result<Vec<String>> {
    let (certificate, key) = authority.client_files(
        "kubelet-client",
        "kube-apiserver-kubelet-client",
        &["system:masters"],
    )?;
    Ok(vec![
        format!(
            "--kubelet-certificate-authority={}",
            authority.certificate_file().display()
        ),
        format!("--kubelet-client-certificate={}", certificate.display()),
        format!("--kubelet-client-key={}", key.display()),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
    ])
}

/// Starts a program of ours.
pub(super) async fn launch(layout: &Layout, binary: Binary, args: Vec<String>) -> Result<Process> {
    let program = binaries::provide(binary).await?;
    daemon::start(layout, binary.name(), program, args).await
}
