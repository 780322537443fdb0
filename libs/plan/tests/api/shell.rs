//! What a user writes reaches a shell as it is, or not at all: rendered command lines are run in a
//! real `sh`, as the kubelet would have them run.

use std::collections::BTreeMap;
use std::process::Command;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{load, variables};

const DESCRIPTOR: &str =
    "parameters: {create: {required: [note], properties: {note: {type: string}}}}\n";

/// A container that prints the user's text, in a way that lint allows.
fn container(command: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec:\n  containers:\n  - name: a\n    \
         env:\n    - {{name: SECRET, value: hunter2}}\n    - {{name: NOTE, value: \"{{{{ note }}}}\"}}\n    \
         {command}\n"
    )
}

/// What the kubelet makes of a text: `$(NAME)` is the variable if there is one, `$$` is `$`.
fn expanded(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
            match variables.get(name) {
                Some(value) => out.push_str(value),
                None => out.extend(["$(", name, ")"]),
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out + rest
}

/// Starts a container's process as the kubelet does, and returns what it prints.
fn run(container: &Value) -> String {
    let mut environment = BTreeMap::new();
    for variable in container["env"].as_array().into_iter().flatten() {
        let value = expanded(variable["value"].as_str().unwrap(), &environment);
        environment.insert(variable["name"].as_str().unwrap().to_owned(), value);
    }
    let items = |key: &str| container[key].as_array().cloned().unwrap_or_default();
    let line: Vec<String> = items("command")
        .iter()
        .chain(&items("args"))
        .map(|item| expanded(item.as_str().unwrap(), &environment))
        .collect();
    let output = Command::new(&line[0])
        .args(&line[1..])
        .env_clear()
        .envs(&environment)
        .env("PATH", "/usr/bin:/bin")
        .output()
        .unwrap();
    assert!(output.status.success(), "{line:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn a_value_is_never_run(
        note in prop_oneof![
            "[$()`'\"\\\\;&|<>{}!#*? \\n=-]{0,6}(SECRET|id|echo x)?[$()`'\"\\\\;&|<>{}!#*? \\n=-]{0,6}",
            "\\PC{0,12}",
        ].prop_filter("no value", |note| !note.contains(['\0', '\u{E000}', '\u{E001}']))
    ) {
        for command in [
            "command: [sh, -c, 'printf \"%s\" \"$1\"', --, \"{{ note }}\"]",
            "command: [sh, -c, 'printf \"%s\" \"$NOTE\"']",
            "command: [printf, \"%s\", \"{{ note }}\"]",
            "command: [printf, \"%s\"]\n    args:\n    - {{ note }}",
        ] {
            let loaded = load(DESCRIPTOR, &container(command));
            let file = loaded.render_file("t.yaml", &variables(json!({"note": note}))).unwrap();
            let printed = run(&file.objects[0]["spec"]["containers"][0]);
            prop_assert_eq!(&printed, &note, "{}", command);
        }
    }
}
