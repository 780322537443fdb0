//! What handlers and workers share.

use std::time::Duration;

use cluster::{
    cache::Cache,
    event::Events,
    records::Records,
    revision::Revisions,
    share::{Members, Tenure},
};
use jiff::SignedDuration;
use kube::Client;
use objects::kinds::Kinds;
use tokio::sync::watch;

use crate::{
    args::Args,
    catalog::Catalog,
    error::Error,
    metrics::Metrics,
    resource::{ServiceInstance, ServiceInstanceStatus},
    state::Record,
};

/// One per process.
#[derive(Debug)]
pub(crate) struct Context {
    /// The configuration.
    pub args: Args,
    /// Access to plans' kinds, and the client.
    pub kinds: Kinds,
    /// The records.
    pub records: Records<ServiceInstance>,
    /// What this replica knows of them.
    pub cache: Cache<ServiceInstance>,
    /// The revisions.
    pub revisions: Revisions,
    /// Bundles and today's catalog.
    pub catalog: Catalog,
    /// Events on records.
    pub events: Events,
    /// Which replicas share the work.
    pub members: watch::Receiver<Members>,
    /// Whether this replica's lease holds.
    pub tenure: Tenure,
    /// Counters.
    pub metrics: Metrics,
}

impl Context {
    /// The client underneath.
    pub(crate) fn client(&self) -> Client {
        self.kinds.client()
    }

    /// How long results of operations stay readable.
    pub(crate) fn keep(&self) -> SignedDuration {
        SignedDuration::try_from(self.args.keep_results).unwrap_or(SignedDuration::MAX)
    }

    /// How long a synchronous request waits.
    pub(crate) fn sync_deadline(&self) -> Duration {
        self.args.sync_deadline
    }

    /// Whether no other replica can have told a client more: none lives, as far
    /// as one that was not paused just now knows.
    pub(crate) fn is_alone(&self) -> bool {
        self.tenure.now().is_some() && self.members.borrow().is_alone()
    }

    /// Who works on an operation that a request begins: where the client
    /// waits, the replica that it waits at.
    pub(crate) fn driver(&self, asynchronous: bool) -> Option<String> {
        (!asynchronous).then(|| self.args.replica.replica.clone())
    }

    /// A consistent read of a record; what was read is known from then on.
    pub(crate) async fn read(&self, name: &str) -> Result<Option<Record>, Error> {
        match self.records.get(name).await? {
            None => Ok(None),
            Some(resource) => {
                self.cache.observe(resource.clone());
                Ok(Some(Record::new(resource)?))
            }
        }
    }

    /// The record as this replica last saw it.
    pub(crate) fn seen(&self, name: &str) -> Result<Option<Record>, Error> {
        let seen = self.cache.get(name);
        Ok(seen
            .map(|resource| Record::new(resource.as_ref().clone()))
            .transpose()?)
    }

    /// Writes a record if it is still as it was read. `None`: a rival was faster.
    pub(crate) async fn replace(
        &self,
        resource: &ServiceInstance,
    ) -> Result<Option<Record>, Error> {
        match self.records.replace(resource).await {
            Ok(written) => {
                self.cache.observe(written.clone());
                Ok(Some(Record::new(written)?))
            }
            Err(cluster::Error::Conflict | cluster::Error::NotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a status. A record that is gone needs none.
    pub(crate) async fn write_status(
        &self,
        name: &str,
        status: &ServiceInstanceStatus,
    ) -> Result<(), cluster::Error> {
        match self.records.patch_status(name, status).await {
            Ok(written) => {
                self.cache.observe(written);
                Ok(())
            }
            Err(cluster::Error::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
