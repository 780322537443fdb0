//! Which cluster holds this machine's network and iptables rules: at most one.
//!
//! The claim is a file that goes with a reboot, as the rules do. While a cluster is started or
//! ended, a lock keeps others from doing the same.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::{
    Extent, Name, clean, daemon,
    layout::{Layout, Rights},
    network,
};
use crate::{
    command,
    error::{At as _, Error, Result},
    lock::{self, Lock},
    paths, pki,
};

const CLAIM: &str = "/run/mongodb-osb-testbed.json";
const LIST_LIMIT: Duration = Duration::from_secs(30);

/// The right to start or end one cluster now.
pub(super) struct Claim {
    name: Name,
    rights: Rights,
    layout: Layout,
    _locks: Vec<Lock>,
}

#[derive(Serialize, Deserialize)]
struct Holder {
    name: Name,
    root: PathBuf,
}

impl Claim {
    /// Prepares to start a cluster; refuses where another one is running, and removes what a dead
    /// one left.
    pub(super) async fn take(name: &Name, extent: Extent) -> Result<Self> {
        let layout = Layout::new(name)?;
        let locks = locks(name).await?;
        let rights = match holder() {
            Some(holder) if holder.root == layout.root() => Rights::Machine,
            Some(holder) if extent == Extent::Node => {
                release_dead(&holder).await?;
                Rights::Own
            }
            None if network::exists() => Rights::Machine,
            Some(_) | None => Rights::Own,
        };
        if extent == Extent::Node && rights == Rights::Own {
            refuse_foreign_node().await?;
        }
        Ok(Self {
            name: name.clone(),
            rights,
            layout,
            _locks: locks,
        })
    }

    /// Prepares to end a cluster, wherever its folder is.
    pub(super) async fn find(name: &Name) -> Result<Self> {
        let locks = locks(name).await?;
        let (rights, layout) = match holder() {
            Some(holder) if holder.name == *name => (Rights::Machine, Layout::at(holder.root)),
            None if network::exists() => (Rights::Machine, Layout::new(name)?),
            Some(_) | None => (Rights::Own, Layout::new(name)?),
        };
        Ok(Self {
            name: name.clone(),
            rights,
            layout,
            _locks: locks,
        })
    }

    /// What may be removed.
    pub(super) fn rights(&self) -> Rights {
        self.rights
    }

    /// Where the cluster is.
    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Writes down that this cluster holds the machine from here on.
    pub(super) fn hold(&self) -> Result<()> {
        let holder = Holder {
            name: self.name.clone(),
            root: self.layout.root().to_owned(),
        };
        // Half a claim would be none.
        let partial = format!("{CLAIM}.new");
        pki::write(partial.as_ref(), &serde_json::to_string(&holder)?)?;
        fs::rename(partial, CLAIM).at("create", CLAIM)
    }

    /// Gives the machine back, if this cluster holds it.
    pub(super) fn release(&self) -> Result<()> {
        if self.rights == Rights::Machine && Path::new(CLAIM).exists() {
            fs::remove_file(CLAIM).at("remove", CLAIM)?;
        }
        Ok(())
    }
}

/// The name of the cluster that holds the machine.
pub(super) fn holder_name() -> Option<Name> {
    Some(holder()?.name)
}

fn holder() -> Option<Holder> {
    serde_json::from_str(&fs::read_to_string(CLAIM).ok()?).ok()
}

async fn release_dead(holder: &Holder) -> Result<()> {
    let layout = Layout::at(holder.root.clone());
    if !daemon::running(&layout).is_empty() {
        return Err(Error::Held {
            holder: holder.name.to_string(),
        });
    }
    clean::everything(&layout, Rights::Machine).await?;
    fs::remove_file(CLAIM).at("remove", CLAIM)
}

/// A kubelet and kube-proxy that are not ours would fight with ours over the same rules.
async fn refuse_foreign_node() -> Result<()> {
    let Some(save) = paths::program("iptables-save") else {
        return Ok(());
    };
    let rules = command::output(&mut Command::new(save), LIST_LIMIT).await?;
    if rules.contains(":KUBE-SERVICES ") {
        let reason = "another Kubernetes node runs on this machine, or left its iptables rules (KUBE-SERVICES): \
                      a second one cannot run beside it";
        return Err(Error::Unsupported {
            reason: reason.to_owned(),
        });
    }
    Ok(())
}

async fn locks(name: &Name) -> Result<Vec<Lock>> {
    let own = paths::temporary().join(format!("cluster-{name}.lock"));
    let mut locks = vec![lock::wait(&own, "starting or ending this cluster").await?];
    if rustix::process::getuid().is_root() {
        let machine = PathBuf::from("/run/mongodb-osb-testbed.lock");
        locks.push(lock::wait(&machine, "starting or ending a cluster").await?);
    }
    Ok(locks)
}
