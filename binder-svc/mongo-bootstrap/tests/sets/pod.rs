//! A pod without a kubelet: a real mongod and the real mongo-bootstrap beside it. Each member has
//! a loopback address of its own, with the same port.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use testbed::Port;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

/// Patience with a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
pub(crate) const PASSWORD: &str = "correct-horse-battery-staple";

/// What all pods of a set share.
#[derive(Debug, Clone)]
pub(crate) struct Set {
    pub(crate) namespace: String,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) mongod: PathBuf,
    pub(crate) port: Arc<Port>,
    /// More arguments for mongod.
    pub(crate) mongod_args: Vec<String>,
    /// Where mongod listens, if not at its name.
    pub(crate) elsewhere: Option<String>,
    /// More variables for mongo-bootstrap.
    pub(crate) environment: Vec<(String, String)>,
}

pub(crate) struct Pod {
    set: Set,
    ordinal: u32,
    probes: Port,
    mongod: Option<Child>,
    sidecar: Option<Child>,
}

impl Set {
    pub(crate) fn host(&self, ordinal: u32) -> String {
        format!("127.0.1.{ordinal}:{}", self.port.number())
    }
}

impl Pod {
    pub(crate) fn new(set: &Set, ordinal: u32) -> Self {
        let pod = Self {
            set: set.clone(),
            ordinal,
            probes: Port::reserve().unwrap(),
            mongod: None,
            sidecar: None,
        };
        std::fs::create_dir_all(pod.folder()).unwrap();
        std::fs::write(
            pod.folder().join("secret-keyfile"),
            "a2V5ZmlsZS1mb3ItdGVzdHM=",
        )
        .unwrap();
        std::fs::write(pod.folder().join("password"), PASSWORD).unwrap();
        pod
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.set.folder.join(format!("mdb-{}", self.ordinal))
    }

    pub(crate) fn host(&self) -> String {
        self.set.host(self.ordinal)
    }

    /// Where its mongod really listens.
    pub(crate) fn address(&self) -> String {
        match &self.set.elsewhere {
            Some(address) => format!("{address}:{}", self.set.port.number()),
            None => self.host(),
        }
    }

    /// Its mongod listens at another address from now on.
    pub(crate) fn move_to(&mut self, address: Option<&str>) {
        self.set.elsewhere = address.map(str::to_owned);
    }

    /// What the init container does, then mongod.
    pub(crate) async fn start_mongod(&mut self) {
        let (secret, keyfile) = (
            self.folder().join("secret-keyfile"),
            self.folder().join("keyfile"),
        );
        let copied = program()
            .arg("init")
            .arg(format!("--copy={}={}", secret.display(), keyfile.display()))
            .stderr(Stdio::null())
            .status()
            .await
            .unwrap();
        assert!(copied.success());
        let data = self.folder().join("data");
        std::fs::create_dir_all(&data).unwrap();
        let address = self.set.elsewhere.clone();
        let address = address.unwrap_or_else(|| format!("127.0.1.{}", self.ordinal));
        let port = self.set.port.number().to_string();
        let child = Command::new(&self.set.mongod)
            .args([
                "--replSet",
                "mdb",
                "--bind_ip",
                &address,
                "--port",
                &port,
                "--nounixsocket",
            ])
            .args([
                "--wiredTigerCacheSizeGB",
                "0.25",
                "--oplogSize",
                "50",
                "--dbpath",
            ])
            .arg(data)
            .arg("--keyFile")
            .arg(keyfile)
            .args(&self.set.mongod_args)
            .stdout(self.log("mongod.log"))
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        self.mongod = Some(child);
    }

    pub(crate) async fn kill_mongod(&mut self) {
        kill(&mut self.mongod).await;
    }

    /// The disk is gone.
    pub(crate) fn lose_data(&self) {
        std::fs::remove_dir_all(self.folder().join("data")).unwrap();
    }

    pub(crate) fn write_password(&self, password: &str) {
        std::fs::write(self.folder().join("password"), password).unwrap();
    }

    pub(crate) fn start_sidecar(&mut self, crash_at: Option<&str>) {
        let members = format!("127.0.1.{{ordinal}}:{}", self.set.port.number());
        let mut command = program();
        command
            .arg("run")
            .env("KUBECONFIG", &self.set.kubeconfig)
            .env("BROKER_POD_NAME", format!("mdb-{}", self.ordinal))
            .env("BROKER_POD_NAMESPACE", &self.set.namespace)
            .env("BROKER_MEMBERS", members)
            .env("BROKER_MONGOD", self.address())
            .env("BROKER_ADMIN_PASSWORD_FILE", self.folder().join("password"))
            .env(
                "BROKER_ADMIN_LISTEN",
                format!("127.0.0.1:{}", self.probes.number()),
            )
            .envs(self.set.environment.iter().cloned())
            .stderr(self.log("sidecar.log"))
            .kill_on_drop(true);
        if let Some(step) = crash_at {
            command.env("BROKER_CRASH_AT", step);
        }
        self.sidecar = Some(command.spawn().unwrap());
    }

    pub(crate) async fn kill_sidecar(&mut self) {
        kill(&mut self.sidecar).await;
    }

    /// Asks the sidecar to end, and waits until it has.
    pub(crate) async fn terminate_sidecar(&mut self) -> ExitStatus {
        let id = self
            .sidecar
            .as_ref()
            .and_then(Child::id)
            .unwrap()
            .to_string();
        assert!(
            Command::new("kill")
                .arg(id)
                .status()
                .await
                .unwrap()
                .success()
        );
        self.sidecar_ends().await
    }

    /// Waits until the sidecar ends by itself.
    pub(crate) async fn sidecar_ends(&mut self) -> ExitStatus {
        let mut child = self.sidecar.take().unwrap();
        timeout(LIMIT, child.wait())
            .await
            .expect("the sidecar does not end")
            .unwrap()
    }

    pub(crate) fn sidecar_log(&self) -> String {
        std::fs::read_to_string(self.folder().join("sidecar.log")).unwrap()
    }

    /// How often the sidecars of this pod have logged a text.
    pub(crate) fn times_logged(&self, text: &str) -> usize {
        self.sidecar_log().matches(text).count()
    }

    /// Waits until the sidecars of this pod have logged a text so often.
    pub(crate) async fn logs(&self, text: &str, times: usize) {
        let start = Instant::now();
        while self.times_logged(text) < times {
            assert!(start.elapsed() < LIMIT, "{}", self.sidecar_log());
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Status and text of a probe; 0 without an answer.
    pub(crate) async fn probe(&self, path: &str) -> (u16, String) {
        self.ask(path).await.unwrap_or_default()
    }

    async fn ask(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.probes.number()))
            .await
            .ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        let text = answer.split("\r\n\r\n").nth(1)?.trim().to_owned();
        Some((status, text))
    }

    pub(crate) async fn becomes_ready(&self) {
        let start = Instant::now();
        loop {
            let answer = self.probe("/ready").await;
            if answer.0 == 200 {
                return;
            }
            assert!(
                start.elapsed() < LIMIT,
                "not ready: {answer:?}\n{}",
                self.sidecar_log()
            );
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn log(&self, name: &str) -> Stdio {
        let path = self.folder().join(name);
        let file = File::options()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        Stdio::from(file)
    }
}

/// The program, with nothing of our environment.
fn program() -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_mongo-bootstrap")));
    command.env_clear();
    command
}

async fn kill(slot: &mut Option<Child>) {
    if let Some(mut child) = slot.take() {
        child.kill().await.unwrap();
    }
}
