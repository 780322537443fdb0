//! What makes pods run: kubelet, kube-proxy, DNS, storage and the firewall.

use std::{fs, path::PathBuf, time::Duration};

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{
    cgroup::{self, CGROUP},
    control, firewall,
    layout::Layout,
    network, objects,
};
use crate::{
    binaries::Binary,
    error::{At as _, Error, Result},
    identity::Server,
    port::Port,
    process::Process,
    wait,
};

/// The node's name.
const NODE: &str = "node1";
const READY_LIMIT: Duration = Duration::from_secs(120);

/// Starts the node's part and waits until the node is ready.
pub(super) async fn start(layout: &Layout, server: &Server, client: kube::Client) -> Result<()> {
    objects::create(client.clone()).await?;
    cgroup::create()?;
    let resolver = write_resolver(layout)?;
    let kubelet = start_kubelet(layout, server, &resolver).await?;
    let proxy = start_proxy(layout, server).await?;
    let dns = start_dns(layout, server, &resolver).await?;
    let provisioner = start_provisioner(layout, server).await?;
    // It listens once it knows the Services.
    wait::until("DNS", READY_LIMIT, &[&dns], async || {
        TcpStream::connect((network::GATEWAY, 53)).await
    })
    .await?;
    wait::until(
        "the node",
        READY_LIMIT,
        &[&proxy, &dns, &provisioner, &kubelet],
        async || look_ready(client.clone()).await,
    )
    .await?;
    // It needs the node's address; kube-proxy has put its own rules first by then.
    firewall::start(layout, server, NODE).await
}

/// Whether the node is ready.
pub(super) async fn look_ready(client: kube::Client) -> Result<()> {
    let node = Api::<Node>::all(client).get(NODE).await?;
    let conditions = node
        .status
        .and_then(|status| status.conditions)
        .unwrap_or_default();
    let ready = conditions
        .into_iter()
        .find(|condition| condition.type_ == "Ready");
    match ready {
        Some(condition) if condition.status == "True" => Ok(()),
        Some(condition) => Err(Error::Unsupported {
            reason: condition.message.unwrap_or_default(),
        }),
        None => Err(Error::Unsupported {
            reason: "the node has not reported yet".to_owned(),
        }),
    }
}

async fn start_kubelet(layout: &Layout, server: &Server, resolver: &Resolver) -> Result<Process> {
    let address = network::GATEWAY.to_string();
    let (certificate, key) = server.authority.server("kubelet", &[&address, NODE])?;
    let kubeconfig = server.user_kubeconfig(&format!("system:node:{NODE}"), &["system:nodes"])?;
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": address,
        "healthzBindAddress": "127.0.0.1",
        "tlsCertFile": certificate,
        "tlsPrivateKeyFile": key,
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": server.authority.certificate_file() },
        },
        "authorization": { "mode": "Webhook" },
        "clusterDomain": "cluster.local",
        "clusterDNS": [address],
        "resolvConf": resolver.path,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{CGROUP}"),
        "failCgroupV1": false,
        "failSwapOn": false,
        "containerRuntimeEndpoint": format!("unix://{}", layout.containerd_socket().display()),
        "podLogsDir": layout.file("pod-logs"),
        "volumePluginDir": layout.file("volume-plugins"),
        // The images are loaded by hand, so none may be removed for want of space.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
    });
    let config = write(layout, "kubelet.json", &config)?;
    let args = vec![
        format!("--config={}", config.display()),
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--root-dir={}", layout.file("kubelet").display()),
        format!("--cert-dir={}", layout.file("pki").display()),
        format!("--hostname-override={NODE}"),
        format!("--node-ip={address}"),
    ];
    control::launch(layout, Binary::Kubelet, args).await
}

async fn start_proxy(layout: &Layout, server: &Server) -> Result<Process> {
    let kubeconfig = server.user_kubeconfig("system:kube-proxy", &[])?;
    let config = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": { "kubeconfig": kubeconfig },
        "hostnameOverride": NODE,
        "bindAddress": network::GATEWAY,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "clusterCIDR": network::POD_RANGE,
        "nodePortAddresses": [format!("{}/32", network::GATEWAY)],
        // The machine's connection tracking stays as it is.
        "conntrack": { "maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s" },
    });
    let config = write(layout, "kube-proxy.json", &config)?;
    control::launch(
        layout,
        Binary::KubeProxy,
        vec![format!("--config={}", config.display())],
    )
    .await
}

async fn start_dns(layout: &Layout, server: &Server, resolver: &Resolver) -> Result<Process> {
    let kubeconfig = server.user_kubeconfig(objects::DNS_USER, &[])?;
    let health = Port::reserve()?;
    let forward = if resolver.has_servers {
        format!("    forward . {}\n", resolver.path.display())
    } else {
        String::new()
    };
    let corefile = format!(
        ".:53 {{\n    bind {}\n    errors\n    health 127.0.0.1:{}\n    \
         kubernetes cluster.local in-addr.arpa ip6.arpa {{\n        kubeconfig {}\n        pods insecure\n        \
         fallthrough in-addr.arpa ip6.arpa\n        ttl 1\n    }}\n{forward}}}\n",
        network::GATEWAY,
        health.number(),
        kubeconfig.display(),
    );
    let path = layout.file("Corefile");
    fs::write(&path, corefile).at("write", &path)?;
    control::launch(
        layout,
        Binary::CoreDns,
        vec!["-conf".to_owned(), path.display().to_string()],
    )
    .await
}

async fn start_provisioner(layout: &Layout, server: &Server) -> Result<Process> {
    let volumes = layout.file("volumes");
    fs::create_dir_all(&volumes).at("create", &volumes)?;
    let kubeconfig = server.user_kubeconfig(objects::PROVISIONER_USER, &[])?;
    let args = vec![
        format!("-kubeconfig={}", kubeconfig.display()),
        format!("-folder={}", volumes.display()),
        format!("-name={}", objects::PROVISIONER),
    ];
    control::launch(layout, Binary::VolumeProvisioner, args).await
}

/// How names outside the cluster are looked up.
struct Resolver {
    path: PathBuf,
    has_servers: bool,
}

/// Copies the machine's own, or writes an empty one.
fn write_resolver(layout: &Layout) -> Result<Resolver> {
    let machine = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let path = layout.file("resolv.conf");
    fs::write(&path, &machine).at("write", &path)?;
    Ok(Resolver {
        path,
        has_servers: machine.lines().any(|line| line.starts_with("nameserver")),
    })
}

fn write(layout: &Layout, name: &str, config: &Value) -> Result<PathBuf> {
    let path = layout.file(name);
    fs::write(&path, serde_json::to_string_pretty(config)?).at("write", &path)?;
    Ok(path)
}
