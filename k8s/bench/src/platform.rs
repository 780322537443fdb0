//! The platform: orders, polls, binds and deletes through OSB, as fast as it is answered.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::plans::{self, OFFERING};

/// The platform's login.
pub(crate) const LOGIN: (&str, &str) = ("platform", "bench-platform-password");

const ANSWER: Duration = Duration::from_secs(90);
/// Any operation must have ended by then.
const END: Duration = Duration::from_secs(300);

/// A client of the gateway.
#[derive(Clone)]
pub(crate) struct Platform {
    http: reqwest::Client,
    /// Requests go to one after the other.
    gateways: Arc<[SocketAddr]>,
    next: Arc<AtomicUsize>,
    /// User and password.
    login: (String, String),
    /// Between two polls.
    poll: Duration,
    catalog: Value,
}

/// An operation that was accepted.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    /// From the request to the 202.
    pub(crate) took: Duration,
    /// Its id.
    pub(crate) operation: String,
}

impl Platform {
    /// One with that login (user and password) that knows no catalog yet.
    pub(crate) fn new(gateways: &[SocketAddr], login: (&str, &str)) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(ANSWER)
            .build()
            .context("make a client")?;
        Ok(Self {
            http,
            gateways: gateways.into(),
            next: Arc::default(),
            login: (login.0.to_owned(), login.1.to_owned()),
            poll: Duration::from_millis(5),
            catalog: Value::Null,
        })
    }

    /// The same with another time between two polls.
    pub(crate) fn polling(&self, poll: Duration) -> Self {
        Self {
            poll,
            ..self.clone()
        }
    }

    /// Fetches the catalog once it has so many plans of the offering at each gateway.
    pub(crate) async fn learn(&mut self, plans: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + END;
        let mut in_a_row = 0;
        while in_a_row < self.gateways.len() {
            if let Ok((StatusCode::OK, catalog)) = self.send(Method::GET, "catalog", None).await
                && let Some(offering) = catalog["services"]
                    .as_array()
                    .and_then(|all| all.iter().find(|one| one["name"] == OFFERING))
                && offering["plans"].as_array().map(Vec::len) == Some(plans)
            {
                self.catalog = offering.clone();
                in_a_row += 1;
                continue;
            }
            in_a_row = 0;
            ensure!(Instant::now() < deadline, "the catalog is not served");
            tokio::time::sleep(self.poll).await;
        }
        Ok(())
    }

    /// The catalog as it is now, whole.
    pub(crate) async fn catalog(&self) -> anyhow::Result<Value> {
        let (status, catalog) = self.send(Method::GET, "catalog", None).await?;
        ensure!(status == StatusCode::OK, "GET catalog: {status}");
        Ok(catalog)
    }

    /// Orders an instance.
    pub(crate) async fn provision(&self, id: &str, database: usize) -> anyhow::Result<Accepted> {
        let mut body = self.ids(database)?;
        body["organization_guid"] = json!("organization");
        body["space_guid"] = json!("space");
        let path = format!("service_instances/{id}?accepts_incomplete=true");
        self.accepted(Method::PUT, &path, Some(body)).await
    }

    /// Changes its parameter.
    pub(crate) async fn update(
        &self,
        id: &str,
        database: usize,
        note: &str,
    ) -> anyhow::Result<Accepted> {
        let mut body = self.ids(database)?;
        body["parameters"] = json!({"note": note});
        let path = format!("service_instances/{id}?accepts_incomplete=true");
        self.accepted(Method::PATCH, &path, Some(body)).await
    }

    /// Deletes it.
    pub(crate) async fn deprovision(&self, id: &str, database: usize) -> anyhow::Result<Accepted> {
        let path = format!(
            "service_instances/{id}?accepts_incomplete=true&{}",
            self.query(database)?
        );
        self.accepted(Method::DELETE, &path, None).await
    }

    /// Polls until the operation has succeeded.
    pub(crate) async fn succeeded(&self, id: &str, operation: &str) -> anyhow::Result<()> {
        self.ended(id, operation, None).await
    }

    /// Polls until the deprovision has succeeded, or its instance is forgotten.
    pub(crate) async fn gone(&self, id: &str, operation: &str) -> anyhow::Result<()> {
        self.ended(id, operation, Some(StatusCode::GONE)).await
    }

    /// Polls until the operation has succeeded, or the answer has the status `over`.
    async fn ended(
        &self,
        id: &str,
        operation: &str,
        over: Option<StatusCode>,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + END;
        let path = format!("service_instances/{id}/last_operation?operation={operation}");
        loop {
            let (status, body) = self.send(Method::GET, &path, None).await?;
            match (status, body["state"].as_str()) {
                (StatusCode::OK, Some("succeeded")) => return Ok(()),
                (StatusCode::OK, Some("in progress")) => {}
                (status, _) if Some(status) == over => return Ok(()),
                _ => bail!("the poll of {id}: {status} {body}"),
            }
            ensure!(Instant::now() < deadline, "{id} does not end: {body}");
            tokio::time::sleep(self.poll).await;
        }
    }

    /// Binds; how long it took.
    pub(crate) async fn bind(
        &self,
        instance: &str,
        binding: &str,
        database: usize,
        predecessor: Option<&str>,
    ) -> anyhow::Result<Duration> {
        let mut body = self.ids(database)?;
        if let Some(predecessor) = predecessor {
            body["predecessor_binding_id"] = json!(predecessor);
        }
        let path = format!("service_instances/{instance}/service_bindings/{binding}");
        let began = Instant::now();
        let (status, body) = self.send(Method::PUT, &path, Some(body)).await?;
        ensure!(status == StatusCode::CREATED, "bind: {status} {body}");
        Ok(began.elapsed())
    }

    /// Unbinds; how long it took.
    pub(crate) async fn unbind(
        &self,
        instance: &str,
        binding: &str,
        database: usize,
    ) -> anyhow::Result<Duration> {
        let path = format!(
            "service_instances/{instance}/service_bindings/{binding}?{}",
            self.query(database)?
        );
        let began = Instant::now();
        let (status, body) = self.send(Method::DELETE, &path, None).await?;
        ensure!(status == StatusCode::OK, "unbind: {status} {body}");
        Ok(began.elapsed())
    }

    /// The bytes of a GET request, for [`crate::load`].
    pub(crate) fn get(&self, path: &str, headers: &str) -> Vec<u8> {
        let login = BASE64_STANDARD.encode(format!("{}:{}", self.login.0, self.login.1));
        format!(
            "GET /v2/{path} HTTP/1.1\r\nhost: {}\r\nauthorization: Basic {login}\r\n\
             x-broker-api-version: 2.17\r\n{headers}\r\n",
            self.gateway()
        )
        .into_bytes()
    }

    /// Body and ETag of the catalog, as they are sent.
    pub(crate) async fn catalog_bytes(&self) -> anyhow::Result<(Vec<u8>, String)> {
        let answer = self.request(Method::GET, "catalog").send().await?;
        let tag = answer
            .headers()
            .get("etag")
            .and_then(|value| value.to_str().ok())
            .context("a catalog without an ETag")?
            .to_owned();
        Ok((answer.bytes().await?.to_vec(), tag))
    }

    async fn accepted(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<Accepted> {
        let began = Instant::now();
        let (status, answer) = self.send(method.clone(), path, body).await?;
        let took = began.elapsed();
        ensure!(
            status == StatusCode::ACCEPTED,
            "{method} {path}: {status} {answer}"
        );
        let operation = answer["operation"].as_str().context("no operation")?;
        Ok(Accepted {
            took,
            operation: operation.to_owned(),
        })
    }

    fn gateway(&self) -> SocketAddr {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        self.gateways[next % self.gateways.len()]
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, format!("http://{}/v2/{path}", self.gateway()))
            .header("X-Broker-API-Version", "2.17")
            .basic_auth(&self.login.0, Some(&self.login.1))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.context("no answer")?;
        let status = answer.status();
        let body = answer.json().await.context("an answer that is no JSON")?;
        Ok((status, body))
    }

    fn ids(&self, database: usize) -> anyhow::Result<Value> {
        let name = plans::name(database);
        let plan = self.catalog["plans"]
            .as_array()
            .and_then(|plans| plans.iter().find(|plan| plan["name"] == name.as_str()))
            .with_context(|| format!("no plan {name}"))?;
        Ok(json!({"service_id": self.catalog["id"], "plan_id": plan["id"]}))
    }

    fn query(&self, database: usize) -> anyhow::Result<String> {
        let ids = self.ids(database)?;
        let text = |key: &str| ids[key].as_str().unwrap_or_default().to_owned();
        Ok(format!(
            "service_id={}&plan_id={}",
            text("service_id"),
            text("plan_id")
        ))
    }
}
