//! Connections of a gRPC server: accepted, and where there is TLS, proven.

use std::{
    future::Future as _,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, StreamExt as _};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::Sleep,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::either::Either;
use tonic::transport::server::{Connected, TcpIncoming};

use crate::{
    linger::Lingering,
    tls::{Leaf, Tls},
};

/// Handshakes at a time; further connections wait to be accepted.
const HANDSHAKES: usize = 256;
/// Longest time for one.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Who is at the other end of a connection, among the extensions of its requests.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) address: Option<SocketAddr>,
    /// None where the server speaks plaintext.
    pub(crate) leaf: Option<Arc<Leaf>>,
}

/// A connection that may carry calls.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Lingering<Either<TcpStream, Box<TlsStream<TcpStream>>>>,
    peer: Peer,
    end: Pin<Box<Sleep>>,
}

/// Connections of `listener`, each of which ends after `longest`, whatever goes on on it. Those
/// that prove nothing are dropped and counted.
pub(super) fn incoming(
    listener: TcpListener,
    tls: Tls,
    longest: Duration,
) -> impl Stream<Item = io::Result<Connection>> {
    // Without it Nagle's algorithm holds back small answers for 40 ms.
    let accepted = TcpIncoming::from(listener).with_nodelay(Some(true));
    let opened = accepted.map(move |stream| {
        let tls = tls.clone();
        async move {
            let opening = tokio::spawn(open(stream?, tls, longest));
            opening.await.map_err(io::Error::other)
        }
    });
    let opened = opened.buffer_unordered(HANDSHAKES);
    opened.filter_map(|opened| std::future::ready(opened.transpose()))
}

async fn open(stream: TcpStream, tls: Tls, longest: Duration) -> Option<Connection> {
    let address = stream.peer_addr().ok();
    let end = Box::pin(tokio::time::sleep(longest));
    let Some(config) = tls.server() else {
        let peer = Peer {
            address,
            leaf: None,
        };
        return Some(Connection {
            stream: Lingering::new(Either::Left(stream)),
            peer,
            end,
        });
    };
    let accepted = tokio::time::timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream)).await;
    let refusal = match accepted {
        Ok(Ok(stream)) => match leaf(&stream) {
            Some(leaf) => {
                return Some(Connection {
                    stream: Lingering::new(Either::Right(Box::new(stream))),
                    peer: Peer {
                        address,
                        leaf: Some(Arc::new(leaf)),
                    },
                    end,
                });
            }
            None => "its certificate cannot be read".to_owned(),
        },
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no handshake within {HANDSHAKE:?}"),
    };
    tls.refused();
    tracing::info!(
        peer = address.map(tracing::field::display),
        reason = refusal,
        "connection refused"
    );
    None
}

fn leaf(stream: &TlsStream<TcpStream>) -> Option<Leaf> {
    let (_, session) = stream.get_ref();
    Leaf::parse(session.peer_certificates()?.first()?)
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // The server reads as long as there is a connection.
        if self.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
