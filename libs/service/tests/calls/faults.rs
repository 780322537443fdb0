//! One call that meets a replica which does not answer.

use std::time::Duration;

use broker_proto::{Error, ErrorCode, client::within, v1};
use tonic::Status;

use crate::{
    frames::{self, Refusal},
    replica::{Addresses, Answers, Replica, refusing},
};

const LONG: Duration = Duration::from_secs(30);

fn code(status: &Status) -> ErrorCode {
    Error::from_status(status).code
}

#[tokio::test]
async fn whatever_was_not_sent_is_sent_to_another_replica() {
    let replica = Replica::start(Answers::AtOnce);
    let addresses = Addresses::default();
    addresses.add(refusing());
    addresses.add(refusing());
    addresses.add(replica.address);
    for _ in 0..20 {
        // A client of its own each: none knows yet who refuses.
        let mut client = addresses.client(LONG);
        client.update(v1::UpdateRequest::default()).await.unwrap();
    }
    assert_eq!(replica.count(), 20);
}

/// As when a connection closes for its age just as a request is sent on it.
#[tokio::test]
async fn what_a_replica_has_not_processed_is_sent_to_another_one() {
    for refusal in [Refusal::Reset, Refusal::GoAway] {
        let replica = Replica::start(Answers::AtOnce);
        let addresses = Addresses::default();
        addresses.add(frames::refuse(refusal).await);
        addresses.add(replica.address);
        for count in 1..=10 {
            let mut client = addresses.client(LONG);
            let answer = client.update(v1::UpdateRequest::default()).await;
            assert!(answer.is_ok(), "{refusal:?}: {answer:?}");
            assert_eq!(replica.count(), count);
        }
    }
}

#[tokio::test]
async fn a_service_that_is_away_is_unavailable_at_once() {
    let addresses = Addresses::default();
    addresses.add(refusing());
    let mut client = addresses.client(LONG);
    let call = client.get_instance(v1::GetInstanceRequest::default());
    let status = tokio::time::timeout(LONG / 2, call)
        .await
        .expect("far earlier than the deadline")
        .unwrap_err();
    assert_eq!(code(&status), ErrorCode::Unavailable, "{status}");
}

#[tokio::test(start_paused = true)]
async fn a_name_without_an_address_is_unavailable_rather_than_late() {
    let mut client = Addresses::default().client(LONG);
    let call = client.get_instance(v1::GetInstanceRequest::default());
    let status = call.await.unwrap_err();
    assert_eq!(code(&status), ErrorCode::Unavailable, "{status}");
}

/// The connection breaks after the request was received.
#[tokio::test]
async fn a_read_and_what_is_idempotent_are_repeated_and_nothing_else_is() {
    for (rpc, repeated) in [("get", true), ("provision", true), ("update", false)] {
        let mut broken = Replica::start(Answers::Never);
        let sound = Replica::start(Answers::AtOnce);
        let addresses = Addresses::default();
        addresses.add(broken.address);
        let mut client = addresses.client(LONG);
        let call = tokio::spawn(async move {
            match rpc {
                "get" => client
                    .get_instance(v1::GetInstanceRequest::default())
                    .await
                    .map(drop),
                "provision" => client
                    .provision(v1::ProvisionRequest::default())
                    .await
                    .map(drop),
                _ => client.update(v1::UpdateRequest::default()).await.map(drop),
            }
        });
        broken.receives(1).await;
        addresses.add(sound.address);
        broken.kill();
        let result = call.await.unwrap();
        assert_eq!(result.is_ok(), repeated, "{rpc}: {result:?}");
        assert_eq!(sound.count(), usize::from(repeated), "{rpc}");
        if let Err(status) = result {
            assert_eq!(code(&status), ErrorCode::Unavailable, "{status}");
        }
    }
}

#[tokio::test]
async fn a_call_ends_at_its_own_deadline_and_only_that_is_called_late() {
    let replica = Replica::start(Answers::Never);
    let addresses = Addresses::default();
    addresses.add(replica.address);
    let mut client = addresses.client(LONG);
    let request = within(
        Duration::from_millis(100),
        v1::GetInstanceRequest::default(),
    );
    let status = client.get_instance(request).await.unwrap_err();
    assert_eq!(code(&status), ErrorCode::DeadlineExceeded, "{status}");
    assert_eq!(replica.count(), 1);
}
