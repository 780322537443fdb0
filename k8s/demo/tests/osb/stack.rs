//! One stack for all tests of the process, on a runtime of its own: each test
//! has a runtime that ends with it.

use std::{net::SocketAddr, path::PathBuf, sync::OnceLock, thread, time::Duration};

use clap::Parser as _;
use cluster::names::State;
use k8s_openapi::{
    api::core::v1::Namespace,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, CustomResourceExt as _, ResourceExt as _,
    api::PostParams,
    runtime::{conditions::is_crd_established, wait::await_condition},
};
use mongodb::bson::doc;
use serde_json::json;
use service::ServiceArgs;
use testbed::{ControlPlane, Controllers, Mongod, MongodOptions};
use tokio_util::sync::CancellationToken;

use crate::plans;

/// Longest time that anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// The broker's namespace.
pub(crate) const NAMESPACE: &str = "mongodb-osb";
/// Of the user in the database that makes users.
pub(crate) const ADMIN_PASSWORD: &str = "canary-admin-password";
/// The platform's login.
pub(crate) const LOGIN: (&str, &str) = ("platform", "canary-platform-password");
/// A synchronous request waits this long.
pub(crate) const SYNC_DEADLINE: Duration = Duration::from_secs(25);

/// What tests need to know of the running stack.
pub(crate) struct Stack {
    pub(crate) gateway: SocketAddr,
    pub(crate) config: kube::Config,
    pub(crate) mongod: SocketAddr,
    /// Of plan `stalled`.
    pub(crate) stalled: SocketAddr,
    pub(crate) templates: PathBuf,
}

/// Lives as long as the process; the processes beside it end with that.
struct Kept {
    _control_plane: ControlPlane,
    _mongods: [Mongod; 2],
    _folders: [tempfile::TempDir; 2],
}

static STACK: OnceLock<Stack> = OnceLock::new();

impl Stack {
    /// The stack, which the first caller starts.
    pub(crate) fn get() -> &'static Self {
        STACK.get_or_init(|| {
            let (sender, receiver) = std::sync::mpsc::channel();
            thread::spawn(move || {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                runtime.block_on(async {
                    let (stack, _kept) = Box::pin(start()).await;
                    sender.send(stack).unwrap();
                    std::future::pending::<()>().await;
                });
            });
            receiver.recv().unwrap()
        })
    }

    /// Keeps the database of plan `stalled` from writing.
    pub(crate) async fn stall(&self) -> Stalled {
        let admin = client_of(self.stalled, "locker").await.database("admin");
        let lock = doc! { "fsync": 1, "lock": true };
        admin.run_command(lock).await.unwrap();
        Stalled(admin)
    }

    /// Looks at Kubernetes behind the broker's back.
    pub(crate) fn client(&self) -> Client {
        Client::try_from(self.config.clone()).unwrap()
    }
}

async fn start() -> (Stack, Kept) {
    service::process::install_tls_provider();
    let (control_plane, mongod, stalled) =
        tokio::join!(control_plane(), replica_set(), replica_set());
    let templates = tempfile::tempdir().unwrap();
    plans::write(templates.path(), mongod.address(), stalled.address());
    let logins = tempfile::tempdir().unwrap();
    std::fs::write(logins.path().join("username"), LOGIN.0).unwrap();
    std::fs::write(logins.path().join("password"), LOGIN.1).unwrap();
    std::fs::write(logins.path().join("platform"), LOGIN.0).unwrap();

    let client = control_plane.client();
    let roots = vec![templates.path().to_owned()];
    let mut args = catalog_svc::Args::for_tests(roots, NAMESPACE);
    (args.bundles_namespace, args.plans_namespace) = (None, None);
    let app = catalog_svc::App::bind(args, client.clone()).await.unwrap();
    let catalog = app.address().to_string();
    spawn(app.run(CancellationToken::new()));

    let mut args = provisioner_svc::Args::parse_from(["provisioner-svc", "--catalog", &catalog]);
    args.service = ServiceArgs::for_tests();
    args.sync_deadline = SYNC_DEADLINE;
    args.sandbox.program = sandbox::Program::Here;
    let app = provisioner_svc::App::bind(args, client.clone())
        .await
        .unwrap();
    let provisioner = app.address().unwrap().to_string();
    spawn(app.run(CancellationToken::new()));

    let mut args = binder_svc::Args::parse_from([
        "binder-svc",
        "--catalog",
        &catalog,
        "--provisioner",
        &provisioner,
        "--second-look",
        "2",
    ]);
    args.service = ServiceArgs::for_tests();
    args.sandbox.program = sandbox::Program::Here;
    let app = binder_svc::App::bind(args, client).await.unwrap();
    let binder = app.address().to_string();
    spawn(app.run(CancellationToken::new()));

    let mut args = gateway::Args::parse_from([
        "gateway",
        "--catalog",
        &catalog,
        "--provisioner",
        &provisioner,
        "--binder",
        &binder,
    ]);
    args.http.credentials = logins.path().to_owned();
    args.service = ServiceArgs::for_tests();
    let app = gateway::App::bind(args).await.unwrap();
    let gateway = app.address().unwrap();
    spawn(app.run(CancellationToken::new()));
    orderable(gateway).await;

    let stack = Stack {
        gateway,
        config: control_plane.config(),
        mongod: mongod.address(),
        stalled: stalled.address(),
        templates: templates.path().to_owned(),
    };
    let kept = Kept {
        _control_plane: control_plane,
        _mongods: [mongod, stalled],
        _folders: [templates, logins],
    };
    (stack, kept)
}

/// A service that ends takes the suite along.
fn spawn(service: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
    tokio::spawn(async move {
        let outcome = service.await;
        eprintln!("a service ended: {outcome:?}");
        std::process::exit(70);
    });
}

/// Waits until the catalog is there and an order of each service is answered.
async fn orderable(gateway: SocketAddr) {
    let http = reqwest::Client::new();
    let probe = async |path: &str| {
        let request = http
            .get(format!("http://{gateway}/v2/{path}"))
            .header("X-Broker-API-Version", "2.17")
            .basic_auth(LOGIN.0, Some(LOGIN.1));
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        let body: serde_json::Value = answer.json().await.ok()?;
        Some((status, body))
    };
    until("the stack is ready", async || {
        let catalog = probe("catalog").await;
        let listed = catalog.is_some_and(|(_, body)| {
            body["services"]
                .as_array()
                .is_some_and(|all| all.len() == 2)
        });
        let known = |answer: Option<(u16, _)>| answer.is_some_and(|(status, _)| status == 404);
        listed
            && known(probe("service_instances/none").await)
            && known(probe("service_instances/none/service_bindings/none").await)
    })
    .await;
}

/// Asks again and again until it holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(
            tokio::time::Instant::now() < deadline,
            "waited in vain: {what}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn control_plane() -> ControlPlane {
    let control_plane = ControlPlane::builder()
        .controllers(Controllers::Manager)
        .start()
        .await
        .unwrap();
    let client = control_plane.client();
    let state = State::ALL.map(|state| state.namespace(NAMESPACE));
    for name in state.into_iter().chain([NAMESPACE.to_owned()]) {
        let namespace: Namespace =
            serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        Api::all(client.clone())
            .create(&PostParams::default(), &namespace)
            .await
            .unwrap();
    }
    for definition in [
        provisioner_svc::resource::ServiceInstance::crd(),
        binder_svc::resource::ServiceBinding::crd(),
    ] {
        let api: Api<CustomResourceDefinition> = Api::all(client.clone());
        api.create(&PostParams::default(), &definition)
            .await
            .unwrap();
        let name = definition.name_any();
        let established = await_condition(api, &name, is_crd_established());
        tokio::time::timeout(PATIENCE, established)
            .await
            .unwrap()
            .unwrap();
    }
    control_plane
}

/// One member and the user that makes users.
async fn replica_set() -> Mongod {
    let options = MongodOptions::default()
        .replica_set("rs0")
        .key_file("a2V5ZmlsZWtleWZpbGU=");
    let mongod = Mongod::start(options).await.unwrap();
    let client = mongodb::Client::with_uri_str(mongod.uri()).await.unwrap();
    let admin = client.database("admin");
    let member = doc! { "_id": 0, "host": mongod.address().to_string() };
    let config = doc! { "replSetInitiate": { "_id": "rs0", "members": [member] } };
    admin.run_command(config).await.unwrap();
    let user = doc! {
        "createUser": "osb-admin", "pwd": ADMIN_PASSWORD,
        "roles": ["userAdminAnyDatabase", "clusterMonitor"], "mechanisms": ["SCRAM-SHA-256"],
    };
    until("the admin user is made", async || {
        admin.run_command(user.clone()).await.is_ok()
    })
    .await;
    let admin = client_of(mongod.address(), "osb-admin")
        .await
        .database("admin");
    let locker = doc! { "createUser": "locker", "pwd": ADMIN_PASSWORD, "roles": ["hostManager"] };
    admin.run_command(locker).await.unwrap();
    mongod
}

/// One connection, as one of the users of the suite.
async fn client_of(mongod: SocketAddr, user: &str) -> mongodb::Client {
    let uri =
        format!("mongodb://{user}:{ADMIN_PASSWORD}@{mongod}/?directConnection=true&maxPoolSize=1");
    mongodb::Client::with_uri_str(uri).await.unwrap()
}

/// A database that takes no writes, until it is told to.
pub(crate) struct Stalled(mongodb::Database);

impl Stalled {
    pub(crate) async fn go_on(self) {
        let unlock = doc! { "fsyncUnlock": 1 };
        self.0.run_command(unlock).await.unwrap();
    }
}
