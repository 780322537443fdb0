//! One control plane, a fake catalog, and provisioners to try on them.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use broker_proto::{
    client::{Target, Transport},
    json,
    v1::{self, provisioner_client::ProvisionerClient},
};
use k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace, Secret},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, PostParams},
    runtime::{conditions::is_crd_established, wait::await_condition},
};
use plan::{Tree, bundle::Bundle};
use provisioner_svc::{App, Args, resource::ServiceInstance};
use sandbox::Program;
use serde_json::{Map, Value};
use service::ServiceArgs;
use testbed::{
    ControlPlane, Controllers, Port,
    logs::{self, LevelFilter},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// Short, so that work is taken over soon.
pub(crate) const LEASE_RENEW: Duration = Duration::from_millis(500);
pub(crate) const LEASE_LIFETIME: Duration = Duration::from_secs(3);

/// Longest time that anything here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Serves bundles as catalog-svc does. A fake: plans are handed in.
#[derive(Clone, Default)]
pub(crate) struct FakeCatalog {
    bundles: Arc<Mutex<HashMap<String, Arc<Bundle>>>>,
}

#[tonic::async_trait]
impl v1::catalog_server::Catalog for FakeCatalog {
    async fn get_catalog(
        &self,
        _: Request<v1::GetCatalogRequest>,
    ) -> Result<Response<v1::CatalogSnapshot>, Status> {
        Ok(Response::new(v1::CatalogSnapshot::default()))
    }

    type WatchCatalogStream = tokio_stream::Pending<Result<v1::CatalogSnapshot, Status>>;

    async fn watch_catalog(
        &self,
        _: Request<v1::WatchCatalogRequest>,
    ) -> Result<Response<Self::WatchCatalogStream>, Status> {
        Ok(Response::new(tokio_stream::pending()))
    }

    async fn get_bundle(
        &self,
        request: Request<v1::GetBundleRequest>,
    ) -> Result<Response<v1::Bundle>, Status> {
        let digest = request.into_inner().digest;
        let bundle = self.bundles.lock().unwrap().get(&digest).cloned();
        let bundle = bundle.ok_or_else(|| broker_proto::Error::unavailable("The bundle"))?;
        Ok(Response::new(v1::Bundle {
            digest,
            content: bundle.to_bytes().to_vec(),
        }))
    }

    async fn list_plans(
        &self,
        _: Request<v1::ListPlansRequest>,
    ) -> Result<Response<v1::ListPlansResponse>, Status> {
        Ok(Response::new(v1::ListPlansResponse::default()))
    }
}

/// The world of one test: a namespace of its own for the broker and all of its
/// state, on an API server that other tests use as well.
pub(crate) struct World {
    pub(crate) control_plane: Arc<ControlPlane>,
    pub(crate) namespace: String,
    catalog: FakeCatalog,
    catalog_address: SocketAddr,
}

/// Lives as long as the test process; its own processes end with that.
static SHARED: tokio::sync::OnceCell<Arc<ControlPlane>> = tokio::sync::OnceCell::const_new();

/// A provisioner in this process; gone with the test.
pub(crate) struct Provisioner {
    pub(crate) client: ProvisionerClient<Transport>,
    pub(crate) admin: SocketAddr,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Provisioner {
    /// Ends it as a crash would: nothing is finished, no lease given back.
    pub(crate) fn kill(self) {
        self.task.abort();
    }

    /// Drains it.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

async fn control_plane() -> Arc<ControlPlane> {
    let control_plane = ControlPlane::builder()
        .controllers(Controllers::Manager)
        .start()
        .await
        .unwrap();
    install_crd(&control_plane.client()).await;
    Arc::new(control_plane)
}

impl World {
    pub(crate) async fn start() -> Self {
        prepare();
        let shared = SHARED.get_or_init(control_plane).await;
        Self::on(Arc::clone(shared)).await
    }

    /// On an API server of its own, which may be stopped.
    pub(crate) async fn alone() -> Self {
        prepare();
        Self::on(control_plane().await).await
    }

    async fn on(control_plane: Arc<ControlPlane>) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let namespace = format!("broker-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        // A client of its own: connections belong to the test's runtime.
        let client = Client::try_from(control_plane.config()).unwrap();
        let namespaces: Api<Namespace> = Api::all(client);
        let object: Namespace =
            serde_json::from_value(serde_json::json!({"metadata": {"name": namespace}})).unwrap();
        namespaces
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
        let catalog = FakeCatalog::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let catalog_address = listener.local_addr().unwrap();
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(v1::catalog_server::CatalogServer::new(catalog.clone()))
                .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener)),
        );
        Self {
            control_plane,
            namespace,
            catalog,
            catalog_address,
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::try_from(self.control_plane.config()).unwrap()
    }

    /// Adds a plan of provider `test` made of these files; it must have no fault.
    pub(crate) fn plan(&self, name: &str, files: &[(&str, &str)]) -> Plan {
        let mut tree = Tree::new();
        for (file, content) in files {
            tree.insert(&format!("test/{name}/{file}"), content.as_bytes());
        }
        let catalog = plan::catalog::build(&[tree]);
        assert!(catalog.faults.is_empty(), "{:?}", catalog.faults);
        let bundle = Arc::clone(&catalog.plans[0]);
        let digest = bundle.digest().to_string();
        self.catalog
            .bundles
            .lock()
            .unwrap()
            .insert(digest.clone(), Arc::clone(&bundle));
        Plan { bundle, digest }
    }

    pub(crate) fn args(&self, replica: &str) -> Args {
        let mut args = <Args as clap::Parser>::parse_from(["provisioner-svc"]);
        args.service = ServiceArgs::for_tests();
        args.sandbox.program = Program::At(env!("CARGO_BIN_EXE_provisioner-svc").into());
        args.catalog = self.catalog_address.to_string();
        replica.clone_into(&mut args.replica.replica);
        args.replica.lease_renew = LEASE_RENEW;
        args.replica.lease_lifetime = LEASE_LIFETIME;
        let namespace = &self.namespace;
        args.broker.namespace.clone_from(namespace);
        args.broker.instances_namespace = Some(namespace.clone());
        args.broker.bundles_namespace = Some(namespace.clone());
        args.broker.plans_namespace = Some(namespace.clone());
        args
    }

    pub(crate) async fn provisioner(&self, replica: &str) -> Provisioner {
        self.provisioner_with(self.args(replica)).await
    }

    pub(crate) async fn provisioner_with(&self, args: Args) -> Provisioner {
        self.provisioner_as(args, self.client()).await
    }

    /// With the rights of that client.
    pub(crate) async fn provisioner_as(&self, args: Args, client: Client) -> Provisioner {
        let app = App::bind(args, client).await.unwrap();
        let (address, admin) = (app.address().unwrap(), app.admin_address().unwrap());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(app.run(shutdown.clone()));
        Provisioner {
            client: connect(address),
            admin,
            shutdown,
            task,
        }
    }

    /// A provisioner in a process of its own, that ends itself as kill -9 would
    /// after the step of that name, if one is given.
    pub(crate) fn process(&self, replica: &str, crash_at: Option<&str>) -> Process {
        let point = crash_at.map(|step| ("BROKER_CRASH_AT", step));
        self.process_with(replica, point.as_slice())
    }

    /// The same with these variables set.
    pub(crate) fn process_with(&self, replica: &str, variables: &[(&str, &str)]) -> Process {
        let port = Port::reserve().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port.number()));
        let mut command = self.command(replica, address);
        command.envs(variables.iter().copied());
        Process {
            child: command.spawn().unwrap(),
            client: connect(address),
            _port: port,
        }
    }

    /// The program, to serve at `address`.
    pub(crate) fn command(&self, replica: &str, address: SocketAddr) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_provisioner-svc"));
        command
            .env("KUBECONFIG", self.control_plane.kubeconfig())
            .env("BROKER_LISTEN", address.to_string())
            .env("BROKER_ADMIN_LISTEN", "127.0.0.1:0")
            .env("BROKER_NAMESPACE", &self.namespace)
            .env("BROKER_INSTANCES_NAMESPACE", &self.namespace)
            .env("BROKER_BUNDLES_NAMESPACE", &self.namespace)
            .env("BROKER_PLANS_NAMESPACE", &self.namespace)
            .env("BROKER_CATALOG", self.catalog_address.to_string())
            .env("BROKER_REPLICA", replica)
            .env("BROKER_LEASE_RENEW", LEASE_RENEW.as_secs_f64().to_string())
            .env(
                "BROKER_LEASE_LIFETIME",
                LEASE_LIFETIME.as_secs_f64().to_string(),
            )
            .env("BROKER_LOG", "warn")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    pub(crate) fn records(&self) -> Api<ServiceInstance> {
        Api::namespaced(self.client(), &self.namespace)
    }

    pub(crate) async fn record(&self, instance: &str) -> ServiceInstance {
        self.records()
            .get(&cluster::names::instance_record(instance))
            .await
            .unwrap()
    }

    /// The record, once its status shows this phase: a poll may tell of an end
    /// before the status is written.
    pub(crate) async fn shown(&self, instance: &str, phase: &str) -> ServiceInstance {
        eventually(&format!("the status shows {phase}"), async || {
            let record = self.record(instance).await;
            let status = record.status.as_ref()?;
            let is_current = Some(status.observed_generation) == record.metadata.generation;
            (is_current && status.phase == phase).then_some(record)
        })
        .await
    }

    pub(crate) async fn config_map(&self, namespace: &str, name: &str) -> Option<ConfigMap> {
        Api::namespaced(self.client(), namespace)
            .get_opt(name)
            .await
            .unwrap()
    }

    /// Names of instance namespaces.
    pub(crate) async fn instance_namespaces(&self) -> Vec<String> {
        let api: Api<Namespace> = Api::all(self.client());
        let ours = format!("{}={}", cluster::names::BROKER, self.namespace);
        let params = ListParams::default().labels(&ours);
        api.list(&params)
            .await
            .unwrap()
            .items
            .iter()
            .map(ResourceExt::name_any)
            .collect()
    }

    /// Names of revision Secrets.
    pub(crate) async fn revisions(&self) -> Vec<String> {
        let api: Api<Secret> = Api::namespaced(self.client(), &self.namespace);
        let params = ListParams::default().labels("mongodb-osb.io/purpose=revision");
        api.list(&params)
            .await
            .unwrap()
            .items
            .iter()
            .map(ResourceExt::name_any)
            .collect()
    }

    /// Nothing of any instance is left but records.
    pub(crate) async fn assert_nothing_left(&self) {
        assert_eq!(self.instance_namespaces().await, Vec::<String>::new());
        assert_eq!(self.revisions().await, Vec::<String>::new());
    }
}

pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) client: ProvisionerClient<Transport>,
    _port: Port,
}

/// A plan that can be ordered.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) bundle: Arc<Bundle>,
    pub(crate) digest: String,
}

impl Plan {
    pub(crate) fn verdict(&self) -> v1::CatalogVerdict {
        v1::CatalogVerdict {
            outcome: v1::catalog_verdict::Outcome::Found.into(),
            bundle_digest: self.digest.clone(),
            maintenance_version: self.bundle.version().to_string(),
            provision_async: self.bundle.provisions_asynchronously(),
            ..v1::CatalogVerdict::default()
        }
    }

    pub(crate) fn provision(&self, instance: &str, parameters: Value) -> v1::ProvisionRequest {
        v1::ProvisionRequest {
            instance_id: instance.to_owned(),
            service_id: self.bundle.offering_id().to_string(),
            plan_id: self.bundle.plan_id().to_string(),
            organization_guid: "org".to_owned(),
            space_guid: "space".to_owned(),
            parameters: Some(json::to_struct(&object(parameters)).unwrap()),
            accepts_incomplete: true,
            verdict: Some(self.verdict()),
            ..v1::ProvisionRequest::default()
        }
    }

    pub(crate) fn update(&self, instance: &str, patch: Value) -> v1::UpdateRequest {
        v1::UpdateRequest {
            instance_id: instance.to_owned(),
            service_id: self.bundle.offering_id().to_string(),
            parameters: Some(json::to_struct(&object(patch)).unwrap()),
            accepts_incomplete: true,
            ..v1::UpdateRequest::default()
        }
    }

    pub(crate) fn deprovision(&self, instance: &str) -> v1::DeprovisionRequest {
        v1::DeprovisionRequest {
            instance_id: instance.to_owned(),
            service_id: self.bundle.offering_id().to_string(),
            plan_id: self.bundle.plan_id().to_string(),
            accepts_incomplete: true,
            verdict: Some(self.verdict()),
            ..v1::DeprovisionRequest::default()
        }
    }
}

pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

pub(crate) fn connect(address: SocketAddr) -> ProvisionerClient<Transport> {
    Target::new(address.to_string(), Duration::from_secs(60), Ok)
        .provisioner()
        .unwrap()
}

/// What a user of the platform reads tells nothing of the broker's namespaces.
fn names_no_namespace(instance: &str, description: &str) {
    let record = cluster::names::instance_record(instance);
    let namespace = cluster::names::namespace(&record, "");
    assert!(!description.contains(&namespace), "{description}");
}

/// Polls until the operation ended, over transient failures of the service.
pub(crate) async fn end_of(
    client: &ProvisionerClient<Transport>,
    instance: &str,
    operation: &str,
) -> v1::OperationStatus {
    end_for(client, None, instance, operation).await
}

/// The same, asked for whoever ordered the instance.
async fn end_for(
    client: &ProvisionerClient<Transport>,
    by: Option<v1::Requester>,
    instance: &str,
    operation: &str,
) -> v1::OperationStatus {
    let request = v1::LastOperationRequest {
        instance_id: instance.to_owned(),
        operation: operation.to_owned(),
        platform: by.unwrap_or_default().platform,
    };
    eventually("the operation ends", async || {
        let answer = client
            .clone()
            .last_operation(request.clone())
            .await
            .ok()?
            .into_inner();
        names_no_namespace(instance, &answer.description);
        (answer.state() != v1::OperationState::InProgress).then_some(answer)
    })
    .await
}

/// Waits for the success of an operation.
pub(crate) async fn succeeded(
    client: &ProvisionerClient<Transport>,
    instance: &str,
    operation: &str,
) {
    succeeded_for(client, None, instance, operation).await;
}

async fn succeeded_for(
    client: &ProvisionerClient<Transport>,
    by: Option<v1::Requester>,
    instance: &str,
    operation: &str,
) {
    let ended = end_for(client, by, instance, operation).await;
    assert_eq!(
        ended.state(),
        v1::OperationState::Succeeded,
        "{}",
        ended.description
    );
}

/// Begins a provision, once the service is up; its operation.
pub(crate) async fn started(
    client: &ProvisionerClient<Transport>,
    request: v1::ProvisionRequest,
) -> String {
    eventually("the provision is accepted", async || {
        match client.clone().provision(request.clone()).await {
            Ok(answer) => Some(answer.into_inner().operation),
            Err(status) if status.code() == tonic::Code::Unavailable => None,
            Err(status) => panic!("{status:?}"),
        }
    })
    .await
}

/// Provisions and waits for the success.
pub(crate) async fn provisioned(
    client: &ProvisionerClient<Transport>,
    request: v1::ProvisionRequest,
) {
    let (instance, by) = (request.instance_id.clone(), request.requester.clone());
    let answer = client
        .clone()
        .provision(request)
        .await
        .unwrap()
        .into_inner();
    succeeded_for(client, by, &instance, &answer.operation).await;
}

/// Updates and waits for the success.
pub(crate) async fn updated(client: &ProvisionerClient<Transport>, request: v1::UpdateRequest) {
    let (instance, by) = (request.instance_id.clone(), request.requester.clone());
    let answer = client.clone().update(request).await.unwrap().into_inner();
    assert_eq!(answer.outcome(), v1::Outcome::Accepted);
    succeeded_for(client, by, &instance, &answer.operation).await;
}

/// Waits until a poll for the operation of instance `i` contains the text.
pub(crate) async fn poll_says(client: &ProvisionerClient<Transport>, operation: &str, text: &str) {
    let request = v1::LastOperationRequest {
        instance_id: "i".to_owned(),
        operation: operation.to_owned(),
        platform: String::new(),
    };
    eventually(&format!("the poll says: {text}"), async || {
        let answer = client.clone().last_operation(request.clone()).await;
        let answer = answer.unwrap().into_inner();
        names_no_namespace("i", &answer.description);
        answer.description.contains(text).then_some(())
    })
    .await;
}

/// Deprovisions and waits for the success.
pub(crate) async fn deprovisioned(
    client: &ProvisionerClient<Transport>,
    request: v1::DeprovisionRequest,
) {
    let (instance, by) = (request.instance_id.clone(), request.requester.clone());
    let answer = client
        .clone()
        .deprovision(request)
        .await
        .unwrap()
        .into_inner();
    succeeded_for(client, by, &instance, &answer.operation).await;
}

/// The code of a refused call.
pub(crate) fn code<T: std::fmt::Debug>(answer: Result<T, Status>) -> broker_proto::ErrorCode {
    broker_proto::Error::from_status(&answer.unwrap_err()).code
}

/// What the admin port answers on /metrics.
pub(crate) async fn metrics(admin: SocketAddr) -> String {
    let mut stream = tokio::net::TcpStream::connect(admin).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Asks again and again until there is an answer.
pub(crate) async fn eventually<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            tokio::time::Instant::now() < until,
            "waited in vain: {what}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) fn crd_file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../k8s/crds/serviceinstances.mongodb-osb.io.yaml")
}

fn prepare() {
    service::process::install_tls_provider();
    logs::capture(LevelFilter::INFO);
}

pub(crate) async fn install_crd(client: &Client) {
    use kube::CustomResourceExt as _;
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let crd = ServiceInstance::crd();
    api.create(&PostParams::default(), &crd).await.unwrap();
    let name = crd.name_any();
    let established = await_condition(api, &name, is_crd_established());
    tokio::time::timeout(PATIENCE, established)
        .await
        .unwrap()
        .unwrap();
}

/// A plan whose operations end within the request.
pub(crate) const SYNCHRONOUS: [(&str, &str); 2] = [
    ("plan.yaml", "provision: sync\n"),
    (
        "1.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: it}\n",
    ),
];

/// A plan of one ConfigMap and one Secret of generated values.
pub(crate) const SIMPLE: [(&str, &str); 2] = [
    (
        "plan.yaml",
        "version: 1.0.0
generate:
  admin: {type: password, length: 24}
parameters:
  create:
    properties:
      size: {type: string, enum: [S, M], default: S}
      note: {type: string, default: none}
      fixed: {type: string, default: a, x-immutable: true}
      grade: {type: string, enum: [a, b, c], x-ordered: true}
  update: {inherit: create}
outputs:
  where: \"{{ namespace }}\"
",
    ),
    (
        "10-all.yaml",
        "apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data:
  size: \"{{ size }}\"
  note: \"{{ note }}\"
---
apiVersion: v1
kind: Secret
metadata: {name: login}
stringData:
  password: \"{{ generated.admin }}\"
",
    ),
];
