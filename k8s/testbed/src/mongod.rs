//! A real mongod for a test, on a free loopback port with a temporary data folder.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{net::TcpStream, sync::Mutex};

use crate::{
    binaries,
    error::{At as _, Result},
    folder::Folder,
    pki,
    port::Port,
    process::{Launch, Lifetime, Process},
    wait,
};

const READY_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// How a mongod is set up. The default is a standalone one without authentication.
#[derive(Debug, Clone, Default)]
pub struct MongodOptions {
    replica_set: Option<String>,
    key: Option<String>,
    args: Vec<String>,
}

impl MongodOptions {
    /// A member of a replica set of that name, which is not initiated yet.
    #[must_use]
    pub fn replica_set(mut self, name: impl Into<String>) -> Self {
        self.replica_set = Some(name.into());
        self
    }

    /// Users must log in. Until the first one is made, whoever connects from this machine may make
    /// it (MongoDB's localhost exception).
    #[must_use]
    pub fn auth(self) -> Self {
        self.arg("--auth")
    }

    /// Users must log in, and members of the replica set know each other by this key: 6 to 1024
    /// base64 characters.
    #[must_use]
    pub fn key_file(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }
}

/// A mongod. Dropping it ends the process and removes its data.
#[derive(Debug)]
pub struct Mongod {
    // Dropped in this order: the process before what it uses.
    process: Mutex<Option<Process>>,
    program: PathBuf,
    args: Vec<String>,
    port: Port,
    folder: Folder,
}

impl Mongod {
    /// Starts one, and returns when it accepts connections. The first start on a machine downloads
    /// the program.
    pub async fn start(options: MongodOptions) -> Result<Self> {
        let program = binaries::mongod().await?;
        let folder = Folder::create("mongod")?;
        let port = Port::reserve()?;
        let data = folder.path().join("data");
        std::fs::create_dir_all(&data).at("create", &data)?;

        let mut args = vec![
            format!("--dbpath={}", data.display()),
            format!("--port={}", port.number()),
            "--bind_ip=127.0.0.1".to_owned(),
            "--nounixsocket".to_owned(),
            "--wiredTigerCacheSizeGB=0.25".to_owned(),
            "--setParameter=diagnosticDataCollectionEnabled=false".to_owned(),
        ];
        if let Some(name) = options.replica_set {
            args.push(format!("--replSet={name}"));
        }
        if let Some(key) = options.key {
            let path = folder.path().join("keyfile");
            pki::write(&path, &key)?;
            args.push(format!("--keyFile={}", path.display()));
        }
        args.extend(options.args);

        let mongod = Self {
            process: Mutex::new(None),
            program,
            args,
            port,
            folder,
        };
        mongod.resume().await?;
        Ok(mongod)
    }

    /// `127.0.0.1:<port>`, also while it is stopped.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port.number()))
    }

    /// A URI without a user, for this server alone whatever replica set it is in.
    pub fn uri(&self) -> String {
        format!("mongodb://{}/?directConnection=true", self.address())
    }

    /// The folder with its data and log. It goes when the value is dropped.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends it in good order. Data and port stay.
    pub async fn stop(&self) {
        if let Some(mut process) = self.process.lock().await.take() {
            process.stop(STOP_LIMIT).await;
        }
    }

    /// Ends it as a crash would.
    pub async fn kill(&self) {
        if let Some(mut process) = self.process.lock().await.take() {
            process.kill().await;
        }
    }

    /// Starts it again with the same data on the same port, unless it runs.
    pub async fn resume(&self) -> Result<()> {
        let mut slot = self.process.lock().await;
        if slot.as_ref().is_some_and(Process::is_running) {
            return Ok(());
        }
        let process = Process::start(Launch {
            name: "mongod",
            program: self.program.clone(),
            args: self.args.clone(),
            logs: self.folder.path().to_owned(),
            lifetime: Lifetime::Ours,
        })
        .await?;
        // It listens only once it is ready to serve.
        wait::until("mongod", READY_LIMIT, &[&process], async || {
            TcpStream::connect(self.address()).await
        })
        .await?;
        *slot = Some(process);
        Ok(())
    }

    /// Ends it in good order and starts it again.
    pub async fn restart(&self) -> Result<()> {
        self.stop().await;
        self.resume().await
    }
}
