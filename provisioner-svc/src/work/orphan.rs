//! A record that goes although nobody asked for the data to go: by
//! `kubectl delete`, with its CustomResourceDefinition, or with the broker's
//! namespace. It goes alone. What stays is marked, and found again if the
//! record comes back.

use cluster::orphan::{self, Found, Mark};
use jiff::Timestamp;

use super::{Done, Job};
use crate::state::Record;

impl Job {
    pub(super) async fn mark_orphaned(&mut self) -> Done {
        let spec = self.record.resource.spec.clone();
        let place = if spec.own_namespace {
            let marked = orphan::mark_namespace(
                &self.context.client(),
                &spec.namespace,
                &self.record.labels(),
                Mark::Orphaned(Timestamp::now()),
            )
            .await?;
            match marked {
                Found::Ours => format!("Namespace {} and all in it stay", spec.namespace),
                Found::Terminating | Found::Missing => {
                    format!("There is no namespace {} to stay", spec.namespace)
                }
            }
        } else {
            // Somebody else's, where the broker may not mark the namespace.
            format!(
                "Its objects in namespace {} stay (label selector {})",
                spec.namespace,
                self.record.selector()
            )
        };
        let note = format!(
            "The record was deleted without the annotation {}={}. {place}.",
            cluster::names::CONFIRM_DELETION,
            spec.incarnation
        );
        tracing::warn!(
            instance.id = %spec.instance_id, record = %self.record.name(), namespace = %spec.namespace,
            "record deleted, data kept: {note}"
        );
        self.context
            .events
            .warning(&self.record.resource, "Orphaned", note)
            .await;
        Ok(())
    }

    pub(super) async fn remove_finalizer(&mut self) -> Done {
        self.commit(|record| Record::without_finalizer(record.resource.clone()))
            .await?;
        let open = self.record.open_operation().is_some();
        let entry = self.record.audit();
        entry.let_go(
            open,
            "record deleted in the cluster; the instance's data stays",
        );
        Ok(())
    }
}
