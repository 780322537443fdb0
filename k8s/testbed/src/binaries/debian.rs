//! What comes from Debian's packages: installed only where it is missing.

use std::{path::Path, time::Duration};

use tokio::process::Command;

use crate::{
    command,
    error::{Error, Result},
    lock, paths, progress,
};

/// Where Debian keeps the CNI plugins.
pub(crate) const CNI_PLUGINS: &str = "/usr/lib/cni";

const INSTALL_LIMIT: Duration = Duration::from_secs(10 * 60);

/// A package, and how to see that what it brings is there.
struct Package {
    name: &'static str,
    proof: Proof,
}

enum Proof {
    Program(&'static str),
    File(&'static str),
}

impl Package {
    const fn program(name: &'static str, program: &'static str) -> Self {
        Self {
            name,
            proof: Proof::Program(program),
        }
    }

    fn is_there(&self) -> bool {
        match self.proof {
            Proof::Program(name) => paths::program(name).is_some(),
            Proof::File(path) => Path::new(path).exists(),
        }
    }
}

/// What a node needs beside Kubernetes itself.
const NODE: [Package; 9] = [
    Package::program("containerd", "containerd"),
    Package::program("runc", "runc"),
    Package {
        name: "containernetworking-plugins",
        proof: Proof::File("/usr/lib/cni/bridge"),
    },
    Package::program("iptables", "iptables"),
    Package::program("ipset", "ipset"),
    Package::program("conntrack", "conntrack"),
    Package::program("iproute2", "ip"),
    Package::program("mount", "mount"),
    Package {
        name: "ca-certificates",
        proof: Proof::File("/etc/ssl/certs/ca-certificates.crt"),
    },
];

/// The libraries that mongod is linked with and a bare system lacks.
pub(super) const MONGOD_LIBRARIES: [&str; 4] =
    ["libcurl4", "libldap-2.5-0", "libssl3", "libgssapi-krb5-2"];

/// Installs the Debian packages that a node needs and this machine lacks. Needs root for that.
pub async fn node_packages() -> Result<()> {
    let missing: Vec<&str> = NODE
        .iter()
        .filter(|package| !package.is_there())
        .map(|package| package.name)
        .collect();
    install(&missing, "a node").await
}

/// Installs packages; `purpose` says what needs them.
pub(super) async fn install(packages: &[&str], purpose: &str) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if !rustix::process::getuid().is_root() || paths::program("apt-get").is_none() {
        let reason = format!(
            "{purpose} needs the Debian packages {list}: as root, run `apt-get install --no-install-recommends {list}`"
        );
        return Err(Error::Unsupported { reason });
    }
    let _lock = lock::wait(&paths::temporary().join("apt.lock"), "installing packages").await?;
    progress::during(&format!("installing {list}"), async {
        command::output(apt().arg("update"), INSTALL_LIMIT).await?;
        let install = ["install", "--yes", "--no-install-recommends"];
        command::output(apt().args(install).args(packages), INSTALL_LIMIT).await
    })
    .await?;
    Ok(())
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive")
        .args(["-q", "-o", "DPkg::Lock::Timeout=300"]);
    apt
}
