//! A release's manifests name the images by the digests that a registry then has them by, and the
//! same files give the same digests.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::{fs, path::Path, process::Output, time::Duration};

use demo::{
    images::{Image, NAMES},
    release::{self, DIGESTS, MANIFESTS, Release},
};
use serde_json::json;
use testbed::{
    Port,
    binaries::{self, Binary},
};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, sleep},
};

const READY_LIMIT: Duration = Duration::from_secs(30);

/// A build context in which each program is a few bytes.
fn context(folder: &Path) {
    let bin = folder.join("bin");
    let plans = folder.join("templates/mongodb");
    for folder in [&bin, &plans] {
        fs::create_dir_all(folder).unwrap();
    }
    for name in NAMES {
        fs::write(bin.join(name), format!("program {name}")).unwrap();
    }
    fs::write(folder.join("ca-certificates.crt"), "certificates").unwrap();
    fs::write(plans.join("plan.yaml"), "plan").unwrap();
}

async fn released(folder: &Path, prefix: &str) -> Vec<Image> {
    context(&folder.join("context"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let release = Release {
        root: &root,
        context: &folder.join("context"),
        prefix,
        tag: "1.2.3",
        overlay: Path::new("k8s/overlays/replicas"),
        out: &folder.join("out"),
    };
    release::write(&release).await.unwrap()
}

async fn registry(folder: &Path, port: &Port) -> Child {
    let address = format!("127.0.0.1:{}", port.number());
    let config = json!({
        "version": "0.1",
        "log": { "level": "warn", "accesslog": { "disabled": true } },
        "storage": { "filesystem": { "rootdirectory": folder.join("registry") } },
        "http": { "addr": address },
    });
    let path = folder.join("registry.yaml");
    fs::write(&path, config.to_string()).unwrap();
    let mut command = Command::new(binaries::provide(Binary::Registry).await.unwrap());
    command.arg("serve").arg(&path).kill_on_drop(true);
    let mut process = command.spawn().unwrap();
    let deadline = Instant::now() + READY_LIMIT;
    while TcpStream::connect(&address).await.is_err() {
        assert_eq!(process.try_wait().unwrap(), None, "the registry ended");
        assert!(Instant::now() < deadline, "the registry does not listen");
        sleep(Duration::from_millis(50)).await;
    }
    process
}

async fn crane(arguments: &[&str]) -> Output {
    let mut command = Command::new(binaries::provide(Binary::Crane).await.unwrap());
    let output = command.args(arguments).output().await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "crane {arguments:?}: {errors}");
    output
}

#[tokio::test]
async fn a_registry_has_the_images_by_the_digests_of_the_manifests() {
    let folder = tempfile::tempdir().unwrap();
    let port = Port::reserve().unwrap();
    let _registry = registry(folder.path(), &port).await;
    let prefix = format!("localhost:{}/mongodb-osb", port.number());
    let images = released(folder.path(), &prefix).await;

    let out = folder.path().join("out");
    let manifests = fs::read_to_string(out.join(MANIFESTS)).unwrap();
    let digests = fs::read_to_string(out.join(DIGESTS)).unwrap();
    for image in &images {
        let archive = image.archive.to_str().unwrap();
        crane(&["push", archive, &image.reference()]).await;
        let found = crane(&["digest", &image.reference()]).await;
        let found = String::from_utf8(found.stdout).unwrap();
        assert_eq!(
            image.digest.as_deref(),
            Some(found.trim()),
            "{}",
            image.name
        );
        assert!(digests.lines().any(|line| line == image.pinned()));
        // The demo's app is no part of the broker.
        assert_eq!(
            manifests.contains(&image.pinned()),
            image.name != "demo",
            "{}\n{manifests}",
            image.name
        );
        crane(&["manifest", &image.pinned()]).await;
    }
    let named: Vec<&str> = manifests
        .lines()
        .filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("image: "))
        .collect();
    assert!(named.len() >= 4, "{named:?}");
    assert!(
        named.iter().all(|image| image.contains("@sha256:")),
        "{named:?}"
    );
}

#[tokio::test]
async fn the_same_files_in_another_folder_have_the_same_digests() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let pinned = async |folder: &Path| {
        let images = released(folder, "registry.example/broker").await;
        images.iter().map(Image::pinned).collect::<Vec<_>>()
    };
    let first = pinned(one.path()).await;
    assert_eq!(first, pinned(two.path()).await);
}
