//! Events on records, so that `kubectl describe` tells what happened.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use crate::operation::bounded;

/// Publishes events; losing one is no failure.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    /// As `controller` (the service) on this replica.
    pub fn new(client: Client, controller: &str, replica: &str) -> Self {
        let reporter = Reporter {
            controller: controller.to_owned(),
            instance: Some(replica.to_owned()),
        };
        Self {
            recorder: Recorder::new(client, reporter),
        }
    }

    /// Something went as it should.
    pub async fn normal(&self, record: &impl Record, reason: &str, note: String) {
        self.publish(EventType::Normal, &record.reference(), reason, note)
            .await;
    }

    /// Something a person should know of.
    pub async fn warning(&self, record: &impl Record, reason: &str, note: String) {
        self.publish(EventType::Warning, &record.reference(), reason, note)
            .await;
    }

    /// The same about an object that is not there, or not at hand.
    pub async fn warn_about(&self, on: &ObjectReference, reason: &str, note: String) {
        self.publish(EventType::Warning, on, reason, note).await;
    }

    async fn publish(&self, type_: EventType, on: &ObjectReference, reason: &str, note: String) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            action: reason.to_owned(),
            // The API server refuses longer ones.
            note: Some(bounded(&note)),
            secondary: None,
        };
        let publish = self.recorder.publish(&event, on);
        match tokio::time::timeout(crate::CALL_DEADLINE, publish).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, reason, "event not published"),
            Err(_) => tracing::debug!(reason, "event not published in time"),
        }
    }
}

/// What an event can be on.
pub trait Record {
    /// Its reference.
    fn reference(&self) -> ObjectReference;
}

impl<K: Resource<DynamicType = ()>> Record for K {
    fn reference(&self) -> ObjectReference {
        self.object_ref(&())
    }
}
