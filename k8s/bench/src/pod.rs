//! GET catalog of a gateway in a pod, beside a bare handler in a pod of its own,
//! with the same image and the same limits, on the cluster that the demo left
//! running.

use std::{
    fs::{self, Permissions},
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, PostParams},
};
use rig::NAMESPACE;
use serde_json::json;
use testbed::Cluster;

use crate::{args::Args, platform::Platform, subjects, table::Table};

/// The demo's name of its cluster.
const CLUSTER: &str = "demo";
/// Where both listen.
const PORT: u16 = 8080;
const NAME: &str = "bench-bare-handler";
const LIMIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(200);

/// Measures it, prints a table, and removes the bare handler's pod.
pub(crate) async fn measure(args: &Args) -> anyhow::Result<()> {
    let Some(cluster) = Cluster::find(&CLUSTER.parse()?).await? else {
        bail!(
            "the demo's cluster does not run: `make demo KEEP=1 PROFILE=release` leaves it running"
        );
    };
    let client = cluster.client();
    let broker: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let labels = ListParams::default().labels("app.kubernetes.io/name=gateway");
    let pods = broker.list(&labels).await.context("list the gateways")?;
    let gateway = pods.items.iter().find(|pod| is_ready(pod));
    let gateway = gateway.context("no gateway is ready in the demo's cluster")?;
    let container = gateway
        .spec
        .iter()
        .flat_map(|spec| &spec.containers)
        .find(|container| container.name == "gateway")
        .context("a gateway's pod without its container")?;
    let address = address(gateway)?;
    let (user, password) = login(&client).await?;
    let platform = Platform::new(&[address], (&user, &password))?;

    let folder = tempfile::tempdir().context("make a folder")?;
    let (bytes, _) = platform.catalog_bytes().await?;
    prepare(folder.path(), &bytes)?;
    let others: Api<Pod> = Api::namespaced(client, "default");
    remove(&others).await?;
    let measured = async {
        let bare = start(&others, folder.path(), container).await?;
        let mut table = Table::default();
        subjects::catalog_at(&[address], bare, &platform, args, &mut table).await?;
        anyhow::Ok(table)
    };
    let measured = measured.await;
    remove(&others).await?;
    println!(
        "\nin pods of {}, {} rounds\n\n{}",
        container.image.as_deref().unwrap_or_default(),
        args.rounds(),
        measured?.markdown()
    );
    Ok(())
}

/// What the pod mounts: this program, and the bytes it is to serve.
fn prepare(folder: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("find this program")?;
    fs::copy(program, folder.join("bench")).context("copy this program")?;
    fs::write(folder.join("catalog"), bytes).context("write the catalog")?;
    fs::set_permissions(folder, Permissions::from_mode(0o755)).context("open the folder")
}

async fn start(pods: &Api<Pod>, folder: &Path, like: &Container) -> anyhow::Result<SocketAddr> {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": NAME},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "bare",
                "image": like.image,
                "resources": like.resources,
                "command": ["/bench/bench", "--serve", "/bench/catalog"],
                "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
                "volumeMounts": [{"name": "bench", "mountPath": "/bench", "readOnly": true}]
            }],
            "volumes": [{"name": "bench", "hostPath": {"path": folder, "type": "Directory"}}]
        }
    }))?;
    pods.create(&PostParams::default(), &pod)
        .await
        .context("make the bare handler's pod")?;
    let began = Instant::now();
    loop {
        let pod = pods
            .get(NAME)
            .await
            .context("read the bare handler's pod")?;
        if is_ready(&pod) {
            return address(&pod);
        }
        let status = pod.status.unwrap_or_default();
        let state = json!(status.container_statuses);
        ensure!(
            began.elapsed() < LIMIT,
            "the bare handler is not ready: {state}"
        );
        tokio::time::sleep(LOOK).await;
    }
}

async fn remove(pods: &Api<Pod>) -> anyhow::Result<()> {
    let began = Instant::now();
    while pods.get_opt(NAME).await?.is_some() {
        // Gone meanwhile is what is wanted.
        if let Err(error) = pods.delete(NAME, &DeleteParams::default()).await {
            let gone = matches!(&error, kube::Error::Api(status) if status.code == 404);
            ensure!(gone, "delete the pod {NAME}: {error}");
        }
        ensure!(began.elapsed() < LIMIT, "the pod {NAME} does not end");
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

async fn login(client: &Client) -> anyhow::Result<(String, String)> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let secret = secrets.get("gateway-credentials").await;
    let data = secret.context("read the broker's login")?.data;
    let mut data = data.unwrap_or_default();
    let mut value = |key: &str| {
        let bytes = data.remove(key).with_context(|| format!("no {key}"))?;
        String::from_utf8(bytes.0).with_context(|| format!("{key} is no text"))
    };
    Ok((value("username")?, value("password")?))
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| &status.conditions);
    conditions
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn address(pod: &Pod) -> anyhow::Result<SocketAddr> {
    let status = pod.status.as_ref();
    let ip = status.and_then(|status| status.pod_ip.as_deref());
    let ip = ip.with_context(|| format!("the pod {} has no address", pod.name_any()))?;
    Ok(SocketAddr::new(ip.parse()?, PORT))
}
