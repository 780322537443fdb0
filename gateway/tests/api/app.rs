//! A gateway with doubles behind it, and a small client.

use std::{path::Path, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode, header},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use broker_proto::v1::{CatalogSnapshot, Offering, Plan};
use gateway::{App, Args, HttpArgs, PeerArgs, PollTerminal};
use serde_json::Value;
use service::ServiceArgs;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::fakes::Fakes;

pub(crate) const INSTANCE: &str = "/v2/service_instances/i-1";
pub(crate) const BINDING: &str = "/v2/service_instances/i-1/service_bindings/b-1";
pub(crate) const IDS: &str = "service_id=s-1&plan_id=p-1";
pub(crate) const PASSWORD: &str = "correct-horse";

/// The login of the platform `platform`, as a mounted Secret has it.
pub(crate) fn write_login(folder: &Path, password: &str) {
    write_login_of("platform", folder, "platform", password);
}

/// The same of another platform.
pub(crate) fn write_login_of(platform: &str, folder: &Path, user: &str, password: &str) {
    for (file, text) in [
        ("platform", platform),
        ("username", user),
        ("password", password),
    ] {
        std::fs::write(folder.join(file), text).unwrap();
    }
}

/// A running gateway. It stops when this is dropped.
pub(crate) struct TestApp {
    pub(crate) router: Router,
    pub(crate) fakes: Fakes,
    pub(crate) address: String,
    pub(crate) admin: String,
    pub(crate) shutdown: CancellationToken,
    pub(crate) running: JoinHandle<anyhow::Result<()>>,
    pub(crate) credentials: TempDir,
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl TestApp {
    /// With a catalog, and ready.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// The same with other arguments.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Args)) -> Self {
        let app = Self::launch(Some(snapshot("g-1")), change).await;
        while app.get("/v2/catalog").send().await.status == StatusCode::SERVICE_UNAVAILABLE {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        app
    }

    /// Does not wait for anything.
    pub(crate) async fn launch(
        snapshot: Option<CatalogSnapshot>,
        change: impl FnOnce(&mut Args),
    ) -> Self {
        let fakes = Fakes::start(snapshot).await;
        let credentials = tempfile::tempdir().unwrap();
        write_login(credentials.path(), PASSWORD);
        let mut args = Args {
            service: ServiceArgs::for_tests(),
            peers: PeerArgs {
                catalog: fakes.target.clone(),
                provisioner: fakes.target.clone(),
                binder: fakes.target.clone(),
                write_deadline: Duration::from_secs(10),
                read_deadline: Duration::from_secs(5),
            },
            http: HttpArgs {
                credentials: credentials.path().to_owned(),
                credentials_reload: Duration::from_millis(50),
                https: None,
                max_body: 64 * 1024,
                max_in_flight: 64,
                max_connections: 384,
                deprovision_poll_terminal: PollTerminal::Succeeded,
            },
        };
        change(&mut args);
        let app = App::bind(args).await.unwrap();
        let shutdown = CancellationToken::new();
        Self {
            router: app.router(),
            fakes,
            address: app.address().unwrap().to_string(),
            admin: app.admin_address().unwrap().to_string(),
            running: tokio::spawn(app.run(shutdown.clone())),
            shutdown,
            credentials,
        }
    }

    pub(crate) fn ask(&self, method: &str, path: &str) -> Ask {
        let mut headers = HeaderMap::new();
        let login = STANDARD.encode(format!("platform:{PASSWORD}"));
        headers.insert(
            header::AUTHORIZATION,
            format!("Basic {login}").parse().unwrap(),
        );
        headers.insert("x-broker-api-version", "2.17".parse().unwrap());
        Ask {
            router: self.router.clone(),
            method: method.to_owned(),
            path: path.to_owned(),
            headers,
            body: Body::empty(),
        }
    }

    pub(crate) fn get(&self, path: &str) -> Ask {
        self.ask("GET", path)
    }

    pub(crate) fn put(&self, path: &str, body: &Value) -> Ask {
        self.ask("PUT", path).json(body)
    }
}

/// A request that is being put together; by default a valid login at 2.17.
pub(crate) struct Ask {
    router: Router,
    method: String,
    path: String,
    headers: HeaderMap,
    body: Body,
}

impl Ask {
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.parse().unwrap());
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    pub(crate) fn version(self, version: &str) -> Self {
        self.header("x-broker-api-version", version)
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json")
            .body(body.to_string())
    }

    pub(crate) fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) async fn send(self) -> Answer {
        let mut request = Request::builder()
            .method(self.method.as_str())
            .uri(self.path)
            .body(self.body)
            .unwrap();
        *request.headers_mut() = self.headers;
        let response = self.router.oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            bytes: bytes.to_vec(),
        }
    }
}

/// What came back; `body` is null where it is no JSON.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Checks that it is an OSB error of this status, and gives its description.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16) -> &str {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert!(!self.body["error"].as_str().unwrap().is_empty());
        let description = self.body["description"].as_str().unwrap();
        assert!(!description.is_empty());
        description
    }

    /// Checks the status, and gives the body.
    #[track_caller]
    pub(crate) fn granted(&self, status: u16) -> &Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert!(self.body.is_object());
        &self.body
    }
}

/// Offering `s-1` with the plans `p-1` (asynchronous, all fields) and `p-2`
/// (as little as possible); offering `s-2` with `p-3`.
pub(crate) fn snapshot(generation: &str) -> CatalogSnapshot {
    let plan = |id: &str| Plan {
        id: id.into(),
        name: format!("name-{id}"),
        description: "a plan".into(),
        free: true,
        bindable: true,
        bundle_digest: format!("digest-{id}"),
        ..Default::default()
    };
    let full = Plan {
        binding_rotatable: true,
        plan_updateable: Some(true),
        maximum_polling_duration: 1200,
        maintenance_version: "1.0.0+a".into(),
        maintenance_description: "first".into(),
        provision_async: true,
        ..plan("p-1")
    };
    let offering = |id: &str, plans| Offering {
        id: id.into(),
        name: format!("name-{id}"),
        description: "an offering".into(),
        bindable: true,
        tags: vec!["mongodb".into()],
        instances_retrievable: true,
        bindings_retrievable: true,
        plans,
        ..Default::default()
    };
    CatalogSnapshot {
        generation: generation.into(),
        last_modified: Some(prost_types::Timestamp {
            seconds: 784_111_777,
            nanos: 5,
        }),
        offerings: vec![
            offering("s-1", vec![full, plan("p-2")]),
            offering("s-2", vec![plan("p-3")]),
        ],
    }
}
