//! Plans that would take all memory or time, brought by who may create ConfigMaps.

use std::{collections::BTreeMap, fmt::Write as _};

use broker_proto::v1::{PlanFault, PlanReport};
use catalog_svc::Args;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};

use crate::fixture::{Templates, TestApp, client, namespace, program};

/// Ways to walk a value that holds itself 2^40 times. None takes two kilobytes.
const WALKS: [(&str, &str); 9] = [
    ("to-json", "{{ x | tojson | length }}"),
    ("equal", "{{ x == y }}"),
    ("less", "{{ x < y }}"),
    ("in", "{{ x in [y] }}"),
    ("text", "{{ x ~ '' }}"),
    ("written", "{{ x }}"),
    ("key", "{{ {x: 1} | length }}"),
    ("upper", "{{ x is upper }}"),
    ("string", "{{ x | string }}"),
];

fn walk(expression: &str) -> String {
    let mut text = "{% set x = [1] %}{% set y = [1] %}".to_owned();
    for _ in 0..40 {
        text.push_str("{% set x=[x,x] %}{% set y=[y,y] %}");
    }
    let _ = write!(text, "\n{}", object(expression));
    text
}

/// All templates by the names of their plans.
fn hostile() -> Vec<(&'static str, String)> {
    let mut all: Vec<_> = WALKS
        .iter()
        .map(|(name, expression)| (*name, walk(expression)))
        .collect();
    // A list in a list in a list …, which is also freed one within the other.
    let deep = "{% set ns = namespace(x=[]) %}\
                {% for _ in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}\n";
    all.push(("deep", format!("{deep}{}", object("1"))));
    let mut doubled = "{% set x = [1] %}".to_owned();
    for _ in 0..45 {
        doubled.push_str("{% set x = x + x %}");
    }
    all.push((
        "doubled",
        format!("{doubled}\n{}", object("{{ x | length }}")),
    ));
    all
}

fn object(value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m}}\ndata:\n  a: \"{value}\"\n")
}

fn plan_map(name: &str, template: String) -> ConfigMap {
    let label = format!("strangers.{name}");
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(BTreeMap::from([("mongodb-osb.io/plan".to_owned(), label)])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("10-map.yaml".to_owned(), template)])),
        ..ConfigMap::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_that_would_take_all_memory_and_time_are_faults_and_the_others_are_served() {
    let client = client().await;
    let namespace = namespace(&client).await;
    let templates = Templates::with_plan();
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let hostile = hostile();
    for (name, template) in &hostile {
        assert!(template.len() < 2000, "{name}");
        api.create(&PostParams::default(), &plan_map(name, template.clone()))
            .await
            .unwrap();
    }
    let fine = plan_map("fine", object("1"));
    api.create(&PostParams::default(), &fine).await.unwrap();

    let mut args = Args::for_tests(vec![templates.path()], &namespace);
    args.sandbox.seconds = 1;
    let app = TestApp::start_with(&client, args).await;
    app.plan("map", "the shipped plan", |_| true).await;
    app.plan("fine", "a stranger's plan that is fine", |_| true)
        .await;
    let mut told = Vec::new();
    for (name, _) in hostile {
        let checked = |report: &PlanReport| {
            let pending = |fault: &PlanFault| fault.message.ends_with("it follows");
            !report.faults.iter().any(pending)
        };
        let report = app.report(name, name, checked).await;
        // Some of these are no walk for the engine: then the plan is served.
        assert_eq!(
            report.served_digest.is_empty(),
            !report.faults.is_empty(),
            "{name}"
        );
        told.extend(report.faults.into_iter().map(|fault| fault.message));
    }
    assert!(told.len() >= 5, "{told:#?}");
    let ended = |why: &str| {
        let text = format!("the check of this plan was ended: {why}");
        told.iter().any(|message| message.starts_with(&text))
    };
    assert!(ended("it took more than 1 s"), "{told:#?}");
    assert!(ended("it took more than 64 MiB"), "{told:#?}");

    // Goes on: what changes is checked, with all of these still there.
    let before = app.plan("map", "the shipped plan", |_| true).await;
    templates.plan("map", "description: A new version.\n");
    app.plan("map", "its new version", |plan| {
        plan.bundle_digest != before.bundle_digest
    })
    .await;
    app.stop().await;
    // Some of these would take gigabytes of this process.
    assert!(peak() < 1 << 20, "{} KiB", peak());
}

/// The most memory that this process has had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.unwrap().trim().trim_end_matches(" kB");
    number.parse().unwrap()
}

#[test]
fn the_command_tells_it_as_well() {
    let templates = Templates::with_plan();
    templates.write("strangers/walk/10-map.yaml", &walk("{{ x ~ '' }}"));
    let output = program()
        .args(["plan", "lint", "--sandbox-time", "1"])
        .arg(templates.path())
        .output()
        .unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{out}");
    assert!(
        out.contains("strangers/walk: the check of this plan was ended"),
        "{out}"
    );
    assert!(out.ends_with("1 valid plan, 1 fault\n"), "{out}");
}
