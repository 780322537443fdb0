//! containerd, with a configuration, state and network of its own.

use std::{fs, path::Path, time::Duration};

use serde_json::json;
use tokio::process::Command;

use super::{daemon, layout::Layout, network};
use crate::{
    binaries::CNI_PLUGINS,
    command,
    error::{At as _, Error, Result},
    images, paths, progress, wait,
};

const READY_LIMIT: Duration = Duration::from_secs(60);
const IMPORT_LIMIT: Duration = Duration::from_secs(10 * 60);
/// containerd's namespace of what Kubernetes uses.
const NAMESPACE: &str = "k8s.io";

/// Starts containerd and gives it the images that the testbed brings.
pub(super) async fn start(layout: &Layout, registry: Option<&str>) -> Result<()> {
    let folder = layout.containerd();
    fs::create_dir_all(&folder).at("create", &folder)?;
    write_network(layout)?;
    if let Some(registry) = registry {
        write_mirror(layout, registry)?;
    }
    let config = folder.join("config.toml");
    fs::write(&config, configuration(layout)).at("write", &config)?;
    let program = tool("containerd")?;
    let args = vec!["--config".to_owned(), config.display().to_string()];
    let process = daemon::start(layout, "containerd", program, args).await?;
    wait::until("containerd", READY_LIMIT, &[&process], async || {
        ctr(layout, &["version"], READY_LIMIT).await
    })
    .await?;
    progress::say("loading the images for pods and mongod");
    import(layout, &images::pause().await?).await?;
    import(layout, &images::mongo().await?).await
}

/// Makes the images of an archive known to containerd.
pub(super) async fn import(layout: &Layout, archive: &Path) -> Result<()> {
    archive.metadata().at("read", archive)?;
    let archive = archive.display().to_string();
    ctr(layout, &["images", "import", &archive], IMPORT_LIMIT).await
}

/// Kills the main process of a container, which the kubelet then starts again.
pub(super) async fn kill(layout: &Layout, container: &str) -> Result<()> {
    let args = ["tasks", "kill", "--signal", "SIGKILL", container];
    ctr(layout, &args, READY_LIMIT).await
}

async fn ctr(layout: &Layout, args: &[&str], limit: Duration) -> Result<()> {
    let mut ctr = Command::new(tool("ctr")?);
    ctr.arg("--address")
        .arg(layout.containerd_socket())
        .args(["--namespace", NAMESPACE])
        .args(args);
    command::output(&mut ctr, limit).await?;
    Ok(())
}

fn tool(name: &str) -> Result<std::path::PathBuf> {
    let missing = || Error::Unsupported {
        reason: format!("there is no program {name} on this machine"),
    };
    paths::program(name).ok_or_else(missing)
}

fn configuration(layout: &Layout) -> String {
    let folder = layout.containerd();
    let folder = folder.display();
    let state = layout.containerd_state();
    let state = state.display();
    let socket = layout.containerd_socket();
    let socket = socket.display();
    let pause = images::PAUSE;
    format!(
        r#"version = 2
root = "{folder}/root"
state = "{state}"
disabled_plugins = ["io.containerd.tracing.processor.v1.otlp"]

[grpc]
address = "{socket}"

[plugins."io.containerd.internal.v1.opt"]
path = "{folder}/opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
# Without the capability to lower it, every sandbox would fail to start.
restrict_oom_score_adj = true
# Below our folder, so that they are known to be ours.
netns_mounts_under_state_dir = true

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "{folder}/runc"
SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{CNI_PLUGINS}"
conf_dir = "{folder}/cni"

[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "{folder}/certs.d"
"#
    )
}

/// The pods' network. There is no `portmap`: host ports would need chains that are not ours alone.
fn write_network(layout: &Layout) -> Result<()> {
    let folder = layout.containerd().join("cni");
    fs::create_dir_all(&folder).at("create", &folder)?;
    let network = json!({
        "cniVersion": "0.4.0",
        "name": network::TAG,
        "plugins": [{
            "type": "bridge",
            "bridge": network::BRIDGE,
            "isGateway": true,
            "hairpinMode": true,
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "dataDir": layout.file("addresses"),
                "ranges": [[{ "subnet": network::POD_RANGE, "gateway": network::GATEWAY }]],
                "routes": [{ "dst": "0.0.0.0/0" }],
            },
        }],
    });
    let path = folder.join("10-testbed.conflist");
    fs::write(&path, serde_json::to_string_pretty(&network)?).at("write", &path)
}

/// The local registry speaks plain HTTP.
fn write_mirror(layout: &Layout, registry: &str) -> Result<()> {
    let folder = layout.containerd().join("certs.d").join(registry);
    fs::create_dir_all(&folder).at("create", &folder)?;
    let path = folder.join("hosts.toml");
    let text = format!(
        "server = \"http://{registry}\"\n\n[host.\"http://{registry}\"]\ncapabilities = [\"pull\", \"resolve\"]\n"
    );
    fs::write(&path, text).at("write", &path)
}
