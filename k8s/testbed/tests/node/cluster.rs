//! The life of a cluster: started, cut off, started again, used, ended.

use std::{
    net::{Ipv4Addr, UdpSocket},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::PostParams};
use mongodb::bson::doc;
use testbed::{
    Cluster,
    binaries::{self, Binary},
    cluster::{Name, Options, Registry},
    images,
};

use super::{
    machine::{self, Traces},
    objects,
};

const CLUSTER: &str = "node-test";
/// The bridge, where DNS listens.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);

pub(crate) async fn run() -> anyhow::Result<()> {
    let name: Name = CLUSTER.parse()?;
    Cluster::down(&name)
        .await
        .context("clean up what an earlier run left")?;
    binaries::node_packages().await?;
    let before = traces()?;

    start_and_cut_off()
        .await
        .context("a start that is cut off")?;
    let cluster = Cluster::up(Options::new(name.clone()))
        .await
        .context("start after one that was cut off")?;
    let client = cluster.client();
    if let Err(error) = use_it(&cluster).await {
        let seen = objects::describe(client).await;
        Cluster::down(&name).await?;
        return Err(error.context(seen));
    }

    step("a second start finds the first");
    let began = Instant::now();
    let again = Cluster::up(Options::new(name.clone())).await?;
    ensure!(again.kubeconfig() == cluster.kubeconfig() && began.elapsed() < Duration::from_secs(5));
    refuses_a_second_node().await?;

    step("end it while pods run");
    Cluster::down(&name).await?;
    let after = traces()?;
    ensure!(
        before == after,
        "left behind:\nbefore {before:#?}\nafter {after:#?}"
    );
    step("end it again");
    Cluster::down(&name).await?;

    step("start it once more, with a registry");
    let cluster = Cluster::up(Options::new(name.clone()).registry(Registry::Local)).await?;
    pull(&cluster).await?;
    Cluster::down(&name).await?;
    let after = traces()?;
    ensure!(
        before == after,
        "left behind:\nbefore {before:#?}\nafter {after:#?}"
    );
    Ok(())
}

async fn use_it(cluster: &Cluster) -> anyhow::Result<()> {
    let client = cluster.client();
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let params = PostParams::default();

    step("an image of ours runs without any rights");
    let program = binaries::provide(Binary::Pause).await?;
    let image = "localhost/mongodb-osb/something:dev";
    cluster
        .load_image(&images::build(&images::service(image, &program)?).await?)
        .await?;
    pods.create(&params, &objects::restricted_pod("service", image)?)
        .await?;
    within(60, "the pod `service`", async || {
        objects::ready_address(&client, "service").await
    })
    .await?;

    step("mongod runs with volumes");
    objects::create_database(&client, 2).await?;
    let first = within(120, "db-0", async || {
        objects::ready_address(&client, "db-0").await
    })
    .await?;
    let second = within(120, "db-1", async || {
        objects::ready_address(&client, "db-1").await
    })
    .await?;

    step("the names of the headless service resolve");
    let resolve = async |pod: &str| lookup(&format!("{pod}.db.default.svc.cluster.local"));
    ensure!(
        within(20, "the name of db-0", async || resolve("db-0").await)
            .await?
            .to_string()
            == first
    );
    ensure!(
        within(20, "the name of db-1", async || resolve("db-1").await)
            .await?
            .to_string()
            == second
    );

    step("a NetworkPolicy is put into rules");
    objects::close_database(&client).await?;
    within(30, "the policy's set of addresses", async || {
        let sets = machine::sets()?;
        let is_there = sets.iter().any(|name| name.starts_with("KUBE-SRC-"));
        ensure!(is_there, "there are only {sets:?}");
        Ok(())
    })
    .await?;

    step("members find each other by these names");
    let uri = format!("mongodb://{first}/?directConnection=true");
    let admin = mongodb::Client::with_uri_str(uri).await?.database("admin");
    let member = |number: i32| doc! { "_id": number, "host": format!("db-{number}.db.default.svc.cluster.local") };
    let initiate = doc! { "replSetInitiate": { "_id": "rs0", "members": [member(0), member(1)] } };
    admin.run_command(initiate).await?;
    let states = async || -> anyhow::Result<()> {
        let status = admin.run_command(doc! { "replSetGetStatus": 1 }).await?;
        let members = status
            .get_array("members")?
            .iter()
            .filter_map(|member| member.as_document());
        let mut states: Vec<&str> = members
            .filter_map(|member| member.get_str("stateStr").ok())
            .collect();
        states.sort_unstable();
        ensure!(states == ["PRIMARY", "SECONDARY"], "{states:?}");
        Ok(())
    };
    within(90, "the replica set", states).await?;

    step("the API server is reached by its Service");
    tokio::net::TcpStream::connect((Ipv4Addr::new(10, 96, 0, 1), 443))
        .await
        .context("connect to 10.96.0.1")?;
    Ok(())
}

/// Runs a pod from an image that is only in the registry.
async fn pull(cluster: &Cluster) -> anyhow::Result<()> {
    step("a pod's image is pulled from the registry");
    let client = cluster.client();
    let name = "localhost/pulled:1";
    let program = binaries::provide(Binary::Pause).await?;
    let archive = images::build(&images::service(name, &program)?).await?;
    let registry = cluster.registry().context("there is no registry")?;
    let image = format!("{registry}/pulled:1");
    let mut crane = tokio::process::Command::new(binaries::provide(Binary::Crane).await?);
    let pushed = crane
        .args(["push", "--insecure"])
        .arg(archive)
        .arg(&image)
        .output()
        .await?;
    ensure!(
        pushed.status.success(),
        "{}",
        String::from_utf8_lossy(&pushed.stderr)
    );
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    pods.create(
        &PostParams::default(),
        &objects::restricted_pod("pulled", &image)?,
    )
    .await?;
    within(60, "the pod `pulled`", async || {
        objects::ready_address(&client, "pulled").await
    })
    .await?;
    Ok(())
}

/// Kills a start half way.
async fn start_and_cut_off() -> anyhow::Result<()> {
    step("cut a start off half way");
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_testbed"));
    command
        .args(["up", "--name", CLUSTER])
        .stdout(Stdio::null());
    let mut child = command.spawn()?;
    let bridge = std::path::Path::new("/sys/class/net/mongosb0");
    within(600, "the bridge", async || {
        bridge.exists().then_some(()).context("it is not there")
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    child.kill().await?;
    Ok(())
}

async fn refuses_a_second_node() -> anyhow::Result<()> {
    step("a second node is refused");
    let other: Name = "node-test-2".parse()?;
    let error = Cluster::up(Options::new(other))
        .await
        .err()
        .context("it was not refused")?;
    ensure!(error.to_string().contains(CLUSTER), "{error}");
    Ok(())
}

/// Asks the cluster's DNS for an address.
fn lookup(name: &str) -> anyhow::Result<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut question = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len())?);
        question.extend(label.bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    socket.send_to(&question, (GATEWAY, 53))?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer)?;
    // The answer's count, then the address at its end.
    ensure!(answer[7] == 1, "no answer for {name}");
    let address: [u8; 4] = answer[..length]
        .last_chunk()
        .copied()
        .context("a short answer")?;
    Ok(address.into())
}

async fn within<T>(
    seconds: u64,
    what: &str,
    mut look: impl AsyncFnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        match look().await {
            Ok(found) => return Ok(found),
            Err(error) if Instant::now() > deadline => {
                return Err(error.context(format!("{what}, after {seconds} s")));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

fn traces() -> anyhow::Result<Traces> {
    Traces::take(&format!("testbed/{CLUSTER}/"))
}

fn step(what: &str) {
    eprintln!("node test: {what}");
}
