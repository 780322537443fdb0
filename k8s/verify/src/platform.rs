//! The platform: asks until it is answered, polls until it ends, as platforms
//! do whose broker is away for a while.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, bail};
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::plans::{OFFERING, Plan, Wanted};

/// The platform's login.
pub(crate) const LOGIN: (&str, &str) = ("platform", "verify-platform-password");

/// A request waits for a synchronous answer at most so long.
const ANSWER: Duration = Duration::from_secs(30);
/// Any operation must have ended by then, after the last fault.
const END: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(200);

/// A client of the gateway.
#[derive(Clone)]
pub(crate) struct Platform {
    http: reqwest::Client,
    gateway: SocketAddr,
    catalog: Value,
}

/// What came of a request in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Done, with the last body.
    Done(Value),
    /// A poll said `failed`, with this description.
    Failed(String),
}

struct Answer {
    status: StatusCode,
    body: Value,
}

impl Platform {
    /// One that knows no catalog yet.
    pub(crate) fn new(gateway: SocketAddr) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(ANSWER)
            // A gateway that died took its connections along.
            .pool_max_idle_per_host(0)
            .build()
            .context("make a client")?;
        Ok(Self {
            http,
            gateway,
            catalog: Value::Null,
        })
    }

    /// Fetches the catalog once all plans are in it.
    pub(crate) async fn learn(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + END;
        loop {
            let answer = self.send(&Method::GET, "catalog", None).await;
            if let Ok(answer) = answer
                && answer.body["services"][0]["plans"]
                    .as_array()
                    .is_some_and(|plans| plans.len() == Plan::ALL.len())
            {
                self.catalog = answer.body["services"][0].clone();
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the catalog of {OFFERING} is not served");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Creates an instance.
    pub(crate) async fn create(
        &self,
        instance: &str,
        plan: Plan,
        wanted: &Wanted,
    ) -> anyhow::Result<Ended> {
        let mut body = self.ids(plan)?;
        body["organization_guid"] = json!("organization");
        body["space_guid"] = json!("space");
        body["parameters"] = wanted.parameters();
        self.settle(&Method::PUT, &path(instance), Some(body)).await
    }

    /// Changes an instance.
    pub(crate) async fn update(
        &self,
        instance: &str,
        plan: Plan,
        wanted: &Wanted,
    ) -> anyhow::Result<Ended> {
        let mut body = self.ids(plan)?;
        body["parameters"] = wanted.parameters();
        self.settle(&Method::PATCH, &path(instance), Some(body))
            .await
    }

    /// Deletes an instance.
    pub(crate) async fn delete(&self, instance: &str, plan: Plan) -> anyhow::Result<Ended> {
        self.remove(&path(instance), plan).await
    }

    /// Makes a binding, the successor of another if one is named, and returns its credentials.
    pub(crate) async fn bind(
        &self,
        instance: &str,
        binding: &str,
        plan: Plan,
        predecessor: Option<&str>,
    ) -> anyhow::Result<Result<Value, String>> {
        let mut body = self.ids(plan)?;
        if let Some(predecessor) = predecessor {
            body["predecessor_binding_id"] = json!(predecessor);
        }
        let path = binding_path(instance, binding);
        if let Ended::Failed(description) = self.settle(&Method::PUT, &path, Some(body)).await? {
            return Ok(Err(description));
        }
        let deadline = Instant::now() + END;
        loop {
            match self.send(&Method::GET, &path, None).await {
                Ok(answer) if answer.status == StatusCode::OK => {
                    return Ok(Ok(answer.body["credentials"].clone()));
                }
                Ok(answer) if !is_transient(answer.status) => {
                    bail!(
                        "GET {path} of a finished binding: {} {}",
                        answer.status,
                        answer.body
                    )
                }
                _ if Instant::now() > deadline => bail!("GET {path} is not answered"),
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Removes a binding.
    pub(crate) async fn unbind(
        &self,
        instance: &str,
        binding: &str,
        plan: Plan,
    ) -> anyhow::Result<Ended> {
        self.remove(&binding_path(instance, binding), plan).await
    }

    /// What GET shows of the parameters of an instance.
    pub(crate) async fn parameters(&self, instance: &str) -> anyhow::Result<Value> {
        let deadline = Instant::now() + END;
        let path = path(instance);
        loop {
            match self.send(&Method::GET, &path, None).await {
                Ok(answer) if answer.status == StatusCode::OK => {
                    return Ok(answer.body["parameters"].clone());
                }
                Ok(answer) if !is_transient(answer.status) => {
                    bail!("GET {path}: {} {}", answer.status, answer.body)
                }
                _ if Instant::now() > deadline => bail!("GET {path} is not answered"),
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    async fn remove(&self, path: &str, plan: Plan) -> anyhow::Result<Ended> {
        let ids = self.ids(plan)?;
        let text = |key: &str| ids[key].as_str().unwrap_or_default().to_owned();
        let query = format!(
            "{path}?service_id={}&plan_id={}",
            text("service_id"),
            text("plan_id")
        );
        self.settle(&Method::DELETE, &query, None).await
    }

    /// Sends a request until it is answered, and polls where that is the answer.
    async fn settle(
        &self,
        method: &Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<Ended> {
        let deadline = Instant::now() + END;
        let separator = if path.contains('?') { '&' } else { '?' };
        let query = format!("{path}{separator}accepts_incomplete=true");
        let mut last = String::new();
        while Instant::now() < deadline {
            let answer = match self.send(method, &query, body.as_ref()).await {
                Ok(answer) => answer,
                Err(error) => {
                    last = format!("{error:#}");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            match answer.status {
                StatusCode::OK | StatusCode::CREATED => return Ok(Ended::Done(answer.body)),
                StatusCode::GONE if *method == Method::DELETE => {
                    return Ok(Ended::Done(answer.body));
                }
                StatusCode::ACCEPTED => {
                    let operation = answer.body["operation"].as_str().unwrap_or_default();
                    return self.poll(path, operation, method).await;
                }
                // An earlier try of this very request may be at work.
                status if is_transient(status) || answer.body["error"] == "ConcurrencyError" => {
                    last = format!("{status} {}", answer.body);
                    tokio::time::sleep(PAUSE).await;
                }
                status => bail!("{method} {path}: {status} {}", answer.body),
            }
        }
        bail!(
            "{method} {path} is not done after {} s; the last answer: {last}",
            END.as_secs()
        )
    }

    async fn poll(&self, path: &str, operation: &str, method: &Method) -> anyhow::Result<Ended> {
        let deadline = Instant::now() + END;
        let path = path.split('?').next().unwrap_or_default();
        let query = format!("{path}/last_operation?operation={operation}");
        let mut last = String::new();
        while Instant::now() < deadline {
            let answer = match self.send(&Method::GET, &query, None).await {
                Ok(answer) => answer,
                Err(error) => {
                    last = format!("{error:#}");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            last = format!("{} {}", answer.status, answer.body);
            match (answer.status, answer.body["state"].as_str()) {
                (StatusCode::OK, Some("succeeded")) => return Ok(Ended::Done(answer.body)),
                (StatusCode::GONE, _) if *method == Method::DELETE => {
                    return Ok(Ended::Done(answer.body));
                }
                (StatusCode::OK, Some("failed")) => {
                    let description = answer.body["description"].as_str();
                    return Ok(Ended::Failed(description.unwrap_or_default().to_owned()));
                }
                (StatusCode::OK, Some("in progress")) => {}
                (status, _) if is_transient(status) => {}
                _ => bail!("poll of {method} {path}: {last}"),
            }
            tokio::time::sleep(PAUSE).await;
        }
        bail!(
            "{method} {path} was accepted with 202 and has not ended after {} s; the last poll: {last}",
            END.as_secs()
        )
    }

    async fn send(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        let url = format!("http://{}/v2/{path}", self.gateway);
        let mut request = self
            .http
            .request(method.clone(), url)
            .header("X-Broker-API-Version", "2.17")
            .basic_auth(LOGIN.0, Some(LOGIN.1));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.context("no answer")?;
        let status = answer.status();
        let body = answer.json().await.context("an answer that is no JSON")?;
        Ok(Answer { status, body })
    }

    fn ids(&self, plan: Plan) -> anyhow::Result<Value> {
        let plans = self.catalog["plans"].as_array().context("no catalog")?;
        let found = plans
            .iter()
            .find(|listed| listed["name"] == plan.name())
            .with_context(|| format!("no plan {}", plan.name()))?;
        let mut ids = Map::new();
        ids.insert("service_id".to_owned(), self.catalog["id"].clone());
        ids.insert("plan_id".to_owned(), found["id"].clone());
        Ok(Value::Object(ids))
    }
}

fn path(instance: &str) -> String {
    format!("service_instances/{instance}")
}

fn binding_path(instance: &str, binding: &str) -> String {
    format!("service_instances/{instance}/service_bindings/{binding}")
}

/// Whether a platform asks again.
fn is_transient(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
}
