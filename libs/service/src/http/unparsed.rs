//! Words for a request that the HTTP parser refuses. hyper answers it for
//! itself, with a head and no body, and has no hook for that; so the head is
//! recognized on its way out, and gets a body.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The JSON body for a refusal by the parser.
pub type Words = fn(StatusCode) -> String;

/// A stream on which no refusal goes out without words.
#[derive(Debug)]
pub(super) struct Worded<S> {
    inner: S,
    words: Words,
    refusal: Option<Refusal>,
}

/// What goes out instead of what hyper wrote.
#[derive(Debug)]
struct Refusal {
    bytes: Vec<u8>,
    written: usize,
    /// So much of hyper's own it stands for.
    stands_for: usize,
}

impl<S> Worded<S> {
    pub(super) fn new(inner: S, words: Words) -> Self {
        Self {
            inner,
            words,
            refusal: None,
        }
    }
}

/// The head of a client error without a body, and its status. The services
/// themselves make none: their refusals have bodies.
fn bare(written: &[u8]) -> Option<(&str, StatusCode)> {
    let head = std::str::from_utf8(written).ok()?;
    let ends = head.find("\r\n\r\n")? + 4 == head.len();
    let status = head
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| head.strip_prefix("HTTP/1.0 "))?;
    let status: StatusCode = status.get(..3)?.parse().ok()?;
    let empty = head.contains("\r\ncontent-length: 0\r\n");
    (ends && empty && status.is_client_error()).then_some((head, status))
}

fn worded(written: &[u8], words: Words) -> Option<Refusal> {
    let (head, status) = bare(written)?;
    let body = words(status);
    let length = format!(
        "\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
        body.len()
    );
    let head = head.replacen("\r\ncontent-length: 0\r\n", &length, 1);
    Some(Refusal {
        bytes: format!("{head}{body}").into_bytes(),
        written: 0,
        stands_for: written.len(),
    })
}

impl<S: AsyncRead + Unpin> AsyncRead for Worded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Worded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.refusal.is_none() {
            this.refusal = worded(buffer, this.words);
        }
        let Some(refusal) = &mut this.refusal else {
            return Pin::new(&mut this.inner).poll_write(context, buffer);
        };
        while refusal.written < refusal.bytes.len() {
            let rest = &refusal.bytes[refusal.written..];
            match ready!(Pin::new(&mut this.inner).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => refusal.written += written,
            }
        }
        let stood_for = refusal.stands_for;
        this.refusal = None;
        Poll::Ready(Ok(stood_for))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match buffers {
            // A head that nothing follows.
            [only] => self.poll_write(context, only),
            _ => Pin::new(&mut self.inner).poll_write_vectored(context, buffers),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_bare_refusal_gets_a_body_and_all_else_goes_out_as_it_is() {
        let words: Words = |status| format!("{{\"status\":{}}}", status.as_u16());
        for (written, expected) in [
            (
                "HTTP/1.1 414 URI Too Long\r\ncontent-length: 0\r\ndate: x\r\n\r\n",
                "HTTP/1.1 414 URI Too Long\r\ncontent-type: application/json\r\n\
                 content-length: 14\r\ndate: x\r\n\r\n{\"status\":414}",
            ),
            (
                "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}",
                "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}",
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
                "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            ),
        ] {
            // So narrow that nothing goes out in one piece.
            let (near, mut far) = tokio::io::duplex(7);
            let mut near = Worded::new(near, words);
            let (sent, read) = tokio::join!(
                async move {
                    near.write_all(written.as_bytes()).await?;
                    near.shutdown().await
                },
                async {
                    let mut read = String::new();
                    far.read_to_string(&mut read).await.map(|_| read)
                }
            );
            sent.unwrap();
            assert_eq!(read.unwrap(), expected);
        }
    }
}
