//! Load while connections age and replicas are replaced: no call fails.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use broker_proto::{
    client::{RESOLVE_EVERY, Transport},
    v1::{self, provisioner_client::ProvisionerClient},
};
use clap::Parser;
use service::ServiceArgs;
use tokio::{sync::watch, task::JoinSet};
use tonic::Status;

use crate::{
    pki::{Authority, Mounted},
    replica::{Addresses, Answers, Counted, Replica},
};

const DEADLINE: Duration = Duration::from_secs(30);
const CALLERS: usize = 8;

/// Callers that call without a pause until this is ended.
struct Load {
    callers: JoinSet<()>,
    answered: watch::Receiver<usize>,
    stop: watch::Sender<bool>,
    failures: Arc<Mutex<Vec<String>>>,
}

impl Load {
    fn start(client: &ProvisionerClient<Transport>) -> Self {
        Self::of(0..CALLERS, client)
    }

    fn of(callers: impl IntoIterator<Item = usize>, client: &ProvisionerClient<Transport>) -> Self {
        let (count, answered) = watch::channel(0);
        let stop = watch::Sender::new(false);
        let failures: Arc<Mutex<Vec<String>>> = Arc::default();
        let count = Arc::new(count);
        let mut tasks = JoinSet::new();
        for number in callers {
            let (mut client, count) = (client.clone(), Arc::clone(&count));
            let (stopped, failures) = (stop.subscribe(), Arc::clone(&failures));
            tasks.spawn(async move {
                while !*stopped.borrow() {
                    if let Err(status) = call(&mut client, number).await {
                        failures.lock().unwrap().push(format!("{number}: {status}"));
                    }
                    count.send_modify(|count| *count += 1);
                }
            });
        }
        Self {
            callers: tasks,
            answered,
            stop,
            failures,
        }
    }

    /// Waits for that many more answers.
    async fn go_on(&mut self, count: usize) {
        let wanted = *self.answered.borrow() + count;
        self.answered
            .wait_for(|answered| *answered >= wanted)
            .await
            .unwrap();
    }

    async fn end(mut self) -> Vec<String> {
        self.stop.send_replace(true);
        while let Some(ended) = self.callers.join_next().await {
            ended.unwrap();
        }
        self.failures.lock().unwrap().clone()
    }
}

/// Half of the callers send what must not be sent twice.
async fn call(client: &mut ProvisionerClient<Transport>, caller: usize) -> Result<(), Status> {
    match caller % 4 {
        0 => client
            .get_instance(v1::GetInstanceRequest::default())
            .await
            .map(drop),
        1 => client.update(v1::UpdateRequest::default()).await.map(drop),
        2 => client.hold(v1::HoldRequest::default()).await.map(drop),
        _ => client
            .deprovision(v1::DeprovisionRequest::default())
            .await
            .map(drop),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_while_connections_age() {
    let replica = Replica::start_with(Answers::AtOnce, |args| {
        args.max_connection_age = Duration::from_millis(5);
    });
    let counted = Counted::before(replica.address).await;
    let addresses = Addresses::default();
    addresses.add(counted.address);
    let mut load = Load::start(&addresses.client(DEADLINE));
    load.go_on(5000).await;
    assert_eq!(load.end().await, Vec::<String>::new());
    let connections = counted.connections();
    assert!(connections > 10, "{connections} connections");
}

/// A call that takes longer than its connection lives is answered there; a stream ends with the
/// connection, and goes on on another.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_connection_ends_after_the_calls_on_it() {
    let (age, grace) = (Duration::from_millis(500), Duration::from_secs(3));
    let replica = Replica::start_with(Answers::After(Duration::from_millis(1500)), |args| {
        args.max_connection_age = age;
        args.max_connection_grace = grace;
    });
    let counted = Counted::before(replica.address).await;
    let addresses = Addresses::default();
    addresses.add(counted.address);
    let client = addresses.client(DEADLINE);
    let (mut watching, mut calling) = (client.clone(), client);
    let began = Instant::now();
    // At once, so that both are on the first connection.
    let (watched, called) = tokio::join!(
        watching.watch_instances(v1::WatchInstancesRequest {}),
        calling.deprovision(v1::DeprovisionRequest::default())
    );
    called.unwrap();
    assert!(began.elapsed() > age);
    assert_eq!(counted.connections(), 1);
    let mut states = watched.unwrap().into_inner();
    assert!(states.message().await.unwrap().is_some());
    // Nothing but the end of the connection ends it.
    states.message().await.unwrap_err();
    assert!(began.elapsed() >= age + grace);
}

/// Many at a time, over TLS, and answers that come while others are still to be read: a server that
/// closes a socket before its client has read all of it takes the answers in it along.
#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_lost_with_the_connection_that_it_is_on() {
    let authority = Authority::new();
    let mounted = |service| Mounted::new(&authority.leaf(service), &[&authority]);
    let (gateway, provisioner) = (mounted("gateway"), mounted("provisioner-svc"));
    let answers = Answers::After(Duration::from_millis(3));
    let replica = Replica::start_as(provisioner.tls.clone(), answers, |args| {
        args.max_connection_age = Duration::from_millis(100);
    });
    let counted = Counted::before(replica.address).await;
    let addresses = Addresses::default();
    addresses.add(counted.address);
    // What the gateway may call, and must not send twice.
    let callers = (1..200).step_by(2);
    let mut load = Load::of(callers, &addresses.client_as(&gateway.tls, DEADLINE));
    load.go_on(20_000).await;
    let renewed = async {
        while counted.connections() < 10 {
            load.go_on(100).await;
        }
    };
    let renewed = tokio::time::timeout(Duration::from_secs(60), renewed).await;
    renewed.expect("connections are renewed at their age");
    assert_eq!(load.end().await, Vec::<String>::new());
}

/// Their addresses stay until they have ended: nothing but the drain and the
/// second tries keep the calls from failing.
#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_while_replicas_are_replaced() {
    let start = || {
        Replica::start_with(Answers::AtOnce, |args| {
            args.drain_delay = Duration::from_millis(200);
        })
    };
    let mut replicas: Vec<Replica> = std::iter::repeat_with(start).take(3).collect();
    let addresses = Addresses::default();
    for replica in &replicas {
        addresses.add(replica.address);
    }
    let mut load = Load::start(&addresses.client(DEADLINE));
    load.go_on(500).await;
    for replica in &mut replicas {
        let next = start();
        addresses.add(next.address);
        replica.terminate().await;
        load.go_on(500).await;
        addresses.remove(replica.address);
        load.go_on(500).await;
        *replica = next;
    }
    assert_eq!(load.end().await, Vec::<String>::new());
    for replica in &replicas {
        assert!(replica.count() > 0, "a new replica got no call");
    }
}

#[derive(Debug, Parser)]
struct Service {
    #[command(flatten)]
    service: ServiceArgs,
}

/// Clients that looked up just before a replica began to end call it until
/// their next look-up.
#[test]
fn a_replica_serves_on_for_longer_than_clients_keep_its_address() {
    let args = Service::parse_from(["service"]).service;
    assert!(args.drain_delay > RESOLVE_EVERY);
}
