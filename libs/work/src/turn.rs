//! A worker's leave to work: the term of the lease in which its record was
//! read, and one of the pool's places.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use cluster::share::{Tenure, Term};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// One worker's part; cheap to clone.
#[derive(Debug, Clone)]
pub struct Turn(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    term: Term,
    tenure: Tenure,
    leave: CancellationToken,
    wake: Arc<Notify>,
    places: Arc<Semaphore>,
    place: Mutex<Option<Place>>,
    active: Gauge,
}

/// Held while steps are done.
#[derive(Debug)]
struct Place {
    active: Gauge,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.active.dec();
    }
}

impl Turn {
    pub(crate) fn new(
        term: Term,
        tenure: Tenure,
        leave: CancellationToken,
        wake: Arc<Notify>,
        places: Arc<Semaphore>,
        active: Gauge,
    ) -> Self {
        Self(Arc::new(Parts {
            term,
            tenure,
            leave,
            wake,
            places,
            place: Mutex::new(None),
            active,
        }))
    }

    /// Whether the lease has held without a gap since the record was read.
    /// After one (the process was paused, or cut off) others may have worked on
    /// it, and nothing that was known counts.
    pub fn is_in_term(&self) -> bool {
        self.0.tenure.now() == Some(self.0.term)
    }

    pub(crate) fn is_of(&self, term: Option<Term>) -> bool {
        term == Some(self.0.term)
    }

    /// Whether the work is to be left: the record is another replica's now, or
    /// the process ends, or the term is over.
    pub fn is_over(&self) -> bool {
        self.is_left() || !self.is_in_term()
    }

    pub(crate) fn is_left(&self) -> bool {
        self.0.leave.is_cancelled()
    }

    /// Waits inside a step, without keeping one of the pool's places
    /// meanwhile: until `done`, or until the record changes or is to be left.
    pub async fn aside(&self, done: impl Future<Output = ()>) {
        self.give_place_back();
        tokio::select! {
            () = done => {}
            () = self.0.wake.notified() => {}
            () = self.0.leave.cancelled() => {}
        }
        self.take_place().await;
    }

    /// Waits for a place, if this worker has none.
    pub(crate) async fn take_place(&self) {
        if self.place().is_some() {
            return;
        }
        let permit = tokio::select! {
            () = self.0.leave.cancelled() => return,
            permit = Arc::clone(&self.0.places).acquire_owned() => permit,
        };
        // The semaphore is never closed.
        if let Ok(permit) = permit {
            self.0.active.inc();
            let active = self.0.active.clone();
            *self.place() = Some(Place {
                active,
                _permit: permit,
            });
        }
    }

    pub(crate) fn give_place_back(&self) {
        *self.place() = None;
    }

    fn place(&self) -> std::sync::MutexGuard<'_, Option<Place>> {
        self.0.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
