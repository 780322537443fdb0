//! Background tasks that end: half a provisioner must not go on.

use std::net::SocketAddr;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, api::ListParams};

use crate::harness::World;

#[tokio::test]
async fn a_background_task_that_panics_ends_the_process_and_gives_the_lease_back() {
    let world = World::start().await;
    for task in ["records", "lease", "catalog", "work", "sweep"] {
        let output = world
            .command("doomed", SocketAddr::from(([127, 0, 0, 1], 0)))
            .env("BROKER_PANIC_AT", format!("task-{task}"))
            .env("BROKER_DRAIN_DELAY", "0")
            .output()
            .await
            .unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{task}: {log}");
        let named = format!("background task \\\"{task}\\\"");
        assert!(log.contains(&named), "{task}: {log}");
        let leases: Api<Lease> = Api::namespaced(world.client(), &world.namespace);
        let left = leases.list(&ListParams::default()).await.unwrap().items;
        assert!(left.is_empty(), "{task}: {left:?}");
    }
}
