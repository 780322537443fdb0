//! A control plane with the ConfigMap and the rights that a plan and the broker make, and a look
//! at a set as its admin user.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use k8s_openapi::api::{
    core::v1::{ConfigMap, Namespace, ServiceAccount},
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use mongo_bootstrap::topology::{BOOTSTRAPPED, REPORT, Report};
use mongodb::{
    Client,
    bson::{Document, doc},
    options::{ClientOptions, Credential, ServerAddress},
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use serde_json::json;
use testbed::{ControlPlane, Port};
use tokio::time::{Instant, sleep};

use crate::pod::{LIMIT, PASSWORD, Set};

pub(crate) struct World {
    pub(crate) control_plane: ControlPlane,
    folder: tempfile::TempDir,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self {
            control_plane: ControlPlane::start().await.unwrap(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// A namespace with everything that is there before the first pod.
    pub(crate) async fn set(&self, namespace: &str, members: u32) -> Set {
        let client = self.control_plane.client();
        let namespaces: Api<Namespace> = Api::all(client.clone());
        create(&namespaces, json!({ "metadata": { "name": namespace } })).await;
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
        create(&accounts, json!({ "metadata": { "name": "mdb" } })).await;
        let roles: Api<Role> = Api::namespaced(client.clone(), namespace);
        create(
            &roles,
            json!({
                "metadata": { "name": "mdb" },
                "rules": [{
                    "apiGroups": [""], "resources": ["configmaps"],
                    "resourceNames": ["mdb-topology", "mdb-compatibility", "mdb-revocations"],
                    "verbs": ["get", "watch", "patch"],
                }],
            }),
        )
        .await;
        let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), namespace);
        create(&bindings, json!({
            "metadata": { "name": "mdb" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "mdb" },
            "subjects": [{ "kind": "ServiceAccount", "name": "mdb", "namespace": namespace }],
        }))
        .await;
        let set = Set {
            namespace: namespace.to_owned(),
            kubeconfig: self.kubeconfig(namespace).await,
            folder: self.folder.path().join(namespace),
            mongod: testbed::binaries::mongod().await.unwrap(),
            port: Arc::new(Port::reserve().unwrap()),
            // As the shipped plans: members log in to each other, too.
            mongod_args: [
                "--noscripting",
                "--setParameter=authenticationMechanisms=SCRAM-SHA-256",
            ]
            .map(str::to_owned)
            .to_vec(),
            elsewhere: None,
            environment: Vec::new(),
        };
        self.want(&set, members).await;
        set
    }

    async fn kubeconfig(&self, namespace: &str) -> std::path::PathBuf {
        let identity = self
            .control_plane
            .service_account(namespace, "mdb")
            .await
            .unwrap();
        identity.kubeconfig().to_owned()
    }

    /// Applies the ConfigMap as the broker does.
    pub(crate) async fn want(&self, set: &Set, members: u32) {
        let data = json!({ "members": members.to_string() });
        self.apply(set, "mdb-topology", data).await;
    }

    /// Applies the ConfigMap of a plan that names the server's version.
    pub(crate) async fn want_version(&self, set: &Set, members: u32, version: &str) {
        let data = json!({ "members": members.to_string(), "version": version });
        self.apply(set, "mdb-topology", data).await;
    }

    /// Applies the last file of an upgrade.
    pub(crate) async fn want_compatibility(&self, set: &Set, version: &str) {
        let data = json!({ "version": version });
        self.apply(set, "mdb-compatibility", data).await;
    }

    pub(crate) async fn apply(&self, set: &Set, name: &str, data: serde_json::Value) {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": data,
        });
        let params = PatchParams::apply("mongodb-osb").force();
        self.topologies(set)
            .patch(name, &params, &Patch::Apply(object))
            .await
            .unwrap();
    }

    /// Takes the reports off a ConfigMap, if it is there.
    pub(crate) async fn forget(&self, set: &Set, name: &str) {
        if self.topologies(set).get_opt(name).await.unwrap().is_some() {
            let nothing = json!({ "metadata": { "annotations": {
                REPORT: null, mongo_bootstrap::compatibility::REPORT: null,
            }}});
            let params = PatchParams::default();
            self.topologies(set)
                .patch(name, &params, &Patch::Merge(nothing))
                .await
                .unwrap();
        }
    }

    /// The ConfigMap with the topology, as it is now.
    pub(crate) async fn topology(&self, set: &Set) -> ConfigMap {
        self.topologies(set).get("mdb-topology").await.unwrap()
    }

    pub(crate) async fn annotations(&self, set: &Set) -> BTreeMap<String, String> {
        self.annotations_of(set, "mdb-topology").await
    }

    pub(crate) async fn annotations_of(&self, set: &Set, name: &str) -> BTreeMap<String, String> {
        let object = self.topologies(set).get(name).await.unwrap();
        object.metadata.annotations.unwrap_or_default()
    }

    pub(crate) async fn is_marked(&self, set: &Set) -> bool {
        self.annotations(set).await.contains_key(BOOTSTRAPPED)
    }

    /// Waits for a report.
    pub(crate) async fn reported(&self, set: &Set, wanted: impl Fn(&Report) -> bool) -> Report {
        let start = Instant::now();
        loop {
            let text = self.annotations(set).await.remove(REPORT);
            let report: Option<Report> = text.map(|text| serde_json::from_str(&text).unwrap());
            match report {
                Some(report) if wanted(&report) => return report,
                last => assert!(start.elapsed() < LIMIT, "the last report is {last:?}"),
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until the set has as many members as are wanted, and nothing is waited for.
    pub(crate) async fn settles(&self, set: &Set, members: u32) -> Report {
        self.reported(set, |report| {
            report.message.is_none()
                && report.desired == members
                && report.members == (0..members).collect::<Vec<_>>()
                && report
                    .primary_ordinal
                    .is_some_and(|primary| primary < members)
        })
        .await
    }

    fn topologies(&self, set: &Set) -> Api<ConfigMap> {
        Api::namespaced(self.control_plane.client(), &set.namespace)
    }
}

async fn create<K>(api: &Api<K>, object: serde_json::Value)
where
    K: Clone + serde::Serialize + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let object = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
}

/// A connection to one member, as the admin user or as nobody.
pub(crate) fn connect(host: &str, password: Option<&str>) -> Client {
    let credential = password.map(|password| {
        Credential::builder()
            .username("osb-admin".to_owned())
            .password(password.to_owned())
            .source("admin".to_owned())
            .build()
    });
    let options = ClientOptions::builder()
        .hosts(vec![ServerAddress::parse(host).unwrap()])
        .direct_connection(true)
        .server_selection_timeout(Duration::from_secs(5))
        .credential(credential)
        .build();
    Client::with_options(options).unwrap()
}

pub(crate) async fn admin(host: &str, command: Document) -> Document {
    connect(host, Some(PASSWORD))
        .database("admin")
        .run_command(command)
        .await
        .unwrap()
}

/// The answer to `hello`, which needs no login.
pub(crate) async fn hello(host: &str) -> Document {
    connect(host, None)
        .database("admin")
        .run_command(doc! { "hello": 1 })
        .await
        .unwrap()
}

pub(crate) async fn config(host: &str) -> Document {
    let answer = admin(host, doc! { "replSetGetConfig": 1 }).await;
    answer.get_document("config").unwrap().clone()
}

/// The hosts in the configuration that the primary has; none while there is no primary.
pub(crate) async fn config_of(set: &Set, members: &[u32]) -> Vec<String> {
    for member in members {
        let host = set.host(*member);
        let answer = connect(&host, None)
            .database("admin")
            .run_command(doc! { "hello": 1 })
            .await;
        let Ok(hello) = answer else { continue };
        if !hello.get_bool("isWritablePrimary").unwrap_or(false) {
            continue;
        }
        let lists = ["hosts", "passives"].map(|key| hello.get_array(key).cloned());
        let hosts = lists.into_iter().flatten().flatten();
        return hosts
            .filter_map(|host| host.as_str().map(str::to_owned))
            .collect();
    }
    Vec::new()
}

/// The names of all users.
pub(crate) async fn users(host: &str) -> Vec<String> {
    let answer = admin(host, doc! { "usersInfo": { "forAllDBs": true } }).await;
    let users = answer.get_array("users").unwrap();
    users
        .iter()
        .map(|user| {
            user.as_document()
                .unwrap()
                .get_str("_id")
                .unwrap()
                .to_owned()
        })
        .collect()
}

/// A key with its certificate for a name, and the authority's certificate, as files.
pub(crate) fn certificates(world: &World, name: &str) -> (PathBuf, PathBuf) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
    leaf.distinguished_name.push(DnType::CommonName, name);
    leaf.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let certificate = leaf.signed_by(&key, &issuer).unwrap().pem();
    let files = [
        ("tls.pem", key.serialize_pem() + &certificate),
        ("ca.crt", ca),
    ];
    let [pem, ca] = files.map(|(name, content)| {
        let path = world.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    });
    (pem, ca)
}
