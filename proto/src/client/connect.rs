//! How a connection to one replica is opened: TCP, and TLS where it is set.
//! tonic's own TLS settings stay as they are for the life of a channel, which
//! is longer than that of a certificate.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream, rustls::pki_types::ServerName};
use tokio_util::either::Either;
use tonic::{
    codegen::http::Uri,
    transport::{Channel, Endpoint},
};
use tower::Service;

use super::Tls;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Opens connections to the replicas of one service.
#[derive(Debug, Clone)]
pub(super) struct Opener {
    /// As its certificate names it.
    service: &'static str,
    tls: Option<Tls>,
}

impl Opener {
    pub(super) fn new(service: &'static str, tls: Option<Tls>) -> Self {
        Self { service, tls }
    }

    /// A connection that is opened when it is first used, and again when it was lost.
    pub(super) fn open(&self, address: SocketAddr) -> Channel {
        // What the URI says is of no matter to the connector; it becomes the :authority.
        let uri = Uri::builder()
            .scheme("http")
            .authority(self.service)
            .path_and_query("/")
            .build()
            .unwrap_or_default();
        let connector = Connector {
            address,
            opener: self.clone(),
        };
        Endpoint::from(uri)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .connect_with_connector_lazy(connector)
    }

    async fn connect(self, address: SocketAddr) -> io::Result<Stream> {
        let stream = TcpStream::connect(address).await?;
        // Without it small requests wait for the server's delayed acknowledgement.
        stream.set_nodelay(true)?;
        let Some(tls) = self.tls else {
            return Ok(Either::Left(stream));
        };
        let config = Arc::clone(&tls.borrow());
        let name = ServerName::try_from(self.service).map_err(io::Error::other)?;
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        Ok(Either::Right(Box::new(stream)))
    }
}

type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

#[derive(Debug, Clone)]
struct Connector {
    address: SocketAddr,
    opener: Opener,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let opened = self.opener.clone().connect(self.address);
        // Here, where tonic still takes it for a failure to connect: nothing was sent.
        let opened = tokio::time::timeout(CONNECT_TIMEOUT, opened);
        Box::pin(async move { Ok(TokioIo::new(opened.await??)) })
    }
}
