//! The machine's part of the pods' network: a bridge, a few settings, a few iptables rules.

use std::{collections::BTreeMap, fs, net::Ipv4Addr, path::Path, time::Duration};

use tokio::process::Command;

use super::layout::Layout;
use crate::{
    command,
    error::{At as _, Error, Result},
    paths, pki,
};

/// The bridge that pods are connected to.
pub(super) const BRIDGE: &str = "mongosb0";
/// The bridge's address: the gateway of the pods, and where API server, kubelet and DNS listen.
pub(super) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);
/// The addresses of pods.
pub(super) const POD_RANGE: &str = "10.244.0.0/24";
/// Marks what is ours among networks and iptables rules.
pub(super) const TAG: &str = "mongodb-osb-testbed";

const LIMIT: Duration = Duration::from_secs(30);

/// The settings that a node changes, by us, kubelet or kube-proxy.
const SETTINGS: [&str; 9] = [
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
    "net/bridge/bridge-nf-call-iptables",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

/// Makes bridge and rules.
pub(super) async fn create(layout: &Layout) -> Result<()> {
    if !Path::new("/proc/sys/net/bridge").exists() {
        // Where the kernel has it built in, there is nothing to load.
        let _ = run("modprobe", &["br_netfilter"]).await;
    }
    save_settings(layout)?;
    set("net/ipv4/ip_forward", "1")?;
    set("net/bridge/bridge-nf-call-iptables", "1")?;
    run("ip", &["link", "add", BRIDGE, "type", "bridge"]).await?;
    run(
        "ip",
        &["address", "add", &format!("{GATEWAY}/24"), "dev", BRIDGE],
    )
    .await?;
    run("ip", &["link", "set", BRIDGE, "up"]).await?;
    // Something else on the machine, such as dockerd, may forward nothing by default.
    rule(&[
        "--insert", "FORWARD", "--source", POD_RANGE, "--jump", "ACCEPT",
    ])
    .await?;
    rule(&[
        "--insert",
        "FORWARD",
        "--destination",
        POD_RANGE,
        "--jump",
        "ACCEPT",
    ])
    .await?;
    let leaves = [
        "--source",
        POD_RANGE,
        "!",
        "--destination",
        POD_RANGE,
        "--jump",
        "MASQUERADE",
    ];
    rule(&[&["--table", "nat", "--append", "POSTROUTING"][..], &leaves].concat()).await
}

/// Whether the bridge is there. Its name is ours alone.
pub(super) fn exists() -> bool {
    Path::new("/sys/class/net").join(BRIDGE).exists()
}

/// Removes the bridge and what is still connected to it.
pub(super) async fn delete_links() -> Result<()> {
    if !exists() {
        return Ok(());
    }
    let ports = Path::new("/sys/class/net").join(BRIDGE).join("brif");
    for port in fs::read_dir(&ports).at("read", &ports)?.flatten() {
        // An interface whose other end was in a pod goes by itself, maybe just now.
        let name = port.file_name().to_string_lossy().into_owned();
        let _ = run("ip", &["link", "delete", &name]).await;
    }
    run("ip", &["link", "delete", BRIDGE]).await
}

/// Sets the machine's settings back to what they were.
pub(super) fn restore_settings(layout: &Layout) -> Result<()> {
    let Ok(text) = fs::read_to_string(layout.saved_settings()) else {
        return Ok(());
    };
    let saved: BTreeMap<String, String> = serde_json::from_str(&text)?;
    for (name, value) in saved {
        if get(&name).as_ref() != Some(&value) {
            set(&name, &value)?;
        }
    }
    Ok(())
}

fn save_settings(layout: &Layout) -> Result<()> {
    let known = SETTINGS.iter().filter_map(|&name| Some((name, get(name)?)));
    let saved: BTreeMap<&str, String> = known.collect();
    pki::write(
        &layout.saved_settings(),
        &serde_json::to_string_pretty(&saved)?,
    )
}

fn get(name: &str) -> Option<String> {
    let value = fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?;
    Some(value.trim().to_owned())
}

fn set(name: &str, value: &str) -> Result<()> {
    let path = Path::new("/proc/sys").join(name);
    fs::write(&path, value).at("write", path)
}

async fn rule(args: &[&str]) -> Result<()> {
    let marked = [&["--wait"], args, &["--match", "comment", "--comment", TAG]].concat();
    run("iptables", &marked).await
}

/// Runs one of the administrator's programs.
pub(super) async fn run(program: &str, args: &[&str]) -> Result<()> {
    let Some(path) = paths::program(program) else {
        return Err(Error::Unsupported {
            reason: format!("there is no program {program} on this machine"),
        });
    };
    command::output(Command::new(path).args(args), LIMIT).await?;
    Ok(())
}
