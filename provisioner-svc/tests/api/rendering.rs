//! A value never becomes syntax, all the way into the API server.

use serde_json::json;

use crate::harness::{SIMPLE, World, provisioned};

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
