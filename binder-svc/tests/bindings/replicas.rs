//! Three replicas: rivals leave one winner, and no replica tells a client
//! less than another has told before.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use broker_proto::{
    Error, ErrorCode, json,
    v1::{BindRequest, OperationState, Outcome},
};
use futures::future::join_all;
use serde_json::Value;

use crate::world::{Binder, LIMIT, World, credentials, uri, use_database};

/// Rivals at once.
const CROWD: usize = 50;
const BETWEEN_POLLS: Duration = Duration::from_millis(5);

async fn three(world: &World) -> [Binder; 3] {
    let all = join_all(["r0", "r1", "r2"].map(|replica| world.binder(replica))).await;
    all.try_into()
        .unwrap_or_else(|_| unreachable!("one of each"))
}

/// Sends requests to all replicas in turn, all at once.
async fn crowd(
    binders: &[Binder; 3],
    requests: impl Iterator<Item = BindRequest>,
) -> Vec<Result<Value, Error>> {
    let calls = requests.enumerate().map(async |(number, request)| {
        let binder = &binders[number % 3];
        let answer = binder.bind(request).await?;
        let outcome = answer.outcome();
        assert_ne!(outcome, Outcome::Accepted);
        Ok((outcome, credentials(&answer.binding.unwrap()).into()))
    });
    let answers: Vec<Result<(Outcome, Value), Error>> = join_all(calls).await;
    let made = answers.iter().flatten();
    let made = made
        .filter(|(outcome, _)| *outcome == Outcome::Done)
        .count();
    assert_eq!(made, 1, "one creation gives one 201");
    let credentials = |(_, credentials)| credentials;
    answers
        .into_iter()
        .map(|answer| answer.map(credentials))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_binds_on_three_replicas_leaves_one_login() {
    let world = World::start().await;
    world.instance("i").await;
    let binders = three(&world).await;

    // All the same: all get the same.
    let same = (0..CROWD).map(|_| world.bind_request("i", "same"));
    let mut answers: Vec<Value> = crowd(&binders, same)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    answers.dedup();
    assert_eq!(answers.len(), 1, "one set of credentials");
    assert_eq!(world.users_of("i", "same").await.len(), 1);
    use_database(answers[0]["uri"].as_str().unwrap())
        .await
        .unwrap();

    // Five kinds: one wins, and all of that kind get the same.
    let rivals = (0..CROWD).map(|number| {
        let parameters = serde_json::json!({ "database": format!("d{}", number % 5) });
        let mut request = world.bind_request("i", "rivals");
        request.parameters = Some(json::to_struct(parameters.as_object().unwrap()).unwrap());
        request
    });
    let answers = crowd(&binders, rivals).await;
    let mut won: Vec<&Value> = Vec::new();
    for answer in &answers {
        match answer {
            Ok(credentials) => won.push(credentials),
            Err(error) => assert_eq!(error.code, ErrorCode::Conflict, "{error:?}"),
        }
    }
    assert_eq!(won.len(), CROWD / 5);
    won.dedup();
    assert_eq!(won.len(), 1);
    assert_eq!(world.users_of("i", "rivals").await.len(), 1);
    for binder in &binders {
        let fetched = binder.fetch("i", "rivals").await.unwrap();
        assert_eq!(&Value::from(credentials(&fetched)), won[0]);
    }

    // Unbinds at once, too: one does it, none fails.
    let unbinds = (0..CROWD).map(async |number| {
        let request = world.unbind_request("i", "same");
        binders[number % 3].unbind(request).await
    });
    for answer in join_all(unbinds).await {
        match answer {
            Ok(answer) => assert_eq!(answer.outcome(), Outcome::Done),
            Err(error) => assert_eq!(error.code, ErrorCode::Gone, "{error:?}"),
        }
    }
    assert_eq!(world.users_of("i", "same").await, [""; 0]);
    for binder in binders {
        binder.stop().await;
    }
}

/// Polls through every replica at once until each has told the end. Once any
/// has told it, no poll that starts later may tell less.
async fn hammer(binders: &[Binder; 3], binding: &str, operation: &str) {
    let told = AtomicBool::new(false);
    let pollers = binders.iter().map(async |binder| {
        loop {
            let before = told.load(Ordering::SeqCst);
            let status = binder.poll("i", binding, operation).await.unwrap();
            assert_eq!(status.operation, operation, "{binding}");
            match status.state() {
                OperationState::Succeeded => {
                    told.store(true, Ordering::SeqCst);
                    // At once, while watches may still lag behind.
                    for again in
                        join_all(binders.iter().map(|b| b.poll("i", binding, operation))).await
                    {
                        assert_eq!(
                            again.unwrap().state(),
                            OperationState::Succeeded,
                            "{binding}"
                        );
                    }
                    return;
                }
                state => {
                    assert_eq!(state, OperationState::InProgress, "{binding}");
                    assert!(!before, "{binding}: an older truth was told");
                }
            }
            tokio::time::sleep(BETWEEN_POLLS).await;
        }
    });
    tokio::time::timeout(LIMIT, join_all(pollers))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_replica_tells_an_older_truth_than_another_has_told() {
    let world = World::start().await;
    let mut instance = world.instance("i").await;
    instance.bundle_digest = world.asynchronous.digest().to_string();
    world.provisioner.put(instance);
    let binders = three(&world).await;
    join_all((0..8).map(async |number| {
        let binding = format!("b{number}");
        let via = |request: usize| &binders[(number + request) % 3];
        for round in 0..3 {
            let mut request = world.bind_request("i", &binding);
            request.accepts_incomplete = true;
            let accepted = via(round).bind(request.clone()).await.unwrap();
            hammer(&binders, &binding, &accepted.operation).await;
            let mut all = Vec::new();
            for binder in &binders {
                all.push(binder.fetch("i", &binding).await.unwrap().credentials);
                let replay = binder.bind(request.clone()).await.unwrap();
                assert_eq!(replay.outcome(), Outcome::Unchanged);
            }
            assert!(all.windows(2).all(|pair| pair[0] == pair[1]));

            let mut request = world.unbind_request("i", &binding);
            request.accepts_incomplete = true;
            let accepted = via(round + 1).unbind(request).await.unwrap();
            hammer(&binders, &binding, &accepted.operation).await;
            for binder in &binders {
                let gone = binder.fetch("i", &binding).await.unwrap_err();
                assert_eq!(gone.code, ErrorCode::NotFound);
            }
        }
    }))
    .await;
    for binder in binders {
        binder.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaver_hands_over_at_once_and_the_login_works_on() {
    let world = World::start().await;
    world.instance("i").await;
    let [r0, r1, r2] = three(&world).await;
    let bound = r0.bind(world.bind_request("i", "b")).await.unwrap();
    let bound = bound.binding.unwrap();
    r0.stop().await;
    for binder in [&r1, &r2] {
        let fetched = binder.fetch("i", "b").await.unwrap();
        assert_eq!(fetched.credentials, bound.credentials);
    }
    use_database(&uri(&bound)).await.unwrap();
    r1.unbind(world.unbind_request("i", "b")).await.unwrap();
    assert!(use_database(&uri(&bound)).await.is_err());
    r1.stop().await;
    r2.stop().await;
}
