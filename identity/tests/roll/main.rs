//! identity on a real API server, with exactly the rights that are shipped for
//! it, and lifetimes of seconds.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::{collections::BTreeSet, path::Path, time::Duration};

use clap::Parser as _;
use identity::{App, Args};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        core::v1::{Namespace, Secret, ServiceAccount},
        rbac::v1::{Role, RoleBinding},
    },
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{DeleteParams, ListParams, ObjectMeta, PostParams},
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, UnixTime, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use serde::{Serialize, de::DeserializeOwned};
use service::ServiceArgs;
use testbed::ControlPlane;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const BROKER: &str = "mongodb-osb";
const AUTHORITY: &str = "mongodb-osb-authority";
const CALLERS: [&str; 5] = [
    "gateway",
    "catalog-svc",
    "provisioner-svc",
    "binder-svc",
    "admin",
];

fn shipped<T: DeserializeOwned + Resource<DynamicType = ()>>(file: &str) -> Vec<T> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../k8s/base");
    let text = std::fs::read_to_string(folder.join(file)).unwrap();
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text).unwrap();
    let ours = documents
        .into_iter()
        .filter(|it| it["kind"] == *T::kind(&()));
    ours.map(|it| serde_json::from_value(it).unwrap()).collect()
}

async fn create<T>(client: &Client, namespace: &str, file: &str)
where
    T: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    T: Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    for object in shipped::<T>(file) {
        let api: Api<T> = Api::namespaced(client.clone(), namespace);
        api.create(&PostParams::default(), &object).await.unwrap();
    }
}

struct World {
    control_plane: ControlPlane,
    admin: Client,
    account: Client,
}

impl World {
    async fn start() -> Self {
        service::process::install_tls_provider();
        let control_plane = ControlPlane::start().await.unwrap();
        let admin = control_plane.client();
        for name in [BROKER, AUTHORITY] {
            let namespace = Namespace {
                metadata: ObjectMeta {
                    name: Some(name.to_owned()),
                    ..ObjectMeta::default()
                },
                ..Namespace::default()
            };
            let api: Api<Namespace> = Api::all(admin.clone());
            api.create(&PostParams::default(), &namespace)
                .await
                .unwrap();
        }
        create::<ServiceAccount>(&admin, AUTHORITY, "identity/account.yaml").await;
        for (namespace, file) in [
            (AUTHORITY, "identity/role.yaml"),
            (BROKER, "broker/certificates/identity.yaml"),
        ] {
            create::<Role>(&admin, namespace, file).await;
            create::<RoleBinding>(&admin, namespace, file).await;
        }
        create::<Secret>(&admin, BROKER, "broker/certificates/secrets.yaml").await;
        let account = control_plane.service_account(AUTHORITY, "identity").await;
        Self {
            account: account.unwrap().client(),
            admin,
            control_plane,
        }
    }

    /// A process of it; lifetimes in seconds, an authority rolls after twenty.
    async fn identity(&self) -> JoinHandle<anyhow::Result<()>> {
        let mut args = Args::parse_from([
            "identity",
            "--leaf-lifetime=12s",
            "--leaf-renew-after=6s",
            "--authority-lifetime=40s",
            "--authority-renew-after=20s",
            "--authority-overlap=6s",
            "--recheck=200ms",
        ]);
        args.service = ServiceArgs::for_tests();
        let app = App::bind(args, self.account.clone()).await.unwrap();
        tokio::spawn(app.run(CancellationToken::new()))
    }

    async fn leaf(&self, caller: &str) -> Option<Leaf> {
        let api: Api<Secret> = Api::namespaced(self.admin.clone(), BROKER);
        let data = api.get(&format!("{caller}-tls")).await.unwrap().data?;
        let pem = |key: &str| -> Vec<CertificateDer<'static>> {
            CertificateDer::pem_slice_iter(&data[key].0)
                .map(Result::unwrap)
                .collect()
        };
        Some(Leaf {
            chain: pem("tls.crt"),
            authorities: pem("ca.crt"),
        })
    }

    /// Of all that it writes.
    async fn versions(&self) -> Vec<Option<String>> {
        let mut versions = Vec::new();
        for namespace in [BROKER, AUTHORITY] {
            let api: Api<Secret> = Api::namespaced(self.admin.clone(), namespace);
            let list = api.list(&ListParams::default()).await.unwrap();
            versions.extend(list.into_iter().map(|secret| secret.resource_version()));
        }
        versions
    }

    async fn leaves(&self) -> Vec<Leaf> {
        let mut leaves = Vec::new();
        for caller in CALLERS {
            leaves.extend(self.leaf(caller).await);
        }
        leaves
    }
}

#[derive(Clone)]
struct Leaf {
    chain: Vec<CertificateDer<'static>>,
    authorities: Vec<CertificateDer<'static>>,
}

/// Whether one who has read `believer` believes `shown`. Certificates begin an hour before
/// they are made; half an hour ago all are valid, however long the processes were away.
fn believes(believer: &Leaf, shown: &Leaf) -> bool {
    let mut roots = RootCertStore::empty();
    for authority in &believer.authorities {
        roots.add(authority.clone()).unwrap();
    }
    let verifier = WebPkiClientVerifier::builder(roots.into()).build().unwrap();
    let now = UnixTime::now().as_secs();
    let earlier = UnixTime::since_unix_epoch(Duration::from_secs(now - 1800));
    let verified = verifier.verify_client_cert(&shown.chain[0], &[], earlier);
    verified.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_roll_while_two_run_and_are_killed_and_everybody_believes_everybody() {
    let world = World::start().await;
    let mut running = [world.identity().await, world.identity().await];
    while world.leaves().await.len() < CALLERS.len() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut authorities = BTreeSet::new();
    // Three authorities that have signed: two changes.
    while authorities.len() < 3 {
        // Killed after each write, wherever they are by then.
        let written = world.versions().await;
        while world.versions().await == written {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for process in &mut running {
            process.abort();
            *process = world.identity().await;
        }
        let leaves = world.leaves().await;
        assert_eq!(leaves.len(), CALLERS.len());
        for believer in &leaves {
            assert!((1..=2).contains(&believer.authorities.len()));
            for shown in &leaves {
                assert!(believes(believer, shown), "a service refuses another");
            }
        }
        authorities.insert(leaves[0].authorities[0].to_vec());
    }
    running.iter().for_each(JoinHandle::abort);
    drop(world.control_plane);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_reads_and_writes_its_own_secrets_and_no_others() {
    let world = World::start().await;
    let process = world.identity().await;
    while world.leaves().await.len() < CALLERS.len() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let secret = |name: &str| Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        ..Secret::default()
    };
    let all: Api<Secret> = Api::namespaced(world.admin.clone(), BROKER);
    let other = all
        .create(&PostParams::default(), &secret("gateway-credentials"))
        .await;
    let other = other.unwrap();
    let own: Api<Secret> = Api::namespaced(world.account.clone(), BROKER);
    assert!(own.get("gateway-credentials").await.is_err());
    let params = PostParams::default();
    assert!(
        own.replace("gateway-credentials", &params, &other)
            .await
            .is_err()
    );
    assert!(own.create(&params, &secret("more-tls")).await.is_err());
    assert!(
        own.delete("gateway-tls", &DeleteParams::default())
            .await
            .is_err()
    );
    assert!(own.list(&ListParams::default()).await.is_err());

    // What a person deletes comes back by applying the manifests, and is filled.
    all.delete("binder-svc-tls", &DeleteParams::default())
        .await
        .unwrap();
    all.create(&params, &secret("binder-svc-tls"))
        .await
        .unwrap();
    while world.leaf("binder-svc").await.is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    process.abort();
}
