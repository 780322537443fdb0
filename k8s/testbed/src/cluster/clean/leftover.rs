//! Mounts, sockets and links that containerd and kubelet leave.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    cluster::{layout::Layout, network},
    error::{Error, Result},
};

/// Where containerd's shims put their sockets, whatever containerd's own state folder is.
const SHIM_SOCKETS: &str = "/run/containerd/s";
/// Where kubelet links the logs of containers.
const LOG_LINKS: &str = "/var/log/containers";
/// Where the CNI library remembers what it did.
const RESULTS: &str = "/var/lib/cni/results";
/// Where kubelet listens for device plugins.
const PLUGINS: &str = "/var/lib/kubelet/device-plugins";

/// Unmounts everything below a folder, the innermost first.
pub(super) async fn unmount_below(root: &Path) -> Result<()> {
    for attempt in 0..50 {
        let mounts = mounts_below(root);
        if mounts.is_empty() {
            return Ok(());
        }
        for mount in mounts.iter().rev() {
            // A mount is busy for a moment after its last process was killed; later on, what still
            // holds it open must not keep us from removing it from sight.
            let path = mount.display().to_string();
            let lazily = ["--lazy", "--no-canonicalize", &path];
            let words = if attempt < 10 {
                &lazily[1..]
            } else {
                &lazily[..]
            };
            let _ = network::run("umount", words).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(Error::Unsupported {
        reason: format!("cannot unmount what is below {}", root.display()),
    })
}

/// The mount points below a folder, in the order of their making.
pub(super) fn mounts_below(root: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescape);
    points.filter(|point| point.starts_with(root)).collect()
}

/// Spaces and the like are written as octal numbers in that table.
fn unescape(field: &str) -> PathBuf {
    let mut plain = field.to_owned();
    for (escape, character) in [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ] {
        plain = plain.replace(escape, character);
    }
    PathBuf::from(plain)
}

/// Removes the sockets of our pods' shims. Each shim's folder says which is its own.
pub(super) fn remove_shim_sockets(layout: &Layout) {
    let tasks = layout
        .containerd_state()
        .join("io.containerd.runtime.v2.task/k8s.io");
    for task in fs::read_dir(tasks).into_iter().flatten().flatten() {
        let address = fs::read_to_string(task.path().join("address")).unwrap_or_default();
        let socket = PathBuf::from(address.trim().trim_start_matches("unix://"));
        if socket.starts_with(SHIM_SOCKETS) {
            let _ = fs::remove_file(socket);
        }
    }
    // Only where they are empty, so not where another containerd runs.
    for folder in [SHIM_SOCKETS, "/run/containerd"] {
        let _ = fs::remove_dir(folder);
    }
}

/// Removes the links to our pods' logs.
pub(super) fn remove_log_links(layout: &Layout) {
    for link in fs::read_dir(LOG_LINKS).into_iter().flatten().flatten() {
        if fs::read_link(link.path()).is_ok_and(|target| target.starts_with(layout.root())) {
            let _ = fs::remove_file(link.path());
        }
    }
    let _ = fs::remove_dir(LOG_LINKS);
}

/// Removes what the CNI library remembers of our pods' interfaces, loopback included.
pub(super) fn remove_network_results() {
    for entry in fs::read_dir(RESULTS).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pod) = pod_of_result(&name.to_string_lossy()) else {
            continue;
        };
        let _ = fs::remove_file(entry.path());
        let _ = fs::remove_file(Path::new(RESULTS).join(format!("cni-loopback-{pod}-lo")));
    }
    for folder in [RESULTS, "/var/lib/cni"] {
        let _ = fs::remove_dir(folder);
    }
}

/// The pod that such a file is about: `<network>-<pod>-<interface>`.
fn pod_of_result(name: &str) -> Option<String> {
    let (pod, _) = name
        .strip_prefix(network::TAG)?
        .strip_prefix('-')?
        .rsplit_once('-')?;
    Some(pod.to_owned())
}

/// Removes the socket for device plugins, which kubelet makes whatever its own folder is.
pub(super) fn remove_plugin_socket() {
    for file in ["kubelet.sock", "kubelet_internal_checkpoint"] {
        let _ = fs::remove_file(Path::new(PLUGINS).join(file));
    }
    for folder in [PLUGINS, "/var/lib/kubelet"] {
        let _ = fs::remove_dir(folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_with_a_space_is_read_as_it_is() {
        assert_eq!(unescape("/a\\040b"), PathBuf::from("/a b"));
    }
}
