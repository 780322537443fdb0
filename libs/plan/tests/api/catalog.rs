//! What is served.

use plan::{Bundle, rbac};
use serde_json::json;

use crate::support::{catalog, fixtures, object, only, shown, tree};

const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\n";

#[test]
fn the_example_of_the_documentation_loads() {
    let catalog = plan::catalog::build(&[fixtures()]);
    assert_eq!(catalog.faults, [], "{}", shown(&catalog));
    let names: Vec<_> = catalog
        .plans
        .iter()
        .map(|p| (p.provider(), p.name()))
        .collect();
    assert_eq!(
        names,
        [
            ("bare", "web"),
            ("mongodb", "large"),
            ("mongodb", "medium"),
            ("mongodb", "small")
        ]
    );
    let offering = &catalog.offerings[1];
    assert_eq!(offering.name, "mongodb");
    assert!(offering.bindable);
    assert_eq!(offering.metadata["displayName"], json!("MongoDB"));
    assert_eq!(catalog.plans_of(offering).count(), 3);

    let small = &catalog.plans[3];
    assert_eq!(
        small.description(),
        "One member, for development. No backup."
    );
    assert!(small.is_bindable() && small.is_binding_rotatable() && !small.binds_asynchronously());
    assert!(small.provisions_asynchronously() && small.is_updateable());
    assert!(small.may_update_to("medium") && !small.may_update_to("small"));
    assert_eq!(small.version().to_string(), "1.0.0");
    assert_eq!(small.maximum_polling_duration(), 12 * 3600 + 180);
    assert_eq!(small.retain().as_secs(), 7 * 86_400);
    assert_eq!(
        small.metadata()["bullets"],
        json!(["One member", "No backup"])
    );
    assert_eq!(
        small.metadata()["costs"],
        json!([{"amount": {"usd": 9.5}, "unit": "MONTHLY"}])
    );
    assert_eq!(small.descriptor().values["memory"], json!("1Gi"));
    assert_eq!(
        small.descriptor().values["cpu"],
        json!({"request": "1", "limit": "2"})
    );
    assert_eq!(small.descriptor().values["storage_class"], json!(null));
}

#[test]
fn a_bare_folder_with_a_template_is_a_plan() {
    let catalog = plan::catalog::build(&[fixtures()]);
    let web = &catalog.plans[0];
    assert_eq!(web.description(), "Plan web of bare");
    assert!(web.is_free() && !web.is_bindable());
    assert_eq!(web.schemas().create["required"], json!(["app", "port"]));
    assert!(
        web.create_parameters(&object(json!({"app": "a", "port": 80})))
            .is_ok()
    );
    assert!(
        web.create_parameters(&object(json!({"app": "a", "port": [80]})))
            .is_err()
    );
    assert_eq!(
        web.kinds()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["v1/Service"]
    );
}

#[test]
fn a_bundle_survives_storage_and_is_checked_by_its_digest() {
    let bundle = only(&[
        ("p/a/t.yaml", CONFIG),
        ("p/a/plan.yaml", "values: {x: 0.1}\n"),
    ]);
    let bytes = bundle.to_bytes();
    let back = Bundle::from_bytes(bytes, bundle.digest()).unwrap();
    assert_eq!(back, *bundle);
    assert_eq!(back.digest(), bundle.digest());
    let mut other = bytes.to_vec();
    other.push(b' ');
    assert!(Bundle::from_bytes(&other, bundle.digest()).is_err());
}

#[test]
fn a_digest_moves_with_content_and_with_nothing_else() {
    let digest = |files: &[(&str, &str)]| only(files).digest().clone();
    let one = digest(&[
        ("p/a/t.yaml", CONFIG),
        ("p/a/plan.yaml", "values: {a: 1, b: 2}\n"),
    ]);
    let reordered = digest(&[
        ("p/a/t.yaml", CONFIG),
        ("p/a/plan.yaml", "values:\n  b: 2\n  a: 1\n"),
    ]);
    assert_eq!(one, reordered);
    let template = CONFIG.replace("name: c", "name: d");
    let other = digest(&[
        ("p/a/t.yaml", &template),
        ("p/a/plan.yaml", "values: {a: 1, b: 2}\n"),
    ]);
    assert_ne!(one, other);
    let service = digest(&[
        ("p/a/t.yaml", CONFIG),
        ("p/a/plan.yaml", "values: {a: 1, b: 2}\n"),
        ("p/service.yaml", "tags: [x]\n"),
    ]);
    assert_ne!(one, service);
}

#[test]
fn cases_are_no_part_of_a_plan() {
    let files = [("p/a/t.yaml", CONFIG), ("p/_b/t.yaml", CONFIG)];
    let cases = [
        ("p/a/tests/x.yaml", "parameters: ["),
        ("p/a/tests/x.golden.yaml", "kind: {{ nothing }}"),
        ("p/a/tests/more/x.url", "x"),
        ("p/_b/tests/x.yaml", ""),
    ];
    let without = plan::catalog::Draft::of(None, &[tree(&files)]);
    let with = plan::catalog::Draft::of(None, &[tree(&[&files[..], &cases].concat())]);
    let checked = |draft: &plan::catalog::Draft| {
        let digests = draft.candidates().map(plan::catalog::Candidate::digest);
        digests.collect::<Vec<_>>()
    };
    assert_eq!(
        checked(&without),
        checked(&with),
        "they are not checked again"
    );
    let built = |draft: plan::catalog::Draft| {
        let checked: Vec<_> = draft
            .candidates()
            .map(plan::catalog::Candidate::check)
            .collect();
        draft.finish(checked)
    };
    let (without, with) = (built(without), built(with));
    assert_eq!(
        (with.faults.len(), with.warnings.len()),
        (0, 0),
        "{}",
        shown(&with)
    );
    assert_eq!(with.plans, without.plans);
    assert_eq!(with.plans[0].digest(), without.plans[0].digest());
}

#[test]
fn a_fault_takes_its_own_plan_out_and_no_other() {
    let catalog = catalog(&[
        ("p/bad/t.yaml", "a: [\n"),
        ("p/bad/plan.yaml", "parameters: {}\n"),
        ("p/good/t.yaml", CONFIG),
        ("q/good/t.yaml", CONFIG),
    ]);
    assert_eq!(catalog.plans.len(), 2);
    assert_eq!(catalog.offerings.len(), 2);
    assert_eq!(catalog.faults.len(), 1, "{}", shown(&catalog));
    assert_eq!(catalog.faults[0].plan.as_deref(), Some("bad"));
}

#[test]
fn a_site_plan_overrides_a_shipped_one_and_may_use_its_base() {
    let shipped = tree(&[
        ("p/_base/t.yaml", CONFIG),
        ("p/_base/plan.yaml", "values: {a: 1}\n"),
        ("p/a/plan.yaml", "extends: _base\ndescription: shipped\n"),
    ]);
    let site = tree(&[(
        "p/a/plan.yaml",
        "extends: p/_base\ndescription: site\nvalues: {b: 2}\n",
    )]);
    let catalog = plan::catalog::build(&[shipped, site]);
    assert_eq!(catalog.faults, [], "{}", shown(&catalog));
    assert_eq!(catalog.plans.len(), 1);
    assert_eq!(catalog.plans[0].description(), "site");
    assert_eq!(
        json!(catalog.plans[0].descriptor().values),
        json!({"a": 1, "b": 2})
    );
}

#[test]
fn extends_goes_over_several_bases_and_files_replace() {
    let bundle = only(&[
        ("p/_a/1.yaml", CONFIG),
        ("p/_a/2.yaml", CONFIG),
        (
            "p/_a/plan.yaml",
            "description: a\nbullets: [a]\nvalues: {l: [1, 2], m: {x: 1}}\n",
        ),
        (
            "q/_b/2.yaml",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n",
        ),
        (
            "q/_b/plan.yaml",
            "extends: p/_a\nvalues: {l: [3], m: {z: 2}}\n",
        ),
        ("p/c/plan.yaml", "extends: q/_b\ndescription: null\n"),
    ]);
    assert_eq!(bundle.description(), "Plan c of p");
    assert_eq!(
        json!(bundle.descriptor().values),
        json!({"l": [3], "m": {"x": 1, "z": 2}})
    );
    assert!(bundle.files()["2.yaml"].contains("Secret"));
    assert_eq!(bundle.descriptor().extends, None);
}

#[test]
fn rules_of_the_cluster_role_follow_from_kinds() {
    let catalog = plan::catalog::build(&[fixtures()]);
    let rules = rbac::rules(catalog.plans.iter().map(|b| &**b)).unwrap();
    let find = |resource: &str| {
        rules
            .iter()
            .find(|r| r.resources.iter().any(|x| x == resource))
    };
    let all = ["create", "delete", "get", "list", "patch", "watch"];
    assert_eq!(find("statefulsets").unwrap().verbs, all);
    assert_eq!(find("statefulsets").unwrap().api_groups, ["apps"]);
    assert_eq!(
        find("persistentvolumeclaims").unwrap().verbs,
        ["delete", "get", "list", "patch"]
    );
    assert_eq!(find("events").unwrap().verbs, ["get", "list"]);
    // Nothing watches Secrets.
    assert_eq!(find("secrets").unwrap().verbs, all[..5]);
    assert!(rules.iter().all(|r| !r.resources.contains(&"*".to_owned())));
}

#[test]
fn a_plan_that_is_checked_elsewhere_gives_the_same_catalog() {
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n";
    let mut tree = plan::Tree::new();
    for (path, content) in [
        ("p/service.yaml", "description: A service\nid: s\n"),
        ("p/a/plan.yaml", "extends: _base\nid: one\n"),
        ("p/b/plan.yaml", "extends: \"\\u005fbase\"\n"),
        ("p/c/plan.yaml", "extends: _bose\n"),
        ("p/d/1.yaml", "{{ nothing.at.all }}\n"),
        ("p/e/1.yaml", map),
        ("p/f/plan.yaml", "id: one\n"),
        ("p/f/1.yaml", map),
        ("p/_base/plan.yaml", "extends: q/_deeper\n"),
        ("q/_deeper/1.yaml", map),
        ("q/_other/1.yaml", map),
    ] {
        tree.insert(path, content);
    }
    let trees = [tree];
    let here = plan::catalog::build_in("broker", &trees);
    let draft = plan::catalog::Draft::of(Some("broker"), &trees);
    let elsewhere = |candidate: &plan::catalog::Candidate| {
        let sent = serde_json::to_string(candidate).unwrap();
        let received: plan::catalog::Candidate = serde_json::from_str(&sent).unwrap();
        assert_eq!(received.digest(), candidate.digest());
        let answer = serde_json::to_string(&received.check()).unwrap();
        serde_json::from_str::<plan::catalog::Checked>(&answer).unwrap()
    };
    let checked: Vec<_> = draft.candidates().map(elsewhere).collect();
    let there = draft.clone().finish(checked);
    assert_eq!(
        (&here.faults, &here.plans, &here.offerings),
        (&there.faults, &there.plans, &there.offerings)
    );
    let faults: Vec<_> = here.faults.iter().map(ToString::to_string).collect();
    let served: Vec<_> = here.plans.iter().map(|plan| plan.name()).collect();
    assert_eq!(served, ["b", "e"], "{faults:?}");
    for text in [
        "p/a/plan.yaml:2:1: id one is that of the plan p/f, too; take another one",
        "p/f/plan.yaml:1:1: id one is that of the plan p/a, too; take another one",
    ] {
        assert!(faults.iter().any(|f| f.contains(text)), "{faults:?}");
    }
    assert!(
        faults
            .iter()
            .any(|f| f.contains("did you mean \"p/_base\"")),
        "{faults:?}"
    );

    let unchecked = draft.finish([]);
    assert_eq!((unchecked.plans.len(), unchecked.faults.len()), (0, 6));
}

#[test]
fn a_plan_is_to_be_checked_again_when_its_files_or_bases_change_and_not_for_others() {
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n";
    let digests = |base: &str, other: &str| {
        let mut tree = plan::Tree::new();
        tree.insert("p/a/plan.yaml", "extends: _base\n");
        tree.insert("p/b/1.yaml", other);
        tree.insert("p/_base/1.yaml", base);
        let draft = plan::catalog::Draft::of(None, &[tree]);
        draft
            .candidates()
            .map(plan::catalog::Candidate::digest)
            .collect::<Vec<_>>()
    };
    let before = digests(map, map);
    let other = digests(map, "# changed\n");
    let base = digests("# changed\n", map);
    assert_eq!(
        (before[0] == other[0], before[1] == other[1]),
        (true, false)
    );
    assert_eq!((before[0] == base[0], before[1] == base[1]), (false, true));
}

#[test]
fn a_plan_is_to_be_checked_again_when_a_kind_that_it_names_becomes_known_and_not_for_others() {
    use plan::kinds::{ServedKind, ServedKinds};

    let widget = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: c}\n";
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n";
    let trees = [tree(&[("p/a/1.yaml", widget), ("p/b/1.yaml", map)])];
    let draft = plan::catalog::Draft::of(None, &trees);
    let named: Vec<_> = draft.api_versions().into_iter().collect();
    assert_eq!(named, ["example.com/v1"]);
    let digests = |served: &ServedKinds| {
        let draft = draft.clone().knowing(served);
        let digests = draft.candidates().map(plan::catalog::Candidate::digest);
        digests.collect::<Vec<_>>()
    };
    let unserved = ServedKinds::of_cluster();
    let mut other = unserved.clone();
    other.add_answer(
        "other.example/v1",
        [("Other".to_owned(), ServedKind::new("others", true))],
    );
    assert_eq!(digests(&unserved), digests(&other));
    let mut served = unserved.clone();
    served.add_answer(
        "example.com/v1",
        [("Widget".to_owned(), ServedKind::new("widgetry", true))],
    );
    let (before, after) = (digests(&unserved), digests(&served));
    assert_eq!(
        (before[0] == after[0], before[1] == after[1]),
        (false, true)
    );

    let catalog = plan::catalog::build_with(&served, &trees);
    assert_eq!(catalog.faults, []);
    let kinds: Vec<_> = catalog.plans[0].kinds().iter().collect();
    assert_eq!(kinds[0].to_string(), "example.com/v1/Widget=widgetry");
    let rules = plan::rbac::rules([catalog.plans[0].as_ref()]).unwrap();
    let of_widgets = rules.iter().find(|rule| rule.api_groups == ["example.com"]);
    assert_eq!(of_widgets.unwrap().resources, ["widgetry"]);
    // As if its author had written it.
    let written = [tree(&[
        ("p/a/1.yaml", widget),
        ("p/a/plan.yaml", "kinds: [example.com/v1/Widget=widgetry]\n"),
        ("p/b/1.yaml", map),
    ])];
    let written = plan::catalog::build(&written);
    assert_eq!(written.plans[0].kinds(), catalog.plans[0].kinds());
    assert_eq!(written.plans[1].digest(), catalog.plans[1].digest());
}
