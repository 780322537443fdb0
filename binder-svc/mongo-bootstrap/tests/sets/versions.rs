//! The feature compatibility version, with the one server version that runs here: 6.0, which also
//! works at 5.0.

use std::time::Duration;

use mongo_bootstrap::compatibility::{CompatibilityReport, REPORT};
use mongodb::bson::doc;
use tokio::time::{Instant, sleep};

use crate::{
    pod::{LIMIT, Set},
    single,
    world::{World, admin},
};

/// The version that the set has.
async fn level(set: &Set) -> String {
    let question = doc! { "getParameter": 1, "featureCompatibilityVersion": 1 };
    let answer = admin(&set.host(0), question).await;
    let level = answer.get_document("featureCompatibilityVersion").unwrap();
    level.get_str("version").unwrap().to_owned()
}

/// As an instance that was made with the version before.
async fn lower(set: &Set) {
    admin(
        &set.host(0),
        doc! { "setFeatureCompatibilityVersion": "5.0" },
    )
    .await;
    assert_eq!(level(set).await, "5.0");
}

/// Waits for a report on the compatibility.
async fn reported(
    world: &World,
    set: &Set,
    expected: impl Fn(&CompatibilityReport) -> bool,
) -> CompatibilityReport {
    let start = Instant::now();
    loop {
        let annotations = world.annotations_of(set, "mdb-compatibility").await;
        let report = annotations
            .get(REPORT)
            .map(|text| serde_json::from_str(text).unwrap());
        match report {
            Some(report) if expected(&report) => return report,
            report => assert!(start.elapsed() < LIMIT, "last report: {report:?}"),
        }
        sleep(Duration::from_millis(100)).await;
    }
}

fn version(text: &str) -> mongo_bootstrap::version::ServerVersion {
    text.parse().unwrap()
}

#[tokio::test]
async fn the_last_step_of_an_upgrade_raises_the_version_and_a_kill_at_any_step_does_no_harm() {
    let world = World::start().await;
    let (set, mut pod) = single(&world, "upgrade").await;
    for crash in [
        None,
        Some("Report"),
        Some("RaiseCompatibility"),
        Some("ReportCompatibility"),
    ] {
        lower(&set).await;
        pod.kill_sidecar().await;
        world.forget(&set, "mdb-compatibility").await;
        world.forget(&set, "mdb-topology").await;
        world.want_version(&set, 1, "6.0").await;
        world.want_compatibility(&set, "6.0").await;
        pod.start_sidecar(crash);
        if crash.is_some() {
            assert!(!pod.sidecar_ends().await.success(), "{crash:?}");
            pod.start_sidecar(None);
        }
        let report = reported(&world, &set, |report| report.version == version("6.0")).await;
        assert_eq!((report.desired, report.message), (version("6.0"), None));
        assert_eq!(level(&set).await, "6.0");
        let report = world.settles(&set, 1).await;
        assert_eq!(report.data_version, Some(version("6.0")));
    }
}

#[tokio::test]
async fn the_way_back_is_refused_once_the_version_was_raised_and_open_before() {
    let world = World::start().await;
    let (set, _pod) = single(&world, "back").await;
    lower(&set).await;
    // Nothing was raised yet: back and forth is harmless, and the report says so.
    world.want_version(&set, 1, "6.0").await;
    world
        .reported(&set, |r| r.version == Some(version("6.0")))
        .await;
    world.want_compatibility(&set, "5.0").await;
    reported(&world, &set, |report| report.version == version("5.0")).await;
    assert_eq!(level(&set).await, "5.0");

    world.want_compatibility(&set, "6.0").await;
    reported(&world, &set, |report| report.version == version("6.0")).await;
    world.want_version(&set, 1, "5.0").await;
    let report = world
        .reported(&set, |r| r.version == Some(version("5.0")))
        .await;
    assert_eq!(report.data_version, Some(version("6.0")));
    assert!(report.message.unwrap().contains("never go down"));
    // Nor does the last file lower it.
    world.want_compatibility(&set, "5.0").await;
    let report = reported(&world, &set, |report| report.desired == version("5.0")).await;
    assert_eq!(report.version, version("6.0"));
    assert!(report.message.unwrap().contains("never go down"));
    assert_eq!(level(&set).await, "6.0");
}

#[tokio::test]
async fn a_version_that_the_server_does_not_know_is_never_asked_of_it() {
    let world = World::start().await;
    let (set, _pod) = single(&world, "early").await;
    world.want_compatibility(&set, "7.0").await;
    let report = reported(&world, &set, |report| report.message.is_some()).await;
    assert_eq!(report.version, version("6.0"));
    let message = "member 0 does not run the new server version yet";
    assert_eq!(report.message.as_deref(), Some(message));
}

/// Waits until the primary has noticed that a member is down.
async fn is_down(set: &Set, ordinal: usize) {
    let start = Instant::now();
    loop {
        let status = admin(&set.host(0), doc! { "replSetGetStatus": 1 }).await;
        let member = &status.get_array("members").unwrap()[ordinal];
        let state = member.as_document().unwrap().get_i32("state").unwrap();
        // 8: DOWN.
        if state == 8 {
            return;
        }
        assert!(
            start.elapsed() < LIMIT,
            "member {ordinal} has state {state}"
        );
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn the_version_of_three_members_waits_for_the_one_that_is_down() {
    let world = World::start().await;
    let (set, _first) = single(&world, "three").await;
    world.want(&set, 3).await;
    let mut others = crate::others(&set).await;
    world.settles(&set, 3).await;
    lower(&set).await;
    others[1].kill_mongod().await;
    is_down(&set, 2).await;
    world.want_compatibility(&set, "6.0").await;
    let report = reported(&world, &set, |report| report.message.is_some()).await;
    assert_eq!(report.version, version("5.0"));
    assert!(report.message.unwrap().starts_with("member 2"));
    assert_eq!(level(&set).await, "5.0");
    others[1].start_mongod().await;
    reported(&world, &set, |report| report.version == version("6.0")).await;
    assert_eq!(level(&set).await, "6.0");
}
