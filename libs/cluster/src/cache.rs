//! A watch cache of records: what this replica knows without asking.
//!
//! It may be behind the API server, so it answers only what it can be sure of
//! (the callers decide that, by operation seq); its other use is to wake
//! reconcilers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use backoff::Backoff;
use futures::TryStreamExt as _;
use kube::{
    Api, ResourceExt as _,
    runtime::watcher::{self, Event},
};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    error::Error,
    records::{Record, drop_managed_fields},
};

/// Changes that a slow receiver may fall behind before it must look at everything.
const BACKLOG: usize = 4096;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

type Map<K> = HashMap<String, Arc<K>>;

/// Cheap to clone.
#[derive(Debug)]
pub struct Cache<K> {
    shared: Arc<Shared<K>>,
}

#[derive(Debug)]
struct Shared<K> {
    map: Mutex<Map<K>>,
    changes: broadcast::Sender<String>,
    synced: watch::Sender<bool>,
}

impl<K> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<K: Record> Default for Cache<K> {
    fn default() -> Self {
        Self {
            shared: Arc::new(Shared {
                map: Mutex::new(HashMap::new()),
                changes: broadcast::Sender::new(BACKLOG),
                synced: watch::Sender::new(false),
            }),
        }
    }
}

impl<K: Record> Cache<K> {
    /// A cache whose first list was empty.
    #[cfg(feature = "testing")]
    pub fn synced_for_tests() -> Self {
        let cache = Self::default();
        cache.resync(Map::new());
        cache
    }

    /// The record as last seen.
    pub fn get(&self, name: &str) -> Option<Arc<K>> {
        self.map().get(name).cloned()
    }

    /// All records as last seen.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.map().values().cloned().collect()
    }

    /// Names of records as they change. After a lag, look at [`Self::all`].
    pub fn changes(&self) -> broadcast::Receiver<String> {
        self.shared.changes.subscribe()
    }

    /// Resolves once the first list is in.
    pub async fn synced(&self) {
        // The sender lives in self, so waiting cannot fail.
        let _ = self
            .shared
            .synced
            .subscribe()
            .wait_for(|synced| *synced)
            .await;
    }

    /// Whether the first list is in.
    pub fn is_synced(&self) -> bool {
        *self.shared.synced.borrow()
    }

    /// Takes in what this replica itself just wrote or read, unless something
    /// newer is known: a client that saw the answer must not be told less.
    pub fn observe(&self, record: K) -> Arc<K> {
        let record = kept(record);
        self.insert(&record);
        record
    }

    /// Follows the API server until `stop`. Failures are retried for ever,
    /// with growing pauses; what was known stays.
    pub async fn run(self, api: Api<K>, stop: CancellationToken) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        while !stop.is_cancelled() {
            let mut listed = Map::new();
            let mut events =
                std::pin::pin!(watcher::watcher(api.clone(), watcher::Config::default()));
            loop {
                let event = tokio::select! {
                    () = stop.cancelled() => return,
                    event = events.try_next() => event,
                };
                match event {
                    Ok(Some(event)) => {
                        backoff.reset();
                        self.take(event, &mut listed);
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(kind = %K::kind(&()), error = reason(error), "watch interrupted");
                        tokio::select! {
                            () = stop.cancelled() => return,
                            () = tokio::time::sleep(backoff.pause()) => {}
                        }
                    }
                }
            }
        }
    }

    fn take(&self, event: Event<K>, listed: &mut Map<K>) {
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(record) => {
                listed.insert(record.name_any(), kept(record));
            }
            Event::InitDone => self.resync(std::mem::take(listed)),
            Event::Apply(record) => self.insert(&kept(record)),
            Event::Delete(record) => self.remove(&record),
        }
    }

    fn insert(&self, record: &Arc<K>) {
        let name = record.name_any();
        {
            let mut map = self.map();
            // What is read again, or written and then watched, is no change.
            let stays = |known: &Arc<K>| is_newer(known, record) || is_same(known, record);
            if map.get(&name).is_some_and(stays) {
                return;
            }
            map.insert(name.clone(), Arc::clone(record));
        }
        self.tell(name);
    }

    fn remove(&self, record: &K) {
        let name = record.name_any();
        {
            let mut map = self.map();
            // A record that was made anew meanwhile stays.
            if map
                .get(&name)
                .is_none_or(|known| known.uid() != record.uid())
            {
                return;
            }
            map.remove(&name);
        }
        self.tell(name);
    }

    /// A list shows all records as they were at one time. What is known to be
    /// newer stays; what is not listed is gone, or the watch shows it next.
    fn resync(&self, mut listed: Map<K>) {
        let mut changed: Vec<String> = Vec::new();
        {
            let mut map = self.map();
            for (name, record) in &mut listed {
                if let Some(known) = map.get(name).filter(|known| is_newer(known, record)) {
                    *record = Arc::clone(known);
                }
            }
            changed.extend(
                map.keys()
                    .filter(|name| !listed.contains_key(*name))
                    .cloned(),
            );
            changed.extend(listed.iter().filter_map(|(name, record)| {
                let same = map.get(name).is_some_and(|known| is_same(known, record));
                (!same).then(|| name.clone())
            }));
            *map = listed;
        }
        self.shared.synced.send_replace(true);
        for name in changed {
            self.tell(name);
        }
    }

    fn tell(&self, name: String) {
        // Nobody listening is fine.
        let _ = self.shared.changes.send(name);
    }

    fn map(&self) -> std::sync::MutexGuard<'_, Map<K>> {
        self.shared
            .map
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A record as it is kept.
fn kept<K: Record>(mut record: K) -> Arc<K> {
    drop_managed_fields(&mut record);
    Arc::new(record)
}

/// Whether both are one version of one object.
fn is_same<K: Record>(known: &Arc<K>, record: &Arc<K>) -> bool {
    known.uid() == record.uid()
        && known.resource_version().is_some()
        && known.resource_version() == record.resource_version()
}

/// Whether `known` is a later version of the same object.
fn is_newer<K: Record>(known: &Arc<K>, record: &Arc<K>) -> bool {
    known.uid() == record.uid() && version(known.as_ref()) > version(record.as_ref())
}

/// Without the text of what could not be decoded: it may repeat values.
fn reason(error: watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(source)
        | watcher::Error::WatchStartFailed(source)
        | watcher::Error::WatchFailed(source) => Error::from(source).to_string(),
        watcher::Error::WatchError(status) => format!("{} ({})", status.reason, status.code),
        watcher::Error::NoResourceVersion => "list without a resourceVersion".to_owned(),
    }
}

/// Resource versions of one kind are comparable as numbers (guaranteed since
/// Kubernetes 1.35, true of etcd before).
fn version<K: Record>(record: &K) -> u64 {
    record
        .resource_version()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry,
    };

    use super::*;

    fn record(uid: &str, version: u32) -> ConfigMap {
        let mut map = ConfigMap::default();
        map.metadata.name = Some("a".into());
        map.metadata.uid = Some(uid.into());
        map.metadata.resource_version = Some(version.to_string());
        map
    }

    #[test]
    fn what_is_known_never_gets_older() {
        let cache = Cache::default();
        let mut changes = cache.changes();
        cache.observe(record("1", 10));
        cache.observe(record("1", 10));
        cache.observe(record("1", 9));
        assert_eq!(cache.get("a").unwrap().resource_version().unwrap(), "10");
        assert_eq!(changes.try_recv().unwrap(), "a");
        assert!(changes.try_recv().is_err());
    }

    #[test]
    fn managed_fields_are_not_kept() {
        let managed = || {
            let mut record = record("1", 1);
            record.metadata.managed_fields = Some(vec![ManagedFieldsEntry::default()]);
            record
        };
        let cache = Cache::default();
        let mut listed = Map::new();
        cache.take(Event::InitApply(managed()), &mut listed);
        cache.take(Event::InitDone, &mut listed);
        assert!(cache.get("a").unwrap().managed_fields().is_empty());
        cache.take(Event::Delete(record("1", 1)), &mut Map::new());
        cache.take(Event::Apply(managed()), &mut Map::new());
        assert!(cache.get("a").unwrap().managed_fields().is_empty());
        assert!(cache.observe(managed()).managed_fields().is_empty());
    }

    #[test]
    fn a_late_deletion_does_not_touch_a_successor() {
        let cache = Cache::default();
        cache.observe(record("2", 5));
        cache.take(Event::Delete(record("1", 4)), &mut Map::new());
        assert!(cache.get("a").is_some());
        cache.take(Event::Delete(record("2", 6)), &mut Map::new());
        assert!(cache.get("a").is_none());
    }

    #[test]
    fn a_list_that_was_made_before_a_write_does_not_undo_it() {
        let cache = Cache::default();
        let mut listed = Map::new();
        cache.take(Event::Init, &mut listed);
        cache.take(Event::InitApply(record("1", 9)), &mut listed);
        cache.observe(record("1", 10));
        let mut changes = cache.changes();
        cache.take(Event::InitDone, &mut listed);
        assert_eq!(cache.get("a").unwrap().resource_version().unwrap(), "10");
        assert!(changes.try_recv().is_err(), "nothing changed");
        // Another object of that name is not a version of the one known.
        cache.take(Event::InitApply(record("2", 3)), &mut listed);
        cache.take(Event::InitDone, &mut listed);
        assert_eq!(cache.get("a").unwrap().uid().unwrap(), "2");
    }

    #[tokio::test]
    async fn a_list_replaces_what_was_known_and_tells_the_difference() {
        let cache = Cache::default();
        cache.observe(record("1", 1));
        let mut changes = cache.changes();
        let mut listed = Map::new();
        cache.take(Event::Init, &mut listed);
        cache.take(Event::InitDone, &mut listed);
        cache.synced().await;
        assert_eq!(changes.try_recv().unwrap(), "a");
        assert!(cache.all().is_empty());
    }
}
