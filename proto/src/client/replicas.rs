//! The replicas of a service: one connection each, their addresses looked up
//! again and again, and the choice of the one that serves the next call.
//!
//! tonic's balancer cannot do this: it does not let a second try avoid the
//! replica that the first one failed at, and a replica that refuses at once
//! looks to it like the least busy one.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tonic::transport::Channel;

/// A replica that could not be reached is avoided this long.
const REST: Duration = Duration::from_secs(1);
/// Look-ups of a name that has no address yet, and those that failed calls
/// ask for, come at most so much more often than regular ones.
const HASTE: u32 = 10;

/// Finds the addresses of a service's replicas.
pub type Lookup = Arc<dyn Fn() -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// The replicas that are known at the moment.
#[derive(Debug)]
pub(super) struct Replicas {
    known: watch::Receiver<Vec<Arc<Replica>>>,
    look_up: Arc<Notify>,
}

/// One replica.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) address: SocketAddr,
    channel: Channel,
    in_flight: AtomicUsize,
    rests_until: Mutex<Option<Instant>>,
}

/// A call to a replica that has not ended yet.
pub(super) struct InFlight<'r>(&'r AtomicUsize);

impl Replica {
    fn new(address: SocketAddr, channel: Channel) -> Self {
        Self {
            address,
            channel,
            in_flight: AtomicUsize::new(0),
            rests_until: Mutex::new(None),
        }
    }

    /// Its connection, opened when it is first used.
    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Counts a call until the value is dropped.
    pub(super) fn begin(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(&self.in_flight)
    }

    /// It could not be reached: others are preferred for a while.
    pub(super) fn rest(&self) {
        *self.rests() = Some(Instant::now() + REST);
    }

    /// It has answered.
    pub(super) fn recovered(&self) {
        *self.rests() = None;
    }

    fn rests(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.rests_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Replicas {
    /// Looks addresses up each `interval` until it is dropped; `open` makes
    /// the connection to one of them. Must be called inside a tokio runtime.
    pub(super) fn follow(
        lookup: Lookup,
        interval: Duration,
        open: impl Fn(SocketAddr) -> Channel + Send + 'static,
    ) -> Self {
        let (sender, known) = watch::channel(Vec::new());
        let look_up = Arc::new(Notify::new());
        tokio::spawn(feed(sender, lookup, interval, open, Arc::clone(&look_up)));
        Self { known, look_up }
    }

    /// Asks for a look-up before its regular time: a replica has gone.
    pub(super) fn look_up(&self) {
        self.look_up.notify_one();
    }

    /// The replica for the next try of a call that has failed at those in
    /// `tried`; waits as long as no address is known.
    pub(super) async fn choose(&self, tried: &[SocketAddr]) -> Option<Arc<Replica>> {
        let mut known = self.known.clone();
        let known = known.wait_for(|known| !known.is_empty()).await.ok()?;
        let now = Instant::now();
        let candidates = known.iter().map(|replica| Candidate {
            resting: replica.rests().is_some_and(|until| until > now),
            tried: tried.contains(&replica.address),
            in_flight: replica.in_flight.load(Ordering::Relaxed),
            tie: rand::random(),
        });
        best(candidates).map(|index| Arc::clone(&known[index]))
    }
}

/// What speaks against a replica, the most important first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    resting: bool,
    tried: bool,
    in_flight: usize,
    tie: u32,
}

fn best(candidates: impl Iterator<Item = Candidate>) -> Option<usize> {
    candidates
        .enumerate()
        .min_by(|(_, one), (_, other)| one.cmp(other))
        .map(|(index, _)| index)
}

/// Keeps the replicas equal to what `lookup` finds.
async fn feed(
    sender: watch::Sender<Vec<Arc<Replica>>>,
    lookup: Lookup,
    interval: Duration,
    open: impl Fn(SocketAddr) -> Channel,
    asked: Arc<Notify>,
) {
    loop {
        match lookup().await {
            Ok(found) => update(&sender, &found, &open),
            // The old addresses stay: a DNS server that is away for a while
            // is no reason to stop calling replicas that answer.
            Err(error) => tracing::debug!(%error, "addresses of a service not found"),
        }
        let hurry = interval / HASTE;
        let pause = if sender.borrow().is_empty() {
            hurry
        } else {
            interval
        };
        let early = async {
            tokio::time::sleep(hurry).await;
            asked.notified().await;
        };
        tokio::select! {
            () = sender.closed() => return,
            () = tokio::time::sleep(pause) => {}
            () = early => {}
        }
    }
}

/// Replicas that stay keep their connections.
fn update(
    sender: &watch::Sender<Vec<Arc<Replica>>>,
    found: &[SocketAddr],
    open: &impl Fn(SocketAddr) -> Channel,
) {
    sender.send_if_modified(|known| {
        let before = known.len();
        known.retain(|replica| found.contains(&replica.address));
        let mut changed = known.len() != before;
        for address in found {
            if known.iter().any(|replica| replica.address == *address) {
                continue;
            }
            known.push(Arc::new(Replica::new(*address, open(*address))));
            changed = true;
        }
        changed
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_can_be_reached_and_was_not_tried_is_preferred() {
        let candidate = |resting, tried, in_flight| Candidate {
            resting,
            tried,
            in_flight,
            tie: 0,
        };
        let choice = |candidates: Vec<Candidate>| best(candidates.into_iter());
        assert_eq!(choice(vec![]), None);
        // Idle, but only because it refuses.
        assert_eq!(
            choice(vec![candidate(true, false, 0), candidate(false, false, 9)]),
            Some(1)
        );
        assert_eq!(
            choice(vec![candidate(false, true, 0), candidate(false, false, 9)]),
            Some(1)
        );
        assert_eq!(
            choice(vec![candidate(true, false, 0), candidate(false, true, 9)]),
            Some(1)
        );
        assert_eq!(
            choice(vec![candidate(false, false, 2), candidate(false, false, 1)]),
            Some(1)
        );
        assert_eq!(choice(vec![candidate(true, true, 0)]), Some(0));
    }
}
