//! Where each thing of a named cluster is kept, and how much of the machine is its own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::Name;
use crate::{
    error::{Error, Result},
    identity::Server,
    paths,
    pki::Authority,
};

/// The longest path that a Unix socket can have.
const SOCKET_LIMIT: usize = 107;

/// What may be removed with a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rights {
    /// Its own processes and files.
    Own,
    /// The machine's network set-up and kube-proxy's rules, too: they are this cluster's.
    Machine,
}

/// The folders and files of one cluster.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(super) fn new(name: &Name) -> Result<Self> {
        let layout = Self {
            root: paths::state().join(&name.0),
        };
        let longest = layout.containerd_socket();
        if longest.as_os_str().len() + ".ttrpc".len() > SOCKET_LIMIT {
            let reason = format!(
                "{} is too long for a socket: set XDG_STATE_HOME to a shorter path",
                longest.display()
            );
            return Err(Error::Unsupported { reason });
        }
        Ok(layout)
    }

    /// The cluster in that folder, which another user or environment may have made.
    pub(super) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// Everything is below it.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Exists once the cluster is whole.
    pub(super) fn record(&self) -> PathBuf {
        self.file("cluster.json")
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.file("admin.kubeconfig")
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.file("logs")
    }

    pub(super) fn authority(&self) -> Authority {
        Authority::open(&self.file("pki"))
    }

    /// The machine's settings as they were before.
    pub(super) fn saved_settings(&self) -> PathBuf {
        self.file("sysctl.json")
    }

    pub(super) fn containerd(&self) -> PathBuf {
        self.file("containerd")
    }

    pub(super) fn containerd_state(&self) -> PathBuf {
        self.containerd().join("state")
    }

    pub(super) fn containerd_socket(&self) -> PathBuf {
        self.containerd_state().join("containerd.sock")
    }

    pub(super) fn server(&self, name: &Name, url: String) -> Server {
        Server {
            name: format!("testbed-{name}"),
            url,
            authority: self.authority(),
            folder: self.root.clone(),
        }
    }
}

/// The names of all clusters that have a folder.
pub(super) fn names() -> Vec<Name> {
    let Ok(entries) = fs::read_dir(paths::state()) else {
        return vec![];
    };
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut names: Vec<Name> = names.collect();
    names.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    names
}
