//! A client of the OSB API, as a platform would be one: it knows the
//! specification and nothing of this broker. Each call is written to the
//! transcript.

use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::transcript::{Call, Transcript};

/// A connection is used again for less long than the gateway, which closes idle
/// ones after 75 s, keeps it: the next request must not meet its end.
const IDLE: Duration = Duration::from_secs(30);

/// The version of the API that the client speaks.
const API_VERSION: &str = "2.17";
/// A synchronous request may take a minute.
const TIMEOUT: Duration = Duration::from_secs(90);

/// Why a call has no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer at all.
    #[error("call {method} {path}")]
    Transport {
        /// HTTP method.
        method: Method,
        /// Path and query.
        path: String,
        /// What reqwest says.
        #[source]
        source: reqwest::Error,
    },
    /// The specification wants a JSON object in every answer.
    #[error("{method} {path} answered {status} without a JSON object")]
    NotJson {
        /// HTTP method.
        method: Method,
        /// Path and query.
        path: String,
        /// HTTP status.
        status: u16,
    },
    /// Another status than the caller can go on with.
    #[error("{method} {path} answered {status}, expected {expected:?}: {description}")]
    Status {
        /// HTTP method.
        method: Method,
        /// Path and query.
        path: String,
        /// HTTP status.
        status: u16,
        /// What the caller can go on with.
        expected: Vec<u16>,
        /// The broker's words.
        description: String,
    },
}

/// The broker's login.
#[derive(Debug, Clone)]
pub struct Login {
    /// Basic auth user name.
    pub username: String,
    /// Basic auth password.
    pub password: SecretString,
}

/// What the broker answered.
#[derive(Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// A JSON object. May hold credentials, so this type has no `Debug` of its content.
    pub body: Value,
    /// Seconds of `Retry-After`.
    pub retry_after: Option<u64>,
    /// From sending to the last byte.
    pub took: Duration,
    method: Method,
    path: String,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("took", &self.took)
            .finish_non_exhaustive()
    }
}

impl Answer {
    /// The answer, if its status is one of these.
    pub fn expect(self, statuses: &[u16]) -> Result<Self, Error> {
        if statuses.contains(&self.status) {
            return Ok(self);
        }
        Err(Error::Status {
            description: self
                .text("description")
                .unwrap_or("no description")
                .to_owned(),
            method: self.method,
            path: self.path,
            status: self.status,
            expected: statuses.to_vec(),
        })
    }

    /// A text of the body's top level.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.body.get(key).and_then(Value::as_str)
    }

    /// The operation to poll.
    pub fn operation(&self) -> Option<&str> {
        self.text("operation")
    }
}

/// The plan that is ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Offering's id.
    pub service_id: String,
    /// Plan's id.
    pub plan_id: String,
}

impl Offer {
    /// Finds it by the names that a person would type.
    pub fn find(catalog: &Value, service: &str, plan: &str) -> Option<Self> {
        let named = |list: &Value, name: &str| {
            list.as_array()?
                .iter()
                .find(|item| item["name"] == name)
                .cloned()
        };
        let service = named(&catalog["services"], service)?;
        let plan = named(&service["plans"], plan)?;
        Some(Self {
            service_id: service["id"].as_str()?.to_owned(),
            plan_id: plan["id"].as_str()?.to_owned(),
        })
    }
}

/// The client.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    login: Login,
    transcript: Transcript,
}

impl Client {
    /// A client of the broker at `base` (`http://host:port`).
    pub fn new(base: impl Into<String>, login: Login, transcript: Transcript) -> Self {
        let http = reqwest::Client::builder().pool_idle_timeout(IDLE);
        Self {
            http: http.build().unwrap_or_default(),
            base: base.into(),
            login,
            transcript,
        }
    }

    /// `GET /v2/catalog`
    pub async fn catalog(&self) -> Result<Answer, Error> {
        self.call(Method::GET, "/v2/catalog", None).await
    }

    /// `PUT /v2/service_instances/:id`
    pub async fn provision(
        &self,
        instance: &str,
        offer: &Offer,
        parameters: &Value,
    ) -> Result<Answer, Error> {
        let body = json!({
            "service_id": offer.service_id,
            "plan_id": offer.plan_id,
            "organization_guid": "demo-organization",
            "space_guid": "demo-space",
            "context": {"platform": "demo"},
            "parameters": parameters,
        });
        let path = format!("/v2/service_instances/{instance}?accepts_incomplete=true");
        self.call(Method::PUT, &path, Some(&body)).await
    }

    /// `GET /v2/service_instances/:id`
    pub async fn instance(&self, instance: &str) -> Result<Answer, Error> {
        self.call(
            Method::GET,
            &format!("/v2/service_instances/{instance}"),
            None,
        )
        .await
    }

    /// `PATCH /v2/service_instances/:id`
    pub async fn update(
        &self,
        instance: &str,
        offer: &Offer,
        parameters: &Value,
    ) -> Result<Answer, Error> {
        let body = json!({"service_id": offer.service_id, "parameters": parameters});
        let path = format!("/v2/service_instances/{instance}?accepts_incomplete=true");
        self.call(Method::PATCH, &path, Some(&body)).await
    }

    /// `PATCH /v2/service_instances/:id` to another plan
    pub async fn change_plan(&self, instance: &str, to: &Offer) -> Result<Answer, Error> {
        let body = json!({"service_id": to.service_id, "plan_id": to.plan_id});
        let path = format!("/v2/service_instances/{instance}?accepts_incomplete=true");
        self.call(Method::PATCH, &path, Some(&body)).await
    }

    /// `DELETE /v2/service_instances/:id`
    pub async fn deprovision(&self, instance: &str, offer: &Offer) -> Result<Answer, Error> {
        let path = format!(
            "/v2/service_instances/{instance}?accepts_incomplete=true&{}",
            query(offer)
        );
        self.call(Method::DELETE, &path, None).await
    }

    /// `GET /v2/service_instances/:id/last_operation`
    pub async fn last_operation(
        &self,
        instance: &str,
        operation: Option<&str>,
    ) -> Result<Answer, Error> {
        // The broker issues unreserved characters only, so nothing needs encoding.
        let query = operation
            .map(|operation| format!("?operation={operation}"))
            .unwrap_or_default();
        let path = format!("/v2/service_instances/{instance}/last_operation{query}");
        self.call(Method::GET, &path, None).await
    }

    /// `PUT /v2/service_instances/:id/service_bindings/:id`
    pub async fn bind(
        &self,
        instance: &str,
        binding: &str,
        offer: &Offer,
        parameters: &Value,
    ) -> Result<Answer, Error> {
        let body = json!({
            "service_id": offer.service_id,
            "plan_id": offer.plan_id,
            "bind_resource": {"app_guid": format!("app-of-{binding}")},
            "parameters": parameters,
        });
        self.call(Method::PUT, &binding_path(instance, binding), Some(&body))
            .await
    }

    /// `GET /v2/service_instances/:id/service_bindings/:id`
    pub async fn binding(&self, instance: &str, binding: &str) -> Result<Answer, Error> {
        self.call(Method::GET, &binding_path(instance, binding), None)
            .await
    }

    /// `DELETE /v2/service_instances/:id/service_bindings/:id`
    pub async fn unbind(
        &self,
        instance: &str,
        binding: &str,
        offer: &Offer,
    ) -> Result<Answer, Error> {
        let path = format!("{}?{}", binding_path(instance, binding), query(offer));
        self.call(Method::DELETE, &path, None).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Error> {
        let mut request = self.request(&method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        let failed = |source| Error::Transport {
            method: method.clone(),
            path: path.to_owned(),
            source,
        };
        let began = Instant::now();
        let response = request.send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let bytes = response.bytes().await.map_err(failed)?;
        let took = began.elapsed();
        let answer = serde_json::from_slice::<Value>(&bytes)
            .ok()
            .filter(Value::is_object);
        self.transcript.call(&Call {
            method: method.as_str(),
            path,
            request: body,
            status,
            answer: answer.as_ref(),
            took,
        });
        let Some(body) = answer else {
            return Err(Error::NotJson {
                method,
                path: path.to_owned(),
                status,
            });
        };
        Ok(Answer {
            status,
            body,
            retry_after,
            took,
            method,
            path: path.to_owned(),
        })
    }

    fn request(&self, method: &Method, path: &str) -> RequestBuilder {
        self.http
            .request(method.clone(), format!("{}{path}", self.base))
            .timeout(TIMEOUT)
            .basic_auth(
                &self.login.username,
                Some(self.login.password.expose_secret()),
            )
            .header("X-Broker-API-Version", API_VERSION)
    }
}

fn binding_path(instance: &str, binding: &str) -> String {
    format!("/v2/service_instances/{instance}/service_bindings/{binding}")
}

fn query(offer: &Offer) -> String {
    format!("service_id={}&plan_id={}", offer.service_id, offer.plan_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_found_by_the_names_of_service_and_plan() {
        let catalog = json!({"services": [
            {"id": "a", "name": "other", "plans": [{"id": "1", "name": "small"}]},
            {"id": "b", "name": "mongodb", "plans": [{"id": "2", "name": "large"}, {"id": "3", "name": "small"}]},
        ]});
        let offer = Offer::find(&catalog, "mongodb", "small").unwrap();
        assert_eq!(
            (offer.service_id.as_str(), offer.plan_id.as_str()),
            ("b", "3")
        );
        assert_eq!(Offer::find(&catalog, "mongodb", "huge"), None);
    }
}
