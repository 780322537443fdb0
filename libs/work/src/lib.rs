//! The work loop of every service that owns records: at most one worker a
//! record in a process, and over all replicas at most one that goes on.
//!
//! A service says what its work is ([`Work`]); the [`Pool`] decides who does it
//! (the driver of a synchronous request while it lives, else the owner by
//! rendezvous hashing), when (a request, a change of the record, a change among
//! the replicas, a tick), how many at once, when to try again, and what becomes
//! of a worker that panics. It knows neither OSB nor what a step does.
//!
//! A worker reads its record, does step after step, and is stopped or moved
//! only between two steps. What it read in one term of the replica's lease
//! counts only in that term: after a gap it starts over from a fresh read.
//!
//! ```text
//!   request (ensure) --+                       lease lost, newer request, rival's write
//!   change, members, --+--> read --> step --+--> step ... --> read          (start over, fresh)
//!   tick, if ours      |     ^               +--> wait: no place; back-off with jitter; ends with a change --> same step
//!                      |     |               +--> panic: record marked, growing pause --> read
//!                      |     +---------------+--> moved to another replica, or process ends: between two steps
//!                      +-- idle <------------+--> nothing left to do
//! ```

mod settings;

mod turn;

mod metrics;

mod pool;

mod run;

mod worker;

#[cfg(test)]
mod tests;

use std::{error::Error, future::Future, sync::Arc, time::Duration};

use cluster::records::Record;
use tokio::sync::watch;

pub use self::{
    metrics::Metrics,
    pool::{Expected, Look, Pool, Presence, Seed, TimedOut},
    settings::{Settings, WorkArgs},
    turn::Turn,
};

/// Why a record cannot be worked on for now; for the log.
pub type Fault = Box<dyn Error + Send + Sync>;

/// What a service does with a record.
///
/// A job holds nothing that another could not work out again: killed at any
/// point, whoever begins next comes to the same end.
pub trait Work: Send + Sync + 'static {
    /// The record as it is stored.
    type Object: Record;
    /// What a request knows of the record that it just wrote, beyond the record.
    type Extra: Send + 'static;
    /// What those who wait are shown: outcomes, and what stands in the way.
    type Report: Clone + Default + Send + Sync + 'static;
    /// One worker's knowledge of one record.
    type Job: Send;

    /// The replica that took the request whose operation is open, if it waits
    /// for the end: that one works on the record while it lives.
    fn driver<'a>(&self, object: &'a Self::Object) -> Option<&'a str>;

    /// Whether anything is to be done about the record at this time.
    ///
    /// # Errors
    /// The record cannot be read (a malformed annotation): it is left alone,
    /// and all others are worked on.
    fn needs_work(&self, object: &Self::Object) -> Result<bool, Fault>;

    /// Takes up a record that was read, or written by this replica, in the
    /// term of `turn`. `None`: there is nothing to do.
    fn begin(
        &self,
        object: Arc<Self::Object>,
        extra: Option<Self::Extra>,
        turn: Turn,
        reports: watch::Sender<Self::Report>,
    ) -> impl Future<Output = Result<Option<Self::Job>, Fault>> + Send;

    /// Does one step. Nothing interrupts it but the end of the process.
    fn step(&self, job: &mut Self::Job) -> impl Future<Output = Next> + Send;

    /// A worker of the record panicked, in this text; it is tried again after
    /// a pause. Marks the record, so that people see why nothing happens, and
    /// tells those who wait.
    fn panicked(
        &self,
        object: Arc<Self::Object>,
        text: &str,
        reports: &watch::Sender<Self::Report>,
    ) -> impl Future<Output = ()> + Send;
}

/// What comes after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It was done: the next one, at once.
    Go,
    /// It cannot be done yet: the same job tries again after a pause, at most
    /// this long, sooner if the record changes.
    Pause(Option<Duration>),
    /// It failed: after a pause, at most this long, all starts over from a
    /// fresh read.
    Retry(Option<Duration>),
    /// What the job knows is old: starts over from a fresh read.
    Reread,
    /// Nothing is left to do for now.
    Rest,
}
