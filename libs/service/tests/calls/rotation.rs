//! Certificates and authorities that are replaced while calls go on.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use broker_proto::v1::LastOperationRequest;
use tokio::task::JoinSet;

use crate::{
    pki::{Authority, HOUR, Leaf, Mounted},
    replica::{Addresses, Answers, Counted, Replica},
};

const MINUTE: Duration = Duration::from_secs(60);
/// Each has a connection of its own.
const CALLERS: usize = 4;

/// Calls at full rate until it is stopped.
struct Load {
    callers: JoinSet<()>,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    failures: Arc<Mutex<Vec<tonic::Status>>>,
}

impl Load {
    fn start(addresses: &Addresses, gateway: &Mounted) -> Self {
        let mut load = Self {
            callers: JoinSet::new(),
            stop: Arc::default(),
            answered: Arc::default(),
            failures: Arc::default(),
        };
        for _ in 0..CALLERS {
            let mut client = addresses.client_as(&gateway.tls, Duration::from_secs(30));
            let (stop, answered) = (Arc::clone(&load.stop), Arc::clone(&load.answered));
            let failures = Arc::clone(&load.failures);
            load.callers.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.last_operation(LastOperationRequest::default());
                    if let Err(status) = answer.await {
                        failures.lock().unwrap().push(status);
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        load
    }

    /// Until `count` more calls were answered.
    async fn answers(&self, count: usize) {
        let goal = self.answered.load(Ordering::Relaxed) + count;
        while self.answered.load(Ordering::Relaxed) < goal {
            assert!(
                self.failures.lock().unwrap().is_empty(),
                "{:?}",
                self.failures
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Until all callers have gone on on connections that are newer than this.
    async fn on_new_connections(&self, counted: &Counted) {
        let goal = counted.connections() + 2 * CALLERS;
        let renewed = async {
            while counted.connections() < goal {
                self.answers(10).await;
            }
        };
        let renewed = tokio::time::timeout(MINUTE, renewed).await;
        renewed.expect("connections are renewed at their age");
        self.answers(100).await;
    }

    /// Not one has failed.
    async fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.callers.join_next().await {
            ended.unwrap();
        }
        assert!(
            self.failures.lock().unwrap().is_empty(),
            "{:?}",
            self.failures
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_while_leaves_and_authorities_roll() {
    let (old, new) = (Authority::new(), Authority::new());
    let leaf = |authority: &Authority, service: &str, minutes: u32| -> Leaf {
        // Each ends at another time, by which it is known.
        authority.leaf_for(service, HOUR + MINUTE * minutes)
    };
    let gateway = Mounted::new(&leaf(&old, "gateway", 0), &[&old]);
    let provisioner = Mounted::new(&leaf(&old, "provisioner-svc", 0), &[&old]);
    let replica = Replica::start_as(provisioner.tls.clone(), Answers::AtOnce, |args| {
        args.max_connection_age = Duration::from_millis(100);
    });
    let counted = Counted::before(replica.address).await;
    let addresses = Addresses::default();
    addresses.add(counted.address);
    let load = Load::start(&addresses, &gateway);
    load.answers(200).await;
    for (minutes, signer, believed) in [
        // Leaves alone; the new authority is believed; leaves of it; the old one goes.
        (1, &old, &[&old][..]),
        (2, &old, &[&old, &new]),
        (3, &new, &[&old, &new]),
        (4, &new, &[&new]),
    ] {
        let own = leaf(signer, "provisioner-svc", minutes);
        provisioner.change(&own, believed).await;
        load.on_new_connections(&counted).await;
        gateway
            .change(&leaf(signer, "gateway", minutes), believed)
            .await;
        load.on_new_connections(&counted).await;
    }
    load.end().await;

    // The old authority is of no use any more.
    let left = Mounted::new(&old.leaf("gateway"), &[&old, &new]);
    let mut client = addresses.client_as(&left.tls, Duration::from_secs(5));
    let answer = client.last_operation(LastOperationRequest::default()).await;
    assert_eq!(answer.unwrap_err().code(), tonic::Code::Unavailable);
}

#[tokio::test]
async fn what_cannot_be_read_changes_nothing() {
    let authority = Authority::new();
    let own = Mounted::new(&authority.leaf("gateway"), &[&authority]);
    let good = own.tls.leaf();
    let faulty = |value: u8| {
        let mut metrics = String::new();
        prometheus_client::encoding::text::encode(&mut metrics, &own.registry).unwrap();
        metrics.contains(&format!("tls_files_faulty {value}\n"))
    };
    let key = std::fs::read(own.path().join("tls.key")).unwrap();
    let another = authority.leaf("gateway").key;
    for broken in [&b""[..], b"no key", another.as_bytes()] {
        std::fs::write(own.path().join("tls.key"), broken).unwrap();
        while !faulty(1) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(own.tls.leaf(), good);
        std::fs::write(own.path().join("tls.key"), &key).unwrap();
        while !faulty(0) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let next = authority.leaf_for("gateway", 2 * HOUR);
    own.change(&next, &[&authority]).await;
}
