//! One record's worker: life after life, each from a fresh read.

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use backoff::Backoff;
use futures::FutureExt as _;
use service::telemetry::chain;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::{
    Next, Turn, Work,
    pool::{Seed, Shared, Slot},
};

/// To mark a record whose worker panicked; what takes longer is not waited for.
const MARK: Duration = Duration::from_secs(10);

pub(crate) struct Worker<W: Work> {
    shared: Arc<Shared<W>>,
    work: Arc<W>,
    name: String,
    reports: watch::Sender<W::Report>,
    wake: Arc<Notify>,
    leave: CancellationToken,
    retries: Backoff,
    panics: Backoff,
    /// The most steps that a life did since the back-off began anew: only
    /// who gets further has made progress.
    furthest: usize,
    /// This life got further than any before.
    progressed: bool,
}

/// How a life ended.
enum End {
    Rest,
    Reread,
    Retry(Option<Duration>),
}

impl<W: Work> Worker<W> {
    pub(crate) fn new(shared: Arc<Shared<W>>, work: Arc<W>, name: String, slot: &Slot<W>) -> Self {
        let backoff = |(first, longest)| Backoff::new(first, longest);
        Self {
            retries: backoff(shared.settings.retry),
            panics: backoff(shared.settings.panic),
            shared,
            work,
            name,
            reports: slot.reports.clone(),
            wake: Arc::clone(&slot.wake),
            leave: slot.leave.clone(),
            furthest: 0,
            progressed: true,
        }
    }

    /// Works until nothing is left to do, or the record is to be left.
    pub(crate) async fn run(mut self) {
        loop {
            let mut tenure = self.shared.tenure.clone();
            let leave = self.leave.clone();
            let term = tokio::select! {
                () = leave.cancelled() => return,
                term = tenure.begun() => term,
            };
            let Some(term) = term else { return };
            let turn = Turn::new(
                term,
                tenure,
                self.leave.clone(),
                Arc::clone(&self.wake),
                Arc::clone(&self.shared.places),
                self.shared.metrics.active.clone(),
            );
            let life = AssertUnwindSafe(self.live(&turn)).catch_unwind().await;
            turn.give_place_back();
            match life {
                Ok(End::Rest) => return,
                // At once the first time: a rival's write was read over.
                Ok(End::Reread) if std::mem::take(&mut self.progressed) => {}
                Ok(End::Reread) => self.pause(None).await,
                Ok(End::Retry(limit)) => self.pause(limit).await,
                Err(panic) => self.recover(&message(panic.as_ref())).await,
            }
            if self.leave.is_cancelled() {
                return;
            }
        }
    }

    async fn live(&mut self, turn: &Turn) -> End {
        turn.take_place().await;
        if turn.is_left() {
            return End::Rest;
        }
        let (object, extra) = match self.object(turn).await {
            Ok(Some(found)) => found,
            Ok(None) => return End::Rest,
            Err(error) => {
                tracing::warn!(record = self.name, error = chain(&error), "record not read");
                return End::Retry(None);
            }
        };
        if !self.shared.is_ours(&self.work, &self.name) {
            return End::Rest;
        }
        let begun = self
            .work
            .begin(object, extra, turn.clone(), self.reports.clone());
        let mut job = match self.in_context(begun).await {
            Ok(Some(job)) => job,
            Ok(None) => return End::Rest,
            Err(error) => {
                let error = chain(error.as_ref());
                tracing::warn!(record = self.name, error, "work not begun; trying again");
                return End::Retry(None);
            }
        };
        let mut done = 0;
        loop {
            turn.take_place().await;
            if turn.is_left() {
                return End::Rest;
            }
            if !turn.is_in_term() || self.has_seed() {
                return End::Reread;
            }
            match self.in_context(self.work.step(&mut job)).await {
                Next::Go => {
                    done += 1;
                    if done > self.furthest {
                        self.furthest = done;
                        self.progressed = true;
                        self.retries.reset();
                    }
                }
                Next::Pause(limit) => {
                    turn.give_place_back();
                    self.pause(limit).await;
                }
                Next::Retry(limit) => return End::Retry(limit),
                Next::Reread => return End::Reread,
                Next::Rest => return End::Rest,
            }
        }
    }

    /// What a request just wrote, if that was in this term; else a fresh read.
    async fn object(
        &mut self,
        turn: &Turn,
    ) -> Result<Option<(Arc<W::Object>, Option<W::Extra>)>, cluster::Error> {
        if let Some(seed) = self.take_seed() {
            // Another operation: nothing is known of how far it gets.
            self.furthest = 0;
            self.progressed = true;
            if turn.is_of(seed.term) {
                return Ok(Some((seed.object, Some(seed.extra))));
            }
        }
        let found = self.shared.read(&self.name).await?;
        Ok(found.map(|object| (object, None)))
    }

    fn take_seed(&self) -> Option<Seed<W::Object, W::Extra>> {
        let mut slots = self.shared.slots();
        slots.get_mut(&self.name).and_then(|slot| slot.seed.take())
    }

    fn has_seed(&self) -> bool {
        let slots = self.shared.slots();
        slots
            .get(&self.name)
            .is_some_and(|slot| slot.seed.is_some())
    }

    /// Runs a part of the work as part of the request that caused it.
    async fn in_context<T>(&self, part: impl Future<Output = T>) -> T {
        let origin = {
            let slots = self.shared.slots();
            slots.get(&self.name).map(|slot| slot.origin.clone())
        };
        let Some(origin) = origin else {
            return part.await;
        };
        let part = part.instrument(origin.span);
        match origin.context {
            Some(context) => context.scope(part).await,
            None => part.await,
        }
    }

    /// Rests between two tries, at most this long, or until the record
    /// changes or is to be left.
    async fn pause(&mut self, limit: Option<Duration>) {
        let pause = self.retries.pause();
        tokio::select! {
            () = self.leave.cancelled() => {}
            () = self.wake.notified() => {}
            () = tokio::time::sleep(limit.map_or(pause, |limit| pause.min(limit))) => {}
        }
    }

    /// A panic is a fault of the program, which will be there the next time:
    /// the record is marked and rests, whatever happens to it meanwhile.
    async fn recover(&mut self, text: &str) {
        let pause = self.panics.pause();
        self.shared.metrics.panics.inc();
        tracing::error!(
            record = self.name,
            panic = text,
            pause_ms = pause.as_millis(),
            "a worker panicked; its record is tried again after a pause"
        );
        if let Some(object) = self.shared.cache.get(&self.name) {
            let marked = self.work.panicked(object, text, &self.reports);
            let marked = AssertUnwindSafe(tokio::time::timeout(MARK, marked)).catch_unwind();
            drop(self.in_context(marked).await);
        }
        tokio::select! {
            () = self.leave.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no text").to_owned()
}
