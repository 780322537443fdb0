//! The guide for authors of plans: its commands are run, one after the other.

use std::path::Path;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::json;
use testbed::binaries::{Binary, provide};

use crate::fixture::{client, control_plane, program};

const GUIDE: &str = include_str!("../../../docs/plan-authors.md");

/// The blocks of commands.
fn blocks() -> Vec<&'static str> {
    let starts = GUIDE.split("```sh\n").skip(1);
    starts
        .map(|text| text.split("```").next().unwrap())
        .collect()
}

#[tokio::test]
async fn the_guides_commands_work_as_they_are_written() {
    let cluster = control_plane().await;
    let client = client().await;
    let namespace: Namespace =
        serde_json::from_value(json!({"metadata": {"name": "mongodb-osb-plans"}})).unwrap();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();

    let kubectl = provide(Binary::Kubectl).await.unwrap();
    let program = program();
    let program = Path::new(program.get_program());
    let folders = [kubectl.as_path(), program].map(|program| program.parent().unwrap());
    let path = folders.map(|folder| folder.to_str().unwrap()).join(":");
    let folder = tempfile::tempdir().unwrap();
    let blocks = blocks();
    assert!(blocks.len() > 6, "{}", blocks.len());
    let maps: Api<ConfigMap> = Api::namespaced(client, "mongodb-osb-plans");
    let mut plans = Vec::new();
    for block in blocks {
        let output = tokio::process::Command::new("bash")
            .args(["-euo", "pipefail", "-c", block])
            .current_dir(folder.path())
            .env("PATH", format!("{path}:/usr/bin:/bin"))
            .env("KUBECONFIG", cluster.kubeconfig())
            .output()
            .await
            .unwrap();
        assert!(output.status.success(), "{block}\n{output:?}");
        let labelled = ListParams::default().labels("mongodb-osb.io/plan=acme.web");
        plans.push(maps.list(&labelled).await.unwrap().items.len());
        if block.contains("titel") {
            let printed = String::from_utf8(output.stdout).unwrap();
            let shown = GUIDE
                .split('`')
                .find(|text| text.contains("unknown variable"))
                .unwrap();
            assert!(printed.contains(shown), "{printed}");
        }
    }
    assert!(plans.contains(&1) && plans.last() == Some(&0), "{plans:?}");
}
