//! Removes everything of a cluster, whatever state it is in.
//!
//! Containers, mounts, interfaces, rules and control groups outlive the processes that made them.
//! All are found by our own names and folder; nothing is taken from a list that could be lost.

mod leftover;
mod rules;
mod sets;

use std::{fs, path::Path};

use super::{
    cgroup, daemon,
    layout::{Layout, Rights},
    network,
};
use crate::error::{At as _, Error, Result};

/// Removes it all. Does nothing where there is nothing.
pub(super) async fn everything(layout: &Layout, rights: Rights) -> Result<()> {
    daemon::kill_all(layout).await?;
    if rights == Rights::Machine {
        cgroup::kill_all().await?;
    }
    leftover::remove_shim_sockets(layout);
    leftover::unmount_below(layout.root()).await?;
    if rights == Rights::Machine {
        network::delete_links().await?;
        rules::remove().await?;
        sets::remove().await?;
        cgroup::remove().await?;
        leftover::remove_network_results();
        leftover::remove_plugin_socket();
    }
    leftover::remove_log_links(layout);
    network::restore_settings(layout)?;
    remove_folder(layout.root())?;
    // The folder of all clusters goes with the last one.
    for parent in layout.root().ancestors().skip(1).take(2) {
        if fs::remove_dir(parent).is_err() {
            break;
        }
    }
    Ok(())
}

fn remove_folder(root: &Path) -> Result<()> {
    if !root.exists() {
        return Ok(());
    }
    if leftover::mounts_below(root).is_empty() {
        return fs::remove_dir_all(root).at("remove", root);
    }
    // What is mounted there is not ours to delete.
    Err(Error::Unsupported {
        reason: format!("something is still mounted below {}", root.display()),
    })
}
