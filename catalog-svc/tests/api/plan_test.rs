//! `plan test`: cases of plans, and their golden files.

use std::fs;

use crate::fixture::{Templates, program, shown};

const PLAN: &str = "\
parameters:
  create: {properties: {color: {enum: [red, blue], default: red}, size: {type: integer, maximum: 9, default: 1}}}
  update: {inherit: create}
  bind: {properties: {role: {enum: [read, write], default: read}}}
outputs:
  label: \"{{ color }}-{{ size }}\"
  address: \"{{ objects['ConfigMap/map'].status.address }}\"
binding: {method: resources}
";

const MAP: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: {name: map}
data: {color: \"{{ color }}\", size: \"{{ size }}\", platform: \"{{ context.platform | default('none') }}\"}
";

const ADDRESS: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: {name: address}
data: {at: \"{{ outputs.address | default('nowhere') }}\"}
";

const LOGIN: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: {name: login}
data: {role: \"{{ binding.parameters.role }}\"}
";

/// One plan, `acme/map`, with some cases.
fn templates(cases: &[(&str, &str)]) -> Templates {
    let templates = Templates::new();
    templates.write("acme/map/plan.yaml", PLAN);
    templates.write("acme/map/1-map.yaml", MAP);
    templates.write("acme/map/2-address.yaml", ADDRESS);
    templates.write("acme/map/binding/login.yaml", LOGIN);
    for (name, text) in cases {
        templates.write(&format!("acme/map/tests/{name}.yaml"), text);
    }
    templates
}

/// The exit code, and what is printed with the paths from the root.
fn test(arguments: &[&str], templates: &Templates) -> (Option<i32>, String) {
    let output = program()
        .args(["plan", "test"])
        .args(arguments)
        .arg(templates.path())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    (
        output.status.code(),
        text.replace(&shown(&templates.path(), ""), ""),
    )
}

fn golden(templates: &Templates, name: &str) -> Option<String> {
    let file = format!("acme/map/tests/{name}.golden.yaml");
    fs::read_to_string(templates.path().join(file)).ok()
}

fn files(templates: &Templates) -> Vec<String> {
    let folder = fs::read_dir(templates.path().join("acme/map/tests")).unwrap();
    let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[test]
fn a_golden_file_is_what_render_prints_for_the_case() {
    let case = "parameters: {color: blue}\ncontext: {platform: kubernetes}\nbind: {role: write}\n";
    let templates = templates(&[("blue", case)]);
    assert_eq!(
        test(&[], &templates),
        (
            Some(1),
            "acme/map/tests/blue.golden.yaml: there is no such file; --update writes it\n\
             0 cases of 1 plan passed, 1 failed\n"
                .to_owned()
        )
    );
    let (code, out) = test(&["--update"], &templates);
    assert_eq!(code, Some(0), "{out}");
    assert_eq!(
        out,
        "acme/map/tests/blue.golden.yaml: written\n1 case of 1 plan passed\n"
    );
    let output = program()
        .args(["plan", "render", "--plan", "acme/map", "--outputs"])
        .args([
            "--parameters",
            "{\"color\": \"blue\"}",
            "--bind",
            "{\"role\": \"write\"}",
        ])
        .args(["--context", "{\"platform\": \"kubernetes\"}"])
        .arg(templates.path())
        .output()
        .unwrap();
    let rendered = String::from_utf8(output.stdout).unwrap();
    assert_eq!(golden(&templates, "blue"), Some(rendered.clone()));
    for part in [
        "color: blue",
        "platform: kubernetes",
        "role: write",
        "at: nowhere",
        "# outputs\nlabel: blue-1",
    ] {
        assert!(rendered.contains(part), "{part}: {rendered}");
    }

    // Once more changes nothing, and neither does how a checkout ends lines.
    let before = fs::metadata(templates.path().join("acme/map/tests/blue.golden.yaml")).unwrap();
    assert_eq!(
        test(&["--update"], &templates).1,
        "1 case of 1 plan passed\n"
    );
    let after = fs::metadata(templates.path().join("acme/map/tests/blue.golden.yaml")).unwrap();
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());
    templates.write(
        "acme/map/tests/blue.golden.yaml",
        &rendered.replace('\n', "\r\n"),
    );
    assert_eq!(test(&[], &templates).0, Some(0));
}

#[test]
fn a_difference_is_shown_line_by_line() {
    let templates = templates(&[("default", "{}\n")]);
    assert_eq!(test(&["--update"], &templates).0, Some(0));
    let before = golden(&templates, "default").unwrap();
    templates.write(
        "acme/map/1-map.yaml",
        &MAP.replace("name: map", "name: plan"),
    );
    templates.write(
        "acme/map/plan.yaml",
        &PLAN.replace("ConfigMap/map", "ConfigMap/plan"),
    );
    let (code, out) = test(&[], &templates);
    assert_eq!(code, Some(1));
    assert!(
        out.starts_with(
            "acme/map/tests/default.golden.yaml: is rendered otherwise; --update writes it\n\
             --- golden\n+++ rendered\n@@ -"
        ),
        "{out}"
    );
    assert!(out.contains("\n-  name: map\n+  name: plan\n"), "{out}");
    assert!(
        out.ends_with("\n0 cases of 1 plan passed, 1 failed\n"),
        "{out}"
    );
    assert_eq!(
        golden(&templates, "default"),
        Some(before),
        "only --update writes"
    );
    assert_eq!(test(&["--update"], &templates).0, Some(0));
    assert_eq!(test(&[], &templates).0, Some(0));
    assert_eq!(files(&templates), ["default.golden.yaml", "default.yaml"]);
}

#[test]
fn updates_follow_each_other_and_a_clusters_outputs_are_laid_over() {
    let templates = templates(&[
        (
            "grown",
            "parameters: {color: blue}\nupdate: [{size: 2}, {size: 3, color: null}]\n",
        ),
        ("known", "outputs: {address: h-1}\n"),
    ]);
    assert_eq!(test(&["--update"], &templates).0, Some(0));
    let grown = golden(&templates, "grown").unwrap();
    assert!(
        grown.contains("color: red") && grown.contains("# outputs\nlabel: red-3\n"),
        "{grown}"
    );
    let known = golden(&templates, "known").unwrap();
    assert!(
        known.contains("at: h-1") && known.contains("address: h-1\nlabel: red-1\n"),
        "{known}"
    );
}

#[test]
fn what_should_be_refused_is_and_has_no_golden_file() {
    let templates = templates(&[
        ("big", "parameters: {size: 10}\nrefused: /size\n"),
        (
            "grown",
            "update: [{size: 2}, {size: 10}]\nrefused: [/size]\n",
        ),
        (
            "all",
            "bind: {role: all}\nrefused: [/role, must be one of]\n",
        ),
    ]);
    assert_eq!(
        test(&[], &templates),
        (Some(0), "3 cases of 1 plan passed\n".to_owned())
    );
    templates.write("acme/map/tests/big.golden.yaml", "old");
    let stale =
        "acme/map/tests/big.golden.yaml: no case is rendered as this; --update removes it\n";
    assert_eq!(
        test(&[], &templates),
        (
            Some(1),
            format!("{stale}3 cases of 1 plan passed; 1 fault\n")
        )
    );
    let (code, out) = test(&["--update"], &templates);
    assert_eq!(code, Some(0));
    assert_eq!(
        out,
        "acme/map/tests/big.golden.yaml: removed\n3 cases of 1 plan passed\n"
    );
    assert_eq!(files(&templates), ["all.yaml", "big.yaml", "grown.yaml"]);

    templates.write(
        "acme/map/tests/big.yaml",
        "parameters: {size: 10}\nrefused: /color\n",
    );
    templates.write(
        "acme/map/tests/grown.yaml",
        "update: [{size: 2}]\nrefused: [/size]\n",
    );
    templates.write("acme/map/tests/all.yaml", "bind: {role: all}\n");
    let (code, out) = test(&["--update"], &templates);
    assert_eq!(code, Some(1));
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(
        lines[0],
        "acme/map/tests/all.yaml:1:8: is refused: /role must be one of \"read\", \"write\""
    );
    assert!(
        lines[1].starts_with(
            "acme/map/tests/big.yaml:2:1: the refusal has no \"/color\", it says: /size "
        ),
        "{out}"
    );
    assert_eq!(
        lines[2],
        "acme/map/tests/grown.yaml:2:1: nothing is refused"
    );
    assert_eq!(lines[3..], ["0 cases of 1 plan passed, 3 failed"]);
    assert_eq!(files(&templates).len(), 3, "nothing is written for them");
}

#[test]
fn a_case_with_a_fault_keeps_its_golden_file() {
    let templates = templates(&[
        ("a", "parametrs: {}\n"),
        ("b", ""),
        ("c", "a: [\n"),
        ("d", "{}\n"),
    ]);
    templates.write("acme/map/tests/a.golden.yaml", "old");
    let (code, out) = test(&["--update"], &templates);
    assert_eq!(code, Some(1));
    for line in [
        "acme/map/tests/a.yaml:1:1: unknown key \"parametrs\", did you mean \"parameters\"?",
        "acme/map/tests/b.yaml:1:1: is empty: a case of the defaults alone is written {}",
        "acme/map/tests/d.golden.yaml: written",
        "1 case of 1 plan passed, 3 failed",
    ] {
        assert!(out.lines().any(|found| found == line), "{line}: {out}");
    }
    assert!(out.contains("\nacme/map/tests/c.yaml:"), "{out}");
    assert_eq!(golden(&templates, "a").as_deref(), Some("old"));
}

#[test]
fn a_golden_file_without_its_case_is_told_of_and_removed() {
    let templates = templates(&[]);
    templates.write("acme/map/tests/gone.golden.yaml", "old");
    let (code, out) = test(&[], &templates);
    assert_eq!(code, Some(1));
    assert_eq!(
        out,
        "acme/map/tests/gone.golden.yaml: no case is rendered as this; --update removes it\n\
         0 cases of 0 plans passed; 1 plan has none; 1 fault\n"
    );
    assert_eq!(test(&["--update"], &templates).0, Some(0));
    assert_eq!(files(&templates), [""; 0]);
}

#[test]
fn plans_with_a_fault_fail_and_the_others_are_tested() {
    let templates = templates(&[("default", "{}\n")]);
    templates.plan("other", "");
    templates.plan("broken", "nonsense: 1\n");
    templates.write("mongodb/broken/tests/a.yaml", "{}\n");
    let (code, out) = test(&["--update"], &templates);
    assert_eq!(code, Some(1));
    let lines: Vec<_> = out.lines().collect();
    assert!(
        lines[0].starts_with("mongodb/broken/plan.yaml:7:1: unknown key \"nonsense\""),
        "{out}"
    );
    assert_eq!(
        lines[1..],
        [
            "acme/map/tests/default.golden.yaml: written",
            "1 case of 1 plan passed; 1 plan has none; 1 fault"
        ]
    );

    assert_eq!(
        test(&["--plan", "acme/map"], &templates),
        (Some(0), "1 case of 1 plan passed\n".to_owned())
    );
    let (code, out) = test(&["--plan", "mongodb/broken"], &templates);
    assert_eq!(code, Some(1));
    assert!(out.contains("mongodb/broken is not a valid plan"), "{out}");
    assert_eq!(test(&["--plan", "acme"], &templates).0, Some(64));
}

#[test]
fn plans_without_cases_are_counted() {
    let templates = Templates::with_plan();
    templates.plan("other", "");
    assert_eq!(
        test(&[], &templates),
        (
            Some(0),
            "0 cases of 0 plans passed; 2 plans have none\n".to_owned()
        )
    );
    assert_eq!(
        program()
            .args(["plan", "test", "/does/not/exist"])
            .output()
            .unwrap()
            .status
            .code(),
        Some(64)
    );
}

#[test]
fn cases_that_nothing_would_look_at_are_faults() {
    let templates = templates(&[("default", "{}\n")]);
    templates.write("acme/map/tests/README.md", "x");
    templates.write("acme/map/tests/more/a.yaml", "{}\n");
    templates.write("acme/map/tests/b.yml", "{}\n");
    templates.write("acme/mpa/tests/a.yaml", "{}\n");
    templates.write("acme/_base/1.yaml", "");
    templates.write("acme/_base/tests/a.yaml", "{}\n");
    let (code, out) = test(&["--update"], &templates);
    assert_eq!(code, Some(1));
    assert_eq!(
        out,
        "acme/_base/tests: a base cannot be ordered, and what extends it inherits no cases: put them into a plan\n\
         acme/map/tests/b.yml: would not be looked at: the name of a case ends with .yaml\n\
         acme/map/tests/more/a.yaml: cases are in tests/ itself, not in folders of it\n\
         acme/mpa/tests: there is no plan beside these cases\n\
         acme/map/tests/default.golden.yaml: written\n\
         1 case of 1 plan passed; 4 faults\n"
    );
}

#[test]
fn a_plan_that_a_later_root_replaces_is_replaced_with_its_cases() {
    let (shipped, site) = (
        templates(&[("shipped", "{}\n")]),
        templates(&[("site", "{}\n")]),
    );
    let output = program()
        .args(["plan", "test", "--update"])
        .args([shipped.path(), site.path()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(files(&shipped), ["shipped.yaml"]);
    assert_eq!(files(&site), ["site.golden.yaml", "site.yaml"]);
}

#[test]
fn a_plan_with_cases_is_served_and_printed_as_one_without() {
    let templates = templates(&[("default", "{}\n"), ("broken", "a: [\n")]);
    let run = |arguments: &[&str]| {
        let output = program()
            .args(arguments)
            .arg(templates.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(
        run(&["plan", "lint", "--strict"]),
        "1 valid plan, 0 faults\n"
    );
    let map = run(&["plan", "configmap", "--plan", "acme/map"]);
    let map: serde_json::Value = serde_saphyr::from_str(&map).unwrap();
    let keys: Vec<_> = map["data"].as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "1-map.yaml",
            "2-address.yaml",
            "binding.login.yaml",
            "plan.yaml"
        ]
    );
}

#[test]
fn render_applies_the_schema_of_a_binding_and_says_how_logins_are_made() {
    let templates = templates(&[]);
    let output = program()
        .args([
            "plan",
            "render",
            "--plan",
            "acme/map",
            "--bind",
            "{\"role\": \"all\"}",
        ])
        .arg(templates.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("/role must be one of") && told.contains("passed by --bind"),
        "{told}"
    );

    templates.write(
        "acme/map/plan.yaml",
        &PLAN.replace(
            "{method: resources}",
            "{method: database, hosts: '[outputs.address]', admin: {username: a, password: generated.a}}\n\
             generate: {a: {type: password}}",
        ),
    );
    fs::remove_dir_all(templates.path().join("acme/map/binding")).unwrap();
    templates.write(
        "acme/map/tests/known.yaml",
        "outputs: {address: \"h:1\"}\nbind: {}\n",
    );
    templates.write("acme/map/tests/unknown.yaml", "bind: {}\n");
    let (code, out) = test(&["--update"], &templates);
    assert_eq!(code, Some(0), "{out}");
    let known = golden(&templates, "known").unwrap();
    assert!(
        known.contains("# login\n") && known.contains("- h:1\n"),
        "{known}"
    );
    let unknown = golden(&templates, "unknown").unwrap();
    assert!(unknown.contains("\n# login: binding.hosts "), "{unknown}");
}
