//! One instance of the documented example, from parameters to a binding.

use std::sync::Arc;

use plan::binding::TlsMode;
use plan::descriptor::{Generate, Text};
use plan::ready::Readiness;
use plan::{Loaded, Variables};
use serde_json::{Value, json};

use crate::support::{fixtures, object, variables};

fn medium() -> Loaded {
    let catalog = plan::catalog::build(&[fixtures()]);
    let bundle = catalog.plans.iter().find(|p| p.name() == "medium").unwrap();
    Loaded::new(Arc::clone(bundle)).unwrap()
}

fn ordered(loaded: &Loaded, sent: Value) -> Variables {
    let resolved = loaded.bundle().create_parameters(&object(sent)).unwrap();
    let mut all = variables(Value::Object(resolved.effective));
    all.generated = object(json!({
        "admin": "hunter2", "keyfile": "a2V5", "tls": {"ca": "PEM", "key": "k", "certificate": "c"},
    }));
    all
}

#[test]
fn parameters_are_judged_by_pointer_and_rule() {
    let loaded = medium();
    let sent = object(json!({"version": "9.9", "extra": 1}));
    let violations = loaded.bundle().create_parameters(&sent).unwrap_err();
    let text: Vec<_> = violations.iter().map(ToString::to_string).collect();
    assert!(
        text.contains(&"/version must be one of \"7.0\", \"8.0\"".to_owned()),
        "{text:?}"
    );
    assert!(
        text.contains(&"/extra is not a parameter of this plan".to_owned()),
        "{text:?}"
    );
}

#[test]
fn an_update_keeps_what_it_does_not_name() {
    let loaded = medium();
    let bundle = loaded.bundle();
    let made = bundle
        .create_parameters(&object(json!({"version": "7.0"})))
        .unwrap();
    assert_eq!(
        json!(made.effective),
        json!({"version": "7.0", "tls": "preferred"})
    );
    let updated = bundle
        .update_parameters(&made, &object(json!({"version": "8.0"})))
        .unwrap();
    assert_eq!(
        json!(updated.effective),
        json!({"version": "8.0", "tls": "preferred"})
    );
    let refused = bundle.update_parameters(&made, &object(json!({"tls": "required"})));
    assert_eq!(
        refused.unwrap_err()[0].to_string(),
        "/tls cannot be changed"
    );
    let bound = bundle.bind_parameters(&object(json!({}))).unwrap();
    assert_eq!(json!(bound.effective), json!({"roles": ["readWrite"]}));
}

#[test]
fn files_outputs_and_the_database_of_a_binding() {
    let loaded = medium();
    let mut variables = ordered(&loaded, json!({"version": "7.0"}));
    assert_eq!(loaded.files(), ["1-base.yaml", "10-members.yaml"]);

    let base = loaded.render_file("1-base.yaml", &variables).unwrap();
    assert_eq!(base.objects.len(), 4);
    assert_eq!(base.objects[1]["stringData"]["admin"], json!("hunter2"));
    variables.outputs = loaded.outputs(&variables, &base.objects).unwrap();
    assert_eq!(
        json!(variables.outputs),
        json!({
            "replica_set": "mdb",
            "hosts": [
                "mdb-0.mdb.ns-abc.svc.cluster.local:27017",
                "mdb-1.mdb.ns-abc.svc.cluster.local:27017",
                "mdb-2.mdb.ns-abc.svc.cluster.local:27017",
            ],
        })
    );
    assert!(loaded.missing_outputs(&variables.outputs).is_empty());

    let members = loaded.render_file("10-members.yaml", &variables).unwrap();
    let set = &members.objects[0];
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(set["spec"]["replicas"], json!(3));
    assert_eq!(container["image"], json!("docker.io/library/mongo:7.0.x"));
    assert_eq!(container["args"][1], json!("--wiredTigerCacheSizeGB=1.5"));
    assert_eq!(
        container["resources"]["limits"],
        json!({"cpu": "2", "memory": "4Gi"})
    );
    let claim = &set["spec"]["volumeClaimTemplates"][0]["spec"];
    assert_eq!(claim.get("storageClassName"), None);
    assert_eq!(members.objects.len(), 2);

    let database = loaded.database(&variables).unwrap();
    assert_eq!(database.hosts.len(), 3);
    assert_eq!(database.replica_set.as_deref(), Some("mdb"));
    assert_eq!(database.admin.username, "osb-admin");
    assert_eq!(database.admin.password, "hunter2");
    assert_eq!(database.tls.mode, TlsMode::Preferred);
    assert_eq!(database.tls.ca.as_deref(), Some("PEM"));
    assert_eq!(database.endpoints()[2].port, "27017");
    assert_eq!(
        database.endpoints()[2].host,
        "mdb-2.mdb.ns-abc.svc.cluster.local"
    );
    assert!(!format!("{database:?}").contains("hunter2"));
}

#[test]
fn what_to_generate_has_its_names_filled_in() {
    let loaded = medium();
    let generate = loaded.generate(&ordered(&loaded, json!({}))).unwrap();
    let Generate::Certificate { sans, .. } = &generate["tls"] else {
        panic!("no certificate")
    };
    assert_eq!(*sans, [Text("*.mdb.ns-abc.svc.cluster.local".to_owned())]);
    assert_eq!(generate["admin"], Generate::Password { length: 32 });
}

#[test]
fn the_plans_own_rule_and_message_are_used() {
    let loaded = medium();
    let variables = ordered(&loaded, json!({}));
    let now = "2026-11-24T12:00:00Z".parse().unwrap();
    let live = |ready: Option<u32>, observed: u32| {
        let mut status = json!({"observedGeneration": observed, "updatedReplicas": 3});
        if let Some(ready) = ready {
            status["readyReplicas"] = json!(ready);
        }
        json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": {"name": "mdb", "generation": 2}, "spec": {"replicas": 3},
            "status": status,
        })
    };
    let judge = |object: &Value| loaded.readiness(object, object, &variables, now);
    assert_eq!(judge(&live(Some(3), 2)), Readiness::Ready);
    let waiting = |text: &str| Readiness::Waiting(format!("StatefulSet/mdb: {text}"));
    assert_eq!(judge(&live(Some(2), 2)), waiting("2 of 3 members ready"));
    assert_eq!(judge(&live(None, 2)), waiting("0 of 3 members ready"));
    assert!(matches!(judge(&live(Some(3), 1)), Readiness::Waiting(_)));
}

#[test]
fn an_output_of_a_live_object_comes_when_the_object_has_it() {
    let descriptor = "outputs:\n  ip: \"{{ objects['Service/s'].status.loadBalancer.ingress[0].ip }}\"\n  uri: \"mongodb://{{ outputs.ip }}\"\n";
    let template =
        "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {type: LoadBalancer}\n";
    let loaded = crate::support::load(descriptor, template);
    let variables = variables(json!({}));
    let mut service = loaded
        .render_file("t.yaml", &variables)
        .unwrap()
        .objects
        .remove(0);
    let none = loaded.outputs(&variables, &[service.clone()]).unwrap();
    assert!(none.is_empty());
    assert_eq!(loaded.missing_outputs(&none), ["ip", "uri"]);
    service["status"] = json!({"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}});
    let known = loaded.outputs(&variables, &[service]).unwrap();
    assert_eq!(
        json!(known),
        json!({"ip": "10.0.0.1", "uri": "mongodb://10.0.0.1"})
    );
}

#[test]
fn the_content_of_a_secret_does_not_reach_outputs() {
    let descriptor = "outputs:\n  pw: \"{{ objects['Secret/s'].stringData.k }}\"\n  \
                      version: \"{{ objects['Secret/s'].metadata.resourceVersion }}\"\n";
    let template = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: hunter2}\n";
    let loaded = crate::support::load(descriptor, template);
    let variables = variables(json!({}));
    let file = loaded.render_file("t.yaml", &variables).unwrap();
    let mut secret = file.objects.into_iter().next().unwrap();
    secret["metadata"]["resourceVersion"] = json!("7");
    let known = loaded.outputs(&variables, &[secret]).unwrap();
    assert_eq!(json!(known), json!({"version": "7"}));
}

#[test]
fn a_secret_of_the_operator_is_in_no_bundle() {
    let descriptor = "secrets: {s3: {name: my-s3}}\n";
    let template = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: \"{{ secrets.s3.accessKey }}\"}\n";
    let loaded = crate::support::load(descriptor, template);
    let mut variables = variables(json!({}));
    variables.secrets = object(json!({"s3": {"accessKey": "hunter2"}}));
    let file = loaded.render_file("t.yaml", &variables).unwrap();
    assert_eq!(file.objects[0]["stringData"]["k"], json!("hunter2"));
    assert!(!String::from_utf8_lossy(loaded.bundle().to_bytes()).contains("hunter2"));
    variables.secrets.clear();
    assert!(loaded.render_file("t.yaml", &variables).is_err());
}
