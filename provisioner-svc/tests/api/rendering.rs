//! A value never becomes syntax, all the way into the API server.

use broker_proto::v1::OperationState;
use serde_json::json;

use crate::harness::{SIMPLE, World, deprovisioned, end_of, provisioned, started};

#[tokio::test(flavor = "multi_thread")]
async fn hostile_parameters_end_up_as_that_very_string_in_the_object() {
    let world = World::start().await;
    let plan = world.plan("simple", &SIMPLE);
    let provisioner = world.provisioner("a").await;
    let hostile = [
        "x: y\nz: 1\n# ",
        "{{ 7*7 }}",
        "\"quoted\" 'twice' \\",
        "{% raw %}",
        "---\nkind: Pod",
        "no",
        "&a *b !c",
        "",
        "\u{1F980} \t end ",
    ];
    for (number, text) in hostile.into_iter().enumerate() {
        let id = format!("i{number}");
        provisioned(
            &provisioner.client,
            plan.provision(&id, json!({"note": text})),
        )
        .await;
        let namespace = world.record(&id).await.spec.namespace;
        let data = world
            .config_map(&namespace, "settings")
            .await
            .unwrap()
            .data
            .unwrap();
        assert_eq!(data["note"], text);
        assert_eq!(data.keys().collect::<Vec<_>>(), ["note", "size"]);
    }
}

/// Valid as far as a check sees: what it does depends on what the user says.
fn hostile(world: &World) -> crate::harness::Plan {
    let mut template = "{% set x = [1] %}{% set y = [1] %}".to_owned();
    for _ in 0..40 {
        template.push_str("{% set x=[x,x] %}{% set y=[y,y] %}");
    }
    template.push_str(
        "
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data:
  a: \"{% if mode == 'memory' %}{{ x }}{% elif mode == 'time' %}{{ x == y }}{% endif %}\"
",
    );
    let parameters = "parameters: {create: {properties: {mode: {type: string, default: calm}}}}\n";
    world.plan(
        "hostile",
        &[("plan.yaml", parameters), ("10-all.yaml", &template)],
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rendering_that_takes_too_much_fails_its_operation_and_the_others_go_on() {
    let world = World::start().await;
    let (hostile, simple) = (hostile(&world), world.plan("simple", &SIMPLE));
    let mut args = world.args("a");
    args.sandbox.seconds = 2;
    let provisioner = world.provisioner_with(args).await;
    let client = provisioner.client.clone();
    let mut operations = Vec::new();
    for (id, mode) in [("m", "memory"), ("t", "time")] {
        let request = hostile.provision(id, json!({ "mode": mode }));
        operations.push((id, started(&client, request).await));
    }
    provisioned(&client, simple.provision("neighbour", json!({}))).await;
    let mut texts = Vec::new();
    for (id, operation) in &operations {
        let ended = end_of(&client, id, operation).await;
        assert_eq!(ended.state(), OperationState::Failed, "{id}");
        texts.push(ended.description);
    }
    let text = |why: &str| {
        format!(
            "The plan test/hostile cannot be used with these parameters: the rendering of \
             10-all.yaml was ended, since it took more than {why}"
        )
    };
    assert!(texts[0].contains(&text("64 MiB of memory")), "{texts:?}");
    assert!(texts[1].contains(&text("2 s")), "{texts:?}");
    // The plan itself is fine, and so is the process.
    provisioned(&client, hostile.provision("calm", json!({}))).await;
    for id in ["m", "t"] {
        deprovisioned(&client, hostile.deprovision(id)).await;
    }
}

/// The check renders with its own values: what only some parameters show is seen when it is
/// rendered.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_only_some_parameters_would_show_stays_where_it_is() {
    let world = World::start().await;
    let template = "apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
  annotations: {shown: \"{% if mode == 'show' %}{{ generated.admin }}{% endif %}\"}
";
    let descriptor = "generate: {admin: {type: password}}
parameters: {create: {properties: {mode: {type: string, default: hide}}}}
";
    let plan = world.plan(
        "leaky",
        &[("plan.yaml", descriptor), ("10-all.yaml", template)],
    );
    let provisioner = world.provisioner("a").await;
    let client = provisioner.client.clone();
    let operation = started(&client, plan.provision("i", json!({"mode": "show"}))).await;
    let ended = end_of(&client, "i", &operation).await;
    assert_eq!(ended.state(), OperationState::Failed);
    let text = &ended.description;
    assert!(text.contains("10-all.yaml:1:1"), "{text}");
    assert!(
        text.contains("metadata.annotations.shown of ConfigMap/settings"),
        "{text}"
    );
    let namespace = world.record("i").await.spec.namespace;
    assert!(world.config_map(&namespace, "settings").await.is_none());
    deprovisioned(&client, plan.deprovision("i")).await;
}
