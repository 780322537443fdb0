//! Builds programs from Go modules of our own, which pin everything by go.sum.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tokio::{process::Command, sync::OnceCell};

use super::Binary;
use crate::{
    command,
    error::{At as _, Error, Result},
    lock, paths, progress,
};

/// How long one program may take to be built on a small, busy machine.
const BUILD_LIMIT: Duration = Duration::from_secs(45 * 60);

/// Without this the programs say that they are version 0.0.0.
const KUBERNETES_VERSION: &str = "-X k8s.io/component-base/version.gitVersion=v1.36.3 \
    -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36";

/// A Go module of ours: its folder's name and its files.
struct Module {
    name: &'static str,
    files: &'static [(&'static str, &'static str)],
    /// Linker flags beside `-s -w`.
    flags: &'static str,
}

macro_rules! module {
    ($name:literal, $flags:expr $(, $more:literal)*) => {
        Module {
            name: $name,
            files: &[
                ("go.mod", include_str!(concat!("../../go/", $name, "/go.mod"))),
                ("go.sum", include_str!(concat!("../../go/", $name, "/go.sum"))),
                $(($more, include_str!(concat!("../../go/", $name, "/", $more))),)*
            ],
            flags: $flags,
        }
    };
}

static KUBERNETES: Module = module!("kubernetes", KUBERNETES_VERSION);
static ROUTER: Module = module!("router", "");
static COREDNS: Module = module!("coredns", "");
static REGISTRY: Module = module!("registry", "");
static CRANE: Module = module!("crane", "");
static GRPCURL: Module = module!("grpcurl", "");
static PROVISIONER: Module = module!("provisioner", "", "main.go");
static PAUSE: Module = module!("pause", "", "main.go");

/// The module and the package of a program.
fn source(binary: Binary) -> (&'static Module, &'static str) {
    match binary {
        Binary::Etcd => (&KUBERNETES, "go.etcd.io/etcd/server/v3"),
        Binary::KubeApiServer => (&KUBERNETES, "k8s.io/kubernetes/cmd/kube-apiserver"),
        Binary::KubeControllerManager => {
            (&KUBERNETES, "k8s.io/kubernetes/cmd/kube-controller-manager")
        }
        Binary::KubeScheduler => (&KUBERNETES, "k8s.io/kubernetes/cmd/kube-scheduler"),
        Binary::Kubelet => (&KUBERNETES, "k8s.io/kubernetes/cmd/kubelet"),
        Binary::KubeProxy => (&KUBERNETES, "k8s.io/kubernetes/cmd/kube-proxy"),
        Binary::Kubectl => (&KUBERNETES, "k8s.io/kubernetes/cmd/kubectl"),
        Binary::KubeRouter => (
            &ROUTER,
            "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router",
        ),
        Binary::CoreDns => (&COREDNS, "github.com/coredns/coredns"),
        Binary::Registry => (
            &REGISTRY,
            "github.com/distribution/distribution/v3/cmd/registry",
        ),
        Binary::Crane => (&CRANE, "github.com/google/go-containerregistry/cmd/crane"),
        Binary::Grpcurl => (&GRPCURL, "github.com/fullstorydev/grpcurl/cmd/grpcurl"),
        Binary::Pause => (&PAUSE, "."),
        Binary::VolumeProvisioner => (&PROVISIONER, "."),
    }
}

/// The path of the program in the cache; built first where it is missing.
pub(super) async fn provide(binary: Binary, count: &str) -> Result<PathBuf> {
    let (module, package) = source(binary);
    let folder = paths::cache()
        .join(key(module, go_version().await?))
        .join("bin");
    let place = folder.join(binary.name());
    if place.exists() {
        return Ok(place);
    }
    let work = folder.with_file_name("work");
    let _lock = lock::wait(&work.join("lock"), "building programs").await?;
    if !place.exists() {
        for (name, content) in module.files {
            let path = work.join(name);
            fs::write(&path, content).at("write", path)?;
        }
        let what = format!("building {}{count}, once on this machine", binary.name());
        // A build whose starter was killed may still be writing: never into the same file.
        let partial = work.join(format!("{}.{}", binary.name(), std::process::id()));
        progress::during(&what, build(&work, package, module.flags, &partial)).await?;
        publish(&partial, &place)?;
    }
    Ok(place)
}

async fn build(work: &Path, package: &str, flags: &str, output: &Path) -> Result<()> {
    let mut go = Command::new("go");
    go.current_dir(work)
        // A workspace, flags or a target of the user's must not change what is built.
        .envs([("GOWORK", "off"), ("GOFLAGS", ""), ("CGO_ENABLED", "0")])
        .env_remove("GOOS")
        .env_remove("GOARCH")
        .args(["build", "-trimpath", "-buildvcs=false", "-mod=readonly"])
        .arg(format!("-ldflags=-s -w {flags}"))
        .arg("-o")
        .arg(output)
        .arg(package);
    command::output(&mut go, BUILD_LIMIT).await?;
    Ok(())
}

/// Puts a finished file into its place. From here on it counts, so it must be whole on the disk.
pub(super) fn publish(partial: &Path, place: &Path) -> Result<()> {
    if let Some(folder) = place.parent() {
        fs::create_dir_all(folder).at("create", folder)?;
    }
    fs::File::open(partial)
        .and_then(|file| file.sync_all())
        .at("write", partial)?;
    fs::rename(partial, place).at("create", place)
}

/// Everything that decides what is built, as a name.
fn key(module: &Module, go_version: &str) -> String {
    let mut hash = Sha256::new();
    let files = module
        .files
        .iter()
        .flat_map(|(name, content)| [*name, *content]);
    for part in files.chain([module.flags, go_version]) {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    let digest = data_encoding::HEXLOWER.encode(&hash.finalize());
    format!("{}-{}", module.name, &digest[..16])
}

async fn go_version() -> Result<&'static str> {
    static VERSION: OnceCell<String> = OnceCell::const_new();
    let find = || async {
        if paths::program("go").is_none() {
            let reason = "Go is needed to build Kubernetes: install Go 1.26 or newer, so that `go` is on the PATH";
            return Err(Error::Unsupported {
                reason: reason.to_owned(),
            });
        }
        command::output(Command::new("go").arg("version"), Duration::from_secs(60)).await
    };
    VERSION.get_or_try_init(find).await.map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_go_another_flag_or_another_pin_is_another_place() {
        let base = Module {
            name: "x",
            files: &[("go.mod", "a"), ("go.sum", "b")],
            flags: "",
        };
        let pin = Module {
            name: "x",
            files: &[("go.mod", "a"), ("go.sum", "c")],
            flags: "",
        };
        let flag = Module {
            name: "x",
            files: &[("go.mod", "a"), ("go.sum", "b")],
            flags: "-X v=1",
        };
        let keys = [
            key(&base, "go1"),
            key(&base, "go2"),
            key(&pin, "go1"),
            key(&flag, "go1"),
        ];
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
        assert_eq!(key(&base, "go1"), keys[0]);
    }

    #[test]
    fn a_build_that_was_cut_off_does_not_count_and_the_next_one_replaces_it() {
        let folder = crate::folder::Folder::create("test").unwrap();
        let (partial, place) = (folder.path().join("work/x"), folder.path().join("bin/x"));
        fs::create_dir_all(partial.parent().unwrap()).unwrap();
        fs::write(&partial, "half").unwrap();
        assert!(!place.exists());
        fs::write(&partial, "whole").unwrap();
        publish(&partial, &place).unwrap();
        assert_eq!(fs::read_to_string(&place).unwrap(), "whole");
        assert!(!partial.exists());
    }
}
