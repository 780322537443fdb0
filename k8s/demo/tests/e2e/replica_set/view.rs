//! What a replica set really is: asked of each of its mongods over their pods' addresses, which
//! this machine reaches, with the admin's login, and compared with what it should be.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use demo::members::{Members, is_ready};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use kube::{ResourceExt, api::ListParams};
use mongodb::{
    Client,
    bson::{Bson, Document, doc},
    options::{ClientOptions, Credential, ServerAddress},
};
use tokio::time::{Instant, sleep, timeout};

const LIMIT: Duration = Duration::from_secs(150);
const CALL_LIMIT: Duration = Duration::from_secs(5);
const ADMIN: &str = "osb-admin";

/// What is seen of a set.
#[derive(Debug, Default)]
pub(crate) struct View {
    ready: BTreeSet<String>,
    claims: BTreeSet<String>,
    /// By pod.
    mongods: BTreeMap<String, Mongod>,
}

/// What one mongod says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mongod {
    is_primary: bool,
    /// Host of each member, and whether it votes.
    members: BTreeMap<String, bool>,
    /// Another one for each set that was ever initiated.
    set: String,
    users: BTreeSet<String>,
}

/// What a set should be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) members: usize,
    /// Live bindings: each has a user.
    pub(crate) bindings: usize,
    /// The set that it was before.
    pub(crate) set: Option<&'a str>,
}

impl View {
    /// The set's identity.
    pub(crate) fn set(&self) -> Option<&str> {
        self.mongods
            .values()
            .next()
            .map(|mongod| mongod.set.as_str())
    }

    /// What is not as wanted yet.
    fn objection(&self, wanted: Wanted<'_>) -> Option<String> {
        let pods: BTreeSet<String> = (0..wanted.members).map(|n| format!("mdb-{n}")).collect();
        let claims: BTreeSet<String> = pods.iter().map(|pod| format!("data-{pod}")).collect();
        if self.ready != pods {
            return Some(format!("ready are {:?}", self.ready));
        }
        if self.claims != claims {
            return Some(format!("there are the claims {:?}", self.claims));
        }
        let answering: BTreeSet<String> = self.mongods.keys().cloned().collect();
        if answering != pods {
            return Some(format!("only {answering:?} answer"));
        }
        let primaries = self.mongods.values().filter(|mongod| mongod.is_primary);
        if primaries.count() != 1 {
            return Some(format!("not one primary: {:?}", self.mongods));
        }
        self.mongods
            .iter()
            .find_map(|(pod, mongod)| Some(format!("{pod}: {}", mongod.objection(&pods, wanted)?)))
    }
}

impl Mongod {
    fn objection(&self, pods: &BTreeSet<String>, wanted: Wanted<'_>) -> Option<String> {
        let members: BTreeSet<String> = self
            .members
            .keys()
            .map(|host| host.split('.').next().unwrap_or_default().to_owned())
            .collect();
        if members != *pods || self.members.values().any(|votes| !votes) {
            return Some(format!("its members are {:?}", self.members));
        }
        if wanted.set.is_some_and(|set| set != self.set) {
            return Some(format!("it is in another set, {}", self.set));
        }
        if self.users.len() != wanted.bindings + 1 || !self.users.contains(ADMIN) {
            return Some(format!("its users are {:?}", self.users));
        }
        None
    }
}

/// Waits until the set is as wanted; one that never is, is an error that says how it was at last.
pub(crate) async fn settled(members: &Members, wanted: Wanted<'_>) -> anyhow::Result<View> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let objection = match look(members).await {
            Ok(view) => match view.objection(wanted) {
                None => return Ok(view),
                Some(objection) => objection,
            },
            Err(error) => format!("{error:#}"),
        };
        ensure!(
            Instant::now() < deadline,
            "not whole after {} s: {objection}",
            LIMIT.as_secs()
        );
        sleep(Duration::from_secs(1)).await;
    }
}

async fn look(members: &Members) -> anyhow::Result<View> {
    let list = ListParams::default();
    let pods = members.api::<Pod>().list(&list).await?;
    let claims = members.api::<PersistentVolumeClaim>().list(&list).await?;
    let secret = members.api::<Secret>().get("mdb-auth").await?;
    let password = secret
        .data
        .and_then(|mut data| data.remove("admin-password"))
        .and_then(|value| String::from_utf8(value.0).ok())
        .context("the admin has no password")?;
    let mut view = View {
        ready: pods
            .iter()
            .filter(|pod| is_ready(pod))
            .map(ResourceExt::name_any)
            .collect(),
        claims: claims.iter().map(ResourceExt::name_any).collect(),
        ..View::default()
    };
    for pod in &pods {
        let address = pod
            .status
            .as_ref()
            .and_then(|status| status.pod_ip.as_deref());
        let Some(address) = address else { continue };
        // One that does not answer is down, or copies the users: that it is missing is what counts.
        if let Ok(Ok(mongod)) = timeout(CALL_LIMIT, ask(address, &password)).await {
            view.mongods.insert(pod.name_any(), mongod);
        }
    }
    Ok(view)
}

async fn ask(address: &str, password: &str) -> anyhow::Result<Mongod> {
    let credential = Credential::builder()
        .username(ADMIN.to_owned())
        .password(password.to_owned())
        .source("admin".to_owned())
        .build();
    let options = ClientOptions::builder()
        .hosts(vec![ServerAddress::parse(format!("{address}:27017"))?])
        .direct_connection(true)
        .credential(credential)
        .server_selection_timeout(CALL_LIMIT)
        .build();
    let client = Client::with_options(options)?;
    let answered = questions(&client).await;
    client.shutdown().immediate(true).await;
    answered
}

async fn questions(client: &Client) -> anyhow::Result<Mongod> {
    let admin = client.database("admin");
    let hello = admin.run_command(doc! {"hello": 1}).await?;
    let config = admin.run_command(doc! {"replSetGetConfig": 1}).await?;
    let users = admin.run_command(doc! {"usersInfo": 1}).await?;
    let config = config.get_document("config")?;
    let set = config
        .get_document("settings")?
        .get_object_id("replicaSetId")?
        .to_hex();
    let mut members = BTreeMap::new();
    for member in documents(config.get_array("members")?)? {
        let votes = match member.get("votes") {
            Some(Bson::Int32(votes)) => i64::from(*votes),
            Some(Bson::Int64(votes)) => *votes,
            other => bail!("a member has the votes {other:?}"),
        };
        members.insert(member.get_str("host")?.to_owned(), votes == 1);
    }
    let users = documents(users.get_array("users")?)?
        .into_iter()
        .map(|user| user.get_str("user").map(str::to_owned))
        .collect::<Result<_, _>>()?;
    Ok(Mongod {
        is_primary: hello.get_bool("isWritablePrimary")?,
        members,
        set,
        users,
    })
}

fn documents(array: &[Bson]) -> anyhow::Result<Vec<&Document>> {
    array
        .iter()
        .map(|item| item.as_document().context("not a document"))
        .collect()
}
