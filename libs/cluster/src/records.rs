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

/// Whether `found` is what was sent. Each operation in it has an id of its own, and each end its
/// time, so that no two writes are alike.
fn came_through(found: &impl Record, sent: &impl Record) -> bool {
    written(found).is_some_and(|found| Some(found) == written(sent))
}

/// What a write of the record writes.
fn written(record: &impl Record) -> Option<(Value, Value)> {
    let mut object = serde_json::to_value(record).ok()?;
    let metadata = object.get_mut("metadata")?;
    let kept = ["annotations", "finalizers", "labels"].map(|key| metadata[key].take());
    Some((object["spec"].take(), kept.into_iter().collect()))
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

    /// The answer to a write of `sent`. Where there was none, a read tells whether it came through:
    /// whoever wrote it then goes on as after any other write.
    async fn settled(&self, sent: &K, answer: Result<K, Error>) -> Result<K, Error> {
        let Err(error @ Error::Unavailable(_)) = answer else {
            return answer;
        };
        let name = sent.name_any();
        match tokio::time::timeout(SECOND_LOOK, self.get(&name)).await {
            Ok(Ok(Some(found))) if came_through(&found, sent) => Ok(found),
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
