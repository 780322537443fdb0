//! A proxy of bytes: before mongod and before the replicas of a service, where
//! it also chooses the replica, as a Service does.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::broadcast,
};

use crate::faults::{Dial, Fault};

const CONNECT: Duration = Duration::from_millis(500);

/// One listening address before some servers.
#[derive(Clone)]
pub(crate) struct TcpProxy {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// What it does to the bytes.
    pub(crate) dial: Dial,
    servers: Arc<Servers>,
}

struct Servers {
    addresses: Mutex<Vec<SocketAddr>>,
    next: AtomicUsize,
    /// Connections to that server end.
    cut: broadcast::Sender<SocketAddr>,
}

/// How a connection ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Closed,
    Reset,
}

impl TcpProxy {
    /// Listens on a free port before these servers.
    pub(crate) async fn start(addresses: Vec<SocketAddr>, seed: u64) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let proxy = Self {
            address: listener.local_addr()?,
            dial: Dial::new(seed),
            servers: Arc::new(Servers {
                addresses: Mutex::new(addresses),
                next: AtomicUsize::new(0),
                cut: broadcast::channel(16).0,
            }),
        };
        tokio::spawn(proxy.clone().accept(listener));
        Ok(proxy)
    }

    /// New connections go to these only; those to others end.
    pub(crate) fn route(&self, addresses: &[SocketAddr]) {
        let before = {
            let mut current = self.current();
            std::mem::replace(&mut *current, addresses.to_vec())
        };
        for gone in before.iter().filter(|address| !addresses.contains(address)) {
            let _ = self.servers.cut.send(*gone);
        }
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Vec<SocketAddr>> {
        let addresses = self.servers.addresses.lock();
        addresses.unwrap_or_else(PoisonError::into_inner)
    }

    async fn accept(self, listener: TcpListener) {
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(self.clone().serve(stream));
            }
        }
    }

    async fn serve(self, mut client: TcpStream) {
        let _ = client.set_nodelay(true);
        let mut cut = self.servers.cut.subscribe();
        let Some((mut server, address)) = self.connect().await else {
            let _ = client.set_zero_linger();
            return;
        };
        let _ = server.set_nodelay(true);
        let end = {
            let (mut from_client, mut to_client) = client.split();
            let (mut from_server, mut to_server) = server.split();
            tokio::select! {
                end = self.pump(&mut from_client, &mut to_server) => end,
                end = self.pump(&mut from_server, &mut to_client) => end,
                () = is_cut(&mut cut, address) => End::Reset,
            }
        };
        if end == End::Reset {
            let _ = client.set_zero_linger();
            let _ = server.set_zero_linger();
        }
    }

    /// The next server that takes a connection.
    async fn connect(&self) -> Option<(TcpStream, SocketAddr)> {
        let addresses = self.current().clone();
        for _ in 0..addresses.len() {
            let next = self.servers.next.fetch_add(1, Ordering::Relaxed) % addresses.len();
            let address = addresses[next];
            if let Ok(Ok(stream)) = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await
            {
                return Some((stream, address));
            }
        }
        None
    }

    async fn pump(
        &self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> End {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = match from.read(&mut buffer).await {
                Ok(0) => return End::Closed,
                Ok(length) => length,
                Err(_) => return End::Reset,
            };
            match self.dial.roll() {
                None => {}
                Some(Fault::Delay) => tokio::time::sleep(self.dial.delay()).await,
                // What was under way when the network came back is lost.
                Some(Fault::Drop) => {
                    self.dial.healing().await;
                    return End::Reset;
                }
                Some(Fault::Reset | Fault::LoseAnswer | Fault::Answer(_)) => return End::Reset,
            }
            if to.write_all(&buffer[..length]).await.is_err() {
                return End::Reset;
            }
        }
    }
}

async fn is_cut(cut: &mut broadcast::Receiver<SocketAddr>, address: SocketAddr) {
    loop {
        match cut.recv().await {
            Ok(gone) if gone == address => return,
            Ok(_) => {}
            // Too many at once to have seen all: this one may be among them.
            Err(_) => return,
        }
    }
}
