//! Which cluster holds this machine's network and iptables rules: at most one.
//!
//! The claim is a file that goes with a reboot, as the rules do. While a cluster is started or
//! ended, a lock keeps others from doing the same.

use std::{fs, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::{Extent, Name, clean, daemon, layout::Layout};
use crate::{
    command,
    error::{At as _, Error, Result},
    lock::{self, Lock},
    paths, pki,
};

const CLAIM: &str = "/run/mongodb-osb-testbed.json";
const LIST_LIMIT: Duration = Duration::from_secs(30);

/// What may be removed with a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rights {
    /// Its own processes and files.
    Own,
    /// The machine's network set-up and kube-proxy's rules, too: they are this cluster's.
    Machine,
}

/// The right to start or end one cluster now.
pub(super) struct Claim {
    name: Name,
    extent: Extent,
    rights: Rights,
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
        let locks = locks(name).await?;
        let holder = holder();
        let rights = match &holder {
            Some(holder) if holder.name == *name => Rights::Machine,
            Some(holder) if extent == Extent::Node => {
                release_dead(holder).await?;
                Rights::Own
            }
            Some(_) | None => Rights::Own,
        };
        if extent == Extent::Node && rights == Rights::Own {
            refuse_foreign_node().await?;
        }
        Ok(Self {
            name: name.clone(),
            extent,
            rights,
            _locks: locks,
        })
    }

    /// Prepares to end a cluster.
    pub(super) async fn find(name: &Name) -> Result<Self> {
        let locks = locks(name).await?;
        let is_ours = holder().is_some_and(|holder| holder.name == *name);
        let rights = if is_ours {
            Rights::Machine
        } else {
            Rights::Own
        };
        Ok(Self {
            name: name.clone(),
            extent: Extent::Node,
            rights,
            _locks: locks,
        })
    }

    /// What may be removed.
    pub(super) fn rights(&self) -> Rights {
        self.rights
    }

    /// Writes down that the machine is held from here on.
    pub(super) fn write(&self, layout: &Layout) -> Result<()> {
        match self.extent {
            Extent::ControlPlane => self.remove_file(),
            Extent::Node => {
                let holder = Holder {
                    name: self.name.clone(),
                    root: layout.root().to_owned(),
                };
                pki::write(CLAIM.as_ref(), &serde_json::to_string(&holder)?)
            }
        }
    }

    /// Gives the machine back.
    pub(super) fn release(self) -> Result<()> {
        self.remove_file()
    }

    fn remove_file(&self) -> Result<()> {
        if self.rights == Rights::Machine && PathBuf::from(CLAIM).exists() {
            fs::remove_file(CLAIM).at("remove", CLAIM)?;
        }
        Ok(())
    }
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
