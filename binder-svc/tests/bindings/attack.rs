//! Strangers without a login who take all connections that a mongod has to give.

use std::{net::SocketAddr, time::Duration};

use tokio::{io::AsyncReadExt as _, net::TcpStream, task::JoinSet};

use crate::world::until;

/// Between two tries of a stranger that got none.
const AGAIN: Duration = Duration::from_secs(3);
/// So many in a row are refused where none is left.
const TRIES: usize = 20;
/// Between two of them: together longer than clients take to open again what they lost.
const PAUSE: Duration = Duration::from_millis(300);

/// Lasts until it is dropped.
pub(crate) struct Attack {
    address: SocketAddr,
    _strangers: JoinSet<()>,
}

impl Attack {
    /// So many connections, idle, and opened again and again where mongod closes them. Returns when
    /// none is left for others.
    pub(crate) async fn start(address: SocketAddr, connections: usize) -> Self {
        let mut strangers = JoinSet::new();
        for _ in 0..connections {
            strangers.spawn(async move {
                loop {
                    let _closed = is_refused(address, Duration::MAX).await;
                    tokio::time::sleep(AGAIN).await;
                }
            });
        }
        let attack = Self {
            address,
            _strangers: strangers,
        };
        until("all connections are taken", async || {
            attack.holds_all().await
        })
        .await;
        attack
    }

    /// Whether nobody else gets a connection, for some seconds.
    pub(crate) async fn holds_all(&self) -> bool {
        for _ in 0..TRIES {
            if !is_refused(self.address, Duration::from_secs(1)).await {
                return false;
            }
            tokio::time::sleep(PAUSE).await;
        }
        true
    }
}

/// Whether mongod closes a connection by itself, within a time.
async fn is_refused(address: SocketAddr, patience: Duration) -> bool {
    let Ok(mut stream) = TcpStream::connect(address).await else {
        return true;
    };
    tokio::time::timeout(patience, stream.read(&mut [0]))
        .await
        .is_ok()
}
