//! A proxy of requests before the API server. The services speak plain HTTP to
//! it and show their tokens, which it passes on.

use std::{convert::Infallible, net::SocketAddr};

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Frame, Incoming},
    header,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use kube::client::Body;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use crate::faults::{Dial, Fault};

/// One listening address before the API server.
#[derive(Clone)]
pub(crate) struct ApiProxy {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// What it does to the requests.
    pub(crate) dial: Dial,
    client: kube::Client,
}

type Answer = Response<UnsyncBoxBody<Bytes, anyhow::Error>>;

impl ApiProxy {
    /// Listens on a free port. Of `config` only the address and the authority
    /// are used: who calls shows its own token.
    pub(crate) async fn start(config: &kube::Config, seed: u64) -> anyhow::Result<Self> {
        let mut anonymous = kube::Config::new(config.cluster_url.clone());
        anonymous.root_cert.clone_from(&config.root_cert);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let proxy = Self {
            address: listener.local_addr()?,
            dial: Dial::new(seed),
            client: kube::Client::try_from(anonymous).context("make a client")?,
        };
        tokio::spawn(proxy.clone().accept(listener));
        Ok(proxy)
    }

    async fn accept(self, listener: TcpListener) {
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(self.clone().serve(stream));
            }
        }
    }

    async fn serve(self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let answer = service_fn(|request| self.answer(request));
        // A failed request ends the connection, which is what a reset is for.
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), answer)
            .await;
    }

    async fn answer(&self, request: Request<Incoming>) -> anyhow::Result<Answer> {
        let fault = self.dial.roll();
        match fault {
            None | Some(Fault::LoseAnswer) => {}
            Some(Fault::Delay) => tokio::time::sleep(self.dial.delay()).await,
            Some(Fault::Drop) => {
                self.dial.healing().await;
                anyhow::bail!("dropped");
            }
            Some(Fault::Reset) => anyhow::bail!("reset"),
            Some(Fault::Answer(status)) => return refusal(status),
        }
        let (mut head, body) = request.into_parts();
        // The client writes the server's.
        head.headers.remove(header::HOST);
        let body = body.collect().await.context("read the request")?.to_bytes();
        let request = Request::from_parts(head, Body::from(body.to_vec()));
        let answer = self.client.send(request).await.context("pass on")?;
        if fault == Some(Fault::LoseAnswer) {
            anyhow::bail!("the answer is lost");
        }
        let (head, body) = answer.into_parts();
        Ok(Response::from_parts(head, self.stream(body)))
    }

    /// The answer's body. That of a watch goes on for minutes: faults meet it, too.
    fn stream(&self, body: Body) -> UnsyncBoxBody<Bytes, anyhow::Error> {
        let dial = self.dial.clone();
        let frames = body.into_data_stream().map_err(anyhow::Error::from);
        let frames = frames.and_then(move |data| {
            let dial = dial.clone();
            async move {
                match dial.roll() {
                    None => Ok(data),
                    Some(Fault::Delay) => {
                        tokio::time::sleep(dial.delay()).await;
                        Ok(data)
                    }
                    Some(Fault::Drop) => {
                        dial.healing().await;
                        anyhow::bail!("dropped")
                    }
                    Some(Fault::Reset | Fault::LoseAnswer | Fault::Answer(_)) => {
                        anyhow::bail!("reset")
                    }
                }
            }
        });
        StreamBody::new(frames.map_ok(Frame::data).boxed()).boxed_unsync()
    }
}

/// As the API server refuses.
fn refusal(status: u16) -> anyhow::Result<Answer> {
    let code = StatusCode::from_u16(status).context("a status")?;
    let reason = match status {
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "a fault that was asked for", "reason": reason, "code": status,
    });
    let body = Full::new(Bytes::from(body.to_string()))
        .map_err(|never: Infallible| match never {})
        .boxed_unsync();
    let mut answer = Response::builder()
        .status(code)
        .header(header::CONTENT_TYPE, "application/json");
    if status == 429 {
        answer = answer.header(header::RETRY_AFTER, "1");
    }
    answer.body(body).context("an answer")
}
