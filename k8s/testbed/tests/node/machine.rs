//! The machine: whether it can run a node, and what there is on it.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use anyhow::Context as _;

/// Why this machine cannot run a node, if it cannot.
pub(crate) fn obstacle() -> Option<&'static str> {
    if !rustix::process::getuid().is_root() {
        return Some("a node needs root");
    }
    if !Path::new("/etc/debian_version").exists() {
        return Some("a node needs Debian's packages");
    }
    None
}

/// Everything that a node could leave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Traces {
    links: BTreeSet<String>,
    mounts: BTreeSet<String>,
    rules: BTreeSet<String>,
    sets: BTreeSet<String>,
    cgroups: BTreeSet<String>,
    files: BTreeSet<String>,
    settings: Vec<String>,
    processes: BTreeSet<String>,
}

/// Folders that containerd, kubelet and CNI make whatever they are told.
const PLACES: [&str; 9] = [
    "/var/tmp/mongodb-osb/testbed",
    "/var/lib/kubelet/device-plugins",
    "/var/lib/cni/results",
    "/var/log/pods",
    "/var/log/containers",
    "/run/containerd/s",
    "/usr/libexec/kubernetes",
    "/run/netns",
    "/opt/containerd",
];

impl Traces {
    /// What there is now, apart from the cluster of that name unless it is this one's.
    pub(crate) fn take(root: &str) -> anyhow::Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let mut rules = BTreeSet::new();
        for program in ["iptables-save", "ip6tables-save"] {
            let output = Command::new(program).output().context(program)?.stdout;
            let text = String::from_utf8(output)?;
            let counted = text
                .lines()
                .filter(|line| line.starts_with("-A") || line.contains(" - ["));
            rules.extend(
                counted
                    .filter(|line| !line.starts_with('#'))
                    .map(|line| format!("{program} {line}")),
            );
        }
        let settings = [
            "net/ipv4/ip_forward",
            "vm/overcommit_memory",
            "kernel/panic",
            "net/ipv4/conf/all/route_localnet",
        ];
        Ok(Self {
            links: names("/sys/class/net"),
            mounts: mounts.lines().map(str::to_owned).collect(),
            rules,
            sets: sets()?,
            cgroups: names("/sys/fs/cgroup/memory")
                .into_iter()
                .chain(names("/sys/fs/cgroup"))
                .collect(),
            files: PLACES.iter().flat_map(|place| names(place)).collect(),
            settings: settings
                .iter()
                .filter_map(|name| fs::read_to_string(format!("/proc/sys/{name}")).ok())
                .collect(),
            processes: processes(root),
        })
    }
}

/// The sets of addresses that rules can refer to.
pub(crate) fn sets() -> anyhow::Result<BTreeSet<String>> {
    let output = Command::new("ipset").args(["list", "-name"]).output();
    let text = String::from_utf8(output.context("ipset")?.stdout)?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Living processes that have something to do with a folder.
fn processes(root: &str) -> BTreeSet<String> {
    let ids = names("/proc")
        .into_iter()
        .filter(|name| name.parse::<u32>().is_ok());
    let lines = ids.filter_map(|id| fs::read_to_string(format!("/proc/{id}/cmdline")).ok());
    lines
        .filter(|line| line.contains(root))
        .map(|line| line.replace('\0', " "))
        .collect()
}

fn names(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}
