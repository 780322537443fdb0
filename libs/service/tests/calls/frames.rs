//! A server that speaks just enough HTTP/2 to refuse a request in a given way.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const PREFACE: usize = 24;
const FRAME_HEAD: usize = 9;
const HEADERS: u8 = 1;
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// How a request is refused unprocessed (RFC 9113, section 8.7).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Refusal {
    /// RST_STREAM of stream 1 with REFUSED_STREAM.
    Reset,
    /// GOAWAY whose last stream is 0, as by a server that drains; then the
    /// connection is closed.
    GoAway,
}

impl Refusal {
    fn frame(self) -> &'static [u8] {
        match self {
            Self::Reset => &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 7],
            Self::GoAway => &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        }
    }
}

/// Refuses the first request of each connection; the address.
pub(crate) async fn refuse(refusal: Refusal) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, refusal));
        }
    });
    address
}

async fn answer(mut stream: TcpStream, refusal: Refusal) {
    stream.write_all(SETTINGS).await.unwrap();
    let mut read = Vec::new();
    while !has_request(&read) {
        if stream.read_buf(&mut read).await.unwrap() == 0 {
            return;
        }
    }
    stream.write_all(refusal.frame()).await.unwrap();
    match refusal {
        // The connection stays open until the client closes it.
        Refusal::Reset => while stream.read_buf(&mut read).await.is_ok_and(|read| read > 0) {},
        Refusal::GoAway => {}
    }
}

fn has_request(read: &[u8]) -> bool {
    let mut rest = read.get(PREFACE..).unwrap_or_default();
    while let Some([a, b, c, kind]) = rest.first_chunk() {
        if *kind == HEADERS {
            return true;
        }
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        rest = rest.get(FRAME_HEAD + length..).unwrap_or_default();
    }
    false
}
