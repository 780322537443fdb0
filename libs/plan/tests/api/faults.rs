//! Every kind of fault names its file and its line.

use crate::support::{catalog, shown, tree};

const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\n";

/// The faults of a plan `p/a` with this descriptor and template, as text.
fn faults(descriptor: &str, template: &str) -> String {
    let catalog = catalog(&[("p/a/plan.yaml", descriptor), ("p/a/t.yaml", template)]);
    assert!(
        catalog.plans.is_empty(),
        "a plan with a fault is not served"
    );
    assert!(
        catalog.offerings.is_empty(),
        "an offering without plans is not shown"
    );
    shown(&catalog)
}

#[track_caller]
fn expect(descriptor: &str, template: &str, fault: &str) {
    let found = faults(descriptor, template);
    assert!(found.contains(fault), "expected {fault:?} in {found:?}");
}

#[test]
fn an_unknown_key_names_the_nearest_one() {
    expect(
        "description: x\nbindble: true\n",
        CONFIG,
        "p/a/plan.yaml:2:1: unknown key \"bindble\", did you mean \"bindable\"?",
    );
    expect(
        "deletion:\n  retian: 7d\n",
        CONFIG,
        "p/a/plan.yaml:2:3: unknown key \"retian\"",
    );
    expect(
        "generate:\n  a: {type: pasword}\n",
        CONFIG,
        "p/a/plan.yaml:2:13: unknown value \"pasword\", did you mean \"password\"?",
    );
    expect(
        "namespace: mine\n",
        CONFIG,
        "p/a/plan.yaml:1:12: unknown value \"mine\"",
    );
}

#[test]
fn a_key_of_another_version_says_what_to_write_instead() {
    for (descriptor, fault) in [
        (
            "free: true\nkeep: [PersistentVolumeClaim]\n",
            "p/a/plan.yaml:2:1: key \"keep\" is not supported by this version",
        ),
        (
            "free: true\nsingleton: false\n",
            "p/a/plan.yaml:2:1: key \"singleton\" is not supported by this version",
        ),
        (
            "maximum_polling_duration: 1200\n",
            "p/a/plan.yaml:1:1: key \"maximum_polling_duration\" is not written in plans: write \
             deadline: {total: 12h}",
        ),
        (
            "generate:\n  tls: {type: certificate, sans: [a], renew_before: 1d}\n",
            "p/a/plan.yaml:2:39: key \"renew_before\" is not supported by this version",
        ),
        (
            "generate:\n  tls: {type: certificate, sans: [a], lifetime: 1d}\n",
            "p/a/plan.yaml:2:39: key \"lifetime\" is not supported by this version",
        ),
        (
            "generate:\n  tls: {type: certificate, sans: [a], issuer: broker}\n",
            "p/a/plan.yaml:2:39: key \"issuer\" is not supported by this version",
        ),
    ] {
        expect(descriptor, CONFIG, fault);
    }
    // A plan can take a key of its base away.
    let mended = catalog(&[
        ("p/_b/plan.yaml", "keep: []\n"),
        ("p/_b/t.yaml", CONFIG),
        ("p/a/plan.yaml", "extends: _b\nkeep: null\n"),
    ]);
    assert_eq!(shown(&mended), "");
}

#[test]
fn a_deadline_has_bounds() {
    for (deadline, fault) in [
        ("{total: 0s}", "deadline.total must be 1s to 7d"),
        ("{total: 8d}", "deadline.total must be 1s to 7d"),
        ("{idle: 2h, total: 1h}", "deadline.idle must be 1s to 1h"),
        ("{idle: 0}", "deadline.idle must be 1s to 12h"),
    ] {
        let found = faults(&format!("free: true\ndeadline: {deadline}\n"), CONFIG);
        assert!(
            found.starts_with("p/a/plan.yaml:2:") && found.contains(fault),
            "{deadline}: {found}"
        );
    }
    for good in ["{}", "{total: 1s}", "{idle: 12h}", "{idle: 1s, total: 7d}"] {
        assert_eq!(
            faults_of(&format!("deadline: {good}\n"), CONFIG),
            "",
            "{good}"
        );
    }
}

#[test]
fn what_is_kept_outside_of_secrets_uses_none() {
    let binding = |keys: &str| {
        format!(
            "generate: {{a: {{type: password}}}}\noutputs: {{h: [\"h:1\"]}}\n\
             secrets: {{s: {{name: s}}}}\nbinding: {{method: database, {keys}}}\n"
        )
    };
    let plan = |key: &str| {
        format!("generate: {{a: {{type: password}}}}\nsecrets: {{s: {{name: s}}}}\n{key}\n")
    };
    let admin = "admin: {username: u, password: generated.a}";
    for (descriptor, path, name) in [
        (plan("outputs: {x: 'mongodb://{{ generated.a }}@h'}"), "outputs.x", "generated"),
        (plan("outputs: {x: [{k: '{{ secrets.s.k }}'}]}"), "outputs.x", "secrets"),
        (plan("outputs: {x: {each: '[generated.a]', value: '{{ item }}'}}"), "outputs.x.each", "generated"),
        (plan("outputs: {x: {each: 'range(1)', value: '{{ generated.a }}'}}"), "outputs.x.value", "generated"),
        (plan("ready: {ConfigMap/c: {message: '{{ generated.a }}'}}"), "ready.ConfigMap/c.message", "generated"),
        (plan("ready: {ConfigMap/c: {ready: 'object.data.x == generated.a'}}"), "ready.ConfigMap/c.ready", "generated"),
        (plan("ready: {ConfigMap/c: {failed: 'secrets.s.k is defined'}}"), "ready.ConfigMap/c.failed", "secrets"),
        (plan("dashboard_url: 'https://{{ generated.a }}'"), "dashboard_url", "generated"),
        (plan("labels: {l: '{{ secrets.s.k }}'}"), "labels.l", "secrets"),
        (plan("attributes: {l: ['{{ generated.a }}']}"), "attributes.l", "generated"),
        (
            "generate:\n  a: {type: password}\n  t: {type: certificate, sans: ['{{ generated.a }}']}\n".to_owned(),
            "generate.t.sans.0",
            "generated",
        ),
        (binding(&format!("hosts: '[generated.a]', {admin}")), "binding.hosts", "generated"),
        (binding(&format!("hosts: outputs.h, replica_set: secrets.s.k, {admin}")), "binding.replica_set", "secrets"),
        (binding(&format!("hosts: outputs.h, database: '{{{{ generated.a }}}}', {admin}")), "binding.database", "generated"),
        (binding(&format!("hosts: outputs.h, tls: {{mode: generated.a}}, {admin}")), "binding.tls.mode", "generated"),
        (binding("hosts: outputs.h, admin: {username: '{{ generated.a }}', password: generated.a}"), "binding.admin.username", "generated"),
        (binding("hosts: outputs.h, admin: {username: u, password: generated.a, database: '{{ secrets.s.k }}'}"), "binding.admin.database", "secrets"),
    ] {
        let found = faults(&descriptor, CONFIG);
        let fault = format!("{path} cannot use {name}, whose values stay in Secrets");
        assert!(found.contains(&fault), "{descriptor}: {found}");
    }
    let good = binding(
        "hosts: outputs.h, admin: {username: u, password: generated.a}, tls: {mode: \"'required'\", ca: generated.a}",
    );
    assert_eq!(faults_of(&good, CONFIG), "");
}

#[test]
fn a_value_of_the_wrong_type_is_shown() {
    expect("free: 1\n", CONFIG, "p/a/plan.yaml:1:7: ");
    expect("version: 1.0\n", CONFIG, "p/a/plan.yaml:1:10: ");
    expect(
        "deletion: {retain: 7w}\n",
        CONFIG,
        "\"7w\" is not a time span",
    );
    expect("kinds: [Secret]\n", CONFIG, "p/a/plan.yaml:1:9: ");
    expect("free: yes\n", CONFIG, "write \"yes\", true or false");
}

#[test]
fn bad_yaml_is_shown_where_it_is() {
    expect("a: b\n  c: d\n", CONFIG, "p/a/plan.yaml:2");
    expect(
        "parameters: {}\n",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c\n",
        "p/a/t.yaml:",
    );
    expect(
        "parameters: {}\n",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  a: yes\n",
        "p/a/t.yaml:5:6: yes is a boolean to some",
    );
    expect(
        "parameters: {}\n",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\nx: 012\n",
        "p/a/t.yaml:4:4: 012 is octal",
    );
    expect(
        "parameters: {}\n",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, name: d}\n",
        "p/a/t.yaml:3:21: duplicate key \"name\"",
    );
}

#[test]
fn an_undefined_variable_is_found_in_a_branch_that_nobody_takes() {
    let template =
        format!("{CONFIG}data:\n  {{% if false %}}\n  a: {{{{ vresion }}}}\n  {{% endif %}}\n");
    expect(
        "parameters: {create: {properties: {version: {type: string}}}}\n",
        &template,
        "p/a/t.yaml:7:9: unknown variable \"vresion\", did you mean \"version\"?",
    );
}

#[test]
fn an_optional_parameter_without_a_default_must_be_guarded() {
    let descriptor = "parameters: {create: {properties: {note: {enum: [a]}}}}\n";
    let template = format!("{CONFIG}data:\n  a: \"{{{{ note }}}}\"\n");
    expect(descriptor, &template, "p/a/t.yaml:6:");
    let guarded = format!("{CONFIG}data:\n  a: \"{{{{ note | default('') }}}}\"\n");
    assert_eq!(faults_of(descriptor, &guarded), "");
}

fn faults_of(descriptor: &str, template: &str) -> String {
    shown(&catalog(&[
        ("p/a/plan.yaml", descriptor),
        ("p/a/t.yaml", template),
    ]))
}

#[test]
fn an_attribute_that_does_not_exist_is_found() {
    let template = format!("{CONFIG}data:\n  a: \"{{{{ plan.values.missing }}}}\"\n");
    expect("parameters: {}\n", &template, "p/a/t.yaml:6:");
    let template = format!("{CONFIG}data:\n  a: \"{{{{ outputs.missing }}}}\"\n");
    expect("parameters: {}\n", &template, "p/a/t.yaml:6:");
}

#[test]
fn what_the_engine_offers_but_we_refuse_is_found() {
    let with = |line: &str| format!("{CONFIG}{line}\n");
    for (line, word) in [
        ("{% set x %}a{% endset %}", "block set"),
        ("{% autoescape false %}{% endautoescape %}", "autoescape"),
        ("{% include 'x' %}", "include"),
        ("{% import 'x' as y %}", "import"),
        ("{% extends 'x' %}", "inheritance"),
        ("{% block x %}{% endblock %}", "inheritance"),
        ("{% filter upper %}a{% endfilter %}", "filter blocks"),
    ] {
        let found = faults("parameters: {}\n", &with(line));
        assert!(
            found.contains("p/a/t.yaml:5:") && found.contains(word),
            "{line}: {found}"
        );
    }
    expect(
        "parameters: {}\n",
        &with("a: {{ name | safe }}"),
        "p/a/t.yaml:5:",
    );
    expect("parameters: {}\n", &with("a: {{ name"), "p/a/t.yaml:");
    expect(
        "parameters: {}\n",
        &with("a: \u{E000}"),
        "p/a/t.yaml:5:4: characters U+E000",
    );
    expect(
        "parameters: {}\n",
        &with("a: \"\\uE000\""),
        "p/a/t.yaml:5:4: characters U+E000",
    );
}

#[test]
fn values_stay_out_of_kinds_anchors_and_tags() {
    let head = "apiVersion: v1\nmetadata: {name: c}\n";
    let case = |line: &str| format!("{head}{line}\n");
    let descriptor = "kinds: [v1/ConfigMap]\nparameters: {}\n";
    expect(
        descriptor,
        &case("kind: {{ name }}"),
        "p/a/t.yaml:3:1: apiVersion, kind",
    );
    expect(
        descriptor,
        &case("{{ name }}: ConfigMap"),
        "p/a/t.yaml:3:4: apiVersion, kind",
    );
    expect(
        descriptor,
        &case("kind: ConfigMap\na: &x{{ name }} b"),
        "p/a/t.yaml:4:9: a value cannot stand in an anchor",
    );
    expect(
        descriptor,
        &case("kind: ConfigMap\na: !{{ name }} b"),
        "p/a/t.yaml:4:",
    );
    let comment = case("kind: ConfigMap # {{ name }}\n# {{ name }}");
    assert_eq!(faults_of(descriptor, &comment), "");
}

#[test]
fn objects_must_be_complete_allowed_and_unique() {
    let descriptor = "kinds: [v1/ConfigMap]\nparameters: {}\n";
    expect(
        descriptor,
        "kind: ConfigMap\nmetadata: {name: c}\n",
        "p/a/t.yaml:1:1: apiVersion is missing",
    );
    expect(
        descriptor,
        "apiVersion: v1\nkind: ConfigMap\n",
        "metadata is missing",
    );
    expect(
        descriptor,
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 1}\n",
        "must be a string",
    );
    expect(
        descriptor,
        &format!("{CONFIG}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n"),
        "p/a/t.yaml:7:1: v1/Secret is not listed in kinds of plan.yaml, which has v1/ConfigMap",
    );
    expect(
        descriptor,
        &format!("{CONFIG}---\n{CONFIG}"),
        "ConfigMap/c is rendered twice",
    );
    expect(
        descriptor,
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: kube-system}\n",
        "metadata.namespace is not the instance's",
    );
    expect(
        descriptor,
        "- a\n",
        "p/a/t.yaml:1:1: a document must be a map",
    );
    expect(
        "kinds: [v1/Namespace]\n",
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: n}\n",
        "needs scope: cluster",
    );
    expect(
        "{}\n",
        "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\n",
        "unknown kind example.com/v1/Widget: list the kinds in plan.yaml, this one as example.com/v1/Widget=<plural>",
    );
    let twice = catalog(&[
        ("p/a/plan.yaml", descriptor),
        ("p/a/1.yaml", CONFIG),
        ("p/a/2.yaml", CONFIG),
    ]);
    assert!(shown(&twice).contains("p/a/2.yaml: ConfigMap/c is rendered by 1.yaml already"));
}

#[test]
fn extends_must_lead_somewhere_and_to_an_end() {
    let missing = catalog(&[
        ("p/a/plan.yaml", "free: true\nextends: _bse\n"),
        ("p/_base/t.yaml", CONFIG),
    ]);
    let text = shown(&missing);
    assert!(
        text.contains("p/a/plan.yaml:2:10: unknown base \"p/_bse\", did you mean \"p/_base\"?"),
        "{text}"
    );
    let circle = catalog(&[
        ("p/a/plan.yaml", "extends: _x\n"),
        ("p/_x/plan.yaml", "extends: _y\n"),
        ("p/_y/plan.yaml", "extends: _x\n"),
    ]);
    let text = shown(&circle);
    assert!(
        text.contains("p/_y/plan.yaml:1:10: extends forms a cycle: p/a -> p/_x -> p/_y -> p/_x"),
        "{text}"
    );
    expect("extends: small\n", CONFIG, "is not a base");
}

#[test]
fn a_fault_in_a_base_names_the_base() {
    let text = shown(&catalog(&[
        ("p/_b/plan.yaml", "free: true\nbindble: true\n"),
        ("p/_b/t.yaml", CONFIG),
        ("p/a/plan.yaml", "extends: _b\n"),
    ]));
    assert!(text.starts_with("p/_b/plan.yaml:2:1: "), "{text}");
    let text = shown(&catalog(&[
        ("p/_b/t.yaml", &format!("{CONFIG}x: {{{{ nothing }}}}\n")),
        ("p/a/plan.yaml", "extends: _b\nparameters: {}\n"),
    ]));
    assert!(text.starts_with("p/_b/t.yaml:5:7: "), "{text}");
}

#[test]
fn an_id_or_a_name_that_two_state_is_the_fault_of_both() {
    let found = catalog(&[
        ("p/a/plan.yaml", "id: same\n"),
        ("p/a/t.yaml", CONFIG),
        ("p/b/plan.yaml", "free: true\nid: same\n"),
        ("p/b/t.yaml", CONFIG),
    ]);
    assert_eq!(found.plans, []);
    assert_eq!(
        shown(&found),
        "p/a/plan.yaml:1:1: id same is that of the plan p/b, too; take another one\n\
         p/b/plan.yaml:2:1: id same is that of the plan p/a, too; take another one"
    );
    let found = catalog(&[
        ("p/service.yaml", "name: mongodb\n"),
        ("p/a/t.yaml", CONFIG),
        ("q/service.yaml", "tags: []\nname: mongodb\n"),
        ("q/a/t.yaml", CONFIG),
    ]);
    assert_eq!(found.plans, []);
    assert_eq!(
        shown(&found),
        "p/service.yaml:1:1: name \"mongodb\" is that of the offering q, too; take another one\n\
         q/service.yaml:2:1: name \"mongodb\" is that of the offering p, too; take another one"
    );
}

/// The other's folder may come first or last, and may be faulty itself.
#[test]
fn nobody_takes_the_id_or_the_name_that_another_has_from_its_folder() {
    let plan = plan::id::PlanId::derive("mongodb", "small");
    let offering = plan::id::OfferingId::derive("mongodb");
    for thief in ["aaa", "zzz"] {
        let found = catalog(&[
            (&format!("{thief}/big/plan.yaml"), &format!("id: {plan}\n")),
            (&format!("{thief}/big/t.yaml"), CONFIG),
            ("mongodb/small/t.yaml", CONFIG),
        ]);
        let served: Vec<_> = found.plans.iter().map(|plan| plan.provider()).collect();
        assert_eq!(served, ["mongodb"]);
        let text = shown(&found);
        assert!(
            text.ends_with("is that of the plan mongodb/small, too; take another one"),
            "{text}"
        );
        for stolen in [format!("id: {offering}\n"), "name: mongodb\n".to_owned()] {
            let found = catalog(&[
                (&format!("{thief}/service.yaml"), &stolen),
                (&format!("{thief}/big/t.yaml"), CONFIG),
                ("mongodb/small/t.yaml", CONFIG),
            ]);
            let served: Vec<_> = found.plans.iter().map(|plan| plan.provider()).collect();
            assert_eq!(served, ["mongodb"], "{stolen}");
        }
        // Also while the other has a fault, or its provider has one.
        for (file, text) in [
            ("mongodb/small/plan.yaml", "nonsense: 1\n"),
            ("mongodb/service.yaml", "nonsense: 1\n"),
        ] {
            let found = catalog(&[
                (&format!("{thief}/big/plan.yaml"), &format!("id: {plan}\n")),
                (&format!("{thief}/big/t.yaml"), CONFIG),
                (file, text),
                ("mongodb/small/t.yaml", CONFIG),
            ]);
            assert_eq!(found.plans, [], "{file}");
        }
        for faulty in ["id: mine\nnonsense: 1\n", "id: mine\n\tx\n"] {
            let found = catalog(&[
                (&format!("{thief}/big/plan.yaml"), "id: mine\n"),
                (&format!("{thief}/big/t.yaml"), CONFIG),
                ("mongodb/small/plan.yaml", faulty),
                ("mongodb/small/t.yaml", CONFIG),
            ]);
            assert_eq!(found.plans, [], "{faulty}");
        }
        for faulty in ["name: mine\nnonsense: 1\n", "name: mine\n\tx\n"] {
            let found = catalog(&[
                (&format!("{thief}/service.yaml"), "name: mine\n"),
                (&format!("{thief}/big/t.yaml"), CONFIG),
                ("mongodb/service.yaml", faulty),
                ("mongodb/small/t.yaml", CONFIG),
            ]);
            assert_eq!(found.plans, [], "{faulty}");
        }
    }
}

/// A name that nothing is offered under is free.
#[test]
fn a_provider_without_plans_takes_no_name() {
    let found = catalog(&[
        ("mine/service.yaml", "tags: []\n"),
        ("p/service.yaml", "name: mine\n"),
        ("p/a/t.yaml", CONFIG),
    ]);
    assert_eq!(found.plans.len(), 1, "{}", shown(&found));
}

#[test]
fn a_broken_offering_takes_its_plans_along_and_no_others() {
    let found = catalog(&[
        ("p/service.yaml", "nmae: x\n"),
        ("p/a/t.yaml", CONFIG),
        ("q/a/t.yaml", CONFIG),
    ]);
    assert_eq!(found.plans.len(), 1);
    assert_eq!(
        shown(&found),
        "p/service.yaml:1:1: unknown key \"nmae\", did you mean \"name\"?"
    );
}

#[test]
fn parameters_must_be_schemas_and_keep_off_built_ins() {
    expect(
        "parameters:\n  create:\n    properties:\n      namespace: {type: string}\n",
        CONFIG,
        "p/a/plan.yaml:4:7: parameter \"namespace\" has the name of a built-in",
    );
    expect(
        "parameters:\n  create: {properties: {a: {type: strnig}}}\n",
        CONFIG,
        "p/a/plan.yaml:2:29: unknown type \"strnig\", did you mean \"string\"?",
    );
    expect(
        "parameters:\n  create: {properties: {a: {$ref: \"http://x/y\"}}}\n",
        CONFIG,
        "has a $ref that leaves the schema",
    );
    expect(
        "parameters:\n  create:\n    properties:\n      a: {enum: [b], default: c}\n",
        CONFIG,
        "p/a/plan.yaml:4:7: the default of \"a\" does not match its schema",
    );
}

/// Whatever writes or compares the `x` that these lines make is refused before it does so.
fn refuses_every_use_of(sets: &str) {
    // The use is in the fifth line after them.
    let place = format!("p/a/t.yaml:{}:", sets.lines().count() + 5);
    for use_of_it in [
        "{{ x }}",
        "{{ x | tojson | length }}",
        "{{ x | string | length }}",
        "{{ x | upper | length }}",
        "{{ x | join | length }}",
        "{{ 'a' | replace('a', x) | length }}",
        "{{ x is eq(x) }}",
        "{{ x is in([x]) }}",
        "{{ x | sort | length }}",
        "{{ x | unique | length }}",
        "{{ x | min | length }}",
        "{{ [x] | selectattr('0', 'eq', x) | list | length }}",
    ] {
        let template = format!("{sets}{CONFIG}data: {{a: \"{use_of_it}\"}}\n");
        let found = faults("parameters: {}\n", &template);
        assert!(
            found.starts_with(&place) && found.contains("too large"),
            "{use_of_it}: {found}"
        );
    }
}

/// Each level holds the one below twice: 2^30 parts, written with 30 lines.
#[test]
fn a_value_that_holds_itself_over_and_over_is_refused_before_it_is_written() {
    let nested = "{% set x = [x, x] %}\n".repeat(30);
    refuses_every_use_of(&format!("{{% set x = ['a'] %}}\n{nested}"));
}

/// Too large to be written or compared, without being nested deeply.
#[test]
fn what_a_value_holds_is_counted_before_it_is_written_or_compared() {
    let many = ["y"; 100].join(", ");
    refuses_every_use_of(&format!(
        "{{% set y = range(90000) | list %}}{{% set x = [{many}] %}}\n"
    ));
}

#[test]
fn outputs_are_what_a_record_can_keep() {
    let many = "the outputs have more than the 65536 bytes that a record can keep";
    for outputs in [
        "{a: \"{{ 'x' * 70000 }}\"}",
        "{a: \"{{ 'x' * 40000 }}\", b: \"{{ 'x' * 40000 }}\"}",
        "{a: {each: range(90000), value: \"{{ 'x' * 1000 }}\"}}",
    ] {
        let found = faults(&format!("parameters: {{}}\noutputs: {outputs}\n"), CONFIG);
        assert!(
            found.starts_with("p/a/plan.yaml:2:") && found.contains(many),
            "{found}"
        );
    }
}

#[test]
fn a_width_is_paid_for_before_it_is_written() {
    let indented = |width: &str| {
        let template =
            format!("{CONFIG}data: {{a: \"{{{{ 'x' | indent({width}, true) | length }}}}\"}}\n");
        faults_of("parameters: {}\n", &template)
    };
    assert_eq!(indented("8"), "");
    for width in ["200000000", "8000000000"] {
        let found = indented(width);
        assert!(found.contains("takes too long"), "{width}: {found}");
    }
}

#[test]
fn a_plan_keeps_off_the_namespaces_of_kubernetes_and_the_broker() {
    let plan = |namespace: &str| {
        let descriptor = format!("free: true\nnamespace: {{shared: {namespace}}}\n");
        let files = [
            ("p/a/plan.yaml", descriptor.as_str()),
            ("p/a/t.yaml", CONFIG),
        ];
        shown(&plan::catalog::build_in("broker", &[tree(&files)]))
    };
    assert_eq!(
        plan("kube-system"),
        "p/a/plan.yaml:2:13: kube-system belongs to Kubernetes: a plan cannot apply objects there"
    );
    assert_eq!(
        plan("broker"),
        "p/a/plan.yaml:2:13: broker is the broker's own namespace, or is named like those of its state: a plan that applies objects \
         there could take over the broker"
    );
    assert_eq!(plan("tenants"), "");
}

#[test]
fn expressions_are_tried() {
    expect(
        "ready:\n  ConfigMap/c: {ready: \"object.\"}\n",
        CONFIG,
        "p/a/plan.yaml:2:17: ",
    );
    expect(
        "ready:\n  configmap: {}\n",
        CONFIG,
        "is not Kind or Kind/name",
    );
    expect(
        "ready:\n  Secret/s: {ready: \"object.data.x is defined\"}\n",
        CONFIG,
        "p/a/plan.yaml:2:3: a Secret has no ready rule",
    );
    expect(
        "ready:\n  ConfigMap/c: {ready: \"nothing(object)\"}\n",
        CONFIG,
        "p/a/plan.yaml:2:17: ready.ConfigMap/c.ready is not a valid expression: unknown function \"nothing\"",
    );
    expect(
        "outputs:\n  x: {each: \"range(3)\", vale: x}\n",
        CONFIG,
        "p/a/plan.yaml:2:3: a list output",
    );
    expect(
        "outputs:\n  x: \"{{ name\"\n",
        CONFIG,
        "p/a/plan.yaml:2:3: ",
    );
    expect(
        "binding:\n  method: database\n  hosts: outputs.hosts\n  admin: {username: a, password: generated.admin}\n",
        CONFIG,
        "p/a/plan.yaml:3:3: binding.hosts",
    );
    expect(
        "binding: {method: database}\n",
        CONFIG,
        "method database needs hosts",
    );
    expect(
        "bindable: true\n",
        CONFIG,
        "p/a/plan.yaml:1:1: a bindable plan needs a binding",
    );
    expect(
        "updates_to: [b]\n",
        CONFIG,
        "p/a/plan.yaml:1:14: unknown plan \"b\"",
    );
    expect(
        "updates_to: [a]\n",
        CONFIG,
        "a plan cannot change to itself",
    );
    expect(
        "namespace: context\noutputs: {h: [x]}\nbinding:\n  method: database\n  hosts: outputs.h\n  admin: {username: a, password: \"'x'\"}\n",
        CONFIG,
        "p/a/plan.yaml:1:1: method database in the platform's namespace",
    );
}

#[test]
fn free_text_of_a_user_keeps_out_of_text_that_something_reads() {
    let descriptor = "parameters: {create: {required: [a, \"n\", p], properties: \
                      {a: {type: string}, \"n\": {type: integer}, p: {pattern: \"^[a-z]+$\", type: string}}}}\n";
    let block = |line: &str| format!("{CONFIG}data:\n  f: |\n    {line}\n");
    expect(
        descriptor,
        &block("x = {{ a }}"),
        "p/a/t.yaml:7:12: a is free text from the user inside a block scalar",
    );
    expect(
        descriptor,
        &block("x = {{ parameters.a | upper }}"),
        "parameters.a is free text",
    );
    expect(
        descriptor,
        &block("{% set b = a %}x = {{ b }}"),
        "b is free text",
    );
    expect(
        descriptor,
        &block("{% for c in [a] %}{{ c }}{% endfor %}"),
        "c is free text",
    );
    expect(
        descriptor,
        &format!(
            "{{% macro m(q) %}}{{{{ q }}}}{{% endmacro %}}{}",
            block("{{ m(a) }}")
        ),
        "is free text",
    );
    let macros =
        "{% macro m() %}{{ a }}{% endmacro %}{% macro k(q) %}{{ q }}{{ caller() }}{% endmacro %}";
    expect(
        descriptor,
        &format!("{macros}{}", block("{{ m() }}")),
        "m is free text",
    );
    expect(
        descriptor,
        &format!("{macros}{}", block("{% call k(a) %}x{% endcall %}")),
        "is free text",
    );
    for good in [
        "x = {{ n }}",
        "x = {{ p }}",
        "x = {{ a | tojson }}",
        "{% if a == 'b' %}x{% endif %}",
    ] {
        assert_eq!(faults_of(descriptor, &block(good)), "", "{good}");
    }
}

#[test]
fn free_text_keeps_out_of_what_is_run() {
    let descriptor = "parameters: {create: {required: [a, \"n\", p], properties: \
                      {a: {type: string}, \"n\": {type: integer}, p: {pattern: \"^[a-z]+$\", type: string}}}}\n";
    let args = |line: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: c}}\nspec:\n  containers:\n  - name: a\n    args:\n    {line}\n    env:\n    - {{name: A, value: \"{{{{ a }}}}\"}}\n"
        )
    };
    for safe in [
        "- --x={{ a }}",
        "- \"{{ a }}\"",
        "- --x={{ n }}",
        "- echo {{ p }}",
    ] {
        assert_eq!(faults_of(descriptor, &args(safe)), "", "{safe}");
    }
    expect(
        descriptor,
        &args("- echo {{ a }}"),
        "p/a/t.yaml:8:15: a is free text from the user in a text that a shell or another \
         interpreter runs: give it an enum, a number's type, or an anchored pattern without blanks \
         and syntax like ^[a-z0-9-]+$, or pass it on as it is: as an environment variable that the \
         script reads as \"$NAME\", or as an argument behind it: [sh, -c, 'run \"$1\"', --, VALUE]",
    );
    // JSON is text to a shell, which puts in what it finds between double quotes.
    expect(
        descriptor,
        &args("- echo {{ a | tojson }}"),
        "a is free text from the user in a text that a shell",
    );
    expect(
        descriptor,
        &args("- x\n    command: [\"/bin/{{ a }}\"]"),
        "a is free text from the user as the program that is run",
    );
    for pattern in ["^a|b$", "^.*$", "^[^x]+$", "[a-z]+"] {
        let descriptor = format!(
            "parameters: {{create: {{properties: {{a: {{type: string, default: b, pattern: \"{pattern}\"}}}}}}}}\n"
        );
        expect(&descriptor, &args("- echo {{ a }}"), "a is free text");
    }
    for (output, what) in [
        ("instance.id", "instance.id"),
        ("context.space_name", "context"),
        ("space_name", "space_name"),
    ] {
        let template = args(&format!("- echo {{{{ {output} }}}}"));
        let fault = format!("{what} is free text from the platform in a text that a shell");
        expect(descriptor, &template, &fault);
    }
    assert_eq!(
        faults_of(descriptor, &args("- echo {{ name }} {{ namespace }}")),
        ""
    );
}

#[test]
fn files_that_belong_to_nothing_are_shown() {
    let text = shown(&catalog(&[
        ("README.md", "x"),
        ("p/t.yaml", CONFIG),
        ("p/a/t.yaml", CONFIG),
    ]));
    assert!(text.contains("README.md: belongs to no plan"), "{text}");
    assert!(text.contains("p/t.yaml: belongs to no plan"), "{text}");
    let text = shown(&catalog(&[
        ("p/a/t.yaml", CONFIG),
        ("p/a/c.url", "https://x"),
    ]));
    assert!(
        text.contains("p/a/c.url: names manifests that were not fetched"),
        "{text}"
    );
    let text = shown(&catalog(&[("p/a/README.md", "x")]));
    assert_eq!(text, "p/a: the plan has no template");
}

#[test]
fn catalog_strings_have_a_length() {
    expect(
        &format!("free: true\ndescription: {}\n", "x".repeat(256)),
        CONFIG,
        "p/a/plan.yaml:2:1: description has 256",
    );
}

proptest::proptest! {
    #[test]
    fn no_folder_breaks_the_catalog(
        template in "(apiVersion: v1\nkind: ConfigMap\nmetadata: \\{name: c\\}\n)?([-a:{}%\\[\\], \n\"'|>&*!#?~.0-9]|\\{\\{|\\}\\}|\\{%|%\\}|if |for |in |set |macro |end|name|values){0,24}",
        descriptor in "([a-z]{1,3}|parameters|values|outputs|ready|: |\n|  |\\{|\\}|\\[|\\]|\"|'|- |,|[0-9]|null|~){0,16}",
    ) {
        let found = catalog(&[("p/a/plan.yaml", &descriptor), ("p/a/t.yaml", &template)]);
        proptest::prop_assert_eq!(found.plans.is_empty(), !found.faults.is_empty());
    }
}

const SET: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n---\napiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: s}\nspec: {serviceName: s}\n";

#[test]
fn a_rule_for_volume_claims_names_a_report_and_leaves_deletion_to_the_broker() {
    let rule = |report: &str, left: &str| {
        format!("claims:\n  s:\n    report: {report}\n    left: {left}\n")
    };
    expect(
        &rule("c", "\"false\""),
        SET,
        "p/a/plan.yaml:3:5: \"c\" is not Kind/name",
    );
    expect(
        &rule("ConfigMap/d", "\"false\""),
        SET,
        "p/a/plan.yaml:3:5: no template renders ConfigMap/d",
    );
    expect(
        &rule("ConfigMap/c", "ordinal >="),
        SET,
        "p/a/plan.yaml:4:5: claims.s.left is not a valid expression",
    );
    expect(
        &rule("ConfigMap/c", "ordinal + 1"),
        SET,
        "p/a/plan.yaml:4:5: left gives a number, not true or false",
    );
    let deletes = format!("{SET}  persistentVolumeClaimRetentionPolicy: {{whenScaled: Delete}}\n")
        .replace("spec: {serviceName: s}", "spec:\n  serviceName: s");
    expect(
        &rule("ConfigMap/c", "\"false\""),
        &deletes,
        "p/a/plan.yaml:4:5: StatefulSet/s has whenScaled: Delete",
    );
}

/// Logins would stay on a server that the instance does not take along.
#[test]
fn a_server_that_is_not_the_instances_own_is_advised_to_be_shared() {
    for (keys, advised) in [
        ("hosts: \"['db.example.org:27017']\"", true),
        ("hosts: \"[parameters.at]\"", true),
        ("hosts: outputs.fixed", true),
        ("hosts: outputs.own", false),
        ("hosts: \"['db.' ~ instance.namespace]\"", false),
        ("server: shared, hosts: \"['db.example.org:27017']\"", false),
    ] {
        let plan = format!(
            "parameters: {{create: {{properties: {{at: {{type: string, default: x}}}}}}}}\n\
             outputs: {{fixed: [db], own: [\"db.{{{{ namespace }}}}\"]}}\n\
             binding: {{method: database, {keys}, admin: {{username: a, password: \"'x'\"}}}}\n"
        );
        let found = catalog(&[("p/a/plan.yaml", &plan), ("p/a/t.yaml", CONFIG)]);
        assert_eq!(found.faults, [], "{keys}");
        let warned = found.warnings.iter().map(ToString::to_string);
        let warned: Vec<_> = warned.filter(|it| it.contains("server: shared")).collect();
        assert_eq!(!warned.is_empty(), advised, "{keys}: {warned:?}");
    }
}

/// Earlier logins would stay where they are, out of reach.
#[test]
fn a_shared_server_does_not_depend_on_what_an_update_changes() {
    for (property, update, told) in [
        (
            "{type: string}",
            "update: {properties: {at: {type: string}}}",
            true,
        ),
        ("{type: string}", "update: {inherit: create}", true),
        (
            "{type: string, x-immutable: true}",
            "update: {inherit: create}",
            false,
        ),
        ("{type: string}", "update: {properties: {}}", false),
    ] {
        for hosts in ["[parameters.at]", "[at ~ ':27017']", "outputs.hosts"] {
            let plan = format!(
                "parameters: {{create: {{required: [at], properties: {{at: {property}}}}}, {update}}}\n\
                 outputs: {{hosts: [\"{{{{ at }}}}\"]}}\n\
                 binding: {{method: database, server: shared, hosts: \"{hosts}\", \
                 admin: {{username: a, password: \"'x'\"}}}}\n"
            );
            let found = catalog(&[("p/a/plan.yaml", &plan), ("p/a/t.yaml", CONFIG)]);
            let text = shown(&found);
            assert_eq!(
                text.contains("outlives the instance"),
                told,
                "{plan}: {text}"
            );
            assert_eq!(found.plans.is_empty(), told, "{plan}: {text}");
        }
    }
    // Words that are no parameters, and one that is fixed within what can change.
    for keys in [
        "hosts: \"['db.example.org:27017']\"",
        "hosts: \"[server.host]\"",
        "hosts: outputs.all",
    ] {
        let plan = format!(
            "parameters:\n  create:\n    required: [server]\n    properties:\n      \
             db: {{type: string}}\n      value: {{type: string}}\n      \
             server: {{type: object, properties: {{host: {{type: string, x-immutable: true}}, \
             note: {{type: string}}}}}}\n  update: {{inherit: create}}\n\
             outputs: {{all: {{each: \"['h']\", value: \"{{{{ item }}}}:27017\"}}}}\n\
             binding: {{method: database, server: shared, {keys}, \
             admin: {{username: a, password: \"'x'\"}}}}\n"
        );
        let found = catalog(&[("p/a/plan.yaml", &plan), ("p/a/t.yaml", CONFIG)]);
        assert!(
            !shown(&found).contains("outlives the instance"),
            "{keys}: {}",
            shown(&found)
        );
    }
}
