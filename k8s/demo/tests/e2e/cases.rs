//! The cases, in the order in which they share the cluster.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use cluster::names::State;
use demo::{
    app::Outcome,
    deploy,
    forward::Forward,
    leftovers,
    osb::{Client, Offer},
    scenario::{self, finish, gone, parameters, succeed},
};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::fixture::Fixture;

/// The instance that several cases look at.
const TWINS: &str = "e2e-twins/with:odd characters";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    WholeJob,
    IdenticalPuts,
    Rivals,
    Kubectl,
    SameIdAgain,
    BadImage,
    UnboundClaim,
    Arrows,
    ReplicaSet,
    NoSecretInLogs,
}

impl Case {
    pub(crate) const ALL: [Self; 10] = [
        Self::WholeJob,
        Self::IdenticalPuts,
        Self::Rivals,
        Self::Kubectl,
        Self::SameIdAgain,
        Self::BadImage,
        Self::UnboundClaim,
        Self::Arrows,
        Self::ReplicaSet,
        // Last: it searches what all others caused.
        Self::NoSecretInLogs,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::WholeJob => "the_broker_does_its_whole_job",
            Self::IdenticalPuts => "two_identical_puts_at_once_on_two_gateways_make_one_instance",
            Self::Rivals => "fifty_competing_puts_at_once_leave_one_winner",
            Self::Kubectl => "kubectl_shows_records_that_read_well",
            Self::SameIdAgain => "the_same_id_after_a_deprovision_is_a_new_instance",
            Self::BadImage => {
                "an_image_that_cannot_be_pulled_fails_with_its_reason_and_is_cleaned_up"
            }
            Self::UnboundClaim => {
                "a_claim_that_cannot_bind_fails_with_its_reason_and_is_cleaned_up"
            }
            Self::Arrows => "nobody_connects_to_what_is_closed_to_them",
            Self::ReplicaSet => "a_replica_set_grows_survives_and_shrinks_without_losing_a_write",
            Self::NoSecretInLogs => "no_log_contains_a_secret",
        }
    }

    pub(crate) async fn run(self, fixture: &Fixture) -> anyhow::Result<()> {
        match self {
            Self::WholeJob => whole_job(fixture).await,
            Self::IdenticalPuts => identical_puts(fixture).await,
            Self::Rivals => rivals(fixture).await,
            Self::Kubectl => kubectl(fixture).await,
            Self::SameIdAgain => same_id_again(fixture).await,
            Self::BadImage => {
                let image = ("docker.io/library/mongo:6.0", "localhost/nobody/has-this:1");
                fails(fixture, "bad-image", image, &["pull", "image"]).await
            }
            Self::UnboundClaim => {
                let class = (
                    "\nvalues:\n",
                    "\nvalues:\n  storage_class: nobody-has-this\n",
                );
                fails(
                    fixture,
                    "unbound-claim",
                    class,
                    &["claim", "volume", "storage"],
                )
                .await
            }
            Self::Arrows => crate::arrows::are_as_drawn(fixture).await,
            Self::ReplicaSet => crate::replica_set::survives(fixture).await,
            Self::NoSecretInLogs => no_secret_in_logs(fixture).await,
        }
    }
}

async fn whole_job(fixture: &Fixture) -> anyhow::Result<()> {
    let (mut scenario, _forward) = fixture.stage.scenario().await?;
    scenario.run().await
}

/// Each replica of the gateway, reached past the Service.
async fn gateways(fixture: &Fixture) -> anyhow::Result<Vec<(Client, Forward)>> {
    let wanted = [
        "get",
        "pods",
        "-l",
        "app.kubernetes.io/name=gateway",
        "-o",
        "name",
    ];
    let mut gateways = Vec::new();
    for pod in fixture.kubectl(&wanted).await?.lines() {
        gateways.push(fixture.stage.osb_through(pod, 8080).await?);
    }
    Ok(gateways)
}

/// Fifty PUTs that want five different things of one id, at once, through
/// every gateway: one wins, and all answers agree on that.
async fn rivals(fixture: &Fixture) -> anyhow::Result<()> {
    const ID: &str = "e2e-rivals";
    let offer = fixture.offer(scenario::PLAN).await?;
    let gateways = gateways(fixture).await?;
    ensure!(gateways.len() > 1, "expected several gateways");
    let calls = (0..50)
        .zip(gateways.iter().cycle())
        .map(async |(number, (osb, _))| {
            let mut wanted = parameters();
            wanted["slow_ms"] = json!(100 + number % 5);
            osb.provision(ID, &offer, &wanted).await
        });
    let mut operations = Vec::new();
    for answer in futures::future::join_all(calls).await {
        let answer = answer?.expect(&[202, 409])?;
        operations.extend(answer.operation().map(str::to_owned));
    }
    operations.sort();
    let accepted = operations.len();
    operations.dedup();
    ensure!(
        operations.len() == 1 && accepted == 10,
        "one winner, and the nine that asked for the same: {accepted} accepted, {operations:?}"
    );
    deprovision(&fixture.osb, ID, &offer).await?;
    gone(&fixture.stage.place.client, ID).await
}

/// Made by two PUTs at the same moment; ready. Made once for all cases.
async fn twins(fixture: &Fixture) -> anyhow::Result<&str> {
    let operation = fixture.twins.get_or_try_init(async || {
        let gateways = gateways(fixture).await?;
        let [(one, _), (two, _), ..] = &gateways[..] else {
            anyhow::bail!("expected several gateways, found {}", gateways.len());
        };
        let offer = fixture.offer(scenario::PLAN).await?;
        let instance = instance();
        let parameters = parameters();
        let (one, two) = tokio::join!(
            one.provision(&instance, &offer, &parameters),
            two.provision(&instance, &offer, &parameters)
        );
        let (one, two) = (one?.expect(&[202])?, two?.expect(&[202])?);
        let operation = one.operation().context("the answer names no operation")?;
        ensure!(
            two.operation() == Some(operation),
            "one PUT, one operation: {one:?} {two:?}"
        );
        succeed(&fixture.osb, &instance, Some(operation)).await?;
        Ok(operation.to_owned())
    });
    Ok(operation.await?)
}

/// As it is in a path.
fn instance() -> String {
    TWINS.replace('/', "%2F").replace(' ', "%20")
}

async fn identical_puts(fixture: &Fixture) -> anyhow::Result<()> {
    twins(fixture).await?;
    let namespaces = namespaces_of_twins(fixture).await?;
    ensure!(
        namespaces.len() == 1,
        "one instance, one namespace: {namespaces:?}"
    );
    Ok(())
}

async fn namespaces_of_twins(fixture: &Fixture) -> anyhow::Result<Vec<String>> {
    let record = cluster::names::instance_record(TWINS);
    let labelled = ListParams::default().labels(&format!("{}={record}", cluster::names::INSTANCE));
    let namespaces: Api<Namespace> = Api::all(fixture.stage.place.client.clone());
    Ok(namespaces
        .list(&labelled)
        .await?
        .iter()
        .map(ResourceExt::name_any)
        .collect())
}

async fn kubectl(fixture: &Fixture) -> anyhow::Result<()> {
    twins(fixture).await?;
    let offer = fixture.offer(scenario::PLAN).await?;
    fixture
        .osb
        .bind(&instance(), "e2e-kubectl", &offer, &json!({}))
        .await?
        .expect(&[201])?;
    for (kind, columns) in [
        (
            "serviceinstances",
            ["SERVICE", "PLAN", "PHASE", "OPERATION", "AGE"],
        ),
        (
            "servicebindings",
            ["INSTANCE", "PLAN", "PHASE", "OPERATION", "AGE"],
        ),
    ] {
        let text = fixture.kubectl(&["get", kind, "--all-namespaces"]).await?;
        println!("{text}");
        let head = text.lines().next().unwrap_or_default();
        for column in columns {
            ensure!(head.contains(column), "no column {column} in {head}");
        }
        ensure!(text.contains("Ready"), "nothing is Ready:\n{text}");
    }
    let record = format!("serviceinstance/{}", cluster::names::instance_record(TWINS));
    let namespace = format!(
        "--namespace={}",
        State::Instances.namespace(deploy::NAMESPACE)
    );
    fixture
        .kubectl(&[
            "wait",
            "--for=condition=Ready",
            "--timeout=10s",
            &record,
            &namespace,
        ])
        .await?;
    let described = fixture.kubectl(&["describe", &record, &namespace]).await?;
    println!("{described}");
    for part in ["Conditions:", "Events:"] {
        ensure!(described.contains(part), "kubectl describe shows no {part}");
    }
    ensure!(
        !described.contains("Events:  <none>"),
        "kubectl describe shows no events"
    );
    Ok(())
}

async fn same_id_again(fixture: &Fixture) -> anyhow::Result<()> {
    let first = twins(fixture).await?;
    let offer = fixture.offer(scenario::PLAN).await?;
    let before = namespaces_of_twins(fixture).await?;
    deprovision(&fixture.osb, &instance(), &offer).await?;

    let answer = fixture
        .osb
        .provision(&instance(), &offer, &parameters())
        .await?
        .expect(&[202])?;
    ensure!(
        answer.operation() != Some(first),
        "a new instance has an operation of its own"
    );
    succeed(&fixture.osb, &instance(), answer.operation()).await?;
    let after = namespaces_of_twins(fixture).await?;
    ensure!(
        after.len() == 1 && after != before,
        "old {before:?}, new {after:?}"
    );
    // The same binding id is new, too, and finds an empty database.
    let bound = fixture
        .osb
        .bind(&instance(), "e2e-kubectl", &offer, &json!({}))
        .await?
        .expect(&[201])?;
    let uri = bound.body["credentials"]["uri"]
        .as_str()
        .context("the binding has no uri")?;
    let apps = fixture.stage.apps().await?;
    apps.give("again", uri).await?;
    let run = apps.run("again", "again").await?;
    ensure!(
        run.outcome == Outcome::Worked && run.log.contains("holds 1 document"),
        "{run:?}"
    );

    deprovision(&fixture.osb, &instance(), &offer).await?;
    let left = leftovers::of_instance(&fixture.stage.place.client, TWINS).await?;
    ensure!(left.is_empty(), "still there: {left:?}");
    Ok(())
}

async fn deprovision(osb: &Client, instance: &str, offer: &Offer) -> anyhow::Result<()> {
    let answer = osb.deprovision(instance, offer).await?.expect(&[202])?;
    succeed(osb, instance, answer.operation()).await
}

/// A site plan that differs from the demo's by one replacement cannot work:
/// the polls say why, the operation fails with that reason at the plan's
/// deadline, and deprovisioning cleans up.
async fn fails(
    fixture: &Fixture,
    plan: &str,
    (from, to): (&str, &str),
    reasons: &[&str],
) -> anyhow::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../overlays/demo/site-templates/mongodb/small/plan.yaml");
    let text = std::fs::read_to_string(path)?;
    ensure!(text.contains(from), "the demo's site plan has no {from:?}");
    let text = format!(
        "deadline: {{idle: 45s, total: 45s}}\n{}",
        text.replacen(from, to, 1)
    );
    add_site_plan(fixture, plan, &text).await?;
    let offer = offered(fixture, plan).await?;

    let instance = format!("e2e-{plan}");
    let answer = fixture
        .osb
        .provision(&instance, &offer, &parameters())
        .await?
        .expect(&[202])?;
    let last = finish(&fixture.osb, &instance, answer.operation()).await?;
    ensure!(
        last.text("state") == Some("failed"),
        "it ended as {}",
        last.body["state"]
    );
    let description = last.text("description").unwrap_or_default().to_lowercase();
    ensure!(
        reasons.iter().any(|reason| description.contains(reason)),
        "the reason is not told: {description:?}"
    );
    let during = fixture.stage.transcript.text();
    let waiting = during
        .lines()
        .filter(|line| line.contains("in progress"))
        .any(|line| {
            reasons
                .iter()
                .any(|reason| line.to_lowercase().contains(reason))
        });
    ensure!(waiting, "no poll said what it waits for");
    fixture.osb.instance(&instance).await?.expect(&[404])?;
    deprovision(&fixture.osb, &instance, &offer).await?;
    gone(&fixture.stage.place.client, &instance).await
}

async fn add_site_plan(fixture: &Fixture, plan: &str, text: &str) -> anyhow::Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(
        fixture.stage.place.client.clone(),
        &State::Plans.namespace(deploy::NAMESPACE),
    );
    let name = format!("site-plan-mongodb-{plan}");
    let map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"mongodb-osb.io/plan": format!("mongodb.{plan}")}},
        "data": {"plan.yaml": text},
    });
    maps.patch(&name, &PatchParams::apply("e2e"), &Patch::Apply(&map))
        .await?;
    Ok(())
}

/// Waits until the gateway offers it: plans come without a restart.
async fn offered(fixture: &Fixture, plan: &str) -> anyhow::Result<Offer> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match fixture.offer(plan).await {
            Ok(offer) => return Ok(offer),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => sleep(Duration::from_secs(1)).await,
        }
    }
}

async fn no_secret_in_logs(fixture: &Fixture) -> anyhow::Result<()> {
    let (secrets, logs, found) = fixture
        .watcher
        .search(&fixture.stage.transcript.text())
        .await?;
    println!("{secrets} secrets looked for in {logs} logs");
    ensure!(
        secrets >= 2 && logs >= 8,
        "too little was gathered to say anything"
    );
    ensure!(found.is_empty(), "a secret is in {found:?}");
    Ok(())
}
