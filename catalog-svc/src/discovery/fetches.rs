//! What `*.url` files name, while it is fetched. Each file has a task of its
//! own, so that a slow host delays the plan that names it and no other.
//!
//! What was fetched once is stored before it is used, and is taken from there
//! by all replicas, and after a restart. It is fetched again when the text of
//! the file changes, or when a person asks with `plan refresh`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use plan::{Fault, Tree, id::Digest};
use service::telemetry::chain;
use tokio::{
    task::{AbortHandle, JoinError, JoinSet},
    time::Instant,
};

use crate::{
    source::{
        fault,
        fetched::{self, Fetched, List, Text},
        url::Fetcher,
    },
    store::{self, IfKnown, ListKey, Stamp, Store},
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Fetches {
    fetcher: Arc<Fetcher>,
    store: Store,
    /// How soon a failed fetch is tried again.
    again_after: Duration,
    files: BTreeMap<ListKey, File>,
    tasks: JoinSet<Done>,
}

type Done = (ListKey, Result<Content, Vec<Fault>>);

/// A file, and what is known of it.
#[derive(Debug)]
struct File {
    list: List,
    content: Option<Content>,
    /// Why it could not be had the last time.
    failed: Option<(Vec<Fault>, Instant)>,
    task: Option<AbortHandle>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Content {
    digest: Digest,
    text: Arc<str>,
}

/// What a plan has that waits for its content.
pub(crate) const WAITS: &str =
    "what it names is being fetched; the plan follows as soon as it is there";
/// Bytes of all files together, which are kept in memory.
const MAX_KEPT: usize = 64 << 20;

impl Fetches {
    pub(crate) fn new(fetcher: Fetcher, store: Store, again_after: Duration) -> Self {
        Self {
            fetcher: Arc::new(fetcher),
            store,
            again_after,
            files: BTreeMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// The trees with all that is there by now; the rest is begun. A plan that
    /// waits for something has a fault that says so.
    pub(crate) fn put_in(&mut self, trees: &[Tree]) -> Fetched {
        // What has arrived together is looked at together.
        while let Some(ended) = self.tasks.try_join_next() {
            self.end(ended);
        }
        let lists = fetched::lists(trees);
        let wanted: BTreeSet<&ListKey> = lists.iter().map(|list| &list.key).collect();
        self.files.retain(|key, file| {
            let stays = wanted.contains(key);
            if let (false, Some(task)) = (stays, &file.task) {
                task.abort();
            }
            stays
        });
        for list in lists {
            let key = list.key.clone();
            let file = self
                .files
                .entry(key.clone())
                .or_insert_with(|| File::new(list));
            if file.is_due(self.again_after) {
                self.begin(&key);
            }
        }
        fetched::put_in(trees, |list| self.text(list))
    }

    /// Waits until something has arrived that makes a difference.
    pub(crate) async fn changed(&mut self) {
        loop {
            match self.tasks.join_next().await {
                Some(ended) => {
                    if self.end(ended) {
                        return;
                    }
                }
                None => std::future::pending().await,
            }
        }
    }

    /// Whether the end of a task changes what is known.
    fn end(&mut self, ended: Result<Done, JoinError>) -> bool {
        match ended {
            Ok((key, result)) => self.take(&key, result),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Its file is gone.
                Err(_) => false,
            },
        }
    }

    /// Sees whether somebody asked for a file to be fetched again, and keeps the
    /// stamps of stored files true. What is no longer named is stamped only with
    /// `sweep`. The digests of all that is in use, read by this process or not.
    pub(crate) async fn follow(&mut self, sweep: bool) -> Result<BTreeSet<Digest>, store::Error> {
        if self.files.is_empty() && !sweep {
            return Ok(BTreeSet::new());
        }
        let stored = self.store.lists().await?;
        let in_use = stored
            .iter()
            .filter(|(key, _)| self.files.contains_key(key));
        let in_use = in_use.map(|(_, known)| known.digest.clone()).collect();
        for (key, known) in &stored {
            let stamp = match (self.files.contains_key(key), known.superseded) {
                (true, true) => Stamp::StillCurrent,
                (false, false) if sweep => Stamp::Superseded(Timestamp::now()),
                _ => continue,
            };
            self.store.stamp_list(key, stamp).await?;
        }
        let other = |file: &File| {
            let content = file.content.as_ref()?;
            let known = stored.get(&file.list.key);
            // One that somebody deleted is fetched again.
            known
                .is_none_or(|known| known.digest != content.digest)
                .then(|| file.list.key.clone())
        };
        let others: Vec<_> = self.files.values().filter_map(other).collect();
        for key in others {
            self.begin(&key);
        }
        Ok(in_use)
    }

    /// Stores again what is in use and somebody deleted; `whole` is what is there.
    pub(crate) async fn restore(&self, whole: &BTreeSet<Digest>) -> Result<(), store::Error> {
        let contents = self.files.values().filter_map(|file| file.content.as_ref());
        let lost = contents.filter(|content| !whole.contains(&content.digest));
        let lost: Vec<Arc<str>> = lost.map(|content| Arc::clone(&content.text)).collect();
        for text in lost {
            let bytes = text.as_bytes();
            self.store.put_content(bytes, Timestamp::now()).await?;
        }
        Ok(())
    }

    fn text(&self, list: &List) -> Text {
        let file = self.files.get(&list.key);
        if let Some(content) = file.and_then(|file| file.content.as_ref()) {
            return Ok(Arc::clone(&content.text));
        }
        match file.and_then(|file| file.failed.as_ref()) {
            Some((faults, _)) => Err(faults.clone()),
            None => Err(vec![waits(list)]),
        }
    }

    fn begin(&mut self, key: &ListKey) {
        let Some(file) = self.files.get_mut(key).filter(|file| file.task.is_none()) else {
            return;
        };
        let (fetcher, store) = (Arc::clone(&self.fetcher), self.store.clone());
        let list = file.list.clone();
        file.task = Some(self.tasks.spawn(async move {
            let result = obtain(&fetcher, &store, &list).await;
            (list.key, result)
        }));
    }

    /// Whether a result changes what is known.
    fn take(&mut self, key: &ListKey, result: Result<Content, Vec<Fault>>) -> bool {
        let others = self.files.iter().filter(|(other, _)| *other != key);
        let kept = others.filter_map(|(_, file)| Some(file.content.as_ref()?.text.len()));
        let kept: usize = kept.sum();
        let Some(file) = self.files.get_mut(key) else {
            return false;
        };
        file.task = None;
        let result = result.and_then(|content| {
            if kept + content.text.len() <= MAX_KEPT {
                return Ok(content);
            }
            let limit = MAX_KEPT >> 20;
            let message = format!("all files of addresses together name more than {limit} MiB");
            Err(vec![fault(&file.list.path, message)])
        });
        match result {
            Ok(content) => {
                file.failed = None;
                let is_new = file.content.as_ref() != Some(&content);
                file.content = Some(content);
                is_new
            }
            Err(faults) => {
                let before = file.failed.replace((faults.clone(), Instant::now()));
                let is_new = before.is_none_or(|(before, _)| before != faults);
                is_new && file.content.is_none()
            }
        }
    }
}

impl File {
    fn new(list: List) -> Self {
        Self {
            list,
            content: None,
            failed: None,
            task: None,
        }
    }

    fn is_due(&self, again_after: Duration) -> bool {
        let failed = self.failed.as_ref();
        let rested = failed.is_none_or(|(_, at)| at.elapsed() >= again_after);
        self.content.is_none() && self.task.is_none() && rested
    }
}

fn waits(list: &List) -> Fault {
    fault(&list.path, WAITS.to_owned())
}

/// Whether a fault only says that something is under way.
pub(crate) fn is_waiting(fault: &Fault) -> bool {
    says_waiting(&fault.message)
}

/// The same of its text.
pub(crate) fn says_waiting(message: &str) -> bool {
    message == WAITS
}

/// What is stored for a file; what its addresses answer if there is nothing.
async fn obtain(fetcher: &Fetcher, store: &Store, list: &List) -> Result<Content, Vec<Fault>> {
    // Nor what was stored before: the host may not be trusted any more.
    let refused = list.refused(fetcher);
    if !refused.is_empty() {
        return Err(refused);
    }
    let unstored = |error| unstored(list, &error);
    let known = store.list_of(&list.key).await.map_err(unstored)?;
    if let Some(digest) = &known
        && let Some(content) = stored(store, digest).await.map_err(unstored)?
    {
        return Ok(content);
    }
    let text = list.fetch(fetcher).await?;
    let (bytes, now) = (text.as_bytes(), Timestamp::now());
    let if_known = match known {
        None => IfKnown::Keep,
        // Its content is gone or damaged.
        Some(_) => IfKnown::Replace,
    };
    let digest = store
        .put_fetched(&list.key, &list.path, bytes, now, if_known)
        .await
        .map_err(unstored)?;
    if digest == Digest::of(bytes) {
        return Ok(Content { digest, text });
    }
    // Another replica was faster: what it fetched counts.
    let theirs = stored(store, &digest).await.map_err(unstored)?;
    theirs.ok_or_else(|| vec![waits(list)])
}

async fn stored(store: &Store, digest: &Digest) -> Result<Option<Content>, store::Error> {
    let bytes = match store.read(digest).await {
        Err(store::Error::Damaged(..)) => None,
        read => read?,
    };
    Ok(bytes.map(|bytes| Content {
        digest: digest.clone(),
        text: String::from_utf8_lossy(&bytes).into(),
    }))
}

fn unstored(list: &List, error: &store::Error) -> Vec<Fault> {
    tracing::warn!(
        file = list.path,
        error = chain(error),
        "cannot read or store what a file of addresses names; trying again"
    );
    let message = "what it names cannot be stored, or read from where it is stored; see the log of \
                   catalog-svc";
    vec![fault(&list.path, message.to_owned())]
}
