//! The loop that gives records to workers: one place that starts them, has
//! them leave, and sees them end.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError},
};

use kube::ResourceExt as _;
use service::telemetry::chain;
use tokio::{
    sync::broadcast::error::RecvError,
    task::{self, JoinError, JoinSet},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Pool, Work,
    pool::{Shared, Slot},
    worker::Worker,
};

/// Records looked at before others get the thread.
const LOOKS: usize = 64;

struct Runner<W: Work> {
    shared: Arc<Shared<W>>,
    work: Arc<W>,
    names: HashMap<task::Id, String>,
    running: JoinSet<()>,
    /// Records that cannot be read, with the version that was complained about.
    unreadable: HashMap<String, Option<String>>,
}

impl<W: Work> Pool<W> {
    /// Works until `stop`; steps under way are finished then, within their
    /// time, and another replica goes on. Runs once.
    pub async fn run(self, work: Arc<W>, stop: CancellationToken) {
        let shared = self.shared;
        let inbox = {
            let mut inbox = shared.inbox.lock().unwrap_or_else(PoisonError::into_inner);
            inbox.take()
        };
        let Some(mut inbox) = inbox else { return };
        let mut changes = shared.cache.changes();
        let mut members = shared.members.clone();
        tokio::select! {
            () = stop.cancelled() => return,
            () = shared.cache.synced() => {}
        }
        let mut ticks = tokio::time::interval(shared.settings.tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut runner = Runner {
            shared,
            work,
            names: HashMap::new(),
            running: JoinSet::new(),
            unreadable: HashMap::new(),
        };
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                // Its first one is at once.
                _ = ticks.tick() => runner.look_at_all().await,
                change = changes.recv() => match change {
                    Ok(name) => runner.look_at(&name),
                    Err(RecvError::Lagged(_)) => runner.look_at_all().await,
                    Err(RecvError::Closed) => break,
                },
                changed = members.changed() => match changed {
                    Ok(()) => runner.look_at_all().await,
                    Err(_) => break,
                },
                Some(name) = inbox.recv() => runner.take(&name),
                Some(ended) = runner.running.join_next_with_id() => runner.on_end(ended),
            }
            runner.count();
        }
        runner.finish().await;
    }
}

impl<W: Work> Runner<W> {
    async fn look_at_all(&mut self) {
        let known = self.shared.cache.all();
        let mut names: HashSet<String> = known.iter().map(|object| object.name_any()).collect();
        names.extend(self.shared.slots().keys().cloned());
        self.unreadable.retain(|name, _| names.contains(name));
        for (number, name) in names.into_iter().enumerate() {
            self.look_at(&name);
            if number % LOOKS == LOOKS - 1 {
                task::yield_now().await;
            }
        }
    }

    fn look_at(&mut self, name: &str) {
        let ours = self.shared.is_ours(&self.work, name);
        if let Some(slot) = self.shared.slots().get_mut(name) {
            // If it becomes ours again, that is seen when its worker has ended.
            slot.again = true;
            if !ours {
                slot.leave.cancel();
            }
            slot.wake.notify_one();
            return;
        }
        if ours && !self.shared.expected().contains_key(name) && self.needs_work(name) {
            let slot = Slot::of_nobody();
            self.shared.slots().entry(name.to_owned()).or_insert(slot);
            self.start_if_idle(name);
        }
    }

    /// Complains once about each version of a record that cannot be read.
    fn needs_work(&mut self, name: &str) -> bool {
        let Some(object) = self.shared.cache.get(name) else {
            return false;
        };
        match self.work.needs_work(&object) {
            Ok(needed) => {
                self.unreadable.remove(name);
                needed
            }
            Err(error) => {
                let version = object.resource_version();
                let before = self.unreadable.insert(name.to_owned(), version.clone());
                if before.is_none_or(|before| before != version) {
                    tracing::error!(
                        record = name,
                        error = chain(error.as_ref()),
                        "skipping a record that cannot be read; it needs manual repair"
                    );
                }
                false
            }
        }
    }

    /// A request wants the record worked on, or has done with it.
    fn take(&mut self, name: &str) {
        if !self.shared.slots().contains_key(name) {
            self.look_at(name);
            return;
        }
        if self.shared.is_ours(&self.work, name) {
            self.start_if_idle(name);
            return;
        }
        let mut slots = self.shared.slots();
        if slots.get(name).is_some_and(|slot| !slot.running) {
            slots.remove(name);
        }
    }

    fn start_if_idle(&mut self, name: &str) {
        let mut slots = self.shared.slots();
        let Some(slot) = slots.get_mut(name).filter(|slot| !slot.running) else {
            return;
        };
        slot.running = true;
        slot.leave = CancellationToken::new();
        let worker = Worker::new(
            Arc::clone(&self.shared),
            Arc::clone(&self.work),
            name.to_owned(),
            slot,
        );
        drop(slots);
        let id = self.running.spawn(worker.run()).id();
        self.names.insert(id, name.to_owned());
    }

    fn on_end(&mut self, ended: Result<(task::Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => error.id(),
        };
        let Some(name) = self.names.remove(&id) else {
            return;
        };
        let wanted = self.shared.is_ours(&self.work, &name) && self.needs_work(&name);
        {
            let mut slots = self.shared.slots();
            let Some(slot) = slots.get_mut(&name) else {
                return;
            };
            slot.running = false;
            let changed = std::mem::take(&mut slot.again);
            if slot.seed.is_none() && !(changed && wanted) {
                slots.remove(&name);
                return;
            }
        }
        self.start_if_idle(&name);
    }

    fn count(&self) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let metrics = &self.shared.metrics;
        metrics.in_work.set(number(self.shared.slots().len()));
        metrics.unreadable.set(number(self.unreadable.len()));
    }

    /// What takes longer than the last steps may is dropped, as a crash would.
    async fn finish(mut self) {
        for slot in self.shared.slots().values() {
            slot.leave.cancel();
        }
        let ends = async { while self.running.join_next().await.is_some() {} };
        let in_time = tokio::time::timeout(self.shared.settings.last_step, ends).await;
        if in_time.is_err() {
            tracing::warn!("steps under way are cut off; another replica does them again");
        }
    }
}
