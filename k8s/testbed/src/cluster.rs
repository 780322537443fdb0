//! A cluster with a name, which outlives the process that starts it.
//!
//! With a node there is one a machine, since bridge, addresses and iptables rules are the
//! machine's. Starting first removes what an earlier run left; ending leaves nothing; both can be
//! repeated. What is ours is known by our names and our folder alone.

mod cgroup;
mod claim;
mod clean;
mod control;
mod daemon;
mod firewall;
mod layout;
mod network;
mod node;
mod objects;
mod registry;
mod runtime;

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use self::{claim::Claim, layout::Layout};
use crate::{
    binaries::{self, Binary},
    control_plane,
    error::{At as _, Error, Result},
    identity::{Identity, Server},
    images, pki, progress,
};

/// The name of a cluster: a lower-case letter, then up to 19 letters, digits and dashes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl FromStr for Name {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let first = name.starts_with(|c: char| c.is_ascii_lowercase());
        let rest = name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        // Sockets below the folder of that name have paths of at most 107 bytes.
        if first && rest && name.len() <= 20 {
            return Ok(Self(name.to_owned()));
        }
        let rule = "a lower-case letter, then up to 19 lower-case letters, digits and dashes";
        Err(Error::Name {
            name: name.to_owned(),
            rule,
        })
    }
}

impl TryFrom<String> for Name {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How much of a cluster there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Extent {
    /// Everything, so that pods run. Needs root and Debian.
    #[default]
    Node,
    /// etcd, API server, controllers and scheduler.
    ControlPlane,
}

/// Whether an image registry runs beside the cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Registry {
    /// None: images are loaded into the node.
    #[default]
    None,
    /// One on the loopback address, from which the node pulls.
    Local,
}

/// What to do with a cluster of that name that is running already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Existing {
    /// Use it if it is whole, healthy and what was asked for; else start anew.
    #[default]
    Reuse,
    /// Start anew.
    Replace,
}

/// What kind of cluster is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    name: Name,
    extent: Extent,
    registry: Registry,
    existing: Existing,
}

impl Options {
    /// A cluster of that name with a node and without a registry, reused if it runs.
    pub fn new(name: Name) -> Self {
        Self {
            name,
            extent: Extent::default(),
            registry: Registry::default(),
            existing: Existing::default(),
        }
    }

    /// How much of it.
    #[must_use]
    pub fn extent(mut self, extent: Extent) -> Self {
        self.extent = extent;
        self
    }

    /// Whether with a registry.
    #[must_use]
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// What to do with a running one.
    #[must_use]
    pub fn existing(mut self, existing: Existing) -> Self {
        self.existing = existing;
        self
    }
}

/// What is written down about a cluster once it is whole.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    extent: Extent,
    registry: Option<String>,
    url: String,
    daemons: Vec<String>,
}

/// A running cluster. Dropping the value changes nothing: [`Cluster::down`] ends it.
#[derive(Debug, Clone)]
pub struct Cluster {
    name: Name,
    layout: Layout,
    record: Record,
    server: Server,
    admin: Identity,
}

/// What runs of a cluster.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Its name.
    pub name: Name,
    /// Whether it was started to the end and everything still runs and answers.
    pub healthy: bool,
    /// Whether there is a node, once it was started to the end.
    pub extent: Option<Extent>,
    /// The registry's `host:port`, if there is one.
    pub registry: Option<String>,
    /// The kubeconfig file with all rights.
    pub kubeconfig: PathBuf,
    /// Its processes on this machine, by number.
    pub processes: BTreeMap<u32, String>,
}

impl Cluster {
    /// Starts the cluster, or finds it running. Needs minutes the first time on a machine, less
    /// than one later.
    pub async fn up(options: Options) -> Result<Self> {
        let claim = Claim::take(&options.name, options.extent).await?;
        if options.existing == Existing::Reuse
            && let Some(cluster) = Self::find(&options.name).await?
            && cluster.is_what_is_asked(&options)
            && cluster.check().await.is_ok()
        {
            return Ok(cluster);
        }
        clean::everything(claim.layout(), claim.rights()).await?;
        claim.release()?;
        prepare(&options).await?;
        if options.extent == Extent::Node {
            claim.hold()?;
        }
        let result = Self::start(&options, claim.layout().clone()).await;
        if result.is_err() {
            progress::say(format!(
                "the cluster `{0}` did not start; what is there can be looked at, `testbed down --name {0}` removes it",
                options.name
            ));
        }
        result
    }

    /// The running cluster of that name, if it was started to its end; whether it still answers is
    /// what [`Cluster::status`] tells.
    pub async fn find(name: &Name) -> Result<Option<Self>> {
        let layout = Layout::new(name)?;
        let Ok(text) = fs::read_to_string(layout.record()) else {
            return Ok(None);
        };
        let record: Record = serde_json::from_str(&text)?;
        let server = layout.server(name, record.url.clone());
        let admin = server.identity(layout.kubeconfig()).await?;
        Ok(Some(Self {
            name: name.clone(),
            layout,
            record,
            server,
            admin,
        }))
    }

    /// Ends the cluster of that name and removes all of it. Does nothing where there is none.
    pub async fn down(name: &Name) -> Result<()> {
        let claim = Claim::find(name).await?;
        clean::everything(claim.layout(), claim.rights()).await?;
        claim.release()
    }

    /// The names of all clusters that left anything on this machine.
    pub fn names() -> Vec<Name> {
        let mut names = layout::names();
        // Its folder may be elsewhere.
        names.extend(claim::holder_name().filter(|name| !names.contains(name)));
        names
    }

    /// What runs of the cluster of that name.
    pub async fn status(name: &Name) -> Result<Status> {
        let layout = Layout::new(name)?;
        let cluster = Self::find(name).await?;
        let healthy = match &cluster {
            Some(cluster) => cluster.check().await.is_ok(),
            None => false,
        };
        let processes = daemon::running(&layout)
            .into_iter()
            .map(|found| (found.id, found.name))
            .collect();
        let record = cluster.map(|cluster| cluster.record);
        Ok(Status {
            name: name.clone(),
            healthy,
            extent: record.as_ref().map(|record| record.extent),
            registry: record.and_then(|record| record.registry),
            kubeconfig: layout.kubeconfig(),
            processes,
        })
    }

    /// The name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// A client with all rights.
    pub fn client(&self) -> kube::Client {
        self.admin.client()
    }

    /// The configuration of that client.
    pub fn config(&self) -> kube::Config {
        self.admin.config()
    }

    /// A kubeconfig file with all rights.
    pub fn kubeconfig(&self) -> &Path {
        self.admin.kubeconfig()
    }

    /// The registry's `host:port`, if there is one.
    pub fn registry(&self) -> Option<&str> {
        self.record.registry.as_deref()
    }

    /// The folder with the logs of all processes.
    pub fn logs(&self) -> PathBuf {
        self.layout.logs()
    }

    /// A user of that name in these groups. What they may do is up to RBAC.
    pub async fn user(&self, name: &str, groups: &[&str]) -> Result<Identity> {
        self.server.user(name, groups).await
    }

    /// An existing service account, by a token from the TokenRequest API.
    pub async fn service_account(&self, namespace: &str, name: &str) -> Result<Identity> {
        control_plane::service_account(&self.server, self.client(), namespace, name).await
    }

    /// Makes the images of an archive known to the node.
    pub async fn load_image(&self, archive: &Path) -> Result<()> {
        if self.record.extent == Extent::ControlPlane {
            let reason = format!(
                "the cluster `{}` has no node that could take an image",
                self.name
            );
            return Err(Error::Unsupported { reason });
        }
        runtime::import(&self.layout, archive).await
    }

    /// Kills a container, as a crash of its program would end it. The id is what the pod's status
    /// says, with or without `containerd://` before it.
    pub async fn kill_container(&self, id: &str) -> Result<()> {
        let id = id.strip_prefix("containerd://").unwrap_or(id);
        runtime::kill(&self.layout, id).await
    }

    fn is_what_is_asked(&self, options: &Options) -> bool {
        let has_registry = self.record.registry.is_some();
        self.record.extent == options.extent
            && has_registry == (options.registry == Registry::Local)
    }

    /// Whether all of it runs and answers.
    async fn check(&self) -> Result<()> {
        let running = daemon::running(&self.layout);
        let gone = self
            .record
            .daemons
            .iter()
            .find(|&name| !running.iter().any(|found| found.name == *name));
        if let Some(name) = gone {
            return Err(Error::Unsupported {
                reason: format!("{name} is not running"),
            });
        }
        control_plane::look_ready(self.client()).await?;
        match self.record.extent {
            Extent::Node => node::look_ready(self.client()).await,
            Extent::ControlPlane => Ok(()),
        }
    }

    async fn start(options: &Options, layout: Layout) -> Result<Self> {
        fs::create_dir_all(layout.root()).at("create", layout.root())?;
        progress::say(format!("starting the cluster `{}`", options.name));
        if options.extent == Extent::Node {
            network::create(&layout).await?;
        }
        let (server, admin) = control::start(&options.name, &layout, options.extent).await?;
        let registry = match options.registry {
            Registry::None => None,
            Registry::Local => Some(registry::start(&layout).await?),
        };
        if options.extent == Extent::Node {
            runtime::start(&layout, registry.as_deref()).await?;
            node::start(&layout, &server, admin.client()).await?;
        }
        let daemons = daemon::running(&layout).into_iter().map(|found| found.name);
        let record = Record {
            extent: options.extent,
            registry,
            url: server.url.clone(),
            daemons: daemons.filter(|name| name != daemon::SHIM).collect(),
        };
        pki::write(&layout.record(), &serde_json::to_string_pretty(&record)?)?;
        progress::say(format!("the cluster `{}` is ready", options.name));
        Ok(Self {
            name: options.name.clone(),
            layout,
            record,
            server,
            admin,
        })
    }
}

/// Gets everything that a start needs, so that the start itself is quick.
async fn prepare(options: &Options) -> Result<()> {
    if options.registry == Registry::Local {
        binaries::provide(Binary::Registry).await?;
    }
    match options.extent {
        Extent::Node => {
            if !rustix::process::getuid().is_root() {
                let reason =
                    "a cluster with a node needs root: it makes network interfaces and mounts";
                return Err(Error::Unsupported {
                    reason: reason.to_owned(),
                });
            }
            binaries::node_packages().await?;
            binaries::provide_all(&Binary::CLUSTER).await?;
            binaries::mongod().await?;
            images::pause().await?;
            images::mongo().await?;
        }
        Extent::ControlPlane => {
            binaries::provide_all(&Binary::CONTROL_PLANE).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_lead_out_of_the_folder_are_refused() {
        for name in ["demo", "e2e", "a-1"] {
            assert!(name.parse::<Name>().is_ok(), "{name}");
        }
        for name in [
            "",
            "..",
            "a/b",
            "A",
            "1a",
            "-a",
            "a_b",
            "abcdefghijklmnopqrstu",
        ] {
            assert!(name.parse::<Name>().is_err(), "{name}");
        }
    }
}
