//! A platform: what it sends, and what it gets.

use std::sync::atomic::{AtomicUsize, Ordering};

use cluster::names::State;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use provisioner_svc::resource::ServiceInstance;
use reqwest::{Method, header::HeaderMap};
use serde_json::{Map, Value, json};

use crate::{
    plans::ROWS,
    stack::{LOGIN, NAMESPACE, Stack, until},
};

/// A platform of one version of the specification.
#[derive(Clone)]
pub(crate) struct Platform {
    http: reqwest::Client,
    pub(crate) stack: &'static Stack,
    version: &'static str,
    catalog: Value,
}

/// What the broker answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
    pub(crate) headers: HeaderMap,
}

impl Answer {
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }

    /// A failure, by its status and word; its object is as OSB wants it.
    #[track_caller]
    pub(crate) fn refused(self, status: u16, word: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.body["error"], word, "{}", answer.body);
        let description = answer.text("description");
        assert!(!description.is_empty());
        assert!(!description.contains(".."), "{description}");
        answer
    }

    #[track_caller]
    pub(crate) fn text(&self, key: &str) -> String {
        let text = self.body[key].as_str();
        text.unwrap_or_else(|| panic!("no {key} in {}", self.body))
            .to_owned()
    }

    #[track_caller]
    pub(crate) fn operation(&self) -> String {
        self.text("operation")
    }

    pub(crate) fn state(&self) -> &str {
        self.body["state"].as_str().unwrap_or_default()
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.body.get(key).is_some()
    }
}

impl Platform {
    /// One of 2.17.
    pub(crate) async fn new() -> Self {
        Self::of("2.17").await
    }

    pub(crate) async fn of(version: &'static str) -> Self {
        let stack = tokio::task::spawn_blocking(Stack::get).await.unwrap();
        let mut platform = Self {
            http: reqwest::Client::new(),
            stack,
            version,
            catalog: Value::Null,
        };
        platform.catalog = platform.get("/v2/catalog").await.expect(200).body;
        platform
    }

    /// Id of an offering by its name.
    pub(crate) fn service_named(&self, name: &str) -> String {
        self.offering(name)["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn service(&self) -> String {
        self.service_named(ROWS)
    }

    pub(crate) fn offering(&self, name: &str) -> &Value {
        let services = self.catalog["services"].as_array().unwrap();
        services.iter().find(|s| s["name"] == name).unwrap()
    }

    /// A plan of the suite's offering by its name.
    pub(crate) fn listed(&self, plan: &str) -> &Value {
        let plans = self.offering(ROWS)["plans"].as_array().unwrap();
        plans.iter().find(|p| p["name"] == plan).unwrap()
    }

    pub(crate) fn plan(&self, name: &str) -> String {
        self.listed(name)["id"].as_str().unwrap().to_owned()
    }

    /// Sends anything.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Answer {
        let url = format!("http://{}{path}", self.stack.gateway);
        let mut request = self
            .http
            .request(method, url)
            .header("X-Broker-API-Version", self.version);
        if !headers.iter().any(|(name, _)| *name == "authorization") {
            request = request.basic_auth(LOGIN.0, Some(LOGIN.1));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.unwrap();
        let body = if status == 304 {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status} with {text:?}"))
        };
        Answer {
            status,
            body,
            headers,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], None).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PUT, path, &JSON, Some(body.to_string()))
            .await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PATCH, path, &JSON, Some(body.to_string()))
            .await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, &[], None).await
    }

    /// A provision's body.
    pub(crate) fn order(&self, plan: &str, parameters: Value) -> Value {
        let mut order = json!({
            "service_id": self.service(), "plan_id": self.plan(plan),
            "organization_guid": "org", "space_guid": "space",
            "context": {"platform": "cloudfoundry", "instance_name": "first"},
        });
        order["parameters"] = parameters;
        order
    }

    /// A bind's body, for no application.
    pub(crate) fn login(&self, plan: &str) -> Value {
        json!({"service_id": self.service(), "plan_id": self.plan(plan)})
    }

    /// `service_id` and `plan_id` of a query.
    pub(crate) fn ids(&self, plan: &str) -> String {
        format!("service_id={}&plan_id={}", self.service(), self.plan(plan))
    }

    /// DELETE of an instance or a binding.
    pub(crate) async fn remove(&self, path: &str, plan: &str) -> Answer {
        self.delete(&format!(
            "{path}?{}&accepts_incomplete=true",
            self.ids(plan)
        ))
        .await
    }

    pub(crate) async fn poll(&self, path: &str, operation: &str) -> Answer {
        let query = if operation.is_empty() {
            String::new()
        } else {
            format!("?operation={operation}")
        };
        self.get(&format!("{path}/last_operation{query}")).await
    }

    /// Polls to the end.
    pub(crate) async fn ended(&self, path: &str, operation: &str) -> Answer {
        let mut last = None;
        until("the operation ends", async || {
            let answer = self.poll(path, operation).await.expect(200);
            let ended = answer.state() != "in progress";
            last = Some(answer);
            ended
        })
        .await;
        last.unwrap()
    }

    /// A new instance that is there; its path.
    pub(crate) async fn instance(&self, plan: &str) -> String {
        self.instance_with(plan, json!({})).await
    }

    pub(crate) async fn instance_with(&self, plan: &str, parameters: Value) -> String {
        let path = new_instance();
        let order = self.order(plan, parameters);
        let answer = self.put(&incomplete(&path), &order).await;
        if answer.status == 202 {
            let ended = self.ended(&path, &answer.operation()).await;
            assert_eq!(ended.state(), "succeeded", "{}", ended.body);
        } else {
            answer.expect(201);
        }
        path
    }

    /// An instance whose provisioning waits until its gate is opened, and its
    /// operation.
    pub(crate) async fn waiting(&self) -> (String, String) {
        let path = new_instance();
        let order = self.order("polled", json!({"gate": "shut"}));
        let answer = self.put(&incomplete(&path), &order).await.expect(202);
        (path, answer.operation())
    }

    /// A provision that failed: the path of the instance, and the operation.
    pub(crate) async fn failed(&self) -> (String, String) {
        let path = new_instance();
        let order = self.order("polled", json!({"gate": "broken"}));
        let answer = self.put(&incomplete(&path), &order).await.expect(202);
        let operation = answer.operation();
        assert_eq!(self.ended(&path, &operation).await.state(), "failed");
        (path, operation)
    }

    /// An update that waits until the instance's gate is opened.
    pub(crate) async fn updating(&self, path: &str) -> String {
        let body = self.change(json!({"gate": "shut"}));
        let answer = self.patch(&incomplete(path), &body).await.expect(202);
        answer.operation()
    }

    /// A PATCH of parameters.
    pub(crate) fn change(&self, parameters: Value) -> Value {
        let mut body = json!({"service_id": self.service()});
        body["parameters"] = parameters;
        body
    }

    /// A new binding that is there: its path and credentials.
    pub(crate) async fn binding(&self, instance: &str, plan: &str) -> (String, Value) {
        let path = new_binding(instance);
        let body = self.login(plan);
        let answer = self.put(&path, &body).await.expect(201);
        let credentials = answer.body["credentials"].clone();
        (path, credentials)
    }

    /// Whether an instance's ConfigMap is there, and what it holds.
    pub(crate) async fn applied(&self, path: &str) -> Option<Map<String, Value>> {
        let namespace = self.record(path).await.spec.namespace;
        let maps: Api<ConfigMap> = Api::namespaced(self.stack.client(), &namespace);
        let map = maps.get_opt("gate").await.unwrap()?;
        let data = map.data.unwrap_or_default();
        Some(data.into_iter().map(|(k, v)| (k, json!(v))).collect())
    }

    /// Makes an instance with a shut gate ready.
    pub(crate) async fn open(&self, path: &str) {
        let namespace = self.record(path).await.spec.namespace;
        let maps: Api<ConfigMap> = Api::namespaced(self.stack.client(), &namespace);
        let opened = json!({"metadata": {"annotations": {"opened": "yes"}}});
        until("the gate is there and opened", async || {
            maps.patch("gate", &PatchParams::default(), &Patch::Merge(&opened))
                .await
                .is_ok()
        })
        .await;
    }

    pub(crate) async fn record(&self, path: &str) -> ServiceInstance {
        let records: Api<ServiceInstance> =
            Api::namespaced(self.stack.client(), &State::Instances.namespace(NAMESPACE));
        let name = cluster::names::instance_record(id_of(path));
        records.get(&name).await.unwrap()
    }
}

/// Bodies are JSON.
pub(crate) const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

fn unique() -> usize {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// The path of an instance that nobody knows.
pub(crate) fn new_instance() -> String {
    format!("/v2/service_instances/i-{}", unique())
}

/// The path of a binding that nobody knows.
pub(crate) fn new_binding(instance: &str) -> String {
    format!("{instance}/service_bindings/b-{}", unique())
}

fn id_of(path: &str) -> &str {
    path.split('/').nth(3).unwrap()
}

/// The last segment.
pub(crate) fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

/// With `accepts_incomplete=true`.
pub(crate) fn incomplete(path: &str) -> String {
    format!("{path}?accepts_incomplete=true")
}

/// Whether credentials log in.
pub(crate) async fn works(credentials: &Value) -> bool {
    let uri = credentials["uri"].as_str().unwrap();
    let mut options = mongodb::options::ClientOptions::parse(uri).await.unwrap();
    options.server_selection_timeout = Some(std::time::Duration::from_secs(5));
    let client = mongodb::Client::with_options(options).unwrap();
    let documents = client
        .default_database()
        .unwrap()
        .collection::<mongodb::bson::Document>("documents");
    let answer = documents.insert_one(mongodb::bson::doc! { "a": 1 }).await;
    answer.is_ok()
}

impl Platform {
    /// Keeps an instance's ConfigMap from going away.
    pub(crate) async fn hold(&self, path: &str) {
        self.finalizers(path, json!(["example.com/hold"])).await;
    }

    /// Undoes [`Platform::hold`].
    pub(crate) async fn release(&self, path: &str) {
        self.finalizers(path, json!(null)).await;
    }

    async fn finalizers(&self, path: &str, finalizers: Value) {
        let namespace = self.record(path).await.spec.namespace;
        let maps: Api<ConfigMap> = Api::namespaced(self.stack.client(), &namespace);
        let change = json!({"metadata": {"finalizers": finalizers}});
        maps.patch("gate", &PatchParams::default(), &Patch::Merge(&change))
            .await
            .unwrap();
    }
}
