//! What handlers and workers share.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ::work::{Pool, Seed};
use broker_proto::decide::Completion;
use cluster::{
    audit,
    cache::Cache,
    event::Events,
    records::Records,
    revision::Revisions,
    share::{Members, Tenure},
};
use jiff::SignedDuration;
use kube::{Client, ResourceExt as _};
use objects::kinds::Kinds;
use sandbox::Sandbox;
use tokio::sync::watch;

use crate::{
    args::Args,
    catalog::Catalog,
    error::Error,
    metrics::Metrics,
    resource::{ServiceInstance, ServiceInstanceStatus},
    state::{Record, begin::INTERRUPTED},
    work::{Instances, Known, Report},
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
    /// Those of them that were asked for lately.
    pub decoded: Decoded,
    /// The revisions.
    pub revisions: Revisions,
    /// Bundles and today's catalog.
    pub catalog: Catalog,
    /// Where plans are evaluated.
    pub sandbox: Sandbox,
    /// Events on records.
    pub events: Events,
    /// Which replicas share the work.
    pub members: watch::Receiver<Members>,
    /// Whether this replica's lease holds.
    pub tenure: Tenure,
    /// Counters.
    pub metrics: Metrics,
    /// Who works on records.
    pub pool: Pool<Instances>,
}

/// Records that are kept decoded.
const DECODED: usize = 1024;

/// Records in the form that answers are made from, as long as the cache has
/// nothing newer.
#[derive(Debug, Default)]
pub(crate) struct Decoded(Mutex<HashMap<String, Form>>);

/// A record as it is stored, and decoded.
type Form = (Arc<ServiceInstance>, Arc<Record>);

impl Decoded {
    fn get(&self, name: &str, object: &Arc<ServiceInstance>) -> Option<Arc<Record>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, record) = known.get(name)?;
        Arc::ptr_eq(of, object).then(|| Arc::clone(record))
    }

    fn put(&self, name: &str, object: Arc<ServiceInstance>, record: Arc<Record>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= DECODED {
            // Rare, and each is made again in microseconds.
            known.clear();
        }
        known.insert(name.to_owned(), (object, record));
    }
}

/// An operation that a request began.
#[derive(Debug)]
pub(crate) struct Begun {
    /// The record as written.
    pub(crate) record: Record,
    /// What its worker in this process reports.
    pub(crate) reports: watch::Receiver<Report>,
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
    pub(crate) fn driver(&self, completion: Completion) -> Option<String> {
        (completion == Completion::Synchronous).then(|| self.args.replica.replica.clone())
    }

    /// A record for an answer: from memory where no other replica can have told
    /// a client more, else by a consistent read. That there is none, or that
    /// one is being deleted, is never told from memory: the kind of records may
    /// be gone.
    pub(crate) async fn current(&self, name: &str) -> Result<Option<Record>, Error> {
        let seen = if self.is_alone() {
            self.seen(name)?
        } else {
            None
        };
        match seen.filter(|seen| !seen.is_deleted_by_hand()) {
            Some(seen) => Ok(Some(seen)),
            None => self.read(name).await,
        }
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

    /// Whether this replica has seen all records, and none of this name: a new
    /// id as a rule, unless another replica has just made it.
    pub(crate) fn knows_none(&self, name: &str) -> bool {
        self.cache.is_synced() && self.cache.get(name).is_none()
    }

    /// The record as this replica last saw it, decoded once for many polls.
    pub(crate) fn shown(&self, name: &str) -> Result<Option<Arc<Record>>, Error> {
        let Some(object) = self.cache.get(name) else {
            return Ok(None);
        };
        if let Some(record) = self.decoded.get(name, &object) {
            return Ok(Some(record));
        }
        let record = Arc::new(Record::new(object.as_ref().clone())?);
        self.decoded.put(name, object, Arc::clone(&record));
        Ok(Some(record))
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

    /// Writes a record with a new operation, made anew if it has no version,
    /// and has it worked on as part of the running request, with what that
    /// knows already. `before` is what it replaces. `None`: a rival was faster.
    pub(crate) async fn begin(
        &self,
        before: Option<&Record>,
        resource: ServiceInstance,
        known: Known,
    ) -> Result<Option<Begun>, Error> {
        let name = resource.name_any();
        let _expected = self.pool.expect(&name);
        let term = self.tenure.now();
        let records = self.records.clone();
        let interrupted = before.filter(|before| before.open_operation().is_some());
        let interrupted = interrupted.cloned();
        let write = async move {
            let written = match resource.metadata.resource_version {
                Some(_) => records.replace(&resource).await?,
                None => records.create(&resource).await?,
            };
            let record = Record::new(written.clone())?;
            if let Some(interrupted) = interrupted {
                interrupted.audit().ended(false, INTERRUPTED);
            }
            record.audit().accepted();
            Ok((written, record))
        };
        let (written, record) = match audit::told(write).await {
            Ok(begun) => begun,
            Err(Error::Cluster(
                cluster::Error::AlreadyExists | cluster::Error::Conflict | cluster::Error::NotFound,
            )) => return Ok(None),
            Err(error) => return Err(error),
        };
        let seed = Seed {
            term,
            object: Arc::new(written),
            extra: known,
        };
        let reports = self.pool.ensure(&name, Some(seed));
        Ok(Some(Begun { record, reports }))
    }

    /// Writes a status; returns the record with it. One that is gone needs none.
    pub(crate) async fn write_status(
        &self,
        name: &str,
        status: &ServiceInstanceStatus,
    ) -> Result<Option<Arc<ServiceInstance>>, cluster::Error> {
        match self.records.patch_status(name, status).await {
            Ok(written) => Ok(Some(self.cache.observe(written))),
            Err(cluster::Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
