//! One process of a service: started, killed, paused, and started again when it
//! ends, as Kubernetes does with a container.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal};
use tokio::{
    process::{Child, Command},
    sync::Mutex,
    time::Instant,
};

const LOOK: Duration = Duration::from_millis(200);
/// Short: how long a start takes is measured by it.
const LOOK_READY: Duration = Duration::from_millis(2);
/// How long a process may take to be ready, on a busy machine.
const READY: Duration = Duration::from_secs(90);

/// How a process is started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Its name: of the replica and of the log.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its environment, beside the addresses.
    pub environment: Vec<(String, String)>,
    /// Folder of the logs.
    pub logs: PathBuf,
}

/// One replica of a service.
#[derive(Debug, Clone)]
pub struct Replica {
    /// Where it serves.
    pub address: SocketAddr,
    /// Where its metrics and readiness are.
    pub admin: SocketAddr,
    launch: Arc<Launch>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    child: Option<Child>,
    /// Whether it is started again when it ends.
    wanted: bool,
}

impl Replica {
    /// One that does not run yet, with addresses of its own.
    pub fn new(launch: Launch) -> anyhow::Result<Self> {
        let replica = Self {
            address: free_address()?,
            admin: free_address()?,
            launch: Arc::new(launch),
            state: Arc::default(),
        };
        tokio::spawn(replica.clone().keep());
        Ok(replica)
    }

    /// How messages call it.
    pub fn name(&self) -> &str {
        &self.launch.name
    }

    /// Starts it, unless it runs.
    pub async fn start(&self) -> anyhow::Result<()> {
        self.start_with(&[]).await
    }

    /// Starts it anew with these variables, which it loses when it is started again.
    pub async fn start_with(&self, variables: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut state = self.state.lock().await;
        state.wanted = true;
        if !variables.is_empty() {
            end(&mut state).await;
        }
        if !is_running(&mut state) {
            state.child = Some(self.spawn(variables)?);
        }
        Ok(())
    }

    /// Kills it. It is started again.
    pub async fn kill(&self) {
        end(&mut *self.state.lock().await).await;
    }

    /// Kills it for good.
    pub async fn stop(&self) {
        let mut state = self.state.lock().await;
        state.wanted = false;
        end(&mut state).await;
    }

    /// Stops its threads, until [`Replica::resume`].
    pub async fn pause(&self) {
        self.signal(Signal::STOP).await;
    }

    /// Lets it go on.
    pub async fn resume(&self) {
        self.signal(Signal::CONT).await;
    }

    /// Whether its threads are stopped.
    pub async fn is_paused(&self) -> bool {
        let Some(id) = self.id().await else {
            return false;
        };
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // The state follows the name, which is in parentheses.
        stat.rsplit_once(')')
            .is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
    }

    /// The number of its process.
    pub async fn id(&self) -> Option<u32> {
        self.state.lock().await.child.as_ref()?.id()
    }

    /// Waits until it says that it is ready.
    pub async fn ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY;
        let url = format!("http://{}/ready", self.admin);
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(2))
            .build()
            .context("make a client")?;
        loop {
            if let Ok(answer) = client.get(&url).send().await
                && answer.status().is_success()
            {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{} is not ready after {} s; the last line of its log: {}",
                self.name(),
                READY.as_secs(),
                self.last_line()
            );
            tokio::time::sleep(LOOK_READY).await;
        }
    }

    fn log(&self) -> PathBuf {
        self.launch.logs.join(format!("{}.log", self.name()))
    }

    fn last_line(&self) -> String {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        text.lines().next_back().unwrap_or_default().to_owned()
    }

    async fn signal(&self, signal: Signal) {
        let id = self.id().await.and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = id.and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    async fn keep(self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let mut state = self.state.lock().await;
            if state.wanted && !is_running(&mut state) {
                state.child = self.spawn(&[]).ok();
            }
        }
    }

    fn spawn(&self, variables: &[(&str, &str)]) -> anyhow::Result<Child> {
        let path = self.log();
        let log = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        let errors = log.try_clone().context("open the log twice")?;
        // The kernel ends it with us, however we end.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&self.launch.program)
            .env_clear()
            .envs(self.launch.environment.iter().cloned())
            .env("BROKER_LISTEN", self.address.to_string())
            .env("BROKER_ADMIN_LISTEN", self.admin.to_string())
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .kill_on_drop(true);
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
            .spawn()
            .with_context(|| format!("start {}", self.launch.program.display()))
    }
}

async fn end(state: &mut State) {
    if let Some(mut child) = state.child.take() {
        // It may have ended by itself.
        let _ = child.kill().await;
    }
}

fn is_running(state: &mut State) -> bool {
    state
        .child
        .as_mut()
        .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
}

fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
    listener.local_addr().context("find a free port")
}
