//! Cases: what they may say, and how a plan takes them.

use std::sync::Arc;

use plan::case::{Accepted, Case};
use plan::{Bundle, Fault};
use serde_json::json;

use crate::support::{object, only};

const PLAN: &str = "\
parameters:
  create:
    properties:
      color: {enum: [red, blue], default: red}
      owner: {type: string, x-immutable: true, default: a}
      size: {type: integer, minimum: 1, default: 1}
  update: {inherit: create}
  bind: {properties: {role: {enum: [read, write], default: read}}}
outputs: {address: \"{{ objects['ConfigMap/c'].status.address }}\"}
binding: {method: resources}
";

const MAP: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
data: {color: \"{{ color }}\", owner: \"{{ owner }}\", size: \"{{ size }}\"}
";

fn plan() -> Arc<Bundle> {
    only(&[
        ("p/a/plan.yaml", PLAN),
        ("p/a/t.yaml", MAP),
        (
            "p/a/binding/b.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n",
        ),
    ])
}

fn bare() -> Arc<Bundle> {
    only(&[(
        "p/a/t.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n",
    )])
}

fn told(faults: &[Fault]) -> Vec<String> {
    faults.iter().map(ToString::to_string).collect()
}

/// What is wrong with a file.
fn wrong(text: &str, plan: &Bundle) -> Vec<String> {
    let read = Case::read("p/a/tests/x.yaml", text.as_bytes(), plan);
    told(&read.unwrap_err())
}

/// What a case comes to.
fn judged(text: &str) -> Result<Option<Accepted>, Vec<String>> {
    let plan = plan();
    let case = Case::read("p/a/tests/x.yaml", text.as_bytes(), &plan).unwrap();
    case.judge(&plan).map_err(|faults| told(&faults))
}

#[test]
fn what_is_no_case_is_told_with_its_place() {
    let plan = plan();
    for (text, expected) in [
        (
            "parametrs: {}\n",
            ":1:1: unknown key \"parametrs\", did you mean \"parameters\"?",
        ),
        (
            "a: 1\n",
            ":1:1: unknown key \"a\", expected one of parameters, context, outputs, bind, update, refused",
        ),
        ("\nparameters: [a]\n", ":2:13: must be a map, is a list"),
        ("update: {color: red}\n", ":1:9: must be a list, is a map"),
        (
            "update: [red]\n",
            ":1:10: must be a map, is the text \"red\"",
        ),
        (
            "refused: {a: b}\n",
            ":1:10: must be a text or a list of texts, is a map",
        ),
        ("refused: [a, 1]\n", ":1:14: must be a text, is 1"),
        ("refused: []\n", ":1:10: must name what the refusal says"),
        ("refused: \"\"\n", ":1:10: must name what the refusal says"),
        (
            "",
            ":1:1: is empty: a case of the defaults alone is written {}",
        ),
        (
            "# nothing\n",
            ":1:1: is empty: a case of the defaults alone is written {}",
        ),
        ("- a\n", ":1:1: must be a map of keys and values"),
        ("a: 1\n---\nb: 1\n", ":3:1: must be a single document"),
        (
            "outputs: {adress: x}\n",
            ":1:11: unknown output \"adress\", did you mean \"address\"?",
        ),
    ] {
        assert_eq!(
            wrong(text, &plan),
            [format!("p/a/tests/x.yaml{expected}")],
            "{text}"
        );
    }
    let place = "p/a/tests/x.yaml:";
    let no_yaml = wrong("parameters: {a: [}\n", &plan);
    assert!(
        no_yaml[0].starts_with(place) && no_yaml[0].split(':').nth(1) == Some("1"),
        "{no_yaml:?}"
    );
    assert!(wrong("parameters: {a: 1, a: 2}\n", &plan)[0].contains("duplicate key \"a\""));
    let no_text = Case::read("p/a/tests/x.yaml", b"\xff\xfe", &plan).unwrap_err();
    assert!(no_text[0].message.contains("UTF-8"), "{no_text:?}");
    // All that is wrong at once.
    assert_eq!(wrong("a: 1\nupdate: 1\n", &plan).len(), 2);
}

#[test]
fn a_case_asks_for_nothing_that_its_plan_does_not_have() {
    assert_eq!(
        wrong("bind: {}\noutputs: {x: 1}\n", &bare()),
        [
            "p/a/tests/x.yaml:2:11: the plan has no outputs",
            "p/a/tests/x.yaml:1:1: the plan cannot be bound"
        ]
    );
}

#[test]
fn parameters_get_their_defaults_and_updates_follow_each_other() {
    let accepted = judged("{}\n").unwrap().unwrap();
    assert_eq!(
        accepted.parameters,
        object(json!({"color": "red", "owner": "a", "size": 1}))
    );
    assert_eq!(accepted.bind, None);
    let text = "parameters: {size: 2}\nupdate: [{color: blue, size: 3}, {size: null}]\nbind: {}\n";
    let accepted = judged(text).unwrap().unwrap();
    assert_eq!(
        accepted.parameters,
        object(json!({"color": "blue", "owner": "a", "size": 1}))
    );
    assert_eq!(accepted.bind, Some(object(json!({"role": "read"}))));
}

#[test]
fn what_is_refused_is_told_where_it_stands() {
    let file = "p/a/tests/x.yaml";
    for (text, expected) in [
        (
            "parameters: {color: green}\n",
            ":1:14: is refused: /color must be one of \"red\", \"blue\"",
        ),
        (
            "update: [{size: 2}, {owner: b}]\n",
            ":1:22: is refused: /owner cannot be changed",
        ),
        (
            "bind:\n  role: all\n",
            ":2:3: is refused: /role must be one of \"read\", \"write\"",
        ),
    ] {
        assert_eq!(
            judged(text).unwrap_err(),
            [format!("{file}{expected}")],
            "{text}"
        );
    }
}

#[test]
fn a_refusal_that_is_expected_has_each_of_its_texts() {
    for text in [
        "parameters: {color: green}\nrefused: must be one of\n",
        "parameters: {color: green, size: 0}\nrefused: [/size, must be one of]\n",
        "update: [{owner: b}]\nrefused: /owner cannot be changed\n",
        "bind: {role: all}\nrefused: [/role]\n",
    ] {
        assert_eq!(judged(text), Ok(None), "{text}");
    }
    let text = "parameters: {color: green}\nrefused:\n  - /color\n  - cannot be changed\n";
    assert_eq!(
        judged(text).unwrap_err(),
        [
            "p/a/tests/x.yaml:4:5: the refusal has no \"cannot be changed\", it says: /color must be one of \
          \"red\", \"blue\""
        ]
    );
    assert_eq!(
        judged("parameters: {color: red}\nrefused: /color\n").unwrap_err(),
        ["p/a/tests/x.yaml:2:1: nothing is refused"]
    );
}
