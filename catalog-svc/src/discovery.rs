//! The loop: look at the sources, build, store, publish; again when something
//! changes, and every minute for what the cluster allows.

pub(crate) mod check;
pub(crate) mod fetches;
mod look;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use backoff::Backoff;
use k8s_openapi::jiff::Timestamp;
use plan::{Bundle, Fault, id::Digest, kinds::ServedKinds};
use service::telemetry::chain;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use self::{
    check::Checks,
    fetches::{Fetches, is_waiting},
};
use crate::{
    metrics::Metrics,
    orderable::Cluster,
    published::Published,
    snapshot::{Bundles, Chosen, Found, PlanKey, choose, losers, version_doubt},
    source::Content,
    store::{self, Stamp, Store},
};

/// Changes within this time are handled together.
const DEBOUNCE: Duration = Duration::from_millis(300);
/// How soon a failed publication is tried again; doubled up to `recheck`.
const RETRY: Duration = Duration::from_secs(1);
/// How often what is not served is stamped as superseded. A replica that serves
/// it in spite of that (during a rollout) says so within `recheck`.
const SWEEP: Duration = Duration::from_secs(3600);

/// The newest content of all sources.
#[derive(Debug)]
pub(crate) struct Inputs {
    /// Folders of templates.
    pub(crate) folders: watch::Receiver<Content>,
    /// ConfigMaps; nothing before they were listed once.
    pub(crate) maps: watch::Receiver<Option<Content>>,
}

/// What the loop works with.
pub(crate) struct Discovery {
    /// The broker's own namespace, which plans must keep off.
    pub(crate) namespace: String,
    pub(crate) fetches: Fetches,
    pub(crate) checks: Checks,
    pub(crate) store: Store,
    pub(crate) cluster: Cluster,
    pub(crate) publisher: watch::Sender<Option<Arc<Published>>>,
    pub(crate) metrics: Metrics,
    /// Opens with the first catalog.
    /// True once everything that was found is served or refused.
    pub(crate) complete: watch::Sender<bool>,
    pub(crate) recheck: Duration,
}

/// What the loop remembers.
#[derive(Debug, Default)]
struct State {
    found: Found,
    /// The kinds of others that the last look knew.
    known: ServedKinds,
    /// For each plan the version that was served last.
    good: Bundles,
    /// Bundles that are stored as current ones.
    stored: BTreeSet<Digest>,
    /// Faults that were logged already.
    logged: BTreeSet<Fault>,
    /// Warnings that were logged already.
    warned: BTreeSet<Fault>,
    /// Faults of plans that want what is another's, which the choice finds.
    lost: BTreeSet<Fault>,
    /// What is probably not meant with the versions of plans that took the place of others.
    doubts: BTreeMap<PlanKey, Fault>,
}

/// Why nothing, or not all, was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Complete,
    /// Some bundle is not stored yet.
    Incomplete,
}

impl Discovery {
    /// Works until `shutdown`.
    pub(crate) async fn run(
        mut self,
        mut inputs: Inputs,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        tokio::select! {
            // First: the sources end at the same moment.
            biased;
            () = shutdown.cancelled() => Ok(()),
            outcome = self.work(&mut inputs) => outcome,
        }
    }

    /// Dropped at any point: all that matters is stored before it is served.
    async fn work(&mut self, inputs: &mut Inputs) -> anyhow::Result<()> {
        // Without the site's own plans the catalog would lose them for a moment.
        inputs.maps.wait_for(Option::is_some).await?;
        let mut state = State::default();
        self.remember(&mut state).await;
        let mut swept = None;
        let mut retry = self.retries();
        let mut pause = retry.pause();
        let mut look = true;
        loop {
            if look {
                self.look(inputs, &mut state).await?;
            }
            let outcome = self.publish(&mut state).await;
            let due = swept.is_none_or(|swept: Instant| swept.elapsed() >= SWEEP);
            if outcome == Outcome::Complete {
                retry.reset();
                pause = retry.pause();
                self.complete.send_replace(true);
                if self.tidy(&mut state, due).await && due {
                    swept = Some(Instant::now());
                }
            }
            // A CustomResourceDefinition came or went.
            let learned = self.cluster.known() != state.known;
            let wait = match outcome {
                Outcome::Complete if state.found.unchecked || learned => RETRY.min(self.recheck),
                Outcome::Complete => self.recheck,
                Outcome::Incomplete => pause,
            };
            tokio::select! {
                changed = inputs.changed() => {
                    changed?;
                    tokio::time::sleep(DEBOUNCE).await;
                    look = true;
                    // What is superseded now is stamped at once.
                    swept = None;
                }
                () = self.fetches.changed() => {
                    tokio::time::sleep(DEBOUNCE).await;
                    look = true;
                }
                () = tokio::time::sleep(wait) => {
                    if outcome == Outcome::Incomplete {
                        pause = retry.pause();
                    }
                    look = state.found.retry || state.found.unchecked || learned;
                }
            }
        }
    }

    fn retries(&self) -> Backoff {
        Backoff::new(RETRY, self.recheck.max(RETRY))
    }

    /// Reads back what was good before this process was: until that is known,
    /// nothing is served, or a fault would take a plan away.
    async fn remember(&self, state: &mut State) {
        let mut retry = self.retries();
        loop {
            match self.last_good(state).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(
                        error = chain(&error),
                        "cannot read stored bundles; trying again"
                    );
                }
            }
            tokio::time::sleep(retry.pause()).await;
        }
    }

    async fn last_good(&self, state: &mut State) -> Result<(), store::Error> {
        let entries = self.store.list().await?;
        for (key, entry) in store::newest(&entries) {
            let bytes = match self.store.read(&entry.digest).await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => continue,
                Err(error @ store::Error::Damaged(..)) => {
                    tracing::error!(plan = %key, error = chain(&error), "ignoring a damaged stored bundle");
                    continue;
                }
                Err(error) => return Err(error),
            };
            match Bundle::from_bytes(&bytes, &entry.digest) {
                Ok(bundle) => {
                    state.stored.insert(entry.digest.clone());
                    state.good.insert(key.clone(), Arc::new(bundle));
                }
                // Written by another version of the broker: it is as if it was
                // not there, and the folder is what counts.
                Err(error) => {
                    tracing::warn!(plan = %key, error = chain(&error), "ignoring a stored bundle that this version of the broker cannot read");
                }
            }
        }
        tracing::info!(
            plans = state.good.len(),
            "loaded the plans that were served last"
        );
        Ok(())
    }

    /// Stores what is new, then serves it.
    async fn publish(&mut self, state: &mut State) -> Outcome {
        let mut found = state.found.clone();
        let mut outcome = Outcome::Complete;
        for (key, chosen) in choose(&found, &state.good) {
            let digest = chosen.bundle.digest();
            if state.stored.contains(digest) {
                continue;
            }
            // One that fails makes the others likely to fail slowly.
            let put = match outcome {
                Outcome::Complete => self.store.put(&chosen.bundle, Timestamp::now()).await,
                Outcome::Incomplete => Err(store::Error::Postponed),
            };
            match put {
                Ok(()) => {
                    tracing::info!(plan = %key, bundle.digest = %digest, "stored a bundle");
                    state.stored.insert(digest.clone());
                }
                Err(error) => {
                    outcome = Outcome::Incomplete;
                    self.metrics.bundle_store_failures.inc();
                    if !matches!(error, store::Error::Postponed) {
                        tracing::error!(plan = %key, error = chain(&error), "cannot store a bundle; trying again");
                    }
                    found.withhold(&key);
                }
            }
        }
        if outcome == Outcome::Incomplete && self.publisher.borrow().is_none() {
            // The first catalog is a whole one.
            return outcome;
        }
        let chosen = choose(&found, &state.good);
        let lost: BTreeSet<Fault> = losers(&found, &chosen).into_iter().collect();
        for fault in lost.difference(&state.lost) {
            tracing::error!(
                provider = fault.provider,
                plan = fault.plan.as_deref().unwrap_or_default(),
                "a plan has a fault: {fault}"
            );
        }
        found.faults.extend(lost.iter().cloned());
        state.lost = lost;
        state.judge_versions(&chosen);
        found.warnings.extend(state.doubts.values().cloned());
        self.cluster
            .refresh(chosen.values().map(|chosen| chosen.bundle.as_ref()))
            .await;
        let reason = |bundle: &Bundle| self.cluster.reason(bundle);
        let published = Published::new(&found, &chosen, reason, SystemTime::now());
        state.good.clone_from(&published.served);
        self.count(&found, &published);
        self.swap(published);
        outcome
    }

    fn swap(&self, published: Published) {
        self.publisher.send_if_modified(|current| {
            let changed = match current {
                Some(current) => published.differs(current),
                None => true,
            };
            if changed {
                log_changes(current.as_deref(), &published);
                let mut published = published;
                if let Some(current) = current
                    && current.snapshot.generation == published.snapshot.generation
                {
                    // The content is as old as it was: only reports differ.
                    published.snapshot.last_modified = current.snapshot.last_modified;
                }
                self.metrics.catalogs_published.inc();
                *current = Some(Arc::new(published));
            }
            changed
        });
    }

    fn count(&self, found: &Found, published: &Published) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let reports = &published.reports;
        let last_good = reports.iter().filter(|report| report.last_good).count();
        let barred = reports
            .iter()
            .filter(|report| !report.not_orderable_reason.is_empty())
            .count();
        self.metrics
            .plans_served
            .set(number(published.served.len()));
        self.metrics.plans_last_good.set(number(last_good));
        self.metrics.plans_not_orderable.set(number(barred));
        let faults = found.faults.iter().filter(|fault| !is_waiting(fault));
        self.metrics.plan_faults.set(number(faults.count()));
    }

    /// Keeps the stamps of the stored bundles true. Whether it worked.
    async fn tidy(&mut self, state: &mut State, sweep: bool) -> bool {
        match self.stamp(state, sweep).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(
                    error = chain(&error),
                    "cannot mark bundles as current or superseded; trying again"
                );
                false
            }
        }
    }

    async fn stamp(&mut self, state: &mut State, sweep: bool) -> Result<(), store::Error> {
        let fetched = self.fetches.follow(sweep).await?;
        let served = state.good.values().map(|bundle| bundle.digest());
        let served: BTreeSet<&Digest> = served.chain(&fetched).collect();
        let mut whole = BTreeSet::new();
        for entry in self.store.list().await? {
            let current = served.contains(&entry.digest);
            if entry.complete {
                whole.insert(entry.digest.clone());
            }
            let stamp = match (current, entry.superseded) {
                (true, true) => Stamp::StillCurrent,
                (false, false) if sweep => Stamp::Superseded(Timestamp::now()),
                _ => continue,
            };
            self.store.stamp(entry.stored(), entry.parts, stamp).await?;
        }
        self.fetches.restore(&whole).await?;
        // What somebody deleted is stored again by the next round; what is no
        // longer served is current again only after it is stamped so.
        state
            .stored
            .retain(|digest| served.contains(digest) && whole.contains(digest));
        Ok(())
    }
}

impl State {
    /// Compares what is served next with what is served now.
    fn judge_versions(&mut self, chosen: &BTreeMap<PlanKey, Chosen>) {
        self.doubts.retain(|key, _| chosen.contains_key(key));
        for (key, chosen) in chosen {
            let before = self.good.get(key);
            let Some(before) = before.filter(|it| it.digest() != chosen.bundle.digest()) else {
                continue;
            };
            self.doubts.remove(key);
            if let Some(doubt) = version_doubt(before, &chosen.bundle) {
                tracing::warn!(plan = %key, "a plan has something that is probably not meant: {doubt}");
                self.doubts.insert(key.clone(), doubt);
            }
        }
    }
}

impl Inputs {
    async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        tokio::select! {
            changed = self.folders.changed() => changed,
            changed = self.maps.changed() => changed,
        }
    }
}

/// Logs what is served now and was not before.
fn log_changes(before: Option<&Published>, now: &Published) {
    let empty = BTreeMap::new();
    let before = before.map_or(&empty, |before| &before.served);
    for (key, bundle) in &now.served {
        let old = before.get(key).map(|bundle| bundle.digest());
        if old != Some(bundle.digest()) {
            tracing::info!(plan = %key, bundle.digest = %bundle.digest(), "serving a version of a plan");
        }
    }
    for key in before.keys().filter(|key| !now.served.contains_key(*key)) {
        tracing::warn!(plan = %key, "a plan is no longer served");
    }
    let barred = now
        .reports
        .iter()
        .filter(|report| !report.not_orderable_reason.is_empty());
    for report in barred {
        let key = PlanKey {
            provider: report.provider.clone(),
            plan: report.plan.clone(),
        };
        tracing::warn!(plan = %key, reason = report.not_orderable_reason, "a plan cannot be ordered");
    }
}
