//! How long a client takes for a request's head. hyper has one limit for the head and for the time
//! between two requests; the first must be short and the second long.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// Of one connection.
#[derive(Debug)]
pub(super) struct HeadClock {
    state: Mutex<State>,
    began: Notify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A head has begun and is not complete.
    Head(Instant),
    /// A request is answered, or the client is between two.
    Quiet,
    /// A request's body may be on its way.
    Request,
}

impl HeadClock {
    /// A connection that was opened at `opened`: its first head is awaited, and a TLS handshake
    /// counts as part of that.
    pub(super) fn start(opened: Instant) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State::Head(opened)),
            began: Notify::new(),
        })
    }

    /// A head is complete.
    pub(super) fn request(&self) {
        self.set(State::Request);
    }

    /// Its answer is made.
    pub(super) fn answered(&self) {
        self.set(State::Quiet);
    }

    /// Ends when a head is not complete after `limit`.
    pub(super) async fn exceeded(&self, limit: Duration) {
        loop {
            let state = *self.state();
            match state {
                State::Head(since) => {
                    tokio::time::sleep_until(since + limit).await;
                    if *self.state() == state {
                        return;
                    }
                }
                State::Quiet | State::Request => self.began.notified().await,
            }
        }
    }

    /// Something has arrived.
    pub(super) fn read(&self) {
        let mut state = self.state();
        if *state == State::Quiet {
            *state = State::Head(Instant::now());
            // Kept for one who does not wait yet.
            self.began.notify_one();
        }
    }

    fn set(&self, to: State) {
        *self.state() = to;
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_head_counts_from_when_the_connection_was_opened() {
        let opened = Instant::now();
        tokio::time::advance(Duration::from_secs(7)).await;
        let clock = HeadClock::start(opened);
        clock.exceeded(Duration::from_secs(10)).await;
        assert_eq!(opened.elapsed(), Duration::from_secs(10));

        // The next one from its first byte.
        clock.request();
        clock.answered();
        tokio::time::advance(Duration::from_secs(60)).await;
        clock.read();
        clock.exceeded(Duration::from_secs(10)).await;
        assert_eq!(opened.elapsed(), Duration::from_secs(80));
    }
}
