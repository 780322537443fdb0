//! Many at once: one winner, and answers that fit together.

use std::collections::HashSet;

use futures::future::join_all;
use serde_json::json;

use crate::platform::{Platform, incomplete, new_binding, new_instance, works};

/// PRO-11, ASY-07: fifty times the same order at once is one operation.
#[tokio::test]
async fn many_equal_orders_at_once_are_one() {
    let platform = Platform::new().await;
    let path = new_instance();
    let order = platform.order("polled", json!({"gate": "shut"}));
    let asked = (0..50).map(async |_| platform.put(&incomplete(&path), &order).await);
    let answers = join_all(asked).await;
    let operations: HashSet<String> = answers
        .into_iter()
        .map(|answer| answer.expect(202).operation())
        .collect();
    assert_eq!(operations.len(), 1);
}

/// PRO-12: fifty rivals at once: one is accepted, all others are told.
#[tokio::test]
async fn of_many_rival_orders_one_wins() {
    let platform = Platform::new().await;
    let path = new_instance();
    let asked = (0..50).map(async |n| {
        let note = format!("rival {n}");
        let order = platform.order("polled", json!({"gate": "shut", "note": note}));
        platform.put(&incomplete(&path), &order).await
    });
    let statuses: Vec<u16> = join_all(asked).await.iter().map(|a| a.status).collect();
    assert_eq!(
        statuses.iter().filter(|s| **s == 202).count(),
        1,
        "{statuses:?}"
    );
    assert_eq!(
        statuses.iter().filter(|s| **s == 409).count(),
        49,
        "{statuses:?}"
    );
}

/// BND-11, ASY-08: binds on one instance do not get in each other's way.
#[tokio::test]
async fn binds_on_one_instance_run_side_by_side() {
    let platform = Platform::new().await;
    let instance = platform.instance("instant").await;
    let asked = (0..20).map(async |_| platform.binding(&instance, "instant").await.1);
    let logins = join_all(asked).await;
    let users: HashSet<&str> = logins
        .iter()
        .map(|login| login["username"].as_str().unwrap())
        .collect();
    assert_eq!(users.len(), 20);
    assert!(works(&logins[7]).await);
}

/// BND-07, BND-09: equal and rival binds of one id.
#[tokio::test]
async fn of_many_binds_of_one_id_one_wins() {
    let platform = Platform::new().await;
    let instance = platform.instance("instant").await;
    let path = new_binding(&instance);
    let body = platform.login("instant");
    let mut rival = body.clone();
    rival["parameters"] = json!({"roles": ["read"]});
    let asked = (0..30).map(async |n| {
        let body = if n % 2 == 0 { &body } else { &rival };
        platform.put(&path, body).await
    });
    let answers = join_all(asked).await;
    let mut logins = HashSet::new();
    let mut refused = 0;
    for answer in answers {
        match answer.status {
            200 | 201 => {
                logins.insert(answer.body["credentials"]["username"].to_string());
            }
            409 => refused += 1,
            _ => panic!("{}", answer.body),
        }
    }
    assert_eq!((logins.len(), refused), (1, 15));
}

/// DEP-04, UPD-09: fifty deletions at once are one operation.
#[tokio::test]
async fn many_deletions_at_once_are_one() {
    let platform = Platform::new().await;
    let path = platform.instance("polled").await;
    platform.hold(&path).await;
    let asked = (0..50).map(async |_| platform.remove(&path, "polled").await);
    let operations: HashSet<String> = join_all(asked)
        .await
        .into_iter()
        .map(|answer| answer.expect(202).operation())
        .collect();
    assert_eq!(operations.len(), 1);
    platform.release(&path).await;
    platform
        .ended(&path, operations.iter().next().unwrap())
        .await;
}
