//! A control plane of its own for a test: etcd, the API server and, if asked, the controllers.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{Api, api::PostParams};
use tokio::sync::Mutex;

use crate::{
    api_server::{ApiServer, Controllers, Etcd, SERVICE_ADDRESS, controller_manager_args},
    binaries::{self, Binary},
    error::{Error, Result},
    folder::Folder,
    identity::{Identity, Server},
    pki::Authority,
    port::Port,
    process::{Launch, Lifetime, Process},
    wait,
};

/// How long the API server and the controllers may take to be ready on a busy machine.
const READY_LIMIT: Duration = Duration::from_secs(120);
/// How long a token of a service account is good for, in seconds: longer than any test.
const TOKEN_SECONDS: i64 = 24 * 3600;

/// What a control plane should have.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    controllers: Controllers,
    api_server_args: Vec<String>,
}

impl Builder {
    /// Which controllers run; none by default.
    #[must_use]
    pub fn controllers(mut self, controllers: Controllers) -> Self {
        self.controllers = controllers;
        self
    }

    /// One more argument for the API server, such as `--feature-gates=…`.
    #[must_use]
    pub fn api_server_arg(mut self, arg: impl Into<String>) -> Self {
        self.api_server_args.push(arg.into());
        self
    }

    /// Starts it, and returns when it is ready. The first start on a machine builds the programs,
    /// which takes minutes.
    pub async fn start(self) -> Result<ControlPlane> {
        ControlPlane::launch(self).await
    }
}

/// A running control plane. Dropping it ends its processes and removes its folder.
#[derive(Debug)]
pub struct ControlPlane {
    // Fields drop in this order: the processes first, then what they use.
    running: Mutex<Running>,
    admin: Identity,
    server: Server,
    api_server: Invocation,
    #[expect(dead_code, reason = "held until the processes are gone")]
    ports: Vec<Port>,
    folder: Folder,
}

/// How the API server is started, each time anew.
#[derive(Debug)]
struct Invocation {
    program: PathBuf,
    args: Vec<String>,
}

#[derive(Debug)]
struct Running {
    controllers: Option<Process>,
    api_server: Option<Process>,
    etcd: Process,
}

impl ControlPlane {
    /// Starts one with the defaults: etcd and the API server.
    pub async fn start() -> Result<Self> {
        Self::builder().start().await
    }

    /// Chooses what it should have.
    pub fn builder() -> Builder {
        Builder::default()
    }

    async fn launch(builder: Builder) -> Result<Self> {
        let etcd_program = binaries::provide(Binary::Etcd).await?;
        let program = binaries::provide(Binary::KubeApiServer).await?;
        let folder = Folder::create("control-plane")?;
        let ports: Vec<Port> = (0..4).map(|_| Port::reserve()).collect::<Result<_>>()?;
        let [clients, peers, api, manager] = [0, 1, 2, 3].map(|index| ports[index].number());

        let authority = Authority::create(&folder.path().join("pki"))?;
        let hosts = [
            "127.0.0.1",
            "localhost",
            SERVICE_ADDRESS,
            "kubernetes.default.svc",
        ];
        let (certificate, key) = authority.server("kube-apiserver", &hosts)?;
        let etcd = Etcd { clients, peers };
        let api_server = ApiServer {
            address: Ipv4Addr::LOCALHOST,
            port: api,
            etcd,
            authority: &authority,
            serving: (&certificate, &key),
        };
        let server = Server {
            name: "testbed".to_owned(),
            url: api_server.url(),
            authority: authority.clone(),
            folder: folder.path().to_owned(),
        };
        let mut args = api_server.args();
        args.extend(builder.api_server_args);
        let api_server = Invocation { program, args };

        let admin = server.user("admin", &["system:masters"]).await?;
        let etcd = Process::start(Launch {
            name: "etcd",
            program: etcd_program,
            args: etcd.args(&folder.path().join("etcd")),
            logs: folder.path().to_owned(),
            lifetime: Lifetime::Ours,
        })
        .await?;
        let running = Mutex::new(Running {
            controllers: None,
            api_server: None,
            etcd,
        });
        let control_plane = Self {
            running,
            admin,
            server,
            api_server,
            ports,
            folder,
        };
        control_plane.start_api_server().await?;
        if builder.controllers == Controllers::Manager {
            control_plane.start_controllers(manager).await?;
        }
        Ok(control_plane)
    }

    /// A client with all rights.
    pub fn client(&self) -> kube::Client {
        self.admin.client()
    }

    /// The configuration of that client.
    pub fn config(&self) -> kube::Config {
        self.admin.config()
    }

    /// A kubeconfig file with all rights.
    pub fn kubeconfig(&self) -> &Path {
        self.admin.kubeconfig()
    }

    /// Where the API server listens: `https://127.0.0.1:…`.
    pub fn url(&self) -> &str {
        &self.server.url
    }

    /// The folder with logs, certificates and data. It goes when the control plane is dropped.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A user of that name in these groups. What they may do is up to RBAC.
    pub async fn user(&self, name: &str, groups: &[&str]) -> Result<Identity> {
        self.server.user(name, groups).await
    }

    /// An existing service account, by a token from the TokenRequest API.
    pub async fn service_account(&self, namespace: &str, name: &str) -> Result<Identity> {
        service_account(&self.server, self.client(), namespace, name).await
    }

    /// Takes the API server away, abruptly. Its data and its address stay.
    pub async fn stop_api_server(&self) {
        if let Some(mut process) = self.running.lock().await.api_server.take() {
            process.kill().await;
        }
    }

    /// Brings the API server back on the same address with the same data, and waits until it is
    /// ready. Does nothing while one runs.
    pub async fn start_api_server(&self) -> Result<()> {
        let mut running = self.running.lock().await;
        if running.api_server.as_ref().is_some_and(Process::is_running) {
            return Ok(());
        }
        let process = Process::start(Launch {
            name: "kube-apiserver",
            program: self.api_server.program.clone(),
            args: self.api_server.args.clone(),
            logs: self.folder.path().to_owned(),
            lifetime: Lifetime::Ours,
        })
        .await?;
        wait_ready(self.client(), &[&running.etcd, &process]).await?;
        running.api_server = Some(process);
        Ok(())
    }

    async fn start_controllers(&self, port: u16) -> Result<()> {
        let program = binaries::provide(Binary::KubeControllerManager).await?;
        let kubeconfig = self
            .server
            .user_kubeconfig("system:kube-controller-manager", &[])?;
        let process = Process::start(Launch {
            name: "kube-controller-manager",
            program,
            args: controller_manager_args(port, &kubeconfig, &self.server.authority),
            logs: self.folder.path().to_owned(),
            lifetime: Lifetime::Ours,
        })
        .await?;
        wait_controllers(self.client(), &[&process]).await?;
        self.running.lock().await.controllers = Some(process);
        Ok(())
    }
}

/// Waits until the API server answers and has made its roles.
pub(crate) async fn wait_ready(client: kube::Client, processes: &[&Process]) -> Result<()> {
    wait::until("the API server", READY_LIMIT, processes, async || {
        look_ready(client.clone()).await
    })
    .await
}

/// Whether the API server answers and has made its roles.
pub(crate) async fn look_ready(client: kube::Client) -> Result<()> {
    let request = http::Request::get("/readyz")
        .body(Vec::new())
        .map_err(kube::Error::HttpError)?;
    client.request_text(request).await?;
    Ok(())
}

/// Waits until the controllers have done something: they make the default service account.
pub(crate) async fn wait_controllers(client: kube::Client, processes: &[&Process]) -> Result<()> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client, "default");
    wait::until("the controllers", READY_LIMIT, processes, async || {
        accounts.get("default").await
    })
    .await?;
    Ok(())
}

/// The identity of a service account.
pub(crate) async fn service_account(
    server: &Server,
    client: kube::Client,
    namespace: &str,
    name: &str,
) -> Result<Identity> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client, namespace);
    let request = TokenRequest {
        spec: TokenRequestSpec {
            expiration_seconds: Some(TOKEN_SECONDS),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let answer = accounts
        .create_token_request(name, &PostParams::default(), &request)
        .await?;
    let Some(status) = answer.status else {
        return Err(Error::Unsupported {
            reason: format!("no token was given for {namespace}/{name}"),
        });
    };
    server
        .bearer(&format!("{name}@{namespace}"), status.token)
        .await
}
