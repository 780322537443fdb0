//! The pool as handlers see it: have a record worked on, and wait for its end.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cluster::{
    cache::Cache,
    records::Source,
    share::{Members, Tenure, Term},
};
use service::context::RequestContext;
use tokio::{
    sync::{Notify, Semaphore, broadcast::error::RecvError, mpsc, watch},
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;
use tracing::Span;

use crate::{Metrics, Settings, Work};

/// How often who waits for an end reads the record, in case the watch is behind.
const LOOK: Duration = Duration::from_secs(1);

/// What a request knows of the record that it just wrote.
#[derive(Debug)]
pub struct Seed<K, X> {
    /// The term of the replica's lease before that write
    /// ([`Tenure::now`]): in another one the record is read anew.
    pub term: Option<Term>,
    /// The record as written.
    pub object: Arc<K>,
    /// What is not in the record.
    pub extra: X,
}

/// What is known of a record that somebody waits for.
#[derive(Debug)]
pub struct Look<'a, W: Work> {
    /// The newest report of this process's worker.
    pub report: &'a W::Report,
    /// The record as last seen. Of an end that came about here it may tell
    /// before the report does.
    pub object: Option<&'a W::Object>,
    /// Whether more reports may come.
    pub worker: Presence,
}

/// Where the worker of a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// In this process.
    Here,
    /// In another one, or nowhere.
    Elsewhere,
}

/// The operation did not end in the time that there was; the work goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOut;

/// The workers of one kind of record in this process; cheap to clone. They
/// work once [`Pool::run`] does.
pub struct Pool<W: Work> {
    pub(crate) shared: Arc<Shared<W>>,
}

pub(crate) struct Shared<W: Work> {
    pub(crate) cache: Cache<W::Object>,
    pub(crate) source: Arc<dyn Source<W::Object>>,
    pub(crate) members: watch::Receiver<Members>,
    pub(crate) tenure: Tenure,
    pub(crate) settings: Settings,
    pub(crate) places: Arc<Semaphore>,
    pub(crate) metrics: Metrics,
    slots: Mutex<HashMap<String, Slot<W>>>,
    /// Records that requests are about to write, with the number of these.
    expected: Mutex<HashMap<String, usize>>,
    wanted: mpsc::UnboundedSender<String>,
    pub(crate) inbox: Mutex<Option<mpsc::UnboundedReceiver<String>>>,
}

/// A record that has, or is about to have, a worker.
pub(crate) struct Slot<W: Work> {
    pub(crate) reports: watch::Sender<W::Report>,
    pub(crate) wake: Arc<Notify>,
    pub(crate) leave: CancellationToken,
    pub(crate) seed: Option<Seed<W::Object, W::Extra>>,
    pub(crate) origin: Origin,
    /// Something happened that the worker may have missed.
    pub(crate) again: bool,
    pub(crate) running: bool,
}

/// The request that caused the work: its span, its request id and trace go
/// along, down to the last call.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) span: Span,
    pub(crate) context: Option<RequestContext>,
}

impl Origin {
    fn current() -> Self {
        Self {
            span: Span::current(),
            context: RequestContext::current(),
        }
    }

    fn nobody() -> Self {
        Self {
            span: Span::none(),
            context: None,
        }
    }
}

impl<W: Work> Slot<W> {
    pub(crate) fn new(origin: Origin) -> Self {
        Self {
            reports: watch::Sender::default(),
            wake: Arc::default(),
            leave: CancellationToken::new(),
            seed: None,
            origin,
            again: false,
            running: false,
        }
    }

    pub(crate) fn of_nobody() -> Self {
        Self::new(Origin::nobody())
    }
}

impl<W: Work> Clone for Pool<W> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<W: Work> std::fmt::Debug for Pool<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl<W: Work> Pool<W> {
    /// A pool without workers. Records are read from `source`, what is known
    /// of them is in `cache`, which a watch keeps current.
    pub fn new(
        cache: Cache<W::Object>,
        source: Arc<dyn Source<W::Object>>,
        members: watch::Receiver<Members>,
        tenure: Tenure,
        settings: Settings,
        metrics: Metrics,
    ) -> Self {
        let (wanted, inbox) = mpsc::unbounded_channel();
        let shared = Shared {
            cache,
            source,
            members,
            tenure,
            places: Arc::new(Semaphore::new(settings.at_once.max(1))),
            settings,
            metrics,
            slots: Mutex::default(),
            expected: Mutex::default(),
            wanted,
            inbox: Mutex::new(Some(inbox)),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// A request is about to write the record, and to have it worked on with
    /// what it knows: the watch, which may tell of that write first, does not
    /// begin with a read of its own meanwhile. Looked at again when dropped.
    pub fn expect(&self, name: &str) -> Expected<W> {
        *self.shared.expected().entry(name.to_owned()).or_default() += 1;
        Expected {
            shared: Arc::clone(&self.shared),
            name: name.to_owned(),
        }
    }

    /// Sees to it that the record is worked on if it is this replica's, at
    /// once and as part of the running request. With a seed a worker begins
    /// with what the request wrote, without reading it.
    ///
    /// The reports are those of this process's worker; they end with it.
    pub fn ensure(
        &self,
        name: &str,
        seed: Option<Seed<W::Object, W::Extra>>,
    ) -> watch::Receiver<W::Report> {
        let object = seed.as_ref().map(|seed| Arc::clone(&seed.object));
        let receiver = {
            let mut slots = self.shared.slots();
            let slot = slots.entry(name.to_owned()).or_insert_with(Slot::of_nobody);
            if seed.is_some() || !slot.running {
                slot.origin = Origin::current();
            }
            if seed.is_some() {
                slot.seed = seed;
            }
            slot.again = true;
            slot.wake.notify_one();
            slot.reports.subscribe()
        };
        // Only now: the change that this is must find the request's slot.
        if let Some(object) = object {
            self.shared.cache.observe(object.as_ref().clone());
        }
        // Nobody receives once the pool has stopped: the process ends.
        let _ = self.shared.wanted.send(name.to_owned());
        receiver
    }

    /// Waits until `judge` finds an answer in what is known of the record,
    /// whoever works on it.
    ///
    /// # Errors
    /// [`TimedOut`] at `deadline`; the work goes on.
    pub async fn settled<T>(
        &self,
        name: &str,
        mut reports: watch::Receiver<W::Report>,
        deadline: Instant,
        mut judge: impl FnMut(Look<'_, W>) -> Option<T>,
    ) -> Result<T, TimedOut> {
        let mut changes = self.shared.cache.changes();
        let mut looks = tokio::time::interval_at(Instant::now() + LOOK, LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut has_worker = true;
        loop {
            let report = reports.borrow_and_update().clone();
            let object = self.shared.cache.get(name);
            let look = Look {
                report: &report,
                object: object.as_deref(),
                worker: if has_worker {
                    Presence::Here
                } else {
                    Presence::Elsewhere
                },
            };
            if let Some(answer) = judge(look) {
                return Ok(answer);
            }
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(deadline) => return Err(TimedOut),
                    changed = reports.changed(), if has_worker => {
                        has_worker = changed.is_ok();
                        break;
                    }
                    change = changes.recv() => match change {
                        Ok(changed) if changed != name => {}
                        Ok(_) | Err(RecvError::Lagged(_) | RecvError::Closed) => break,
                    },
                    _ = looks.tick() => {
                        // One that fails is one of many; the deadline decides.
                        drop(self.shared.read(name).await);
                        break;
                    }
                }
            }
        }
    }

    /// How many records have a worker.
    pub fn in_work(&self) -> usize {
        self.shared.slots().len()
    }
}

/// See [`Pool::expect`].
pub struct Expected<W: Work> {
    shared: Arc<Shared<W>>,
    name: String,
}

impl<W: Work> std::fmt::Debug for Expected<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("Expected");
        debug.field("name", &self.name).finish_non_exhaustive()
    }
}

impl<W: Work> Drop for Expected<W> {
    fn drop(&mut self) {
        let mut expected = self.shared.expected();
        if let Some(count) = expected.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                expected.remove(&self.name);
            }
        }
        drop(expected);
        let _ = self.shared.wanted.send(std::mem::take(&mut self.name));
    }
}

impl<W: Work> Shared<W> {
    pub(crate) fn expected(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn slots(&self) -> MutexGuard<'_, HashMap<String, Slot<W>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A consistent read; what was read is known from then on.
    pub(crate) async fn read(&self, name: &str) -> Result<Option<Arc<W::Object>>, cluster::Error> {
        let found = self.source.read(name).await?;
        Ok(found.map(|object| self.cache.observe(object)))
    }

    /// Whether the record, as last seen, is this replica's to work on.
    pub(crate) fn is_ours(&self, work: &W, name: &str) -> bool {
        let seen = self.cache.get(name);
        let driver = seen.as_deref().and_then(|object| work.driver(object));
        self.members.borrow().works_on(name, driver)
    }
}
