//! The commands for those who write plans.

use crate::fixture::{Templates, program, shown};

fn run(arguments: &[&str], templates: &Templates) -> (Option<i32>, String, String) {
    let output = program()
        .args(arguments)
        .arg(templates.path())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn lint_tells_each_fault_with_its_place() {
    let templates = Templates::with_plan();
    let (code, out, _) = run(&["plan", "lint"], &templates);
    assert_eq!((code, out.as_str()), (Some(0), "1 valid plan, 0 faults\n"));

    templates.plan("broken", "");
    templates.write(
        "mongodb/broken/10-map.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ nme }}}\n",
    );
    let (code, out, _) = run(&["plan", "lint"], &templates);
    assert_eq!(code, Some(1));
    let lines: Vec<_> = out.lines().collect();
    let place = shown(&templates.path(), "mongodb/broken/10-map.yaml:3:");
    assert!(lines[0].starts_with(&place), "{out}");
    assert_eq!(lines.last(), Some(&"1 valid plan, 1 fault"), "{out}");
}

#[test]
fn a_folder_that_does_not_exist_is_no_clean_one() {
    let output = program()
        .args(["plan", "lint", "/does/not/exist"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("/does/not/exist")
    );
}

#[test]
fn rbac_prints_no_role_that_lacks_a_faulty_plans_kinds() {
    let templates = Templates::with_plan();
    let (code, out, _) = run(&["plan", "rbac"], &templates);
    assert_eq!(code, Some(0));
    assert!(out.contains("name: mongodb-osb-plans\n"), "{out}");
    assert!(out.contains("resources: [configmaps]\n"), "{out}");

    templates.plan("broken", "nonsense: 1\n");
    let (code, out, err) = run(&["plan", "rbac"], &templates);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("mongodb/broken/plan.yaml:7:"), "{err}");
}

#[test]
fn render_shows_that_a_value_stays_a_value() {
    let templates = Templates::new();
    templates.plan("map", "");
    templates.write(
        "mongodb/map/plan.yaml",
        "parameters: {create: {properties: {color: {type: string}}, required: [color]}}\n",
    );
    let color = "x: y\nz: 1\n# ";
    let parameters = serde_json::json!({ "color": color }).to_string();
    let arguments = [
        "plan",
        "render",
        "--plan",
        "mongodb/map",
        "--parameters",
        &parameters,
    ];
    let (code, out, err) = run(&arguments, &templates);
    assert_eq!(code, Some(0), "{err}");
    let object: serde_json::Value = serde_saphyr::from_str(&out).unwrap();
    assert_eq!(object["data"], serde_json::json!({ "color": color }));

    let arguments = ["plan", "render", "--plan", "mongodb/map"];
    let (code, _, err) = run(&arguments, &templates);
    assert_eq!(code, Some(1));
    assert!(err.contains("color"), "{err}");
}

#[test]
fn the_schemas_for_editors_are_printed() {
    for file in ["plan", "service"] {
        let output = program().args(["plan", "schema", file]).output().unwrap();
        let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(schema["properties"]["description"].is_object(), "{file}");
    }
}

#[test]
fn wrong_arguments_are_told_before_anything_is_bound() {
    let output = program().arg("--no-such-flag").output().unwrap();
    assert_eq!(output.status.code(), Some(64));
}
