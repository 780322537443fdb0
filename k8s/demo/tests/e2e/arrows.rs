//! Who may connect to whom: each arrow of the tables below is tried by a connection from a real
//! pod. What must be closed is, in the same run, open from somewhere else, so that it is known to
//! be refused and not merely silent.

#[path = "arrows/pod.rs"]
mod pod;

use anyhow::{Context as _, ensure};
use demo::{
    app_pod, deploy,
    members::Members,
    osb::Offer,
    scenario::{LARGER_PLAN, PLAN, gone, succeed},
};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt, api::ListParams};
use serde_json::json;

use crate::fixture::Fixture;
use pod::{Prober, Source};

/// An instance of three members for the apps of [`app_pod::NAMESPACE`].
const SET: &str = "e2e-arrows-set";
/// An instance of one member for those of [`NEIGHBOUR`].
const SINGLE: &str = "e2e-arrows-single";
const NEIGHBOUR: &str = "e2e-neighbour";
const STRANGER: &str = "e2e-stranger";

const HTTP: u16 = 8080;
const GRPC: u16 = 7000;
const ADMIN: u16 = 9000;
const MONGODB: u16 = 27017;

/// Who connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// A pod that has nothing to do with the broker.
    Stranger,
    /// A pod where the apps of [`SET`] are.
    App,
    /// A pod where the apps of [`SINGLE`] are.
    Neighbour,
    /// A pod of the broker.
    Service(&'static str),
    /// A member of [`SET`].
    Member,
    /// The only member of [`SINGLE`].
    Other,
}

/// To what; always to another pod than the one that connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    Service(&'static str, u16),
    /// A member of [`SET`].
    Set,
    /// The only member of [`SINGLE`].
    Single,
}

const FROM: [From; 9] = [
    From::Stranger,
    From::App,
    From::Neighbour,
    From::Service("gateway"),
    From::Service("catalog-svc"),
    From::Service("provisioner-svc"),
    From::Service("binder-svc"),
    From::Member,
    From::Other,
];

/// What is open to somebody, and to whom. To all others it is closed.
const OPEN: [(To, &[From]); 5] = [
    (
        To::Service("catalog-svc", GRPC),
        &[
            From::Service("gateway"),
            From::Service("provisioner-svc"),
            From::Service("binder-svc"),
        ],
    ),
    (
        To::Service("provisioner-svc", GRPC),
        &[From::Service("gateway"), From::Service("binder-svc")],
    ),
    (To::Service("binder-svc", GRPC), &[From::Service("gateway")]),
    (
        To::Set,
        &[From::App, From::Service("binder-svc"), From::Member],
    ),
    (To::Single, &[From::Neighbour, From::Service("binder-svc")]),
];

/// What is open to everybody.
const OPEN_TO_ALL: [To; 5] = [
    To::Service("gateway", HTTP),
    To::Service("gateway", ADMIN),
    To::Service("catalog-svc", ADMIN),
    To::Service("provisioner-svc", ADMIN),
    To::Service("binder-svc", ADMIN),
];

/// The whole case.
pub(crate) async fn are_as_drawn(fixture: &Fixture) -> anyhow::Result<()> {
    provisioner_found_them_enforced(fixture).await?;
    let (larger, smaller) = (
        fixture.offer(LARGER_PLAN).await?,
        fixture.offer(PLAN).await?,
    );
    let (set, single) = tokio::join!(
        order(fixture, SET, &larger, app_pod::NAMESPACE),
        order(fixture, SINGLE, &smaller, NEIGHBOUR),
    );
    set?;
    single?;

    let prober = Prober::new(fixture)?;
    let places = Places::find(fixture).await?;
    for namespace in [app_pod::NAMESPACE, NEIGHBOUR, STRANGER] {
        prober.namespace(namespace).await?;
    }
    let tried = FROM.map(|from| try_all(&prober, &places, from));
    let results = join_all(tried).await;
    let mut wrong = Vec::new();
    for (from, result) in FROM.into_iter().zip(results) {
        match result {
            Ok(lines) => println!("{from:?}\n{lines}"),
            Err(error) => wrong.push(format!("{from:?}: {error:#}")),
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));

    for namespace in [NEIGHBOUR, STRANGER] {
        prober.delete_namespace(namespace).await?;
    }
    for (instance, offer) in [(SET, &larger), (SINGLE, &smaller)] {
        let answer = fixture.osb.deprovision(instance, offer).await?;
        succeed(&fixture.osb, instance, answer.expect(&[202])?.operation()).await?;
        gone(&fixture.stage.place.client, instance).await?;
    }
    Ok(())
}

/// The log of each provisioner tells what it found at its start.
async fn provisioner_found_them_enforced(fixture: &Fixture) -> anyhow::Result<()> {
    let pods = pods(fixture, "provisioner-svc").await?;
    ensure!(!pods.is_empty(), "there is no provisioner");
    for pod in pods {
        pod::wait_for_line(
            &fixture.stage.place.client,
            &pod,
            "NetworkPolicies are enforced",
        )
        .await?;
    }
    Ok(())
}

async fn order(fixture: &Fixture, instance: &str, offer: &Offer, apps: &str) -> anyhow::Result<()> {
    let wanted = json!({"allowed_namespaces": [apps]});
    let answer = fixture.osb.provision(instance, offer, &wanted).await?;
    succeed(&fixture.osb, instance, answer.expect(&[202])?.operation()).await
}

/// The broker's pods of that name, in a fixed order.
async fn pods(fixture: &Fixture, name: &str) -> anyhow::Result<Vec<Pod>> {
    let api: Api<Pod> = Api::namespaced(fixture.stage.place.client.clone(), deploy::NAMESPACE);
    let labelled = ListParams::default().labels(&format!("app.kubernetes.io/name={name}"));
    let mut pods = api.list(&labelled).await?.items;
    pods.sort_by_key(ResourceExt::name_any);
    Ok(pods)
}

/// The pods that there are.
struct Places {
    services: Vec<(&'static str, Vec<Pod>)>,
    set: Vec<Pod>,
    single: Vec<Pod>,
}

impl Places {
    async fn find(fixture: &Fixture) -> anyhow::Result<Self> {
        let mut services = Vec::new();
        for name in deploy::SERVICES {
            let pods = pods(fixture, name).await?;
            ensure!(pods.len() > 1, "expected several pods of {name}");
            services.push((name, pods));
        }
        let client = &fixture.stage.place.client;
        let members = async |instance: &str| -> anyhow::Result<Vec<Pod>> {
            let members = Members::of_instance(client, instance).await?;
            let named = ListParams::default().labels("app.kubernetes.io/name=mongodb");
            let mut pods = members.api::<Pod>().list(&named).await?.items;
            pods.sort_by_key(ResourceExt::name_any);
            Ok(pods)
        };
        Ok(Self {
            services,
            set: members(SET).await?,
            single: members(SINGLE).await?,
        })
    }

    /// The first of several.
    fn source(&self, from: From) -> anyhow::Result<Source<'_>> {
        let pod = match from {
            From::Stranger => return Ok(Source::New(STRANGER)),
            From::App => return Ok(Source::New(app_pod::NAMESPACE)),
            From::Neighbour => return Ok(Source::New(NEIGHBOUR)),
            From::Service(name) => self.service(name).first(),
            From::Member => self.set.first(),
            From::Other => self.single.first(),
        };
        let pod = pod.with_context(|| format!("there is no pod for {from:?}"))?;
        Ok(Source::In(pod))
    }

    /// The last of several, which is another one.
    fn target(&self, to: To) -> anyhow::Result<String> {
        let (pod, port) = match to {
            To::Service(name, port) => (self.service(name).last(), port),
            To::Set => (self.set.last(), MONGODB),
            To::Single => (self.single.last(), MONGODB),
        };
        let address = pod.and_then(|pod| pod.status.as_ref()?.pod_ip.clone());
        let address = address.with_context(|| format!("{to:?} has no address"))?;
        Ok(format!("{address}:{port}"))
    }

    fn service(&self, name: &str) -> &[Pod] {
        let found = self.services.iter().find(|(known, _)| *known == name);
        found.map_or(&[], |(_, pods)| pods)
    }
}

/// What the table says of this one.
async fn try_all(prober: &Prober, places: &Places, from: From) -> anyhow::Result<String> {
    let mut args = vec!["reach".to_owned()];
    let mut names = Vec::new();
    let closable = OPEN.iter().map(|(to, who)| (*to, who.contains(&from)));
    for (to, open) in closable.chain(OPEN_TO_ALL.map(|to| (to, true))) {
        // A pod always reaches itself.
        if (from, to) == (From::Other, To::Single) {
            continue;
        }
        let address = places.target(to)?;
        args.extend([
            if open { "--open" } else { "--closed" }.to_owned(),
            address.clone(),
        ]);
        names.push((address, format!("{to:?}")));
    }
    let ended = prober.run(places.source(from)?, &args).await;
    // Addresses say little to a person.
    let rename = |text: String| {
        names
            .iter()
            .fold(text, |text, (address, name)| text.replace(address, name))
    };
    ended
        .map(rename)
        .map_err(|error| anyhow::anyhow!(rename(format!("{error:#}"))))
}
