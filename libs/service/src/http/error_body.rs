//! Bodies for requests that the HTTP parser refuses. OSB wants a JSON body with
//! every error, but hyper answers these by itself, with a head alone, and has
//! no hook for that. So the head is recognized on its way out and gets a body.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Makes the JSON body of the parser's error with that status.
pub type ErrorBody = fn(StatusCode) -> String;

/// A stream on which no client error goes out without a body.
#[derive(Debug)]
pub(super) struct ErrorBodyWriter<S> {
    inner: S,
    body: ErrorBody,
    pending: Option<Replacement>,
}

/// What goes out instead of what hyper wrote.
#[derive(Debug)]
struct Replacement {
    bytes: Vec<u8>,
    written: usize,
    /// How many bytes of hyper's it replaces.
    replaces: usize,
}

impl<S> ErrorBodyWriter<S> {
    pub(super) fn new(inner: S, body: ErrorBody) -> Self {
        Self {
            inner,
            body,
            pending: None,
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

fn replacement(written: &[u8], body: ErrorBody) -> Option<Replacement> {
    let (head, status) = bare(written)?;
    let body = body(status);
    let length = format!(
        "\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
        body.len()
    );
    let head = head.replacen("\r\ncontent-length: 0\r\n", &length, 1);
    Some(Replacement {
        bytes: format!("{head}{body}").into_bytes(),
        written: 0,
        replaces: written.len(),
    })
}

impl<S: AsyncRead + Unpin> AsyncRead for ErrorBodyWriter<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ErrorBodyWriter<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.pending.is_none() {
            this.pending = replacement(buffer, this.body);
        }
        let Some(pending) = &mut this.pending else {
            return Pin::new(&mut this.inner).poll_write(context, buffer);
        };
        while pending.written < pending.bytes.len() {
            let rest = &pending.bytes[pending.written..];
            match ready!(Pin::new(&mut this.inner).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => pending.written += written,
            }
        }
        let replaced = pending.replaces;
        this.pending = None;
        Poll::Ready(Ok(replaced))
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
    async fn a_bare_client_error_gets_a_body_and_all_else_goes_out_as_it_is() {
        let body: ErrorBody = |status| format!("{{\"status\":{}}}", status.as_u16());
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
            let mut near = ErrorBodyWriter::new(near, body);
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
