//! Whether the client of a connection has proved who it is. One that has not may keep its
//! connection for as long as a first head may take, whatever it asks and however it reads.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// The client of one request, among the request's extensions.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// By this request.
    known: Arc<AtomicBool>,
    /// By any request of the connection.
    connection: Arc<AtomicBool>,
}

impl Client {
    /// The request shows who the client is. What answers a request before that is the last answer
    /// on its connection.
    pub fn proved(&self) {
        self.known.store(true, Ordering::Relaxed);
        self.connection.store(true, Ordering::Relaxed);
    }

    /// The client of another request on the same connection.
    pub(super) fn of_next_request(&self) -> Self {
        Self {
            known: Arc::default(),
            connection: Arc::clone(&self.connection),
        }
    }

    pub(super) fn is_known(&self) -> bool {
        self.known.load(Ordering::Relaxed)
    }

    /// Ends at `limit` after `opened` if no request of the connection has shown by then who the
    /// client is, else never.
    pub(super) async fn stays_unknown(&self, opened: Instant, limit: Duration) {
        tokio::time::sleep_until(opened + limit).await;
        if self.connection.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }
}
