//! Plans with faults: they are told, and touch nobody else.

use crate::fixture::{Templates, TestApp, client, namespace};

#[tokio::test]
async fn a_plan_with_a_fault_is_told_with_its_place_and_the_others_are_served() {
    let client = client().await;
    let namespace = namespace(&client).await;
    let templates = Templates::with_plan();
    templates.plan("broken", "descripton: Misspelt.\n");
    let app = TestApp::start(&client, &namespace, &templates).await;
    app.plan("map", "the valid plan", |_| true).await;
    let report = app.report("broken", "a report", |_| true).await;
    assert_eq!(report.served_digest, "");
    assert!(!report.last_good);
    let fault = &report.faults[0];
    assert_eq!(
        (fault.file.as_str(), fault.line),
        ("mongodb/broken/plan.yaml", 7)
    );
    assert!(fault.message.contains("description"), "{}", fault.message);
    assert!(app.admin("/metrics").await.contains("plan_faults 1\n"));
    app.stop().await;
}

#[tokio::test]
async fn a_plan_that_would_apply_objects_beside_the_broker_is_not_served() {
    let client = client().await;
    let namespace = namespace(&client).await;
    let templates = Templates::with_plan();
    templates.plan("intruder", &format!("namespace: {{shared: {namespace}}}\n"));
    let app = TestApp::start(&client, &namespace, &templates).await;
    app.plan("map", "the valid plan", |_| true).await;
    let report = app.report("intruder", "a report", |_| true).await;
    assert_eq!(report.served_digest, "");
    let message = &report.faults[0].message;
    assert!(message.contains("the broker's own namespace"), "{message}");
    app.stop().await;
}

#[tokio::test]
async fn the_last_good_version_survives_a_restart_and_gives_way_when_the_fault_is_mended() {
    let client = client().await;
    let namespace = namespace(&client).await;
    let templates = Templates::with_plan();
    let app = TestApp::start(&client, &namespace, &templates).await;
    let good = app.plan("map", "the plan", |_| true).await.bundle_digest;

    templates.plan("map", "nonsense: 1\n");
    let report = app
        .report("map", "the fault", |report| report.last_good)
        .await;
    assert_eq!(report.served_digest, good);
    app.stop().await;

    let app = TestApp::start(&client, &namespace, &templates).await;
    let plan = app.plan("map", "the plan after a restart", |_| true).await;
    assert_eq!(plan.bundle_digest, good);
    let report = app.report("map", "a report", |_| true).await;
    assert!(report.last_good && !report.faults.is_empty());

    templates.plan("map", "description: Mended.\n");
    app.plan("map", "the mended plan", |plan| {
        plan.description == "Mended."
    })
    .await;
    let report = app.report("map", "a report", |_| true).await;
    assert!(!report.last_good && report.faults.is_empty());
    app.stop().await;
}

#[tokio::test]
async fn a_fault_in_service_yaml_keeps_the_offering_as_it_was() {
    let client = client().await;
    let namespace = namespace(&client).await;
    let templates = Templates::with_plan();
    templates.write("mongodb/service.yaml", "description: Good.\n");
    let app = TestApp::start(&client, &namespace, &templates).await;
    let before = app.catalog("a catalog", |_| true).await;
    templates.write("mongodb/service.yaml", "descrption: Bad.\n");
    let report = app
        .report("map", "the fault", |report| report.last_good)
        .await;
    assert_eq!(report.faults[0].file, "mongodb/service.yaml");
    let after = app.catalog("a catalog", |_| true).await;
    assert_eq!(after.offerings, before.offerings);
    assert_eq!(after.last_modified, before.last_modified);
    app.stop().await;
}

/// Also one whose folder comes first, and across a restart.
#[tokio::test]
async fn a_plan_keeps_its_id_from_one_that_comes_later_and_states_it() {
    let client = client().await;
    let namespace = namespace(&client).await;
    let templates = Templates::new();
    templates.plan("b", "id: the-same\n");
    let app = TestApp::start(&client, &namespace, &templates).await;
    let first = app.plan("b", "the first", |_| true).await;
    templates.plan("a", "id: the-same\n");
    let report = app.report("a", "a report", |_| true).await;
    assert_eq!(report.served_digest, "");
    assert_eq!(report.faults[0].file, "mongodb/a/plan.yaml");
    assert_eq!(report.faults[0].line, 7);
    app.stop().await;

    let app = TestApp::start(&client, &namespace, &templates).await;
    let still = app.plan("b", "still the first", |_| true).await;
    assert_eq!(still.bundle_digest, first.bundle_digest);
    let report = app.report("b", "a report", |_| true).await;
    assert!(report.last_good, "{report:?}");
    let report = app.report("a", "a report", |_| true).await;
    assert_eq!(report.served_digest, "");
    app.stop().await;
}

#[tokio::test]
async fn a_plan_whose_folder_is_gone_is_not_served_even_though_it_was_good() {
    let client = client().await;
    let namespace = namespace(&client).await;
    let templates = Templates::with_plan();
    templates.plan("other", "");
    let app = TestApp::start(&client, &namespace, &templates).await;
    app.plan("other", "both", |_| true).await;
    templates.remove("mongodb/other/plan.yaml");
    templates.remove("mongodb/other/10-map.yaml");
    app.catalog("one plan", |snapshot| {
        snapshot.offerings[0].plans.len() == 1
    })
    .await;
    app.stop().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_taken_in_leaves_what_was_good() {
    let client = client().await;
    let namespace = namespace(&client).await;
    let templates = Templates::with_plan();
    let app = TestApp::start(&client, &namespace, &templates).await;
    let plan = app.plan("map", "the plan", |_| true).await;
    templates.write("mongodb/map/20-huge.yaml", &"# none\n".repeat(1 << 20));
    let report = app.report("map", "the fault", |report| !report.faults.is_empty());
    let report = report.await;
    assert!(report.faults[0].message.contains("larger than 1 MiB"));
    assert!(report.last_good);
    assert_eq!(report.served_digest, plan.bundle_digest);
    app.stop().await;
}
