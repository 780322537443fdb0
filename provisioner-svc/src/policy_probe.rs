//! Whether anything in the cluster enforces NetworkPolicies. No API tells: an
//! API server keeps policies that no network plugin reads. So this service
//! tries, at its start, what the broker's own policy forbids it.
//!
//! The name of a Service without an address of its own resolves to pods that
//! are ready, and so listen: a connection that does not come about was
//! refused on the way. What is not known is no reason for a warning.

use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// A connection that nothing forbids takes less.
const LIMIT: Duration = Duration::from_secs(5);
/// Between two looks.
const PAUSE: Duration = Duration::from_secs(10);
/// Long enough for the other service to become ready after an installation.
const LOOKS: u32 = 60;

/// What one look showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Somebody accepted a connection.
    Open,
    /// Nobody did.
    Closed,
    /// There is nobody to try it with.
    Nobody,
}

/// What the looks so far amount to.
#[derive(Debug)]
struct Looks {
    before: Seen,
    left: u32,
}

impl Looks {
    fn new() -> Self {
        Self {
            before: Seen::Nobody,
            left: LOOKS,
        }
    }

    /// What is known after one more; nothing if there shall be another. Two in
    /// a row must find it open: a pod is ready a moment before the network
    /// plugin knows of it.
    fn after(&mut self, seen: Seen) -> Option<Seen> {
        self.left = self.left.saturating_sub(1);
        match (self.before, seen) {
            (_, Seen::Closed) => Some(Seen::Closed),
            (Seen::Open, Seen::Open) => Some(Seen::Open),
            (_, _) if self.left == 0 => Some(Seen::Nobody),
            (_, seen) => {
                self.before = seen;
                None
            }
        }
    }
}

/// Looks until it is known, tells it in the log, then waits for the end.
pub(crate) async fn run(address: String, stop: CancellationToken) {
    if !address.is_empty()
        && let Some(found) = stop.run_until_cancelled(conclude(&address)).await
    {
        tell(&address, found);
    }
    stop.cancelled().await;
}

async fn conclude(address: &str) -> Seen {
    let mut looks = Looks::new();
    loop {
        if let Some(found) = looks.after(look(address).await) {
            return found;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn look(address: &str) -> Seen {
    let Ok(Ok(pods)) = tokio::time::timeout(LIMIT, lookup_host(address)).await else {
        return Seen::Nobody;
    };
    let mut seen = Seen::Nobody;
    for pod in pods {
        match tokio::time::timeout(LIMIT, TcpStream::connect(pod)).await {
            Ok(Ok(_)) => return Seen::Open,
            Ok(Err(_)) | Err(_) => seen = Seen::Closed,
        }
    }
    seen
}

fn tell(address: &str, found: Seen) {
    match found {
        Seen::Open => warn!(
            reached = address,
            "nothing enforces NetworkPolicies in this cluster: this service reaches what the broker's own policy \
             closes to it, so any pod can connect to the broker's internal services and to every database; use a \
             network plugin that enforces them (Calico, Cilium or kube-router, for example)"
        ),
        Seen::Closed => info!(
            refused = address,
            "NetworkPolicies are enforced: what the broker's own policy closes to this service cannot be reached"
        ),
        Seen::Nobody => info!(
            address,
            "whether NetworkPolicies are enforced is not known: the address never led to a pod that is ready"
        ),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn concluded(looks: &[Seen]) -> Option<Seen> {
        let mut so_far = Looks::new();
        looks.iter().find_map(|&seen| so_far.after(seen))
    }

    #[test]
    fn open_counts_the_second_time_closed_at_once() {
        use Seen::{Closed, Nobody, Open};
        assert_eq!(concluded(&[Open, Open]), Some(Open));
        assert_eq!(concluded(&[Closed]), Some(Closed));
        assert_eq!(concluded(&[Open, Closed]), Some(Closed));
        assert_eq!(concluded(&[Open]), None);
        assert_eq!(concluded(&[Open, Nobody, Open]), None);
        assert_eq!(concluded(&[Nobody, Open, Open]), Some(Open));
    }

    #[test]
    fn where_nobody_is_ready_nothing_is_told_and_it_ends() {
        let looks = vec![Seen::Nobody; LOOKS as usize];
        assert_eq!(concluded(&looks[1..]), None);
        assert_eq!(concluded(&looks), Some(Seen::Nobody));
    }

    #[tokio::test]
    async fn a_pod_that_listens_is_open() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert_eq!(look(&address).await, Seen::Open);
    }

    #[tokio::test]
    async fn a_refused_connection_is_closed_and_an_unknown_name_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        assert_eq!(look(&address).await, Seen::Closed);
        assert_eq!(look("nobody.invalid:7000").await, Seen::Nobody);
        assert_eq!(look("no port").await, Seen::Nobody);
    }

    #[tokio::test]
    async fn it_ends_when_it_is_asked_to() {
        for address in ["", "nobody.invalid:7000"] {
            let stop = CancellationToken::new();
            let task = tokio::spawn(run(address.to_owned(), stop.clone()));
            stop.cancel();
            task.await.unwrap();
        }
    }
}
