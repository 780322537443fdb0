//! An app that writes all the while, as a pod of the demo, and counts: what
//! the database acknowledged must be found, whatever happens to its members.
//!
//! Each write is repeated until it is acknowledged by a majority. It is an
//! upsert of a numbered document, so that a repetition makes no second one.

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use mongodb::{
    Collection,
    bson::{Document, doc},
};
use serde::{Deserialize, Serialize};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep, timeout},
};

use crate::app::{self, Outcome};

const COLLECTION: &str = "written";
/// Between two writes.
const PACE: Duration = Duration::from_millis(20);
/// Between two tries of the same write.
const PAUSE: Duration = Duration::from_millis(200);
/// Between two counts.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// A try that takes longer has failed.
const TRY_LIMIT: Duration = Duration::from_secs(30);

/// One line of the writer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Writes that were acknowledged since it started.
    pub acknowledged: u64,
    /// How many of them are found.
    pub found: u64,
    /// Errors that the app saw since it started, those that the driver hid left out.
    pub errors: u64,
    /// The longest wait for an acknowledgement since the last line, in milliseconds.
    pub longest_ms: u64,
}

impl Count {
    /// Reads a line; others than counts are none.
    pub fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }
}

/// What happened between two counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Writes that were acknowledged since the writer started.
    pub acknowledged: u64,
    /// Those since the first of the two counts.
    pub written: u64,
    /// Acknowledged writes that are not found.
    pub lost: u64,
    /// Errors that the app saw since the first of the two counts.
    pub errors: u64,
    /// The longest wait for an acknowledgement.
    pub longest: Duration,
}

impl Progress {
    /// What happened after the first `seen` counts; none while there are no others.
    pub fn of(counts: &[Count], seen: usize) -> Option<Self> {
        let new = counts.get(seen..)?;
        let last = new.last()?;
        let before = seen
            .checked_sub(1)
            .and_then(|index| counts.get(index))
            .copied()
            .unwrap_or_default();
        let longest = new.iter().map(|count| count.longest_ms).max()?;
        Some(Self {
            acknowledged: last.acknowledged,
            written: last.acknowledged - before.acknowledged,
            lost: new
                .iter()
                .map(|count| count.acknowledged.saturating_sub(count.found))
                .max()?,
            errors: last.errors - before.errors,
            longest: Duration::from_millis(longest),
        })
    }
}

/// Writes until SIGTERM.
pub async fn run(uri_file: &Path, series: &str) -> Outcome {
    match write(uri_file, series).await {
        Ok(()) => Outcome::Worked,
        Err(error) => {
            println!("{error:#}");
            Outcome::Failed
        }
    }
}

async fn write(uri_file: &Path, series: &str) -> anyhow::Result<()> {
    let mut end = signal(SignalKind::terminate()).context("wait for SIGTERM")?;
    let documents = app::open(uri_file).await?.collection(COLLECTION);
    let mut writer = Writer {
        documents,
        series,
        count: Count::default(),
    };
    tokio::select! {
        () = writer.write() => {}
        _ = end.recv() => {}
    }
    writer.report().await;
    Ok(())
}

struct Writer<'a> {
    documents: Collection<Document>,
    series: &'a str,
    count: Count,
}

impl Writer<'_> {
    async fn write(&mut self) {
        loop {
            let next = Instant::now() + COUNT_EVERY;
            while Instant::now() < next {
                self.write_one().await;
                sleep(PACE).await;
            }
            self.report().await;
        }
    }

    async fn write_one(&mut self) {
        let began = Instant::now();
        let number = self.count.acknowledged;
        let filter = doc! {"_id": self.id(number)};
        let change = doc! {"$setOnInsert": {"text": format!("document {number}")}};
        loop {
            let write = self
                .documents
                .update_one(filter.clone(), change.clone())
                .upsert(true);
            match timeout(TRY_LIMIT, write).await {
                Ok(Ok(_)) => break,
                Ok(Err(error)) => self.failed(&error.to_string()),
                Err(_) => self.failed("no answer in time"),
            }
            sleep(PAUSE).await;
        }
        self.count.acknowledged += 1;
        let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.count.longest_ms = self.count.longest_ms.max(took);
    }

    /// Counts what is found and says so.
    async fn report(&mut self) {
        for attempt in 0..3 {
            match timeout(TRY_LIMIT, self.found()).await {
                Ok(Ok(found)) => {
                    self.count.found = found;
                    // A primary of a moment ago may answer with what it knew then; what is lost
                    // stays so.
                    if found >= self.count.acknowledged || attempt > 0 {
                        break;
                    }
                    sleep(COUNT_EVERY).await;
                }
                Ok(Err(error)) => return self.failed(&error.to_string()),
                Err(_) => return self.failed("no answer in time"),
            }
        }
        if let Ok(line) = serde_json::to_string(&self.count) {
            println!("{line}");
        }
        self.count.longest_ms = 0;
    }

    async fn found(&self) -> mongodb::error::Result<u64> {
        let range = doc! {"$gte": self.id(0), "$lt": self.id(self.count.acknowledged)};
        self.documents.count_documents(doc! {"_id": range}).await
    }

    fn failed(&mut self, error: &str) {
        self.count.errors += 1;
        // The driver's errors name hosts, never the password.
        println!("{error}");
    }

    /// Numbers sort as their ids do.
    fn id(&self, number: u64) -> String {
        format!("{}/{number:010}", self.series)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(acknowledged: u64, found: u64, errors: u64, longest_ms: u64) -> Count {
        Count {
            acknowledged,
            found,
            errors,
            longest_ms,
        }
    }

    #[test]
    fn progress_is_what_came_after_the_counts_that_were_seen() {
        let counts = [
            count(10, 10, 1, 900),
            count(20, 20, 1, 40),
            count(30, 30, 3, 60),
        ];
        let progress = Progress::of(&counts, 1).unwrap();
        assert_eq!(
            progress,
            Progress {
                acknowledged: 30,
                written: 20,
                lost: 0,
                errors: 2,
                longest: Duration::from_millis(60)
            }
        );
        assert_eq!(Progress::of(&counts, 3), None);
        assert_eq!(Progress::of(&[], 0), None);
        assert_eq!(Progress::of(&counts, 0).unwrap().written, 30);
    }

    #[test]
    fn a_write_that_was_lost_at_any_time_is_seen() {
        let counts = [count(10, 9, 0, 1), count(20, 20, 0, 1)];
        assert_eq!(Progress::of(&counts, 0).unwrap().lost, 1);
    }

    #[test]
    fn a_line_that_is_no_count_is_none() {
        assert_eq!(Count::parse("no answer in time"), None);
        let line = serde_json::to_string(&count(1, 1, 0, 5)).unwrap();
        assert_eq!(Count::parse(&line), Some(count(1, 1, 0, 5)));
    }
}
