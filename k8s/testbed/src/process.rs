//! Long-running processes: started, watched, ended, with their output in a log file.
//!
//! Each child has a thread of its own that starts it and waits for it. That thread is also what
//! makes the kernel's "end with your parent" (`setpriv --pdeathsig`) right: it means the parent
//! *thread*, and a runtime's worker threads end long before a process does.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::sync::{oneshot, watch};

use crate::{
    command,
    error::{At as _, Error, Result},
};

/// How much of a log's end is read for an error.
const TAIL_BYTES: u64 = 16 * 1024;
/// How long a killed process may take to be gone. Only uninterruptible I/O takes longer.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// Whether a process ends with ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// It is killed when its handle is dropped, and by the kernel when our process ends.
    Ours,
    /// It goes on when our process ends.
    Detached,
}

/// What to start.
#[derive(Debug)]
pub(crate) struct Launch {
    /// How it is called in messages; also the name of its log file.
    pub(crate) name: &'static str,
    /// The program.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) args: Vec<String>,
    /// The folder of its log.
    pub(crate) logs: PathBuf,
    /// When it ends.
    pub(crate) lifetime: Lifetime,
}

/// A process that was started here.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    log: PathBuf,
    handle: Handle,
    ended: watch::Receiver<Option<ExitStatus>>,
    lifetime: Lifetime,
}

impl Process {
    /// Starts it.
    pub(crate) async fn start(launch: Launch) -> Result<Self> {
        let Launch {
            name,
            program,
            args,
            logs,
            lifetime,
        } = launch;
        fs::create_dir_all(&logs).at("create", &logs)?;
        let log = logs.join(format!("{name}.log"));
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .at("open", &log)?;
        let errors = output.try_clone().at("open", &log)?;
        let mut command = match lifetime {
            Lifetime::Ours => {
                let mut command = Command::new("setpriv");
                command.args(["--pdeathsig", "KILL", "--"]).arg(&program);
                command
            }
            Lifetime::Detached => Command::new(&program),
        };
        // A group of its own: Ctrl-C at the terminal is for us, not for them.
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0);

        let (started, start) = oneshot::channel();
        let (publish, ended) = watch::channel(None);
        let thread = thread::Builder::new().name(name.to_owned());
        let spawned = thread.spawn(move || {
            let child = command
                .spawn()
                .and_then(|child| Ok((Handle::open(child.id())?, child)));
            match child {
                Ok((handle, child)) => {
                    let _ = started.send(Ok(handle));
                    wait(child, &publish);
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            }
        });
        let fails = |source| Error::Start {
            program: program.display().to_string(),
            source,
        };
        spawned.map_err(fails)?;
        let handle = start
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
            .map_err(fails)?;
        Ok(Self {
            name,
            log,
            handle,
            ended,
            lifetime,
        })
    }

    /// Whether it is there.
    pub(crate) fn is_running(&self) -> bool {
        self.ended.borrow().is_none()
    }

    /// An error with the end of its log, if it ended.
    pub(crate) fn check(&self) -> Result<()> {
        let Some(status) = *self.ended.borrow() else {
            return Ok(());
        };
        Err(Error::Ended {
            process: self.name.to_owned(),
            status: status.to_string(),
            log: self.log.clone(),
            tail: self.tail(),
        })
    }

    /// The end of its log.
    pub(crate) fn tail(&self) -> String {
        command::tail(&end_of(&self.log).unwrap_or_default())
    }

    /// Asks it to end, and kills it if it does not within `grace`.
    pub(crate) async fn stop(&mut self, grace: Duration) {
        self.handle.signal(Signal::TERM);
        if tokio::time::timeout(grace, self.gone()).await.is_err() {
            self.kill().await;
        }
    }

    /// Kills it.
    pub(crate) async fn kill(&mut self) {
        self.handle.signal(Signal::KILL);
        let _ = tokio::time::timeout(KILL_LIMIT, self.gone()).await;
    }

    async fn gone(&mut self) {
        // An error means that the waiting thread is gone, which it is only after the process.
        let _ = self.ended.wait_for(Option::is_some).await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.lifetime == Lifetime::Detached || !self.is_running() {
            return;
        }
        self.handle.signal(Signal::KILL);
        // Its folder is removed next, so it must be gone by then.
        let deadline = Instant::now() + KILL_LIMIT;
        while self.is_running() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Refers to one process, and never to a later one that got the same number.
#[derive(Debug)]
pub(crate) struct Handle(OwnedFd);

impl Handle {
    /// Refers to the process that has this number now.
    pub(crate) fn open(id: u32) -> io::Result<Self> {
        let pid = i32::try_from(id)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or(io::ErrorKind::InvalidInput)?;
        let fd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Self(fd))
    }

    /// Sends a signal; a process that is gone does not mind.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = rustix::process::pidfd_send_signal(&self.0, signal);
    }
}

fn wait(mut child: Child, publish: &watch::Sender<Option<ExitStatus>>) {
    let status = child.wait().unwrap_or_default();
    publish.send_replace(Some(status));
}

fn end_of(log: &Path) -> io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Folder;

    fn shell(folder: &Folder, script: &str) -> Launch {
        Launch {
            name: "sh",
            program: "/bin/sh".into(),
            args: vec!["-c".to_owned(), script.to_owned()],
            logs: folder.path().to_owned(),
            lifetime: Lifetime::Ours,
        }
    }

    #[tokio::test]
    async fn a_process_that_ended_says_how_and_shows_its_last_words() {
        let folder = Folder::create("test").unwrap();
        let mut process = Process::start(shell(&folder, "echo no space left >&2; exit 3"))
            .await
            .unwrap();
        process.gone().await;
        let error = process.check().unwrap_err().to_string();
        assert!(
            error.contains("exit status: 3") && error.contains("no space left"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn dropping_the_handle_ends_the_process() {
        let folder = Folder::create("test").unwrap();
        let process = Process::start(shell(&folder, "echo $$; exec sleep 600"))
            .await
            .unwrap();
        let log = folder.path().join("sh.log");
        let id = loop {
            match fs::read_to_string(&log).unwrap().trim() {
                "" => tokio::time::sleep(Duration::from_millis(10)).await,
                id => break id.to_owned(),
            }
        };
        let proc = PathBuf::from("/proc").join(id);
        assert!(proc.exists());
        drop(process);
        assert!(!proc.exists());
    }

    #[tokio::test]
    async fn one_that_ignores_the_request_to_stop_is_killed() {
        let folder = Folder::create("test").unwrap();
        let mut process = Process::start(shell(&folder, "trap '' TERM; while :; do sleep 1; done"))
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        process.stop(Duration::from_millis(200)).await;
        assert!(!process.is_running());
    }
}
