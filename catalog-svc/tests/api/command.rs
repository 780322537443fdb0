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
    templates.write("mongodb/map/stray", "x");
    let (code, out, _) = run(&["plan", "lint"], &templates);
    assert_eq!(code, Some(0), "{out}");
    let (code, out, _) = run(&["plan", "lint", "--strict"], &templates);
    assert_eq!(code, Some(1), "{out}");
    templates.remove("mongodb/map/stray");

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
fn lint_prints_for_programs() {
    let templates = Templates::with_plan();
    templates.plan("broken", "");
    templates.write("mongodb/broken/LICENSE", "x");
    templates.write(
        "mongodb/broken/10-map.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ nme }}}\n",
    );
    let (code, out, _) = run(&["plan", "lint", "--format", "json"], &templates);
    assert_eq!(code, Some(1));
    let found: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(found["plans"].as_array().unwrap().len(), 1);
    let file = shown(&templates.path(), "mongodb/broken/10-map.yaml");
    assert_eq!(found["faults"][0]["file"], file);
    assert_eq!(found["faults"][0]["line"], 3);
    let warning = found["warnings"][0]["message"].as_str().unwrap();
    assert!(warning.starts_with("is passed over"), "{warning}");

    let (code, out, _) = run(&["plan", "lint", "--format", "github"], &templates);
    assert_eq!(code, Some(1));
    let lines: Vec<_> = out.lines().collect();
    let place = format!("::error file={file},line=3,col=");
    assert!(lines[0].starts_with(&place), "{out}");
    assert!(lines[1].starts_with("::warning file="), "{out}");
}

#[test]
fn a_new_plan_is_a_valid_one() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("plans");
    let init = |arguments: &[&str]| {
        let mut command = program();
        command.args(["plan", "init"]).args(arguments).arg(&root);
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let (code, out, err) = init(&["--plan", "acme/web"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(
        out.contains("acme/web/1-web.yaml") && !out.contains("To mend"),
        "{out}"
    );
    assert!(out.contains("plan configmap --plan acme/web"), "{out}");
    let (code, _, err) = init(&["--plan", "acme/web"]);
    assert_eq!(code, Some(64));
    assert!(err.contains("acme/web exists already"), "{err}");

    let manifest = folder.path().join("rule.yaml");
    let text =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: r}\ndata: {a: '{{ $labels.x }}'}\n";
    std::fs::write(&manifest, text).unwrap();
    let (code, out, err) = init(&["--plan", "acme/rule", "--from", manifest.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{err}");
    assert!(!out.contains("To mend"), "{out}");
    std::fs::write(&manifest, text.replace("name: r", "name: r, namespace: x")).unwrap();
    let (code, out, _) = init(&["--plan", "acme/mend", "--from", manifest.to_str().unwrap()]);
    assert_eq!(code, Some(0));
    assert!(
        out.contains("To mend:\n") && out.contains("metadata.namespace is not"),
        "{out}"
    );

    let output = program()
        .args(["plan", "lint"])
        .arg(&root)
        .output()
        .unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(out.ends_with("2 valid plans, 1 fault\n"), "{out}");
    for plan in ["acme/web", "acme/rule"] {
        let golden = root.join(plan).join("tests/example.golden.yaml");
        assert!(golden.exists(), "{}", golden.display());
        let tested = program()
            .args(["plan", "test", "--plan", plan])
            .arg(&root)
            .output()
            .unwrap();
        let out = String::from_utf8(tested.stdout).unwrap();
        assert_eq!(out, "1 case of 1 plan passed\n");
    }
    // What is still to be mended has an example, and nothing to compare it with.
    let tests = std::fs::read_dir(root.join("acme/mend/tests")).unwrap();
    assert_eq!(tests.count(), 1);
}

#[test]
fn a_plan_is_printed_as_the_config_map_that_brings_it() {
    let templates = Templates::with_plan();
    templates.write(
        "mongodb/map/binding/login.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: login}\n",
    );
    let arguments = ["plan", "configmap", "--plan", "mongodb/map"];
    let (code, out, err) = run(&arguments, &templates);
    assert_eq!(code, Some(0), "{err}");
    let map: serde_json::Value = serde_saphyr::from_str(&out).unwrap();
    assert_eq!(map["metadata"]["name"], "plan-mongodb-map");
    assert_eq!(map["metadata"]["namespace"], "mongodb-osb-plans");
    assert_eq!(
        map["metadata"]["labels"]["mongodb-osb.io/plan"],
        "mongodb.map"
    );
    assert!(map["data"]["binding.login.yaml"].is_string(), "{out}");

    let (code, _, err) = run(&["plan", "configmap", "--plan", "mongodb/mpa"], &templates);
    assert_eq!(code, Some(64));
    assert!(
        err.contains("there is no mongodb/mpa; there are mongodb/map"),
        "{err}"
    );

    templates.plan("broken", "nonsense: 1\n");
    let (code, out, err) = run(
        &["plan", "configmap", "--plan", "mongodb/broken"],
        &templates,
    );
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("mongodb/broken/plan.yaml:7:"), "{err}");
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
fn rbac_prints_what_is_known_and_names_what_is_not() {
    let templates = Templates::with_plan();
    let (code, out, _) = run(&["plan", "rbac"], &templates);
    assert_eq!(code, Some(0));
    assert!(out.contains("name: mongodb-osb-plans\n"), "{out}");
    assert!(
        out.contains("app.kubernetes.io/part-of: mongodb-osb"),
        "{out}"
    );
    assert!(out.contains("resources: [configmaps]\n"), "{out}");

    templates.plan("broken", "nonsense: 1\n");
    templates.plan("team", "namespace: {shared: team}\n");
    let (code, out, err) = run(&["plan", "rbac"], &templates);
    assert_eq!(code, Some(1));
    assert!(err.contains("mongodb/broken/plan.yaml:7:"), "{err}");
    assert!(
        err.contains("do not apply it where they have instances"),
        "{err}"
    );
    assert!(
        out.contains("# Without mongodb/broken, which has a fault.\n"),
        "{out}"
    );
    assert!(out.contains("resources: [configmaps]\n"), "{out}");
    assert!(
        out.contains(
            "kind: RoleBinding\nmetadata:\n  name: mongodb-osb-plans\n  namespace: team\n"
        ),
        "{out}"
    );
    assert!(
        out.contains("mongodb-osb.io/accepts-instances-of=mongodb-osb"),
        "{out}"
    );
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
fn render_takes_files_and_shows_bindings_and_outputs() {
    let templates = Templates::new();
    templates.write(
        "mongodb/map/plan.yaml",
        "parameters: {create: {properties: {color: {type: string}, size: {type: integer}}, required: [color, size]}}\n\
         outputs: {label: \"{{ color }}-{{ size }}\"}\nbinding: {method: resources}\n",
    );
    let map = |name: &str, data: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{x: \"{data}\"}}\n"
        )
    };
    templates.write("mongodb/map/1.yaml", &map("one", "{{ color }}"));
    templates.write(
        "mongodb/map/binding/2.yaml",
        &map("two", "{{ binding.username }}"),
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "color: red\nsize: 1\n").unwrap();
    let arguments = [
        "plan",
        "render",
        "--plan",
        "mongodb/map",
        "--parameters-file",
        file.path().to_str().unwrap(),
        "--parameters",
        "{\"size\": 2}",
        "--bind",
        "{}",
        "--outputs",
    ];
    let (code, out, err) = run(&arguments, &templates);
    assert_eq!(code, Some(0), "{err}");
    for part in [
        "x: red",
        "# binding/2.yaml",
        "x: username",
        "# outputs\nlabel: red-2",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let (code, _, err) = run(&["plan", "render", "--plan", "mongodb/mpa"], &templates);
    assert_eq!(code, Some(1));
    assert!(err.contains("valid are: mongodb/map"), "{err}");
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
fn what_templates_can_use_is_explained() {
    let explain = |topic: &[&str]| {
        let arguments = [&["plan", "explain"], topic].concat();
        let output = program().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).unwrap()
    };
    let all = explain(&[]);
    for part in [
        "# Variables",
        "    parameters ",
        "    b64encode ",
        "binding.user.yaml",
        "{% raw %}",
    ] {
        assert!(all.contains(part), "{part}: {all}");
    }
    assert!(all.lines().all(|line| line.chars().count() <= 130), "{all}");
    assert!(!explain(&["filters"]).contains("# Variables"));
}

#[test]
fn wrong_arguments_are_told_before_anything_is_bound() {
    let output = program().arg("--no-such-flag").output().unwrap();
    assert_eq!(output.status.code(), Some(64));
}

#[test]
fn docs_tell_users_of_a_plan_what_they_can_choose() {
    let templates = Templates::new();
    templates.write(
        "acme/web/plan.yaml",
        "description: A web server | small\n\
         parameters:\n  create:\n    required: [title]\n    properties:\n      \
         title: {type: string, pattern: '^[a-z]+$', description: \"What it says\"}\n      \
         members: {type: integer, minimum: 1, default: 3}\n  \
         update:\n    properties:\n      members: {type: integer, minimum: 1}\n      \
         again: {type: boolean}\n",
    );
    templates.write(
        "acme/web/1.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\n\
         data: {title: \"{{ title }}\", members: \"{{ members }}\"}\n",
    );
    let (code, out, err) = run(&["plan", "docs", "--plan", "acme/web"], &templates);
    assert_eq!(code, Some(0), "{err}");
    for line in [
        "# acme/web",
        "A web server \\| small",
        "| Operations | asynchronous, at most 12 h |",
        "| Cost | free |",
        "| Objects | v1/ConfigMap, in a namespace of each instance's own |",
        "| Bindings | none |",
        "| `title` | string | pattern `\"^[a-z]+$\"` | required | What it says | no |",
        "| `members` | integer | ≥ `1` | `3` |  | yes |",
        "| `again` | boolean |  |  |  | only later |",
    ] {
        assert!(out.lines().any(|found| found == line), "{line}:\n{out}");
    }
    let (code, out, err) = run(&["plan", "docs", "--plan", "acme/wbe"], &templates);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert_eq!(err, "acme/wbe is not a valid plan; valid are: acme/web\n");
}
