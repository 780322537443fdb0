//! What enforces NetworkPolicies: kube-router's firewall, with iptables and ipset.
//!
//! It rewrites the filter table as a whole, in one transaction: the rules of others stay in it as
//! they are.

use std::time::Duration;

use tokio::process::Command;

use super::{control, layout::Layout, objects};
use crate::{
    api_server::SERVICE_RANGE,
    binaries::Binary,
    command,
    error::{Error, Result},
    identity::Server,
    paths, wait,
};

const READY_LIMIT: Duration = Duration::from_secs(60);
/// Its part of the chain FORWARD.
const CHAIN: &str = "KUBE-ROUTER-FORWARD";
/// What the policies admit bears this mark.
const ADMITTED: &str = "0x20000/0x20000";

/// Starts it, and waits until it has put its rules in place.
pub(super) async fn start(layout: &Layout, server: &Server, node: &str) -> Result<()> {
    let kubeconfig = server.user_kubeconfig(objects::FIREWALL_USER, &[])?;
    let args = vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--hostname-override={node}"),
        "--run-firewall=true".to_owned(),
        "--run-router=false".to_owned(),
        "--run-service-proxy=false".to_owned(),
        format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        // It would listen on all addresses.
        "--health-port=0".to_owned(),
    ];
    let process = control::launch(layout, Binary::KubeRouter, args).await?;
    wait::until("the firewall", READY_LIMIT, &[&process], look_in_place).await
}

/// Whether its rules are there: the last of them is what admits.
async fn look_in_place() -> Result<()> {
    let program = paths::program("iptables").unwrap_or_else(|| "iptables".into());
    let mut list = Command::new(program);
    list.args(["--wait", "--list-rules", CHAIN]);
    let rules = command::output(&mut list, READY_LIMIT).await?;
    if rules.contains(ADMITTED) {
        return Ok(());
    }
    Err(Error::Unsupported {
        reason: format!("the chain {CHAIN} is not filled yet"),
    })
}
