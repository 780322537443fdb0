//! The cluster's processes: starting them, and finding them again.
//!
//! A process is ours if its program is one that we start and one of its arguments names a file in
//! the cluster's folder. That needs no list that could be lost or out of date, and matches neither
//! an editor nor a `kubectl` that somebody uses on that folder.

use std::{fs, path::PathBuf, time::Duration};

use rustix::process::Signal;

use super::layout::Layout;
use crate::{
    error::{Error, Result},
    process::{Handle, Launch, Lifetime, Process},
};

/// containerd's helper, one for each pod.
pub(super) const SHIM: &str = "containerd-shim-runc-v2";

/// Everything that we start, or that what we start starts.
const PROGRAMS: [&str; 13] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kube-router",
    "coredns",
    "registry",
    "volume-provisioner",
    "containerd",
    SHIM,
    "runc",
];

/// How long killed processes may take to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// A process of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) id: u32,
    /// Its program's file name.
    pub(super) name: String,
}

/// Starts a process that goes on when ours ends.
pub(super) async fn start(
    layout: &Layout,
    name: &'static str,
    program: PathBuf,
    args: Vec<String>,
) -> Result<Process> {
    let logs = layout.logs();
    Process::start(Launch {
        name,
        program,
        args,
        logs,
        lifetime: Lifetime::Detached,
    })
    .await
}

/// The cluster's processes that run now.
pub(super) fn running(layout: &Layout) -> Vec<Found> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return vec![];
    };
    let ids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter_map(|id| find(layout, id)).collect()
}

/// Kills the cluster's processes, and waits until they are gone.
pub(super) async fn kill_all(layout: &Layout) -> Result<()> {
    let deadline = tokio::time::Instant::now() + KILL_LIMIT;
    loop {
        // Again and again: what was killed may just have started another.
        let found = running(layout);
        if found.is_empty() {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            let names: Vec<String> = found
                .into_iter()
                .map(|found| format!("{} ({})", found.name, found.id))
                .collect();
            let reason = format!("these processes cannot be killed: {}", names.join(", "));
            return Err(Error::Unsupported { reason });
        }
        for process in found {
            // It may have ended, and another may have its number: look again behind the handle.
            if let Ok(handle) = Handle::open(process.id)
                && find(layout, process.id).as_ref() == Some(&process)
            {
                handle.signal(Signal::KILL);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The process of that number, if it is one of the cluster's.
fn find(layout: &Layout, id: u32) -> Option<Found> {
    // A dead process that nobody waited for has no arguments, so it is not found.
    let words = fs::read(format!("/proc/{id}/cmdline")).ok()?;
    let name =
        PathBuf::from(String::from_utf8_lossy(words.split(|&byte| byte == 0).next()?).as_ref());
    let name = name.file_name()?.to_str()?;
    if !PROGRAMS.contains(&name) || !is_that_program(id, name) {
        return None;
    }
    let folder = format!("{}/", layout.root().display());
    let ours = words
        .split(|&byte| byte == 0)
        .any(|word| String::from_utf8_lossy(word).contains(&folder));
    ours.then(|| Found {
        id,
        name: name.to_owned(),
    })
}

/// Whether it really runs that program, and does not merely say so.
fn is_that_program(id: u32, name: &str) -> bool {
    let Ok(program) = fs::read_link(format!("/proc/{id}/exe")) else {
        return false;
    };
    // A program that was replaced meanwhile has " (deleted)" behind its name.
    let program = program.to_string_lossy();
    let program = program.trim_end_matches(" (deleted)");
    program.rsplit('/').next() == Some(name)
}
