//! What every test needs: a cluster, a namespace of its own, a folder of
//! templates and the running service.

use std::{
    fs,
    future::Future,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use broker_proto::{
    client::{Target, Transport},
    v1::{
        CatalogSnapshot, GetBundleRequest, GetCatalogRequest, ListPlansRequest, Plan, PlanReport,
        catalog_client::CatalogClient,
    },
};
use catalog_svc::{App, Args};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, Client,
    api::{ListParams, ObjectMeta, PostParams},
};
use sandbox::Program;
use testbed::ControlPlane;
use tokio::{sync::OnceCell, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// Builds and cold starts included, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(60);

/// The control plane that the tests of this binary share; it ends with the
/// process.
pub(crate) async fn control_plane() -> &'static ControlPlane {
    static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
    SHARED
        .get_or_init(|| async { ControlPlane::start().await.unwrap() })
        .await
}

/// A client of this test's own: one made in another test's runtime ends with it.
pub(crate) async fn client() -> Client {
    let config = control_plane().await.config();
    service::process::install_tls_provider();
    Client::try_from(config).unwrap()
}

/// A namespace that no other test uses.
pub(crate) async fn namespace(client: &Client) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("broker-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    let api: Api<Namespace> = Api::all(client.clone());
    api.create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    name
}

/// Waits until `probe` gives something.
pub(crate) async fn eventually<T, F>(what: &str, mut probe: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while tokio::time::Instant::now() < deadline {
        if let Some(found) = probe().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("waited {PATIENCE:?} in vain: {what}");
}

/// A folder of templates.
pub(crate) struct Templates {
    folder: tempfile::TempDir,
}

impl Templates {
    /// Without any plan.
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// With one valid plan, `mongodb/map`, of a ConfigMap.
    pub(crate) fn with_plan() -> Self {
        let templates = Self::new();
        templates.plan("map", "");
        templates
    }

    /// Writes a valid plan of `mongodb` with some more lines in its plan.yaml.
    pub(crate) fn plan(&self, name: &str, lines: &str) {
        self.write(
            &format!("mongodb/{name}/plan.yaml"),
            &format!("version: 1.0.0\nkinds: [v1/ConfigMap]\n{PARAMETERS}{lines}"),
        );
        self.write(&format!("mongodb/{name}/10-map.yaml"), MAP);
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // As an editor does it: never half a file.
        let draft = path.with_file_name(".draft");
        fs::write(&draft, text).unwrap();
        fs::rename(draft, path).unwrap();
    }

    pub(crate) fn remove(&self, path: &str) {
        fs::remove_file(self.folder.path().join(path)).unwrap();
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}

const PARAMETERS: &str = "\
parameters:
  create:
    properties:
      color: {enum: [red, blue], default: red}
";

pub(crate) const MAP: &str = "\
apiVersion: v1
kind: ConfigMap
metadata:
  name: map
data:
  color: \"{{ parameters.color }}\"
";

/// A running replica.
pub(crate) struct TestApp {
    pub(crate) catalog: CatalogClient<Transport>,
    pub(crate) address: String,
    pub(crate) admin: String,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl TestApp {
    /// Starts a replica on some templates.
    pub(crate) async fn start(client: &Client, namespace: &str, templates: &Templates) -> Self {
        Self::start_with(client, Args::for_tests(vec![templates.path()], namespace)).await
    }

    /// Starts a replica.
    pub(crate) async fn start_with(client: &Client, mut args: Args) -> Self {
        args.sandbox.program = Program::At(env!("CARGO_BIN_EXE_catalog-svc").into());
        if std::env::var_os("BROKER_TEST_LOG").is_some() {
            // Only the first of the process succeeds, and serves all.
            let _ = service::telemetry::init(&args.service);
        }
        let app = App::bind(args, client.clone()).await.unwrap();
        let (address, admin) = (app.address().to_string(), app.admin_address().to_string());
        let shutdown = CancellationToken::new();
        Self {
            catalog: Target::new(address.clone(), Duration::from_secs(20), Ok)
                .catalog()
                .unwrap(),
            address,
            admin,
            task: tokio::spawn(app.run(shutdown.clone())),
            shutdown,
        }
    }

    /// Ends it, and checks that it ends well.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// Today's catalog, if there is one.
    pub(crate) async fn snapshot(&self) -> Option<CatalogSnapshot> {
        let answer = self.catalog.clone().get_catalog(GetCatalogRequest {}).await;
        answer.ok().map(tonic::Response::into_inner)
    }

    /// Waits for a catalog that is as wanted.
    pub(crate) async fn catalog(
        &self,
        what: &str,
        wanted: impl Fn(&CatalogSnapshot) -> bool,
    ) -> CatalogSnapshot {
        eventually(what, || async { self.snapshot().await.filter(&wanted) }).await
    }

    /// Waits until a plan is served, and is as wanted.
    pub(crate) async fn plan(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&Plan) -> bool,
    ) -> Plan {
        eventually(what, || async {
            let snapshot = self.snapshot().await?;
            let mut plans = snapshot
                .offerings
                .into_iter()
                .flat_map(|offering| offering.plans);
            plans.find(|plan| plan.name == name && wanted(plan))
        })
        .await
    }

    /// Waits for a report about a plan that is as wanted.
    pub(crate) async fn report(
        &self,
        plan: &str,
        what: &str,
        wanted: impl Fn(&PlanReport) -> bool,
    ) -> PlanReport {
        eventually(what, || async {
            let answer = self.catalog.clone().list_plans(ListPlansRequest {}).await;
            let plans = answer.ok()?.into_inner().plans;
            plans
                .into_iter()
                .find(|report| report.plan == plan && wanted(report))
        })
        .await
    }

    /// A bundle's content, or how the call fails.
    pub(crate) async fn bundle(&self, digest: &str) -> Result<Vec<u8>, tonic::Status> {
        let request = GetBundleRequest {
            digest: digest.to_owned(),
        };
        let answer = self.catalog.clone().get_bundle(request).await?;
        Ok(answer.into_inner().content)
    }

    /// Whether the admin port says that it is ready.
    pub(crate) async fn is_ready(&self) -> bool {
        self.admin("/ready").await.starts_with("HTTP/1.1 200")
    }

    /// The whole answer of the admin port.
    pub(crate) async fn admin(&self, path: &str) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(&self.admin).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

/// The ConfigMaps of a bundle, in order of their names.
pub(crate) async fn stored(client: &Client, namespace: &str, digest: &str) -> Vec<ConfigMap> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let label = format!("mongodb-osb.io/bundle={}", &digest[..63]);
    api.list(&ListParams::default().labels(&label))
        .await
        .unwrap()
        .items
}

/// When a bundle stopped being the current one, if it did.
pub(crate) fn superseded(maps: &[ConfigMap]) -> Vec<Option<String>> {
    let stamps = maps.iter().map(|map| {
        let annotations = map.metadata.annotations.as_ref()?;
        annotations.get("mongodb-osb.io/superseded-at").cloned()
    });
    stamps.collect()
}

/// The program.
pub(crate) fn program() -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_catalog-svc"));
    command.env_remove("BROKER_TEMPLATES");
    command
}

/// A file of the templates as the program names it.
pub(crate) fn shown(root: &Path, file: &str) -> String {
    root.join(file).display().to_string()
}
