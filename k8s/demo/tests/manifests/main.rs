//! The manifests on a real API server: it accepts all of them, and the rights
//! that they give end where they should.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod policies;
mod rights;

use std::{path::Path, time::Duration};

use clap::{CommandFactory as _, Parser};
use demo::{
    deploy::NAMESPACE,
    kubectl::{Access, Kubectl},
};
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Service, rbac::v1::RoleBinding},
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::{Api, Client, api::ListParams};
use serde_json::{Value, json};
use testbed::{
    ControlPlane,
    binaries::{self, Binary},
};

const LIMIT: Duration = Duration::from_secs(60);
pub(crate) const THREE: [&str; 3] = [
    "mongodb-osb-plans",
    "mongodb-osb-binder",
    "mongodb-osb-mongo-bootstrap",
];

/// A control plane with the broker's manifests.
pub(crate) async fn deployed() -> ControlPlane {
    let overlay = Path::new(env!("CARGO_MANIFEST_DIR")).join("../overlays/dev");
    deployed_from(&overlay).await
}

pub(crate) async fn deployed_from(overlay: &Path) -> ControlPlane {
    let control_plane = ControlPlane::start().await.unwrap();
    let kubectl = Kubectl {
        program: binaries::provide(Binary::Kubectl).await.unwrap(),
        cluster: Access::File(control_plane.kubeconfig().to_owned()),
    };
    let overlay = overlay.to_str().unwrap();
    kubectl
        .output(&["apply", "--server-side", "-k", overlay], LIMIT)
        .await
        .unwrap();
    control_plane
}

pub(crate) async fn account(control_plane: &ControlPlane, name: &str) -> Client {
    control_plane
        .service_account(NAMESPACE, name)
        .await
        .unwrap()
        .client()
}
#[track_caller]
pub(crate) fn forbidden<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> String {
    match result {
        Err(kube::Error::Api(status)) if status.code == 403 => status.message.clone(),
        other => panic!("expected 403, got {other:?}"),
    }
}

pub(crate) fn role_binding(name: &str, role: &str, subject: &Value) -> RoleBinding {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    }))
    .unwrap()
}

pub(crate) fn service_account(namespace: &str, name: &str) -> Value {
    json!({"kind": "ServiceAccount", "namespace": namespace, "name": name})
}

/// The arguments of the program in a container of that name.
fn program(container: &str) -> Option<clap::Command> {
    match container {
        "gateway" => Some(gateway::Args::command()),
        "catalog-svc" => Some(catalog_svc::Cli::command()),
        "provisioner-svc" => Some(provisioner_svc::Args::command()),
        "binder-svc" => Some(binder_svc::Args::command()),
        _ => None,
    }
}

/// The overlay `text` on a real API server, beside the others since kustomize takes no absolute
/// paths.
pub(crate) async fn deployed_as(text: &str) -> ControlPlane {
    let overlays = Path::new(env!("CARGO_MANIFEST_DIR")).join("../overlays");
    let mut folder = tempfile::Builder::new();
    let folder = folder.prefix(".test-").tempdir_in(overlays).unwrap();
    std::fs::write(folder.path().join("kustomization.yaml"), text).unwrap();
    deployed_from(folder.path()).await
}

#[tokio::test]
async fn the_component_for_https_gives_the_gateway_its_certificate() {
    let control_plane =
        deployed_as("resources: [../dev]\ncomponents: [../../components/https]\n").await;
    let client = control_plane.client();
    let gateway = Api::<Deployment>::namespaced(client.clone(), NAMESPACE)
        .get("gateway")
        .await
        .unwrap();
    let pod = gateway.spec.unwrap().template.spec.unwrap();
    let container = &pod.containers[0];
    let setting = container
        .env
        .iter()
        .flatten()
        .find(|variable| variable.name == "BROKER_HTTPS")
        .unwrap();
    let folder = setting.value.as_deref().unwrap();
    let mount = container
        .volume_mounts
        .iter()
        .flatten()
        .find(|mount| mount.mount_path == folder)
        .unwrap();
    let volume = pod
        .volumes
        .iter()
        .flatten()
        .find(|volume| volume.name == mount.name)
        .unwrap();
    let secret = volume.secret.as_ref().unwrap().secret_name.as_deref();
    assert_eq!(secret, Some("gateway-https"));

    let service = Api::<Service>::namespaced(client, NAMESPACE)
        .get("gateway")
        .await
        .unwrap();
    let ports = service.spec.unwrap().ports.unwrap();
    let [port] = &*ports else {
        panic!("{ports:?}");
    };
    assert_eq!(port.port, 443);
    let named = IntOrString::String(container.ports.as_ref().unwrap()[0].name.clone().unwrap());
    assert_eq!(port.target_port, Some(named));
}

/// An environment variable that no program reads would change nothing, and
/// say nothing.
#[tokio::test]
async fn every_setting_of_the_manifests_exists_and_pods_have_time_to_shut_down() {
    let control_plane = deployed().await;
    let deployments = Api::<Deployment>::namespaced(control_plane.client(), NAMESPACE)
        .list(&ListParams::default())
        .await
        .unwrap();
    let mut seen = 0;
    for deployment in deployments {
        let pod = deployment.spec.unwrap().template.spec.unwrap();
        for container in pod.containers {
            let Some(program) = program(&container.name) else {
                continue;
            };
            seen += 1;
            let known = |name: &str| {
                program
                    .get_arguments()
                    .any(|argument| argument.get_env().is_some_and(|env| env == name))
            };
            for variable in container.env.unwrap_or_default() {
                assert!(
                    known(&variable.name),
                    "{} does not read {}",
                    container.name,
                    variable.name
                );
            }
            let deadline = ServiceDefaults::parse_from(["defaults"])
                .service
                .shutdown_deadline;
            let grace = pod.termination_grace_period_seconds.unwrap_or_default();
            assert!(
                grace.unsigned_abs() > deadline.as_secs(),
                "{}",
                container.name
            );
        }
    }
    assert_eq!(seen, 4, "a service was not looked at");
}

#[derive(Debug, Parser)]
struct ServiceDefaults {
    #[command(flatten)]
    service: service::ServiceArgs,
}
