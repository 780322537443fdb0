//! Records: the broker's own custom resources, written only by conditional
//! writes. Each call has a deadline.

use std::{fmt::Debug, time::Duration};

use futures::future::{BoxFuture, FutureExt as _};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    core::NamespaceResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    error::{Error, call, optional},
    list,
};

/// What a record's type must be.
pub trait Record:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Record for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// Takes off an object's managedFields, which nobody here asks for and which take
/// more memory than all the rest. A write that leaves them out does not change
/// them.
pub(crate) fn drop_managed_fields(object: &mut impl Resource) {
    object.meta_mut().managed_fields = None;
}

/// Where records are read from: the API server, or a double of it.
pub trait Source<K>: Send + Sync {
    /// A consistent read.
    fn read<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<K>, Error>>;
}

impl<K: Record> Source<K> for Records<K> {
    fn read<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<K>, Error>> {
        self.get(name).boxed()
    }
}

/// How long a write without an answer is looked for.
const SECOND_LOOK: Duration = Duration::from_secs(2);

/// Whether `found` is what was sent. No two writes that begin or end an operation are alike: each
/// operation has an id of its own, each end its time. Other writes that are alike do the same.
fn came_through<K: Record>(found: &K, sent: &K) -> bool {
    found.resource_version() != sent.resource_version()
        && found.annotations() == sent.annotations()
        && found.labels() == sent.labels()
        && found.finalizers() == sent.finalizers()
        && spec(found).is_some_and(|found| Some(found) == spec(sent))
}

fn spec(record: &impl Record) -> Option<Value> {
    serde_json::to_value(record)
        .ok()?
        .get_mut("spec")
        .map(Value::take)
}

/// Whether the answer leaves open what became of a write. A conflict does, too: the client below
/// repeats a write that a proxy has not answered in time, and it may be in the way of itself.
fn is_open(error: &Error) -> bool {
    match error {
        // Refused before it was looked at.
        Error::Unavailable(Some(kube::Error::Api(status))) => !matches!(status.code, 401 | 429),
        Error::Unavailable(_) | Error::AlreadyExists | Error::Conflict | Error::NotFound => true,
        Error::Forbidden(_)
        | Error::Invalid(_)
        | Error::UnknownKind(_)
        | Error::NotServed
        | Error::Expired
        | Error::Undecodable
        | Error::Other(_) => false,
    }
}

/// The records of one kind in the namespace of that part of its state.
#[derive(Debug, Clone)]
pub struct Records<K> {
    api: Api<K>,
}

impl<K: Record> Records<K> {
    /// Those in `namespace`.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
        }
    }

    /// The API underneath, for watches.
    pub fn api(&self) -> &Api<K> {
        &self.api
    }

    /// A consistent read.
    pub async fn get(&self, name: &str) -> Result<Option<K>, Error> {
        optional(call(self.api.get(name)).await)
    }

    /// A consistent list.
    pub async fn list(&self, labels: &str) -> Result<Vec<K>, Error> {
        list::objects(&self.api, labels).await
    }

    /// What `take` makes of a consistent list of all records, page by page: see
    /// [`list::fold`].
    pub async fn fold<A>(
        &self,
        start: impl Fn() -> A,
        take: impl Fn(&mut A, Vec<K>),
    ) -> Result<A, Error> {
        list::fold(&self.api, "", start, take).await
    }

    /// The atomic gate for "same id twice": [`Error::AlreadyExists`].
    pub async fn create(&self, record: &K) -> Result<K, Error> {
        let created = call(self.api.create(&PostParams::default(), record)).await;
        self.settled(record, created).await
    }

    /// Replaces all but the status. [`Error::Conflict`] unless the record is
    /// still as it was read.
    pub async fn replace(&self, record: &K) -> Result<K, Error> {
        debug_assert!(
            record.resource_version().is_some(),
            "a replace must be conditional"
        );
        let replaced = call(
            self.api
                .replace(&record.name_any(), &PostParams::default(), record),
        )
        .await;
        self.settled(record, replaced).await
    }

    /// The answer to a write of `sent`. Where that leaves open what became of it, a read tells
    /// whether it came through: whoever wrote it then goes on as after any other write.
    async fn settled(&self, sent: &K, answer: Result<K, Error>) -> Result<K, Error> {
        let error = match answer {
            Err(error) if is_open(&error) => error,
            answer => return answer,
        };
        // Without its last finalizer a record that is being deleted is gone.
        let lets_go = sent.meta().deletion_timestamp.is_some() && sent.finalizers().is_empty();
        let name = sent.name_any();
        match tokio::time::timeout(SECOND_LOOK, self.get(&name)).await {
            Ok(Ok(Some(found))) if came_through(&found, sent) => Ok(found),
            Ok(Ok(None)) if lets_go => Ok(sent.clone()),
            Ok(_) | Err(_) => Err(error),
        }
    }

    /// Merges into the status, whatever else changed meanwhile: the status is
    /// a cache that its reconciler can rebuild.
    pub async fn patch_status(&self, name: &str, status: &impl Serialize) -> Result<K, Error> {
        let patch = serde_json::json!({ "status": status });
        call(
            self.api
                .patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)),
        )
        .await
    }

    /// Deletes exactly the version that was read. Gone already is fine.
    pub async fn delete(&self, record: &K) -> Result<(), Error> {
        let params = DeleteParams::default().preconditions(Preconditions {
            uid: record.uid(),
            resource_version: record.resource_version(),
        });
        optional(call(self.api.delete(&record.name_any(), &params)).await).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use http::{Request, Response, StatusCode};
    use k8s_openapi::api::coordination::v1::Lease;
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    /// What the double of the API server does with a write.
    #[derive(Debug, Clone, Copy)]
    enum Write {
        /// Keeps it, and hangs up.
        Unanswered,
        /// Keeps it; a repetition of it has met what it wrote itself.
        Repeated,
        /// Hangs up.
        Lost,
        /// Keeps it and answers; another write is in its place at once.
        Overtaken,
    }

    /// An API server that keeps one Lease.
    fn fake(write: Write, kept: Option<Value>) -> Records<Lease> {
        let kept = Arc::new(Mutex::new(kept));
        let service = tower::service_fn(move |request: Request<Body>| {
            let kept = Arc::clone(&kept);
            async move {
                let (head, body) = request.into_parts();
                let is_read = head.method == http::Method::GET;
                let sent = body.collect_bytes().await.unwrap();
                let mut kept = kept.lock().unwrap();
                let answer = |code: StatusCode, body: &Value| {
                    let body = Body::from(body.to_string().into_bytes());
                    let answer = Response::builder().status(code);
                    Ok::<_, io::Error>(answer.body(body).unwrap())
                };
                let status = |code: u16, reason: &str| {
                    let body = json!({"kind": "Status", "code": code, "reason": reason,
                        "status": "Failure", "message": ""});
                    answer(StatusCode::from_u16(code).unwrap(), &body)
                };
                if is_read {
                    return match &*kept {
                        Some(kept) => answer(StatusCode::OK, kept),
                        None => status(404, "NotFound"),
                    };
                }
                let mut sent: Value = serde_json::from_slice(&sent).unwrap();
                sent["metadata"]["resourceVersion"] = json!("2");
                let going = !sent["metadata"]["deletionTimestamp"].is_null();
                // As the real one: what is empty is absent.
                let metadata = sent["metadata"].as_object_mut().unwrap();
                let stays = metadata
                    .remove("finalizers")
                    .filter(|it| it.as_array().is_some_and(|it| !it.is_empty()));
                if let Some(stays) = &stays {
                    metadata.insert("finalizers".into(), stays.clone());
                }
                if matches!(write, Write::Overtaken) {
                    sent["spec"]["holderIdentity"] = json!("another");
                }
                if !matches!(write, Write::Lost) {
                    *kept = (!going || stays.is_some()).then_some(sent);
                }
                match write {
                    Write::Repeated => status(409, "AlreadyExists"),
                    Write::Unanswered | Write::Lost | Write::Overtaken => {
                        Err(io::Error::from(io::ErrorKind::ConnectionReset))
                    }
                }
            }
        });
        Records::new(Client::new(service, "ns"), "ns")
    }

    fn lease(metadata: &Value) -> Lease {
        let mut object = json!({"metadata": metadata, "spec": {"holderIdentity": "me"}});
        object["metadata"]["name"] = json!("x");
        serde_json::from_value(object).unwrap()
    }

    #[tokio::test]
    async fn a_write_without_an_answer_is_looked_for() {
        let new = lease(&json!({"labels": {"a": "b"}, "finalizers": []}));
        for write in [Write::Unanswered, Write::Repeated] {
            let written = fake(write, None).create(&new).await.unwrap();
            assert_eq!(written.resource_version().as_deref(), Some("2"));
        }
        for write in [Write::Lost, Write::Overtaken] {
            let error = fake(write, None).create(&new).await.unwrap_err();
            assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
        }
        // A change that changes nothing is not there before it was written.
        let known = lease(&json!({"resourceVersion": "1"}));
        let kept = Some(serde_json::to_value(&known).unwrap());
        fake(Write::Lost, kept).replace(&known).await.unwrap_err();
    }

    #[tokio::test]
    async fn a_record_that_was_let_go_is_gone_and_that_is_no_failure() {
        let going = json!({"resourceVersion": "1", "deletionTimestamp": "2026-01-01T00:00:00Z"});
        let record = lease(&going);
        fake(Write::Unanswered, None)
            .replace(&record)
            .await
            .unwrap();
        let kept = Some(serde_json::to_value(&record).unwrap());
        fake(Write::Lost, kept).replace(&record).await.unwrap_err();
    }
}
