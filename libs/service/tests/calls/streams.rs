//! Streams that are followed while replicas go and come.

use std::{pin::pin, time::Duration};

use broker_proto::{
    client::{Event, follow},
    v1::WatchInstancesRequest,
};
use futures::StreamExt as _;

use crate::replica::{Addresses, Answers, Replica};

#[tokio::test]
async fn a_stream_goes_on_at_another_replica_when_its_own_is_killed() {
    let mut first = Replica::start(Answers::AtOnce);
    let addresses = Addresses::default();
    addresses.add(first.address);
    let client = addresses.client(Duration::from_secs(30));
    let states = follow("instances", || {
        let mut client = client.clone();
        async move { client.watch_instances(WatchInstancesRequest {}).await }
    });
    let mut states = pin!(states);
    assert!(matches!(states.next().await, Some(Event::Message(_))));

    let second = Replica::start(Answers::AtOnce);
    addresses.add(second.address);
    first.kill();
    assert!(matches!(states.next().await, Some(Event::Lost)));
    assert!(matches!(states.next().await, Some(Event::Message(_))));
    assert_eq!(second.count(), 1);
}
