//! A load of HTTP requests: each client has a connection of its own and sends
//! its next request when it has the answer to the one before.
//!
//! It writes ready bytes and reads no more of an answer than it has to, so that
//! on a small machine most of the processor is left for what is measured.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// An answer must have come by then.
const ANSWER: Duration = Duration::from_secs(30);

/// What came of a load.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// Answers.
    pub(crate) answers: usize,
    /// From the first request to the last answer.
    pub(crate) took: Duration,
}

impl Load {
    /// Answers a second.
    pub(crate) fn rate(&self) -> f64 {
        count(self.answers) / self.took.as_secs_f64()
    }
}

/// A number of things as a factor.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn count(number: usize) -> f64 {
    number as f64
}

/// Sends `request` again and again over `clients` connections, shared among
/// `addresses`, for `time`. Each answer must have the status `expected`.
pub(crate) async fn run(
    addresses: &[SocketAddr],
    request: &[u8],
    expected: u16,
    clients: usize,
    time: Duration,
) -> anyhow::Result<Load> {
    let over = Arc::new(AtomicBool::new(false));
    let began = Instant::now();
    let running: Vec<_> = addresses
        .iter()
        .cycle()
        .take(clients)
        .map(|address| {
            tokio::spawn(client(
                *address,
                request.to_vec(),
                expected,
                Arc::clone(&over),
            ))
        })
        .collect();
    tokio::time::sleep(time).await;
    over.store(true, Ordering::Relaxed);
    let mut answers = 0;
    for client in running {
        answers += client.await.context("a client panicked")??;
    }
    let took = began.elapsed();
    Ok(Load { answers, took })
}

/// The number of its answers.
async fn client(
    address: SocketAddr,
    request: Vec<u8>,
    expected: u16,
    over: Arc<AtomicBool>,
) -> anyhow::Result<usize> {
    let mut answers = 0;
    let mut stream = connect(address).await?;
    let mut buffer = Vec::with_capacity(128 * 1024);
    while !over.load(Ordering::Relaxed) {
        stream.write_all(&request).await.context("send a request")?;
        let answer = tokio::time::timeout(ANSWER, read(&mut stream, &mut buffer))
            .await
            .context("no answer in time")??;
        ensure!(
            answer.status == expected,
            "an answer of {} instead of {expected}",
            answer.status
        );
        answers += 1;
        if answer.closes {
            stream = connect(address).await?;
        }
    }
    Ok(answers)
}

async fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address).await.context("connect")?;
    stream.set_nodelay(true).context("connect")?;
    Ok(stream)
}

struct Answer {
    status: u16,
    closes: bool,
}

/// Reads one answer with a Content-Length, or without a body.
async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<Answer> {
    buffer.clear();
    let head = loop {
        ensure!(
            stream.read_buf(buffer).await.context("read an answer")? > 0,
            "the connection ended before an answer"
        );
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let text = std::str::from_utf8(&buffer[..head]).context("read the head of an answer")?;
    let mut lines = text.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status: u16 = status.context("an answer without a status")?;
    let (mut length, mut closes) = (None, false);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse::<usize>().ok();
        } else if name.eq_ignore_ascii_case("connection") {
            closes = value.trim().eq_ignore_ascii_case("close");
        }
    }
    let body = match (length, status) {
        (Some(length), _) => length,
        (None, 204 | 304) => 0,
        (None, _) => bail!("an answer without a Content-Length"),
    };
    while buffer.len() < head + body {
        ensure!(
            stream.read_buf(buffer).await.context("read a body")? > 0,
            "the connection ended within an answer"
        );
    }
    Ok(Answer { status, closes })
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};

    use super::*;

    #[tokio::test]
    async fn answers_are_counted_and_another_status_is_an_error() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(async || "text"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let request = b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n";
        let time = Duration::from_millis(50);
        let load = run(&[address], request, 200, 2, time).await.unwrap();
        assert!(load.answers > 1);
        let missing = b"GET /none HTTP/1.1\r\nhost: bench\r\n\r\n";
        let error = run(&[address], missing, 200, 1, time).await.unwrap_err();
        assert_eq!(error.to_string(), "an answer of 404 instead of 200");
    }
}
