//! A control plane with the CRD, a one-member replica set with its admin, the
//! fakes, and binders on them.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use binder_svc::{App, Args, ledger::Record, resource::ServiceBinding};
use broker_proto::{
    Error,
    client::{Target, Transport},
    json,
    v1::{
        BindRequest, BindResponse, Binding, CatalogVerdict, FetchBindingRequest, Instance,
        InstancePhase, LastBindingOperationRequest, OperationState, OperationStatus, Outcome,
        UnbindRequest, UnbindResponse, binder_client::BinderClient, catalog_verdict,
    },
};
use clap::Parser as _;
use k8s_openapi::{
    ByteString,
    api::core::v1::{Namespace, Secret},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, CustomResourceExt as _,
    api::{ListParams, ObjectMeta, PostParams},
};
use mongodb::{
    Client,
    bson::{Document, doc},
    options::{ClientOptions, Credential, ServerAddress, Tls, TlsOptions},
};
use plan::{Bundle, Tree};
use serde_json::{Map, Value};
use service::ServiceArgs;
use testbed::{
    ControlPlane, Mongod, MongodOptions,
    logs::{self, LevelFilter},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fake::{self, FakeProvisioner};

pub(crate) const NAMESPACE: &str = "mongodb-osb";
pub(crate) const ADMIN_PASSWORD: &str = "canary-admin-password";
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

const PLAN: &str = r#"
version: 1.0.0
kinds: [v1/ConfigMap]
generate:
  admin: {type: password, length: 32}
parameters:
  create: {}
  bind:
    properties:
      database: {type: string}
      roles: {type: array, items: {enum: [read, readWrite, dbAdmin]}, default: [readWrite]}
      secret: {type: string, pattern: "^canary"}
outputs:
  replica_set: rs0
  hosts: {each: "range(1)", value: "mdb-{{ item }}:27017"}
binding:
  method: database
  hosts: outputs.hosts
  replica_set: outputs.replica_set
  admin: {username: osb-admin, password: generated.admin, database: admin}
  rotatable: true
"#;

const TEMPLATE: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: nothing}
data: {}
";

pub(crate) struct World {
    pub(crate) control_plane: ControlPlane,
    pub(crate) mongod: Mongod,
    pub(crate) provisioner: FakeProvisioner,
    pub(crate) fakes: SocketAddr,
    pub(crate) bundle: Arc<Bundle>,
    /// The same plan with `async: true`.
    pub(crate) asynchronous: Arc<Bundle>,
    /// The same plan with `server: shared`.
    pub(crate) shared: Arc<Bundle>,
}

/// A binder in this process.
pub(crate) struct Binder {
    pub(crate) client: BinderClient<Transport>,
    admin: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With more arguments for mongod.
    pub(crate) async fn start_with(mongod: &[&str]) -> Self {
        logs::capture(LevelFilter::TRACE);
        service::process::install_tls_provider();
        let bundle = bundle_of(PLAN);
        let asynchronous = bundle_of(&format!("{PLAN}  async: true\n"));
        let shared = bundle_of(&format!("{PLAN}  server: shared\n"));
        let bundles = [&bundle, &asynchronous, &shared].map(Arc::clone);
        let (control_plane, mongod, (provisioner, fakes)) = tokio::join!(
            control_plane(),
            replica_set(mongod),
            fake::serve(bundles.into())
        );
        Self {
            control_plane,
            mongod,
            provisioner,
            fakes,
            bundle,
            asynchronous,
            shared,
        }
    }

    /// An instance whose database is this world's.
    pub(crate) async fn instance(&self, id: &str) -> Instance {
        let record = cluster::names::instance_record(id);
        let namespace = cluster::names::namespace(&record, "inc1");
        let client = self.control_plane.client();
        create_namespace(&client, &namespace).await;
        let secrets: Api<Secret> = Api::namespaced(client, &namespace);
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some("osb-generated-inc1".into()),
                ..ObjectMeta::default()
            },
            data: Some([("admin".into(), ByteString(ADMIN_PASSWORD.into()))].into()),
            ..Secret::default()
        };
        secrets
            .create(&PostParams::default(), &secret)
            .await
            .unwrap();
        let outputs = serde_json::json!({
            "hosts": [self.mongod.address().to_string()], "replica_set": "rs0",
        });
        let instance = Instance {
            instance_id: id.into(),
            incarnation: "inc1".into(),
            phase: InstancePhase::Ready.into(),
            service_id: self.bundle.offering_id().to_string(),
            plan_id: self.bundle.plan_id().to_string(),
            bundle_digest: self.bundle.digest().to_string(),
            namespace,
            generated_secret: "osb-generated-inc1".into(),
            outputs: Some(json::to_struct(outputs.as_object().unwrap()).unwrap()),
            name: cluster::names::object(&record),
            ..Instance::default()
        };
        self.provisioner.put(instance.clone());
        instance
    }

    pub(crate) fn args(&self, replica: &str) -> Args {
        let fakes = self.fakes.to_string();
        let mut args = Args::parse_from([
            "binder-svc",
            "--catalog",
            &fakes,
            "--provisioner",
            &fakes,
            "--replica",
            replica,
            "--bindings-namespace",
            NAMESPACE,
            "--second-look",
            "2",
        ]);
        args.service = ServiceArgs::for_tests();
        args.sandbox.program = sandbox::Program::At(env!("CARGO_BIN_EXE_binder-svc").into());
        args
    }

    pub(crate) async fn binder(&self, replica: &str) -> Binder {
        self.binder_with(self.args(replica)).await
    }

    pub(crate) async fn binder_with(&self, args: Args) -> Binder {
        self.binder_as(args, self.control_plane.client()).await
    }

    /// With the rights of a client.
    pub(crate) async fn binder_as(&self, args: Args, client: kube::Client) -> Binder {
        let app = App::bind(args, client).await.unwrap();
        let (address, admin) = (app.address(), app.admin_address());
        let stop = CancellationToken::new();
        let task = tokio::spawn(Box::pin(app.run(stop.clone())));
        wait_ready(admin).await;
        Binder {
            client: connect(address),
            admin,
            stop,
            task,
        }
    }

    pub(crate) fn bind_request(&self, instance: &str, binding: &str) -> BindRequest {
        BindRequest {
            instance_id: instance.into(),
            binding_id: binding.into(),
            service_id: self.bundle.offering_id().to_string(),
            plan_id: self.bundle.plan_id().to_string(),
            verdict: Some(found()),
            ..BindRequest::default()
        }
    }

    pub(crate) fn unbind_request(&self, instance: &str, binding: &str) -> UnbindRequest {
        UnbindRequest {
            instance_id: instance.into(),
            binding_id: binding.into(),
            service_id: self.bundle.offering_id().to_string(),
            plan_id: self.bundle.plan_id().to_string(),
            verdict: Some(found()),
            ..UnbindRequest::default()
        }
    }

    /// The database users of a binding.
    pub(crate) async fn users_of(&self, instance: &str, binding: &str) -> Vec<String> {
        let record = cluster::names::binding_record(instance, binding);
        let command = doc! { "usersInfo": 1, "filter": { "customData.osb.binding": record } };
        let answer = self
            .admin()
            .database("admin")
            .run_command(command)
            .await
            .unwrap();
        let users = answer.get_array("users").unwrap();
        users
            .iter()
            .map(|user| {
                user.as_document()
                    .unwrap()
                    .get_str("user")
                    .unwrap()
                    .to_owned()
            })
            .collect()
    }

    pub(crate) fn admin(&self) -> Client {
        let mut options = ClientOptions::builder()
            .hosts(vec![
                ServerAddress::parse(self.mongod.address().to_string()).unwrap(),
            ])
            .direct_connection(true)
            .build();
        options.credential = Some(
            Credential::builder()
                .username("osb-admin".to_owned())
                .password(ADMIN_PASSWORD.to_owned())
                .source("admin".to_owned())
                .build(),
        );
        Client::with_options(options).unwrap()
    }

    pub(crate) async fn record(&self, instance: &str, binding: &str) -> Option<Record> {
        let api: Api<ServiceBinding> = Api::namespaced(self.control_plane.client(), NAMESPACE);
        let name = cluster::names::binding_record(instance, binding);
        let object = api.get_opt(&name).await.unwrap()?;
        Some(Record::read(object).unwrap())
    }

    /// The Secrets of a binding.
    pub(crate) async fn secrets_of(&self, instance: &str, binding: &str) -> Vec<Secret> {
        let api: Api<Secret> = Api::namespaced(self.control_plane.client(), NAMESPACE);
        let record = cluster::names::binding_record(instance, binding);
        let labels = format!("{}={record}", cluster::names::BINDING);
        api.list(&ListParams::default().labels(&labels))
            .await
            .unwrap()
            .items
    }
}

impl Binder {
    pub(crate) async fn bind(&self, request: BindRequest) -> Result<BindResponse, Error> {
        let answer = self.client.clone().bind(request).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| Error::from_status(&status))
    }

    pub(crate) async fn unbind(&self, request: UnbindRequest) -> Result<UnbindResponse, Error> {
        let answer = self.client.clone().unbind(request).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| Error::from_status(&status))
    }

    pub(crate) async fn fetch(&self, instance: &str, binding: &str) -> Result<Binding, Error> {
        let request = FetchBindingRequest {
            instance_id: instance.into(),
            binding_id: binding.into(),
            platform: String::new(),
        };
        let answer = self.client.clone().fetch_binding(request).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| Error::from_status(&status))
    }

    pub(crate) async fn poll(
        &self,
        instance: &str,
        binding: &str,
        operation: &str,
    ) -> Result<OperationStatus, Error> {
        let request = LastBindingOperationRequest {
            instance_id: instance.into(),
            binding_id: binding.into(),
            operation: operation.into(),
            platform: String::new(),
        };
        let answer = self.client.clone().last_binding_operation(request).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| Error::from_status(&status))
    }

    /// Polls until the operation ended; whether it succeeded.
    pub(crate) async fn ended(&self, instance: &str, binding: &str, operation: &str) -> bool {
        let deadline = tokio::time::Instant::now() + LIMIT;
        loop {
            if let Ok(status) = self.poll(instance, binding, operation).await {
                match status.state() {
                    OperationState::Succeeded => return true,
                    OperationState::Failed => return false,
                    _ => {}
                }
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{binding} {operation} did not end"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The value of a metric without labels.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let answer = get(self.admin, "/metrics").await.unwrap();
        let mut lines = answer.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap().trim().parse().unwrap()
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

/// Credentials of an answer as a JSON object.
pub(crate) fn credentials(binding: &Binding) -> Map<String, Value> {
    json::from_struct(binding.credentials.clone().unwrap())
}

pub(crate) fn uri(binding: &Binding) -> String {
    credentials(binding)["uri"].as_str().unwrap().to_owned()
}

pub(crate) fn done(response: BindResponse) -> Binding {
    assert_eq!(response.outcome(), Outcome::Done);
    response.binding.unwrap()
}

/// Logs in with a URI and writes and reads a document in its database.
pub(crate) async fn use_database(uri: &str) -> mongodb::error::Result<()> {
    let mut options = ClientOptions::parse(uri).await?;
    options.server_selection_timeout = Some(Duration::from_secs(5));
    let client = Client::with_options(options)?;
    let documents = client
        .default_database()
        .unwrap()
        .collection::<Document>("documents");
    let written = documents.insert_one(doc! { "a": 1 }).await?;
    let found = documents
        .find_one(doc! { "_id": &written.inserted_id })
        .await?;
    assert!(found.is_some());
    Ok(())
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + LIMIT;
    while !holds().await {
        assert!(
            tokio::time::Instant::now() < deadline,
            "in vain waited for: {what}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub(crate) fn connect(address: SocketAddr) -> BinderClient<Transport> {
    Target::new(address.to_string(), Duration::from_secs(60), Ok)
        .binder()
        .unwrap()
}

/// Waits for the admin port to say that the service is ready.
pub(crate) async fn wait_ready(admin: SocketAddr) {
    until("the service is ready", async || {
        let answer = get(admin, "/ready").await;
        answer.is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    })
    .await;
}

/// What the admin port answers, if anybody listens there.
async fn get(admin: SocketAddr, path: &str) -> Option<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(admin).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    Some(answer)
}

fn found() -> CatalogVerdict {
    CatalogVerdict {
        outcome: catalog_verdict::Outcome::Found.into(),
        ..CatalogVerdict::default()
    }
}

fn bundle_of(descriptor: &str) -> Arc<Bundle> {
    let mut tree = Tree::new();
    tree.insert("mongodb/test/plan.yaml", descriptor);
    tree.insert("mongodb/test/10-nothing.yaml", TEMPLATE);
    let catalog = plan::catalog::build(&[tree]);
    let faults: Vec<String> = catalog.faults.iter().map(ToString::to_string).collect();
    assert!(faults.is_empty(), "{faults:?}");
    Arc::clone(&catalog.plans[0])
}

async fn control_plane() -> ControlPlane {
    let control_plane = ControlPlane::start().await.unwrap();
    let client = control_plane.client();
    create_namespace(&client, NAMESPACE).await;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions
        .create(&PostParams::default(), &ServiceBinding::crd())
        .await
        .unwrap();
    let bindings: Api<ServiceBinding> = Api::namespaced(client, NAMESPACE);
    until("bindings are served", async || {
        bindings.list(&ListParams::default()).await.is_ok()
    })
    .await;
    control_plane
}

pub(crate) async fn create_namespace(client: &kube::Client, name: &str) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some(name.into()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
}

async fn replica_set(arguments: &[&str]) -> Mongod {
    let mut options = MongodOptions::default()
        .replica_set("rs0")
        .key_file("a2V5ZmlsZWtleWZpbGU=");
    for argument in arguments {
        options = options.arg(*argument);
    }
    let mongod = Mongod::start(options).await.unwrap();
    let client = Client::with_uri_str(mongod.uri()).await.unwrap();
    let host = mongod.address().to_string();
    let config = doc! { "_id": "rs0", "members": [{ "_id": 0, "host": host }] };
    let initiate = doc! { "replSetInitiate": config };
    client
        .database("admin")
        .run_command(initiate)
        .await
        .unwrap();
    make_admin(&mongod, None).await;
    mongod
}

/// The admin user, through the localhost exception; over TLS with an authority.
pub(crate) async fn make_admin(mongod: &Mongod, authority: Option<&Path>) {
    let mut options = ClientOptions::parse(mongod.uri()).await.unwrap();
    if let Some(path) = authority {
        let mut tls = TlsOptions::default();
        tls.ca_file_path = Some(path.to_owned());
        options.tls = Some(Tls::Enabled(tls));
    }
    let admin = Client::with_options(options).unwrap().database("admin");
    let user = doc! {
        "createUser": "osb-admin", "pwd": ADMIN_PASSWORD,
        "roles": ["userAdminAnyDatabase", "clusterManager", "clusterMonitor"],
        "mechanisms": ["SCRAM-SHA-256"],
    };
    until("the admin user is made", async || {
        admin.run_command(user.clone()).await.is_ok()
    })
    .await;
}
