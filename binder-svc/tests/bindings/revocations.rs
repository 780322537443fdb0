//! Logins are revoked while strangers hold all connections of the database, by the real
//! mongo-bootstrap, which runs here in a task.

use std::{collections::HashMap, time::Duration};

use binder_svc::{resource::Phase, step::Step};
use broker_proto::v1::{Instance, OperationState};
use clap::Parser as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use mongo::revocation::{ANSWERS, OBJECT};
use mongo_bootstrap::args::{Args, Command};
use mongodb::{
    Client, Collection,
    bson::{Document, doc},
    error::ErrorKind,
    options::ClientOptions,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    attack::Attack,
    crash::unbind_dies,
    world::{ADMIN_PASSWORD, World, done, until, uri, wait_ready},
};

/// mongod's number of the error for a command that needs a login.
const UNAUTHORIZED: i32 = 13;
const STRANGERS: usize = 1100;

/// A world whose mongod has few connections to give, with mongo-bootstrap beside it.
struct Stage {
    world: World,
    instance: Instance,
    sidecar: JoinHandle<anyhow::Result<()>>,
}

impl Stage {
    async fn set() -> Self {
        let world = World::start_with(&["--maxConns=80"]).await;
        let instance = world.instance("i").await;
        let record = cluster::names::instance_record("i");
        let object = ConfigMap {
            metadata: ObjectMeta {
                name: Some(OBJECT.into()),
                labels: Some(cluster::names::instance_labels(&record, "inc1")),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        };
        let sidecar = sidecar(&world, &instance).await;
        let stage = Self {
            world,
            instance,
            sidecar,
        };
        let api = stage.objects();
        api.create(&PostParams::default(), &object).await.unwrap();
        stage
    }

    fn objects(&self) -> Api<ConfigMap> {
        Api::namespaced(self.world.control_plane.client(), &self.instance.namespace)
    }

    /// Requests, and answers, that are left on the ConfigMap.
    async fn left(&self) -> (usize, String) {
        let object = self.objects().get(OBJECT).await.unwrap();
        let answers = object.metadata.annotations.unwrap_or_default();
        let requests = object.data.map_or(0, |data| data.len());
        (requests, answers.get(ANSWERS).cloned().unwrap_or_default())
    }

    async fn is_tidy(&self) {
        until("nothing is left of the requests", async || {
            let (requests, answers) = self.left().await;
            requests == 0 && matches!(&*answers, "" | "{}")
        })
        .await;
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.sidecar.abort();
    }
}

/// Returns when it is ready, which it is not before it has its connection.
async fn sidecar(world: &World, instance: &Instance) -> JoinHandle<anyhow::Result<()>> {
    let password = world.mongod.folder().join("password");
    std::fs::write(&password, ADMIN_PASSWORD).unwrap();
    let port = world.mongod.address().port();
    let args = Args::parse_from([
        "mongo-bootstrap",
        "run",
        // 127.0.0.1, as the set knows it.
        "--pod=mdb-1",
        "--replica-set=rs0",
        &format!("--members=127.0.0.{{ordinal}}:{port}"),
        &format!("--mongod=127.0.0.1:{port}"),
        &format!("--namespace={}", instance.namespace),
        &format!("--admin-password-file={}", password.display()),
    ]);
    let Command::Run(args) = args.command else {
        unreachable!("it is told to run");
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = world.control_plane.client();
    let work = mongo_bootstrap::supervise(*args, listener, client, CancellationToken::new());
    let task = tokio::spawn(Box::pin(work));
    wait_ready(address).await;
    task
}

/// An app with a login, over one connection.
async fn app(uri: &str) -> Collection<Document> {
    let mut options = ClientOptions::parse(uri).await.unwrap();
    options.max_pool_size = Some(1);
    let client = Client::with_options(options).unwrap();
    client.default_database().unwrap().collection("orders")
}

async fn writes(app: &Collection<Document>) -> mongodb::error::Result<()> {
    app.insert_one(doc! { "a": 1 }).await.map(drop)
}

/// Whether the login of the URI is unknown, where connections can be had.
async fn is_refused(uri: &str) -> bool {
    let tried = writes(&app(uri).await).await;
    tried.is_err_and(|error| matches!(*error.kind, ErrorKind::Authentication { .. }))
}

async fn is_shut_out(app: &Collection<Document>) {
    let error = writes(app).await.unwrap_err();
    let ErrorKind::Command(refusal) = error.kind.as_ref() else {
        unreachable!("{error}");
    };
    assert_eq!(refusal.code, UNAUTHORIZED, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unbind_ends_and_the_login_with_it_while_strangers_hold_all_connections() {
    let stage = Stage::set().await;
    let world = &stage.world;
    let first = world.binder("r1").await;
    let bound = done(first.bind(world.bind_request("i", "b")).await.unwrap());
    let app = app(&uri(&bound)).await;
    writes(&app).await.unwrap();
    // Its connections go with it.
    first.stop().await;
    let attack = Attack::start(world.mongod.address(), STRANGERS).await;
    writes(&app).await.unwrap();

    let binder = world.binder("r2").await;
    let mut request = world.unbind_request("i", "b");
    request.accepts_incomplete = true;
    let operation = binder.unbind(request).await.unwrap().operation;
    assert!(binder.ended("i", "b", &operation).await);
    let record = world.record("i", "b").await.unwrap();
    assert_eq!(record.phase(), Phase::Deleted);
    let log = testbed::logs::text();
    let mut lines = log.lines().filter(|line| line.contains(record.name()));
    assert!(lines.any(|line| line.contains("login revoked by mongo-bootstrap")));
    is_shut_out(&app).await;
    assert!(attack.holds_all().await, "the attack is over");

    stage.is_tidy().await;
    drop(attack);
    until("the binder gets a connection", async || {
        binder.bind(world.bind_request("i", "next")).await.is_ok()
    })
    .await;
    assert!(world.users_of("i", "b").await.is_empty());
    assert_eq!(world.users_of("i", "next").await.len(), 1);
    binder.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn polls_say_why_an_unbind_takes_long_until_a_connection_can_be_had() {
    let stage = Stage::set().await;
    let world = &stage.world;
    let first = world.binder("r1").await;
    let bindings = ["b1", "b2", "b3", "b4"];
    for binding in bindings {
        done(first.bind(world.bind_request("i", binding)).await.unwrap());
    }
    first.stop().await;
    // Nobody is there to answer.
    stage.sidecar.abort();
    let attack = Attack::start(world.mongod.address(), STRANGERS).await;
    let binder = world.binder("r2").await;
    let mut waits = None;
    for binding in bindings {
        let mut request = world.unbind_request("i", binding);
        request.accepts_incomplete = true;
        let operation = binder.unbind(request).await.unwrap().operation;
        until(
            "the poll says why it takes long, or has ended",
            async || {
                let polled = binder.poll("i", binding, &operation).await.unwrap();
                let says_why = polled.description.contains("takes no more connections");
                if polled.state() == OperationState::InProgress && says_why {
                    waits = Some((binding, operation.clone()));
                }
                polled.state() != OperationState::InProgress || says_why
            },
        )
        .await;
        // A binder may get one connection that a stranger, or who answers here, lost.
        if waits.is_some() {
            break;
        }
    }
    let (binding, operation) = waits.unwrap();
    until("mongo-bootstrap is asked", async || {
        stage.left().await.0 == 1
    })
    .await;
    drop(attack);
    assert!(binder.ended("i", binding, &operation).await);
    assert!(world.users_of("i", binding).await.is_empty());
    stage.is_tidy().await;
    binder.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_binder_dies_after_another_one_has_the_login_revoked_under_attack() {
    let points = ["AskReserve", "AcceptAnswer"];
    let stage = Stage::set().await;
    let world = &stage.world;
    let first = world.binder("r1").await;
    // A binder may get one connection that a stranger lost: then the next one is tried.
    let tries = points.map(|point| [1, 2, 3, 4].map(|number| (point, format!("{point}-{number}"))));
    let mut apps = HashMap::new();
    for (_, binding) in tries.iter().flatten() {
        let bound = first.bind(world.bind_request("i", binding)).await.unwrap();
        apps.insert(binding.clone(), uri(&done(bound)));
    }
    first.stop().await;
    let attack = Attack::start(world.mongod.address(), STRANGERS).await;
    let died = tries.map(async |tries| {
        for (point, binding) in tries {
            if unbind_dies(world, &binding, Step::Revoke(point)).await {
                return binding;
            }
        }
        unreachable!("no try needs mongo-bootstrap")
    });
    let died = futures::future::join_all(died).await;

    let heir = world.binder("heir").await;
    for binding in &died {
        assert!(heir.ended("i", binding, "").await, "{binding}");
    }
    assert!(attack.holds_all().await, "the attack is over");
    stage.is_tidy().await;
    drop(attack);
    for binding in died {
        until("the login is refused", async || {
            is_refused(&apps[&binding]).await
        })
        .await;
    }
    heir.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_object_of_another_instance_in_the_namespace_is_left_alone() {
    let stage = Stage::set().await;
    let world = &stage.world;
    let api = stage.objects();
    let mut object = api.get(OBJECT).await.unwrap();
    let labels = object.metadata.labels.get_or_insert_default();
    labels.insert(cluster::names::INSTANCE.into(), "another".into());
    api.replace(OBJECT, &PostParams::default(), &object)
        .await
        .unwrap();
    let mut args = world.args("r1");
    args.revoke_deadline = Duration::from_secs(25);
    let binder = world.binder_with(args).await;
    done(binder.bind(world.bind_request("i", "b")).await.unwrap());
    world.mongod.stop().await;
    let _unavailable = binder.unbind(world.unbind_request("i", "b")).await;
    until("the revocation is pending", async || {
        world.record("i", "b").await.unwrap().phase() == Phase::RevocationPending
    })
    .await;
    assert_eq!(stage.left().await, (0, String::new()));
    world.mongod.resume().await.unwrap();
    until("it is revoked", async || {
        world.record("i", "b").await.unwrap().phase() == Phase::Deleted
    })
    .await;
    assert!(world.users_of("i", "b").await.is_empty());
    binder.stop().await;
}
