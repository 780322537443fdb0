//! A value never becomes syntax.

use plan::Loaded;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::support::{load, object, only, variables};

const OPEN: &str = "parameters: {create: {additionalProperties: true}}\nkinds: [v1/ConfigMap]\n";

/// The object of a template that is put in a ConfigMap's `x:`.
fn rendered(template: &str, parameters: Value) -> Result<Value, String> {
    let loaded = open(template);
    let file = loaded
        .render_file("t.yaml", &variables(parameters))
        .map_err(|e| e.to_string())?;
    Ok(file.objects[0].clone())
}

/// A plan whose template may use any parameter; samples have none, and render another object.
fn open(template: &str) -> Loaded {
    let guarded = format!(
        "{{% if v is defined %}}\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\n{template}\n{{% else %}}\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: d}}\n{{% endif %}}\n"
    );
    load(OPEN, &guarded)
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e15..1e15f64).prop_map(Value::from),
        "[^\u{E000}\u{E001}]*".prop_map(Value::from),
        prop::sample::select(vec![
            "x: y\nz: 1\n# ",
            "{{ 7*7 }}",
            "{% raw %}",
            "---\na: b",
            "yes",
            "012",
            "~",
            "null",
            "",
            "'",
            "\"",
            "'\"\\",
            "- a",
            "#",
            "*a",
            "&a",
            "!!int 3",
            "|",
            ">",
            "[",
            "{",
            "%YAML",
            "\u{2028}",
            "\u{85}",
            "\u{FEFF}",
            "\0",
            "\r\n",
            "\t",
            " lead",
            "trail ",
            ": ",
            "@",
            "`",
            "0x1F",
            "1e3",
            ".inf",
            "<<",
            "=",
            "true",
            "{{",
            "}}",
            "{#",
            "\\u0041",
        ])
        .prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[^\u{E000}\u{E001}]{0,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_plain_scalar_takes_any_value_with_its_type(v in value()) {
        let template = "data:\n  before: 1\n  x: {{ v }}\n  l: [{{ v }}, {{ parameters.v }}]\n  after: 2";
        let found = rendered(template, json!({"v": v})).unwrap();
        prop_assert_eq!(&found["data"], &json!({"before": 1, "x": v, "l": [v, v], "after": 2}));
        let keys: Vec<_> = object(found).keys().cloned().collect();
        prop_assert_eq!(keys, ["apiVersion", "data", "kind", "metadata"]);
    }

    #[test]
    fn quoted_block_and_mixed_scalars_hold_the_text_of_a_value(v in scalar()) {
        let template = "data:\n  d: \"{{ v }}\"\n  s: '{{ v }}'\n  m: a-{{ v }}-b\n  f: >-\n    {{ v }}\n  b: |\n    {{ v }}\n    end\n  k: {{ v | tojson }}";
        let found = rendered(template, json!({"v": v})).unwrap();
        let text = text_of(&v);
        prop_assert_eq!(&found["data"], &json!({
            "d": text, "s": text, "m": format!("a-{text}-b"), "f": text,
            "b": format!("{text}\nend\n"), "k": v.to_string(),
        }));
    }

    #[test]
    fn a_key_is_the_text_of_a_value(v in "[^\u{E000}\u{E001}]{1,20}") {
        prop_assume!(v != "other");
        let found = rendered("data:\n  {{ v }}: 1\n  other: 2", json!({"v": v})).unwrap();
        prop_assert_eq!(&found["data"], &json!({v: 1, "other": 2}));
    }

    #[test]
    fn macros_stay_structural(v in scalar()) {
        let template = "{% macro pair(k, v) %}\n  {{ k }}: {{ v }}\n  {{ k }}-text: \"{{ v }}\"\n{% endmacro %}data:{{ pair('a', v) }}{% call wrap() %}x{% endcall %}\n  z: 1";
        let template = template.replace("data:", "{% macro wrap() %}\n  w: {{ caller() }}{% endmacro %}data:");
        let found = rendered(&template, json!({"v": v})).unwrap();
        prop_assert_eq!(&found["data"], &json!({"a": v, "a-text": text_of(&v), "w": "x", "z": 1}));
    }

    #[test]
    fn a_forged_marker_is_refused(before in ".{0,5}", digits in "[0-9a-f]{0,32}", n in 0..4u8) {
        let v = format!("{before}\u{E000}{digits}.{n}\u{E001}");
        for template in ["x: {{ v }}", "x: \"{{ v }}\"", "x:\n  {{ v }}: 1", "x: {{ v | tojson }}", "x: {{ [v] }}"] {
            let error = rendered(template, json!({"v": v})).unwrap_err();
            prop_assert!(error.contains("U+E000"), "{}", error);
        }
    }
}

#[test]
fn the_two_famous_strings_come_out_as_they_are() {
    for text in ["x: y\nz: 1\n# ", "{{ 7*7 }}"] {
        let found = rendered("data:\n  a: {{ v }}\n  b: \"{{ v }}\"", json!({"v": text})).unwrap();
        assert_eq!(found["data"], json!({"a": text, "b": text}));
    }
}

#[test]
fn numbers_strings_and_objects_keep_their_types() {
    let template = "spec:\n  port: {{ v.port }}\n  quoted: \"{{ v.port }}\"\n  name: mdb-{{ name }}\n  float: {{ v.float }}\n  whole: {{ v.whole }}\n  resources: {{ v.resources }}\n  literal: [1, 0x10, true, 8.0.1, 1.5, text, \"012\"]";
    let v = json!({"port": 80, "float": 1.5, "whole": 5.0, "resources": {"cpu": "1"}});
    assert_eq!(
        rendered(template, json!({"v": v})).unwrap()["spec"],
        json!({
            "port": 80, "quoted": "80", "name": "mdb-mabc", "float": 1.5, "whole": 5.0,
            "resources": {"cpu": "1"}, "literal": [1, 16, true, "8.0.1", 1.5, "text", "012"],
        })
    );
}

#[test]
fn a_null_drops_its_key_and_has_no_text() {
    let template = "spec:\n  a: {{ v }}\n  b: 1\n  c: ~\n  d: {{ {'x': none, 'z': 1} }}";
    let found = rendered(template, json!({"v": null})).unwrap();
    assert_eq!(found["spec"], json!({"b": 1, "d": {"z": 1}}));
    let error = rendered("a: \"{{ v }}\"", json!({"v": null})).unwrap_err();
    assert!(error.contains("null cannot stand inside text"), "{error}");
}

#[test]
fn keys_that_repeat_after_substitution_are_refused_without_being_shown() {
    let template = "data:\n  {{ v }}: 1\n  \"{{ v }}\": 2";
    let error = rendered(template, json!({"v": "hunter2"})).unwrap_err();
    assert!(
        error.contains("duplicate key") && !error.contains("hunter2"),
        "{error}"
    );
}

#[test]
fn an_error_has_the_place_in_the_template_and_no_value() {
    let template = "data:\n  a: {{ v }}\n\n  b: \"{{ w.x.y }}\"";
    let error = rendered(template, json!({"v": "a\nb\nc\nhunter2", "w": {}})).unwrap_err();
    assert!(error.starts_with("t.yaml:9:"), "{error}");
    let template = "data:\n  a: {{ v }}\n  b: {{ v | int }}";
    let error = rendered(template, json!({"v": "hunter2"})).unwrap_err();
    assert!(!error.contains("hunter2"), "{error}");
    let template = "data:\n  a: |\n    {{ v }}\n  b: \"x{{ w }}\"";
    let error = rendered(template, json!({"v": "a\nb\nc", "w": ["hunter2"]})).unwrap_err();
    assert!(
        error.starts_with("t.yaml:9:6: a list or an object cannot stand inside text"),
        "{error}"
    );
}

#[test]
fn what_a_filter_does_to_a_macro_is_refused_or_structural() {
    let template = "{% macro m() %}a{{ v }}{% endmacro %}data:\n  a: {{ m() | upper }}";
    match rendered(template, json!({"v": "x: y\n"})) {
        Ok(found) => assert_eq!(found["data"]["a"], json!("Ax: y\n")),
        Err(error) => assert!(error.contains("U+E000"), "{error}"),
    }
    let template = "{% macro m() %}{{ v }}{% endmacro %}data:\n  a: {{ m() ~ v }}\n  b: {{ m() | replace('a', v) }}\n  c: {{ [m(), v] | join(v) }}";
    let found = rendered(template, json!({"v": "\n  x: 1"})).unwrap();
    assert_eq!(object(found["data"].clone()).len(), 3);
}

#[test]
fn a_comparison_sees_values_and_undefined_is_an_error() {
    let template = "data:\n  a: {{ 1 if v == 'b' else 2 }}\n  c: {{ v | default('x') | upper }}";
    assert_eq!(
        rendered(template, json!({"v": "b"})).unwrap()["data"],
        json!({"a": 1, "c": "B"})
    );
    for template in [
        "a: {{ w.x }}",
        "a: {{ w.x | tojson }}",
        "a: {{ [w.x] }}",
        "a: {{ 1 if w.x }}",
        "a: {{ 1 if false }}",
    ] {
        assert!(
            rendered(template, json!({"v": 1, "w": {}})).is_err(),
            "{template}"
        );
    }
}

#[test]
fn a_rendering_is_bounded() {
    let endless =
        "{% for i in range(9999) %}{% for j in range(9999) %}{{ i }}{% endfor %}{% endfor %}";
    assert!(
        rendered(endless, json!({"v": 1}))
            .unwrap_err()
            .contains("takes too long")
    );
    let deep = "{% macro m() %}{{ m() }}{% endmacro %}a: {{ m() }}";
    assert!(rendered(deep, json!({"v": 1})).is_err());
    let large = "data:\n  {% for i in range(200) %}\n  k{{ i }}: {{ v }}\n  {% endfor %}";
    let error = rendered(large, json!({"v": "x".repeat(100_000)})).unwrap_err();
    assert!(error.contains("larger than"), "{error}");
    let many = "{% for i in range(300) %}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"c{{ i }}\"}\n{% endfor %}";
    assert!(
        rendered(many, json!({"v": 1}))
            .unwrap_err()
            .contains("documents")
    );
}

#[test]
fn anchors_of_the_author_work() {
    let found = rendered("a: &x {b: {{ v }}}\nc: *x", json!({"v": 3})).unwrap();
    assert_eq!(found["c"], json!({"b": 3}));
}

#[test]
fn files_come_in_natural_order_and_empty_documents_go() {
    let config = |name: &str| {
        format!(
            "---\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n---\n# nothing\n"
        )
    };
    let bundle = only(&[
        ("p/a/10-b.yaml", &config("b")),
        ("p/a/2-a.yml", &config("a")),
        ("p/a/100.yaml", "# nothing at all\n"),
    ]);
    let loaded = Loaded::new(bundle).unwrap();
    assert_eq!(loaded.files(), ["2-a.yml", "10-b.yaml", "100.yaml"]);
    let files = loaded.render(&variables(json!({}))).unwrap();
    let counts: Vec<_> = files.iter().map(|f| f.objects.len()).collect();
    assert_eq!(counts, [1, 1, 0]);
}

#[test]
fn a_file_shows_what_it_holds_but_no_content() {
    let loaded = load(
        "{}",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {p: hunter2}\n",
    );
    let file = loaded.render_file("t.yaml", &variables(json!({}))).unwrap();
    let shown = format!("{file:?}");
    assert!(
        shown.contains("Secret/s") && !shown.contains("hunter2"),
        "{shown}"
    );
}
