//! The control groups of the pods: one folder of ours in each hierarchy.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::Signal;
use tokio::time::Instant;

use crate::{
    error::{At as _, Error, Result},
    process::Handle,
};

/// The parent of all pods' control groups.
pub(super) const CGROUP: &str = "mongodb-osb-testbed";

const MOUNT: &str = "/sys/fs/cgroup";
const LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// Makes the group, which kubelet expects to be there.
pub(super) fn create() -> Result<()> {
    for hierarchy in hierarchies() {
        let group = hierarchy.join(CGROUP);
        fs::create_dir_all(&group).at("create", &group)?;
        // In the unified hierarchy, children have only the controllers that their parents pass on.
        if let Ok(controllers) = fs::read_to_string(hierarchy.join("cgroup.controllers")) {
            for controller in controllers.split_whitespace() {
                let line = format!("+{controller}");
                let _ = fs::write(hierarchy.join("cgroup.subtree_control"), &line);
                let _ = fs::write(group.join("cgroup.subtree_control"), &line);
            }
        }
    }
    Ok(())
}

/// Kills every process in the group and below, and waits until they are gone.
pub(super) async fn kill_all() -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let groups: Vec<PathBuf> = groups();
        let processes: Vec<u32> = groups.iter().flat_map(|group| processes(group)).collect();
        if processes.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let ids: Vec<String> = processes.iter().map(u32::to_string).collect();
            let reason = format!("processes of pods cannot be killed: {}", ids.join(", "));
            return Err(Error::Unsupported { reason });
        }
        for id in processes {
            // Behind the handle look again: the number may be another process's by now.
            if let Ok(handle) = Handle::open(id)
                && groups
                    .iter()
                    .any(|group| self::processes(group).contains(&id))
            {
                handle.signal(Signal::KILL);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Removes the group and those below.
pub(super) async fn remove() -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        // Children come after their parents in the list.
        let left: Vec<(PathBuf, io::Error)> = groups()
            .into_iter()
            .rev()
            .filter_map(|group| fs::remove_dir(&group).err().map(|error| (group, error)))
            .filter(|(_, error)| error.kind() != io::ErrorKind::NotFound)
            .collect();
        let Some((group, error)) = left.into_iter().next() else {
            return Ok(());
        };
        // A group is busy for a moment after its last process was killed.
        if Instant::now() > deadline {
            return Err(error).at("remove", group);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The group and all below, in every hierarchy, parents first.
fn groups() -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = hierarchies()
        .into_iter()
        .map(|hierarchy| hierarchy.join(CGROUP))
        .filter(|group| group.is_dir())
        .collect();
    let mut next = 0;
    while let Some(group) = all.get(next) {
        let entries = fs::read_dir(group).into_iter().flatten().flatten();
        let below: Vec<PathBuf> = entries
            .map(|entry| entry.path())
            .filter(|path| path.is_dir())
            .collect();
        all.extend(below);
        next += 1;
    }
    all
}

/// The roots of all hierarchies: one a controller in version 1, a single one in version 2.
fn hierarchies() -> Vec<PathBuf> {
    let mount = Path::new(MOUNT);
    if mount.join("cgroup.controllers").exists() {
        return vec![mount.to_owned()];
    }
    let entries = fs::read_dir(mount).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .filter(|path| path.join("cgroup.procs").exists())
        .collect()
}

fn processes(group: &Path) -> Vec<u32> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}
