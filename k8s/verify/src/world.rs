//! All that runs: API server, database, the services' replicas, and a proxy on
//! each connection between them.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::Context as _;
use kube::Client;
use rig::{Launch, Replica, certificates};
use secrecy::ExposeSecret as _;
use serde_json::json;
use testbed::ControlPlane;

use crate::{
    args::Args,
    database::Database,
    faults::{Dial, Fault},
    plans,
    platform::{LOGIN, Platform},
    proxy::{ApiProxy, TcpProxy},
};

pub(crate) use rig::NAMESPACE;

const CATALOG: &str = "catalog-svc";
/// Owns the instances.
pub(crate) const PROVISIONER: &str = "provisioner-svc";
/// Owns the bindings.
pub(crate) const BINDER: &str = "binder-svc";
const GATEWAY: &str = "gateway";

/// A service and how many replicas of it run.
const SERVICES: [(&str, usize); 4] = [(CATALOG, 2), (PROVISIONER, 2), (BINDER, 2), (GATEWAY, 2)];
/// Who calls the API server.
const API_CALLERS: [&str; 3] = [CATALOG, PROVISIONER, BINDER];
/// Who calls whom over gRPC.
const CALLS: [(&str, &str); 6] = [
    (GATEWAY, CATALOG),
    (GATEWAY, PROVISIONER),
    (GATEWAY, BINDER),
    (PROVISIONER, CATALOG),
    (BINDER, CATALOG),
    (BINDER, PROVISIONER),
];

/// A connection, and what can happen on it.
pub(crate) struct Link {
    /// Caller and callee.
    pub(crate) name: String,
    /// The service that calls.
    pub(crate) caller: &'static str,
    /// Whether it calls only when it starts, as whoever keeps what it was told.
    pub(crate) at_start: bool,
    /// What makes the faults.
    pub(crate) dial: Dial,
    /// Which ones it can make.
    pub(crate) faults: Vec<Fault>,
}

/// Everything.
pub(crate) struct World {
    /// A platform with its catalog.
    pub(crate) platform: Platform,
    /// The database of all instances.
    pub(crate) database: Database,
    control_plane: ControlPlane,
    replicas: Vec<(&'static str, Replica)>,
    api: Vec<(&'static str, ApiProxy)>,
    calls: Vec<(&'static str, &'static str, TcpProxy)>,
    front: TcpProxy,
    logs: Mutex<Option<tempfile::TempDir>>,
    /// What was left before, and is in the table already.
    known: Mutex<BTreeSet<String>>,
    _folder: tempfile::TempDir,
}

impl World {
    /// Starts all of it, and waits until the catalog is served.
    pub(crate) async fn start(args: &Args) -> anyhow::Result<Self> {
        let seed = args.seed;
        let folder = tempfile::tempdir().context("make a folder")?;
        let logs = tempfile::Builder::new()
            .prefix("verify-logs-")
            .tempdir()
            .context("make a folder")?;
        println!("starting the API server and the database");
        let (control_plane, database) =
            tokio::try_join!(rig::control_plane(&args.root), Database::start(seed))?;
        plans::write(&folder.path().join("templates"), database.proxy.address)?;
        let logins = folder.path().join("logins");
        fs::create_dir_all(&logins)?;
        fs::write(logins.join("username"), LOGIN.0)?;
        fs::write(logins.join("password"), LOGIN.1)?;
        fs::write(logins.join("platform"), LOGIN.0)?;

        let mut seeds = seed..;
        let mut next = || seeds.next().unwrap_or_default();
        let mut api = Vec::new();
        for caller in API_CALLERS {
            let proxy = ApiProxy::start(&control_plane.config(), next()).await?;
            api.push((caller, proxy));
        }
        let mut calls = Vec::new();
        for (caller, callee) in CALLS {
            calls.push((caller, callee, TcpProxy::start(Vec::new(), next()).await?));
        }
        let front = TcpProxy::start(Vec::new(), next()).await?;
        certificates::certify(folder.path(), &SERVICES.map(|(service, _)| service))?;

        let mut replicas = Vec::new();
        for (service, count) in SERVICES {
            let mut environment = environment(service, args, folder.path());
            environment.extend(addresses(service, &calls));
            if let Some((_, proxy)) = api.iter().find(|(caller, _)| *caller == service) {
                let path =
                    kubeconfig(&control_plane, service, proxy.address, folder.path()).await?;
                environment.push(("KUBECONFIG".to_owned(), path.display().to_string()));
            }
            for number in 0..count {
                let name = format!("{service}-{number}");
                let mut environment = environment.clone();
                environment.push(("BROKER_REPLICA".to_owned(), name.clone()));
                let launch = Launch {
                    name,
                    program: args.programs.join(service),
                    environment,
                    logs: logs.path().to_owned(),
                };
                replicas.push((service, Replica::new(launch)?));
            }
        }
        let mut world = Self {
            platform: Platform::new(front.address)?,
            database,
            control_plane,
            replicas,
            api,
            calls,
            front,
            logs: Mutex::new(Some(logs)),
            known: Mutex::default(),
            _folder: folder,
        };
        println!("starting the services");
        for (service, _) in SERVICES {
            world.route_to_all(service);
        }
        world.whole().await?;
        world.platform.learn().await?;
        Ok(world)
    }

    /// A client of the API server, past the proxies.
    pub(crate) fn client(&self) -> Client {
        self.control_plane.client()
    }

    /// The replicas of a service.
    pub(crate) fn of(&self, service: &str) -> Vec<&Replica> {
        let all = self.replicas.iter();
        all.filter(|(of, _)| *of == service)
            .map(|(_, replica)| replica)
            .collect()
    }

    /// All replicas of all services.
    pub(crate) fn replicas(&self) -> Vec<&Replica> {
        self.replicas.iter().map(|(_, replica)| replica).collect()
    }

    /// Calls to the service go to this replica alone.
    pub(crate) fn route_to(&self, service: &str, replica: &Replica) {
        self.route(service, &[replica.address]);
    }

    /// Calls to the service go to all its replicas.
    pub(crate) fn route_to_all(&self, service: &str) {
        let addresses: Vec<SocketAddr> = self
            .of(service)
            .iter()
            .map(|replica| replica.address)
            .collect();
        self.route(service, &addresses);
    }

    fn route(&self, service: &str, addresses: &[SocketAddr]) {
        for (_, callee, proxy) in &self.calls {
            if *callee == service {
                proxy.route(addresses);
            }
        }
        if service == GATEWAY {
            self.front.route(addresses);
        }
    }

    /// Brings everything to rest: no faults, every replica running and ready.
    pub(crate) async fn whole(&self) -> anyhow::Result<()> {
        for link in self.links() {
            link.dial.heal();
        }
        for replica in self.replicas() {
            replica.resume().await;
            replica.start().await?;
        }
        for (service, _) in SERVICES {
            self.route_to_all(service);
        }
        for replica in self.replicas() {
            replica.ready().await?;
        }
        Ok(())
    }

    /// Every connection that can have faults.
    pub(crate) fn links(&self) -> Vec<Link> {
        let api = self.api.iter().map(|(caller, proxy)| Link {
            name: format!("{caller} -> API server"),
            caller,
            at_start: *caller == CATALOG,
            dial: proxy.dial.clone(),
            faults: Fault::OF_REQUESTS.to_vec(),
        });
        let database = Link {
            name: format!("{BINDER} -> database"),
            caller: BINDER,
            at_start: false,
            dial: self.database.proxy.dial.clone(),
            faults: Fault::OF_CONNECTIONS.to_vec(),
        };
        let calls = self.calls.iter().map(|(caller, callee, proxy)| Link {
            name: format!("{caller} -> {callee}"),
            caller,
            at_start: *callee == CATALOG,
            dial: proxy.dial.clone(),
            faults: Fault::OF_CONNECTIONS.to_vec(),
        });
        api.chain([database]).chain(calls).collect()
    }

    /// Notes what is left, which is a fault of one row only.
    pub(crate) fn remember(&self, left: &[String]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(left.iter().cloned());
    }

    /// Whether that was left before.
    pub(crate) fn knows(&self, left: &str) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.contains(left)
    }

    /// Keeps the logs; where they are.
    pub(crate) fn keep_logs(&self) -> PathBuf {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        logs.take().map(tempfile::TempDir::keep).unwrap_or_default()
    }
}

/// A kubeconfig with the shipped account's own token, through the proxy.
async fn kubeconfig(
    control_plane: &ControlPlane,
    account: &str,
    proxy: SocketAddr,
    folder: &Path,
) -> anyhow::Result<PathBuf> {
    let identity = control_plane.service_account(NAMESPACE, account).await?;
    let auth = identity.config().auth_info;
    let token = auth.token.context("an account without a token")?;
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "verify",
        "clusters": [{"name": "verify", "cluster": {"server": format!("http://{proxy}")}}],
        "users": [{"name": account, "user": {"token": token.expose_secret()}}],
        "contexts": [{"name": "verify", "context": {"cluster": "verify", "user": account}}],
    });
    let path = folder.join(format!("{account}.kubeconfig"));
    fs::write(&path, config.to_string()).context("write a kubeconfig")?;
    Ok(path)
}

/// What all services get, and what is a service's own. Short times: what is
/// tested is what happens after them.
fn environment(service: &str, args: &Args, folder: &Path) -> Vec<(String, String)> {
    let templates = folder.join("templates").display().to_string();
    let logins = folder.join("logins").display().to_string();
    let mut environment = vec![
        ("BROKER_NAMESPACE", NAMESPACE.to_owned()),
        ("BROKER_LOG", args.log.clone()),
        ("BROKER_DRAIN_DELAY", "0".to_owned()),
        ("BROKER_LEASE_RENEW", "0.5".to_owned()),
        ("BROKER_LEASE_LIFETIME", "3".to_owned()),
        ("BROKER_SWEEP_INTERVAL", "2".to_owned()),
        ("RUST_BACKTRACE", "1".to_owned()),
        (
            "BROKER_TLS",
            certificates::of(folder, service).display().to_string(),
        ),
    ];
    environment.extend(match service {
        CATALOG => vec![("BROKER_TEMPLATES", templates)],
        // A synchronous answer comes before the gateway gives up.
        PROVISIONER => vec![("BROKER_SYNC_DEADLINE", "15".to_owned())],
        BINDER => vec![
            ("BROKER_SECOND_LOOK", "5".to_owned()),
            ("BROKER_SYNC_DEADLINE", "15".to_owned()),
        ],
        _ => vec![
            ("BROKER_WRITE_DEADLINE", "20".to_owned()),
            ("BROKER_CREDENTIALS", logins),
        ],
    });
    let owned = environment.into_iter();
    owned
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Where a service finds those that it calls.
fn addresses(
    service: &str,
    calls: &[(&'static str, &'static str, TcpProxy)],
) -> Vec<(String, String)> {
    let of = calls.iter().filter(|(caller, _, _)| *caller == service);
    of.map(|(_, callee, proxy)| {
        let variable = match *callee {
            CATALOG => "BROKER_CATALOG",
            PROVISIONER => "BROKER_PROVISIONER",
            _ => "BROKER_BINDER",
        };
        (variable.to_owned(), proxy.address.to_string())
    })
    .collect()
}
