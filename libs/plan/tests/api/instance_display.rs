//! What the platform shows of an instance, and how long bindings last.

use plan::descriptor::Server;
use serde_json::json;

use crate::support::{catalog, load, object, only, shown, variables};

const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\n";

const SHOWN: &str = r#"
parameters: {create: {properties: {size: {type: string, default: S}}}}
dashboard_url: "https://{{ name }}.example.com/?size={{ size }}"
labels: {"example.com/size": "{{ size }}", plain: text}
attributes: {members: [{at: "{{ namespace }}"}], count: "{{ 3 }}"}
"#;

#[test]
fn texts_are_filled_from_the_request() {
    let loaded = load(SHOWN, CONFIG);
    let shown = loaded.display(&variables(json!({"size": "M"}))).unwrap();
    assert_eq!(
        shown.dashboard_url.as_deref(),
        Some("https://mabc.example.com/?size=M")
    );
    assert_eq!(shown.labels["example.com/size"], "M");
    assert_eq!(shown.labels["plain"], "text");
    assert_eq!(
        shown.attributes,
        object(json!({"members": [{"at": "ns-abc"}], "count": 3}))
    );
    assert!(loaded.bundle().descriptor().has_display());
}

#[test]
fn a_value_stays_one_part_of_a_url() {
    let plan = "parameters: {create: {properties: {path: {default: a}, port: {default: 7}}}}\n\
                dashboard_url: \"https://d.example.com/{{ path | urlencode }}/{{ port | urlencode }}\"\n";
    let loaded = load(plan, CONFIG);
    for (path, part) in [
        (
            "../../etc/passwd?a#ü",
            "..%2F..%2Fetc%2Fpasswd%3Fa%23%C3%BC",
        ),
        ("a-b.c_d~e", "a-b.c_d~e"),
    ] {
        let shown = loaded.display(&variables(json!({"path": path, "port": 7})));
        let url = shown.unwrap().dashboard_url.unwrap();
        assert_eq!(url, format!("https://d.example.com/{part}/7"));
    }
}

#[test]
fn what_is_not_known_at_once_cannot_be_shown() {
    for (descriptor, place) in [
        (
            "outputs: {a: b}\nlabels:\n  l: \"{{ outputs.a }}\"\n",
            "p/plan/plan.yaml:3:",
        ),
        ("attributes:\n  l: \"{{ open\"\n", "p/plan/plan.yaml:2:"),
    ] {
        let catalog = catalog(&[("p/plan/plan.yaml", descriptor), ("p/plan/t.yaml", CONFIG)]);
        assert!(catalog.plans.is_empty(), "{descriptor}");
        let faults = shown(&catalog);
        assert!(faults.contains(place), "{faults}");
    }
}

#[test]
fn a_binding_lasts_and_is_renewed_before_its_end() {
    let with = |keys: &str| {
        format!(
            "outputs: {{h: [\"h:1\"]}}\ngenerate: {{a: {{type: password}}}}\nbinding:\n  \
             method: database\n  hosts: outputs.h\n  \
             admin: {{username: u, password: generated.a}}\n{keys}"
        )
    };
    let plan =
        with("  expires_in: 2h\n  renew_before: 30m\n  requires_app: true\n  server: shared\n");
    let bundle = only(&[("p/plan/plan.yaml", &plan), ("p/plan/t.yaml", CONFIG)]);
    assert_eq!(bundle.binding_expires_in().unwrap().as_secs(), 7200);
    assert_eq!(bundle.binding_renew_before().unwrap().as_secs(), 1800);
    assert!(bundle.binding_requires_app());
    assert_eq!(bundle.binding_server(), Server::Shared);
    for (keys, fault) in [
        ("  expires_in: 0s\n", "must be longer than 0s"),
        ("  renew_before: 1s\n", "renew_before needs expires_in"),
        ("  expires_in: 1h\n  renew_before: 1h\n", "must be shorter"),
    ] {
        let plan = with(keys);
        let catalog = catalog(&[("p/plan/plan.yaml", &plan), ("p/plan/t.yaml", CONFIG)]);
        assert!(shown(&catalog).contains(fault), "{}", shown(&catalog));
    }
    let other = with("  server: shared\n").replace("method: database", "method: none");
    let catalog = catalog(&[("p/plan/plan.yaml", &other), ("p/plan/t.yaml", CONFIG)]);
    let faults = shown(&catalog);
    assert!(faults.contains("server is of method database"), "{faults}");
}
