//! Statuses as controllers write them, and what they come to.

use serde_json::json;

use super::*;

fn judge(object: &Value, applied: &Value) -> Readiness {
    let subject = Subject {
        object,
        applied,
        now: "2026-11-24T12:00:00Z".parse().unwrap(),
    };
    let none = BTreeMap::new();
    evaluate(
        Rules::shipped(),
        &none,
        &Evaluator::new(),
        &subject,
        Context::new(),
    )
}

#[expect(clippy::needless_pass_by_value, reason = "reads better at the calls")]
fn judged(object: Value) -> Readiness {
    judge(&object, &Value::Null)
}

fn waits(object: Value) -> String {
    match judged(object) {
        Readiness::Waiting(text) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_shipped_file_parses_and_every_rule_compiles() {
    let evaluator = Evaluator::new();
    for (file, source) in SHIPPED {
        let rules = parse(source).unwrap_or_else(|e| panic!("{file}: {e}"));
        for ((_, kind), rule) in rules {
            for expression in rule.ready.iter().chain(&rule.failed) {
                evaluator
                    .check(expression)
                    .unwrap_or_else(|e| panic!("{kind}: {e}"));
                evaluator
                    .value(expression, &Context::new())
                    .unwrap_or_else(|e| panic!("{kind} on nothing: {e}"));
            }
            if let Some(message) = &rule.message {
                evaluator
                    .message(message, &Context::new())
                    .unwrap_or_else(|e| panic!("{kind} on nothing: {e}"));
            }
        }
    }
}

fn stateful_set(generation: i64, status: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": "mdb", "generation": generation},
        "spec": {"replicas": 3}, "status": status,
    })
}

#[test]
fn a_stateful_set_is_ready_when_all_pods_are_new_and_ready() {
    let status = |observed, ready, updated| {
        json!({
            "observedGeneration": observed, "replicas": 3,
            "readyReplicas": ready, "updatedReplicas": updated,
        })
    };
    assert_eq!(judged(stateful_set(2, &status(2, 3, 3))), Readiness::Ready);
    let text = waits(stateful_set(2, &status(2, 2, 3)));
    assert_eq!(text, "StatefulSet/mdb: 2 of 3 pods ready");
    assert!(waits(stateful_set(2, &status(2, 3, 1))).contains("3 of 3"));
    assert!(waits(stateful_set(2, &status(1, 3, 3))).contains("controller"));
    assert!(waits(stateful_set(1, &json!({}))).contains("controller"));
    let fresh = waits(stateful_set(
        1,
        &json!({"observedGeneration": 1, "replicas": 0}),
    ));
    assert_eq!(fresh, "StatefulSet/mdb: 0 of 3 pods ready");
}

#[test]
fn no_override_removes_the_check_of_the_generation() {
    let object = stateful_set(2, &json!({"observedGeneration": 1}));
    let subject = Subject {
        object: &object,
        applied: &object,
        now: jiff::Timestamp::UNIX_EPOCH,
    };
    let always = ReadyRule {
        ready: Some(Expression("true".into())),
        ..ReadyRule::default()
    };
    let overrides = BTreeMap::from([("StatefulSet/mdb".to_owned(), always)]);
    let rules = Rules::shipped();
    let judged = evaluate(
        rules,
        &overrides,
        &Evaluator::new(),
        &subject,
        Context::new(),
    );
    assert!(matches!(judged, Readiness::Waiting(_)));
}

fn mongodb(status: &Value) -> Value {
    json!({
        "apiVersion": "mongodb.com/v1", "kind": "MongoDB",
        "metadata": {"name": "m", "generation": 4}, "status": status,
    })
}

#[test]
fn a_failed_mongodb_is_given_time() {
    let status = |phase, since| {
        json!({
            "phase": phase, "observedGeneration": 4, "lastTransition": since,
            "message": "no space",
        })
    };
    assert_eq!(
        judged(mongodb(&status("Running", "2026-11-24T11:59:00Z"))),
        Readiness::Ready
    );
    let waiting = waits(mongodb(&status("Failed", "2026-11-24T11:59:00Z")));
    assert_eq!(waiting, "MongoDB/m: phase Failed no space");
    let failed = judged(mongodb(&status("Failed", "2026-11-24T11:50:00Z")));
    assert_eq!(
        failed,
        Readiness::Failed("MongoDB/m: phase Failed no space".to_owned())
    );
    assert!(matches!(
        judged(mongodb(&status("Unsupported", "2026-11-24T11:59:59Z"))),
        Readiness::Failed(_)
    ));
    assert!(waits(mongodb(&json!({}))).contains("controller"));
}

#[test]
fn a_community_database_is_ready_when_the_annotation_holds_what_was_applied() {
    let object = |last: &str| {
        json!({
            "apiVersion": "mongodbcommunity.mongodb.com/v1", "kind": "MongoDBCommunity",
            "metadata": {
                "name": "m", "generation": 2,
                "annotations": {"mongodb.com/v1.lastSuccessfulConfiguration": last},
            },
            "status": {"phase": "Running"},
        })
    };
    let applied = json!({"spec": {"members": 3}});
    let done = object("{\"members\":3,\"type\":\"ReplicaSet\"}");
    assert_eq!(judge(&done, &applied), Readiness::Ready);
    let before = object("{\"members\":1,\"type\":\"ReplicaSet\"}");
    assert!(matches!(judge(&before, &applied), Readiness::Waiting(_)));
}

#[test]
fn what_exists_is_ready_unless_it_goes() {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
    assert_eq!(judged(secret), Readiness::Ready);
    let going = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "s", "deletionTimestamp": "2026-11-24T12:00:00Z"},
    });
    assert!(waits(going).contains("deleted"));
}

#[test]
fn an_unknown_kind_waits_for_its_ready_condition_if_it_has_one() {
    let object = |status: &str| {
        json!({
            "apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"},
            "status": {"conditions": [{"type": "Ready", "status": status}]},
        })
    };
    assert_eq!(judged(object("True")), Readiness::Ready);
    assert!(matches!(judged(object("False")), Readiness::Waiting(_)));
}

#[test]
fn claims_load_balancers_jobs_and_definitions() {
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"},
        "status": {"phase": "Pending"},
    });
    assert_eq!(judged(claim), Readiness::Ready);
    let service = |spec: &Value, status: &Value| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
            "spec": spec, "status": status,
        })
    };
    let balanced = json!({"type": "LoadBalancer"});
    assert!(waits(service(&balanced, &json!({"loadBalancer": {}}))).contains("load balancer"));
    let address = json!({"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}});
    assert_eq!(judged(service(&balanced, &address)), Readiness::Ready);
    assert_eq!(
        judged(service(&json!({"clusterIP": "None"}), &json!({}))),
        Readiness::Ready
    );
    let job = |kind: &str| {
        json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"},
            "status": {"conditions": [{"type": kind, "status": "True"}], "failed": 1},
        })
    };
    assert_eq!(judged(job("Complete")), Readiness::Ready);
    assert!(matches!(judged(job("Failed")), Readiness::Failed(_)));
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "d", "generation": 1},
        "status": {"conditions": [{"type": "Established", "status": "True"}]},
    });
    assert_eq!(judged(definition), Readiness::Ready);
}
