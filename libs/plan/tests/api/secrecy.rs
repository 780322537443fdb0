//! Secrets stay in Secrets: whatever way a template takes, lint sees where they would show.

use crate::support::{catalog, shown};

const PLAN: &str = "
generate:
  a: {type: password, length: 16}
  k: {type: key, bytes: 24}
  t: {type: certificate, sans: [x]}
secrets: {s: {name: operator}}
parameters: {create: {properties: {mode: {enum: [hide, show], default: hide}}}}
";

fn faults(template: &str) -> String {
    let catalog = catalog(&[("p/a/plan.yaml", PLAN), ("p/a/t.yaml", template)]);
    assert_eq!(catalog.plans.is_empty(), !catalog.faults.is_empty());
    shown(&catalog)
}

fn map(metadata: &str, data: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{metadata}}}\ndata: {{{data}}}\n")
}

#[test]
fn a_secret_outside_of_a_secret_is_a_fault_that_names_the_place_and_the_remedy() {
    let secret =
        |metadata: &str| format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s{metadata}}}\n");
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers: [{name: c, \
               env: [{name: A, value: \"{{ generated.a }}\"}]}]\n";
    let cases = [
        (
            map(", labels: {l: \"{{ generated.a }}\"}", ""),
            "metadata.labels.l of ConfigMap/c",
        ),
        (
            map(", annotations: {l: \"x{{ secrets.s.any }}\"}", ""),
            "metadata.annotations.l of",
        ),
        (map("", "x: \"{{ generated.k }}\""), "data.x of ConfigMap/c"),
        (
            map("", "x: \"{{ generated.t.key }}\""),
            "data.x of ConfigMap/c",
        ),
        (
            map("-{{ generated.a }}", ""),
            "metadata.name of a ConfigMap",
        ),
        (map("", "\"{{ generated.a }}\": x"), "data of ConfigMap/c"),
        (
            secret(", labels: {l: \"{{ generated.a }}\"}"),
            "metadata.labels.l of Secret/s",
        ),
        (pod.to_owned(), "spec.containers[0].env[0].value of Pod/p"),
        // By whatever way.
        (
            map(
                "",
                "x: \"{% if mode == 'show' %}{{ generated.a }}{% endif %}\"",
            ),
            "data.x of",
        ),
        (
            map("", "x: \"{{ generated.a[12:] | upper }}\""),
            "data.x of",
        ),
        (map("", "x: \"{{ generated.k[0] }}\""), "data.x of"),
        (
            map("", "x: \"{% for c in generated.a %}{{ c }}-{% endfor %}\""),
            "data.x of",
        ),
        (map("", "x: \"{{ generated | tojson }}\""), "data.x of"),
        (
            map("", "x: \"{{ 1 if generated.a < 'o' else 2 }}\""),
            "data.x of",
        ),
        (
            format!(
                "{{% macro m() %}}{{{{ generated.a }}}}{{% endmacro %}}{}",
                map("", "x: \"{{ m() }}\"")
            ),
            "data.x of",
        ),
        (
            format!(
                "{{% set v = {{'k': [secrets.s.x]}} %}}{}",
                map("", "x: \"{{ v.k[0] }}\"")
            ),
            "data.x of",
        ),
    ];
    for (template, place) in cases {
        let found = faults(&template);
        assert!(found.starts_with("p/a/t.yaml:"), "{template}: {found}");
        assert!(found.contains(place), "{template}: {found}");
        assert!(
            found.contains("write it there and refer to that Secret"),
            "{found}"
        );
        for value in ["sample", "c2Ft", "others"] {
            assert!(!found.contains(value), "{template}: {found}");
        }
    }
}

#[test]
fn the_content_of_secrets_and_what_is_public_of_a_certificate_may_stand_where_they_do() {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData:\n  a: \"{{ generated.a }}\"\n  \
                  \"{{ secrets.s.user }}\": \"{{ generated.t.key }}\"\ndata: {k: \"{{ generated.k }}\"}\n---\n";
    let public = map(
        "",
        "ca: \"{{ generated.t.ca }}\", known: \"{{ generated.a is defined }}\"",
    );
    assert_eq!(faults(&format!("{secret}{public}")), "");
}
