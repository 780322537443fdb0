//! Background tasks that end: half a binder must not go on.

use std::process::Stdio;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, api::ListParams};
use tokio::process::Command;

use crate::world::{NAMESPACE, World};

#[tokio::test]
async fn a_background_task_that_panics_ends_the_process_and_gives_the_lease_back() {
    let world = World::start().await;
    for task in [
        "records", "lease", "work", "cascade", "sweep", "expiry", "evict",
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_binder-svc"))
            .env("KUBECONFIG", world.control_plane.kubeconfig())
            .env("BROKER_PANIC_AT", format!("task-{task}"))
            .env("BROKER_BINDINGS_NAMESPACE", NAMESPACE)
            .args(["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"])
            .args(["--drain-delay=0", "--replica=doomed"])
            .arg(format!("--catalog={}", world.fakes))
            .arg(format!("--provisioner={}", world.fakes))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{task}: {log}");
        let named = format!("background task \\\"{task}\\\"");
        assert!(log.contains(&named), "{task}: {log}");
        let leases: Api<Lease> = Api::namespaced(world.control_plane.client(), "mongodb-osb");
        let left = leases.list(&ListParams::default()).await.unwrap().items;
        assert!(left.is_empty(), "{task}: {left:?}");
    }
}
