//! Whether this replica's lease holds, and since when without a gap: its term.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

/// The time for which this replica holds its lease without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term(u64);

/// A lease that was renewed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) term: Term,
    pub(super) until: Instant,
}

/// Whether this replica's lease holds at this very moment: unlike
/// [`super::Members`], which a task must first publish, true right after the
/// process was paused.
#[derive(Debug, Clone)]
pub struct Tenure {
    pub(super) held: watch::Receiver<Option<Held>>,
}

impl Tenure {
    /// The running term; `None` if the lease has expired by now.
    pub fn now(&self) -> Option<Term> {
        let held = *self.held.borrow();
        held.filter(|held| Instant::now() < held.until)
            .map(|held| held.term)
    }

    /// Waits until the lease holds; `None` once the replica has left.
    pub async fn begun(&mut self) -> Option<Term> {
        loop {
            if let Some(term) = self.now() {
                return Some(term);
            }
            self.held.changed().await.ok()?;
        }
    }
}

/// What a renewal that began at `begun` and is known of `now` makes of the
/// lease: the same term goes on unless there was a gap.
pub(super) fn renewed(
    before: Option<Held>,
    begun: Instant,
    now: Instant,
    lifetime: Duration,
) -> Held {
    let term = match before {
        None => Term(0),
        Some(held) if now < held.until => held.term,
        Some(held) => Term(held.term.0 + 1),
    };
    Held {
        term,
        until: begun + lifetime,
    }
}

/// A lease that a test holds and loses.
#[cfg(feature = "testing")]
#[derive(Debug)]
pub struct Holder {
    held: watch::Sender<Option<Held>>,
    last: std::sync::Mutex<u64>,
}

#[cfg(feature = "testing")]
impl Default for Holder {
    fn default() -> Self {
        Self {
            held: watch::Sender::new(None),
            last: std::sync::Mutex::new(0),
        }
    }
}

#[cfg(feature = "testing")]
impl Holder {
    /// What a replica with this lease sees of it.
    pub fn tenure(&self) -> Tenure {
        Tenure {
            held: self.held.subscribe(),
        }
    }

    /// Begins a new term, which lasts until it is lost.
    pub fn hold(&self) {
        let mut last = self
            .last
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *last += 1;
        let far = Duration::from_secs(60 * 60 * 24 * 365);
        self.held.send_replace(Some(Held {
            term: Term(*last),
            until: Instant::now() + far,
        }));
    }

    /// Ends the term.
    pub fn lose(&self) {
        self.held.send_replace(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_ends_with_the_lease_and_a_late_renewal_begins_another() {
        let (start, life) = (Instant::now(), Duration::from_secs(10));
        let after = |seconds| start + Duration::from_secs(seconds);
        let first = renewed(None, start, start, life);
        let second = renewed(Some(first), after(9), after(9), life);
        assert_eq!((second.term, second.until), (first.term, after(19)));
        let third = renewed(Some(second), after(18), after(20), life);
        assert_ne!(
            third.term, second.term,
            "it ended before its renewal was known"
        );
        assert_eq!(third.until, after(28), "counted from before the call");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_is_not_renewed_ends_by_itself() {
        let share = watch::Sender::new(None);
        let mut tenure = Tenure {
            held: share.subscribe(),
        };
        assert_eq!(tenure.now(), None);
        let (now, life) = (Instant::now(), Duration::from_secs(3));
        share.send_replace(Some(renewed(None, now, now, life)));
        assert_eq!(tenure.begun().await, Some(Term(0)));
        tokio::time::advance(life).await;
        assert_eq!(tenure.now(), None);
        drop(share);
        assert_eq!(tenure.begun().await, None);
    }
}
