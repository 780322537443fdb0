//! Streams of a service that are followed for as long as the process lives:
//! opened again whenever they end, as they do when a server ages its
//! connections or a replica is replaced.

use std::{future::Future, time::Duration};

use backoff::Backoff;
use futures::{Stream, stream};
use tokio::time::Instant;
use tonic::{Response, Status, Streaming};

/// The first and the longest pause before a stream is opened again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// A stream that lived this long was sound: the next pause is a short one.
const SOUND: Duration = Duration::from_secs(5);
/// After this time without a stream somebody should know.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a follower sees.
#[derive(Debug)]
pub enum Event<T> {
    /// The next message; after [`Event::Lost`], of a new stream.
    Message(T),
    /// The stream has ended; a new one is being opened.
    Lost,
}

/// Follows the stream that `open` opens, for ever. `name` is for the log.
/// Dropping a pending `next()` loses nothing.
pub fn follow<T, O, F>(name: &'static str, open: O) -> impl Stream<Item = Event<T>>
where
    O: FnMut() -> F,
    F: Future<Output = Result<Response<Streaming<T>>, Status>>,
{
    let follower = Follower {
        name,
        open,
        current: None,
        outage: Outage::new(),
    };
    stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await;
        Some((event, follower))
    })
}

struct Follower<T, O> {
    name: &'static str,
    open: O,
    /// The stream, and since when it is open.
    current: Option<(Streaming<T>, Instant)>,
    outage: Outage,
}

/// Since when there is no stream.
struct Outage {
    began: Instant,
    warned: bool,
    pauses: Backoff,
    /// The first stream is opened without a pause.
    pause: Duration,
}

impl Outage {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            warned: false,
            pauses: Backoff::new(PAUSES.0, PAUSES.1),
            pause: Duration::ZERO,
        }
    }

    fn lengthen(&mut self) {
        self.pause = self.pauses.pause();
    }
}

impl<T, O, F> Follower<T, O>
where
    O: FnMut() -> F,
    F: Future<Output = Result<Response<Streaming<T>>, Status>>,
{
    async fn next(&mut self) -> Event<T> {
        let (stream, opened) = if let Some(current) = &mut self.current {
            current
        } else {
            let stream = self.reopen().await;
            self.current.insert((stream, Instant::now()))
        };
        let ended = match stream.message().await {
            Ok(Some(message)) => return Event::Message(message),
            Ok(None) => None,
            Err(status) => Some(status),
        };
        tracing::debug!(
            stream = self.name,
            error = ended.map(tracing::field::display),
            "stream ended, it is opened again"
        );
        if opened.elapsed() >= SOUND {
            self.outage = Outage::new();
        }
        self.outage.began = Instant::now();
        self.outage.lengthen();
        self.current = None;
        Event::Lost
    }

    async fn reopen(&mut self) -> Streaming<T> {
        loop {
            tokio::time::sleep(self.outage.pause).await;
            match (self.open)().await {
                Ok(opened) => {
                    if self.outage.warned {
                        tracing::info!(stream = self.name, "stream is open again");
                    }
                    self.outage.warned = false;
                    return opened.into_inner();
                }
                Err(status) => self.failed(&status),
            }
            self.outage.lengthen();
        }
    }

    fn failed(&mut self, status: &Status) {
        let without = self.outage.began.elapsed();
        if without < PATIENCE || self.outage.warned {
            tracing::debug!(stream = self.name, %status, "stream not opened");
            return;
        }
        self.outage.warned = true;
        tracing::warn!(
            stream = self.name,
            grpc.code = ?status.code(),
            grpc.message = status.message(),
            without_s = without.as_secs(),
            "stream cannot be opened; its data may be out of date"
        );
    }
}
