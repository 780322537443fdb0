//! Counts what a client asks of an API server, for budgets: how many requests an
//! operation may cost.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use http::{Method, Request};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder},
};
use tower::{Layer, Service};

/// Watched by a service all the time, whatever operations there are.
const RECORDS: [&str; 2] = ["serviceinstances", "servicebindings"];

/// By verb and resource, as rights are written.
pub type Counts = BTreeMap<String, usize>;

/// The counts of a budget: each request, and how often.
pub fn counts<const N: usize>(of: [(&str, usize); N]) -> Counts {
    of.map(|(request, count)| (request.to_owned(), count))
        .into()
}

/// Counts the requests of a client.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<Mutex<Counts>>);

impl Counter {
    /// A client whose requests are counted.
    ///
    /// # Errors
    /// The configuration is not usable.
    pub fn client(&self, config: Config) -> kube::Result<Client> {
        Ok(ClientBuilder::try_from(config)?.with_layer(self).build())
    }

    /// The requests since the last time.
    pub fn take(&self) -> Counts {
        std::mem::take(&mut self.counts())
    }

    /// Whether there was such a request since the last time.
    pub fn has(&self, request: &str) -> bool {
        self.counts().contains_key(request)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Layer<S> for Counter {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            inner,
            counter: self.clone(),
        }
    }
}

/// See [`Counter`].
#[derive(Debug, Clone)]
pub struct Counted<S> {
    inner: S,
    counter: Counter,
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for Counted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> S::Future {
        if let Some(name) = name(&request) {
            *self.counter.counts().entry(name).or_default() += 1;
        }
        self.inner.call(request)
    }
}

/// `VERB resource`, as people write rights; `None` for what is no operation's.
fn name(request: &Request<Body>) -> Option<String> {
    let (path, query) = (request.uri().path(), request.uri().query());
    let query = query.unwrap_or_default();
    let mut parts = path.trim_start_matches('/').split('/');
    match parts.next()? {
        "api" => parts.next()?,
        _ => parts.nth(1)?,
    };
    let rest: Vec<&str> = parts.collect();
    let rest = match rest.as_slice() {
        ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
        rest => rest,
    };
    let (resource, named, part) = match rest {
        [resource] => (*resource, false, None),
        [resource, _] => (*resource, true, None),
        [resource, _, part] => (*resource, true, Some(*part)),
        // What kinds there are, asked once for each.
        _ => return None,
    };
    if resource == "leases" {
        return None;
    }
    let watches = query.contains("watch=true");
    let verb = match *request.method() {
        Method::GET if watches && RECORDS.contains(&resource) => return None,
        Method::GET if watches => "watch",
        Method::GET if named => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::DELETE => "delete",
        _ if query.contains("dryRun") => "dry-run",
        _ => "patch",
    };
    Some(match part {
        Some(part) => format!("{verb} {resource}/{part}"),
        None => format!("{verb} {resource}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart_as_rights_are_and_leases_are_none() {
        for (method, uri, expected) in [
            ("POST", "/api/v1/namespaces?", Some("create namespaces")),
            ("GET", "/api/v1/namespaces/n", Some("get namespaces")),
            (
                "POST",
                "/api/v1/namespaces/n/secrets?",
                Some("create secrets"),
            ),
            (
                "GET",
                "/api/v1/namespaces/n/secrets?labelSelector=a",
                Some("list secrets"),
            ),
            (
                "GET",
                "/api/v1/namespaces?&watch=true",
                Some("watch namespaces"),
            ),
            (
                "PATCH",
                "/apis/mongodb-osb.io/v1alpha1/namespaces/n/serviceinstances/a/status?",
                Some("patch serviceinstances/status"),
            ),
            (
                "PATCH",
                "/api/v1/namespaces/n/configmaps/a?&dryRun=All",
                Some("dry-run configmaps"),
            ),
            (
                "GET",
                "/apis/mongodb-osb.io/v1alpha1/namespaces/n/serviceinstances?&watch=true",
                None,
            ),
            (
                "PUT",
                "/apis/coordination.k8s.io/v1/namespaces/n/leases/a?",
                None,
            ),
            ("GET", "/apis/apps/v1", None),
        ] {
            let request = Request::builder().method(method).uri(uri);
            let request = request.body(Body::empty()).unwrap();
            assert_eq!(name(&request).as_deref(), expected, "{method} {uri}");
        }
    }
}
