//! The plans that we ship, and the demo's: they load, they render what the API server takes, and
//! they keep the rules that protect the data.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a helper cannot do fails the test that called it"
)]

use std::{path::Path, sync::Arc};

use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use mongodb::bson::{Binary, doc, spec::BinarySubtype};
use plan::{
    Loaded, Tree, Variables, catalog,
    claims::Membership,
    ready::Readiness,
    variables::{Broker, Instance},
};
use serde_json::{Map, Value, json};

const NAMESPACE: &str = "mdb-msample-x1";

fn tree(folder: &str) -> Tree {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut tree = Tree::new();
    add(&mut tree, &root, "");
    assert!(!tree.is_empty(), "{} is empty", root.display());
    tree
}

fn add(tree: &mut Tree, folder: &Path, prefix: &str) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() {
            add(tree, &entry.path(), &format!("{path}/"));
        } else {
            tree.insert(&path, std::fs::read(entry.path()).unwrap());
        }
    }
}

fn shipped() -> Vec<Tree> {
    vec![tree("templates")]
}

fn demo() -> Vec<Tree> {
    vec![
        tree("templates"),
        tree("../k8s/overlays/demo/site-templates"),
    ]
}

fn load(trees: &[Tree], name: &str) -> Loaded {
    let catalog = catalog::build(trees);
    assert!(catalog.faults.is_empty(), "{:?}", catalog.faults);
    let bundle = catalog
        .plans
        .iter()
        .find(|bundle| bundle.name() == name)
        .unwrap();
    Loaded::new(Arc::clone(bundle)).unwrap()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => panic!("{other} is no object"),
    }
}

/// What the provisioner would hand in for these parameters, defaults resolved.
fn variables(plan: &Loaded, parameters: Value, context: Value) -> Variables {
    Variables {
        instance: Instance {
            id: "0f".to_owned(),
            name: "msample".to_owned(),
            namespace: NAMESPACE.to_owned(),
        },
        parameters: plan
            .bundle()
            .create_parameters(&object(parameters))
            .unwrap()
            .effective,
        context: object(context),
        generated: object(json!({
            "admin": "secret-password",
            "keyfile": "a2V5ZmlsZQ==",
            "tls": { "certificate": "CERT\n", "key": "KEY\n", "ca": "CA\n" },
        })),
        broker: Broker {
            cluster_domain: "cluster.local".to_owned(),
            namespace: "mongodb-osb".to_owned(),
            bootstrap_image: "localhost/mongodb-osb/mongo-bootstrap:dev".to_owned(),
            ..Broker::default()
        },
        ..Variables::default()
    }
}

fn render(plan: &Loaded, variables: &Variables) -> Vec<Value> {
    plan.render(variables)
        .unwrap()
        .into_iter()
        .flat_map(|file| file.objects)
        .collect()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    objects
        .iter()
        .find(|object| object["kind"] == kind)
        .unwrap()
}

/// The arguments of mongod.
fn mongod(objects: &[Value]) -> Vec<&str> {
    let pod = &of_kind(objects, "StatefulSet")["spec"]["template"]["spec"];
    let arguments = pod["containers"][0]["args"].as_array().unwrap();
    arguments
        .iter()
        .map(|argument| argument.as_str().unwrap())
        .collect()
}

/// Who may connect, after the members and the broker.
fn admitted(objects: &[Value]) -> Vec<Value> {
    let rule = &of_kind(objects, "NetworkPolicy")["spec"]["ingress"][0];
    rule["from"].as_array().unwrap()[2..].to_vec()
}

#[test]
fn all_plans_load_without_a_fault() {
    for (trees, plans) in [
        (shipped(), ["large", "medium", "small"]),
        (demo(), ["large", "medium", "small"]),
    ] {
        assert_eq!(catalog::lint(&trees), []);
        let catalog = catalog::build(&trees);
        let mut names: Vec<_> = catalog.plans.iter().map(|bundle| bundle.name()).collect();
        names.sort_unstable();
        assert_eq!(names, plans);
    }
}

#[test]
fn sizes_differ_in_values_only() {
    for (name, members, memory) in [
        ("small", 1, "1Gi"),
        ("medium", 3, "4Gi"),
        ("large", 3, "16Gi"),
    ] {
        let plan = load(&shipped(), name);
        let variables = variables(&plan, json!({}), json!({}));
        let objects = render(&plan, &variables);
        let set = of_kind(&objects, "StatefulSet");
        assert_eq!(set["spec"]["replicas"], members);
        let resources = &set["spec"]["template"]["spec"]["containers"][0]["resources"];
        assert_eq!(resources["requests"]["memory"], memory);
        assert_eq!(resources["limits"]["memory"], memory);
        assert_eq!(
            of_kind(&objects, "ConfigMap")["data"]["members"],
            members.to_string()
        );
        // No storage class was named: the key is not there at all.
        let claim = &set["spec"]["volumeClaimTemplates"][0]["spec"];
        assert!(claim.get("storageClassName").is_none(), "{claim}");
        let database = plan
            .database(&with_outputs(&plan, variables, &objects))
            .unwrap();
        assert_eq!(database.hosts.len(), members);
        assert_eq!(
            database.hosts[0],
            format!("mdb-0.mdb.{NAMESPACE}.svc.cluster.local:27017")
        );
    }
}

/// An instance grows and shrinks among the sizes: what there is stays what it is called, and no
/// template of claims or label of a pod moves.
#[test]
fn any_size_may_become_any_other_and_names_stay() {
    let plans = ["small", "medium", "large"];
    let names = |plan: &Loaded| {
        let objects = render(plan, &variables(plan, json!({}), json!({})));
        let names: Vec<_> = objects
            .iter()
            .map(|object| format!("{}/{}", object["kind"], object["metadata"]["name"]))
            .collect();
        let set = of_kind(&objects, "StatefulSet")["spec"].clone();
        let fixed = json!([
            set["selector"],
            set["serviceName"],
            set["podManagementPolicy"],
            set["template"]["metadata"],
            set["volumeClaimTemplates"][0]["metadata"],
        ]);
        (names, fixed)
    };
    let small = names(&load(&shipped(), "small"));
    for from in plans {
        let plan = load(&shipped(), from);
        assert!(plan.bundle().is_updateable(), "{from}");
        assert_eq!(names(&plan), small, "{from}");
        for to in plans {
            assert_eq!(plan.bundle().may_update_to(to), from != to, "{from} {to}");
        }
    }
}

/// The demo's plans grow from one member to three, on the same storage and the same server.
#[test]
fn the_demos_small_and_medium_differ_in_members_only() {
    let set = |name| {
        let plan = load(&demo(), name);
        let mut set = of_kind(
            &render(&plan, &variables(&plan, json!({}), json!({}))),
            "StatefulSet",
        )["spec"]
            .clone();
        (set["replicas"].take(), set)
    };
    let (small, medium) = (set("small"), set("medium"));
    assert_eq!((small.0, medium.0), (json!(1), json!(3)));
    assert_eq!(small.1, medium.1);
}

fn with_outputs(plan: &Loaded, variables: Variables, objects: &[Value]) -> Variables {
    let outputs = plan.outputs(&variables, objects).unwrap();
    Variables {
        outputs,
        ..variables
    }
}

#[test]
fn the_topology_is_a_file_before_the_members() {
    let plan = load(&shipped(), "small");
    let files = plan
        .render(&variables(&plan, json!({}), json!({})))
        .unwrap();
    let place = |kind: &str| {
        files
            .iter()
            .position(|f| f.objects.iter().any(|o| o["kind"] == kind))
    };
    assert!(place("ConfigMap") < place("StatefulSet"));
    assert!(place("Service") < place("StatefulSet"));
    // Where logins are revoked is there before the members.
    let named = |name: &str| {
        let is_named = |object: &Value| object["metadata"]["name"] == name;
        files
            .iter()
            .position(|file| file.objects.iter().any(is_named))
    };
    assert!(named("mdb-revocations").is_some());
    assert!(named("mdb-revocations") < place("StatefulSet"));
    // What cannot be taken back comes last.
    let last = &files.last().unwrap().objects[0];
    assert_eq!(last["metadata"]["name"], "mdb-compatibility");
}

#[test]
fn parameters_become_flags_of_mongod() {
    let plan = load(&demo(), "small");
    let objects = render(&plan, &variables(&plan, json!({}), json!({})));
    let flags = mongod(&objects);
    assert!(flags.contains(&"--tlsMode=preferTLS"), "{flags:?}");
    assert!(flags.contains(&"--slowms=100"), "{flags:?}");
    assert!(flags.contains(&"--wiredTigerCacheSizeGB=0.25"), "{flags:?}");

    let parameters = json!({ "tls": "required", "slow_ms": 250, "max_connections": 640 });
    let objects = render(&plan, &variables(&plan, parameters, json!({})));
    let flags = mongod(&objects);
    for flag in ["--tlsMode=requireTLS", "--slowms=250", "--maxConns=640"] {
        assert!(flags.contains(&flag), "{flags:?}");
    }
    let image =
        &of_kind(&objects, "StatefulSet")["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!(image, "docker.io/library/mongo:6.0");
}

/// The first patches without the unauthenticated read of memory that is CVE-2025-14847.
#[test]
fn every_image_is_an_exact_patch_of_its_version_with_known_holes_closed() {
    let first_safe = [("7.0", 28), ("8.0", 17)];
    for name in ["small", "medium", "large"] {
        let plan = load(&shipped(), name);
        for (version, patch) in first_safe {
            let image = plan.bundle().descriptor().values["versions"][version]
                .as_str()
                .unwrap();
            let prefix = format!("docker.io/library/mongo:{version}.");
            let found: u32 = image.strip_prefix(&prefix).unwrap().parse().unwrap();
            assert!(found >= patch, "{image}");
        }
    }
}

/// A real mongod with the template's own flags.
async fn started(parameters: Value) -> testbed::Mongod {
    let plan = load(&shipped(), "small");
    let objects = render(&plan, &variables(&plan, parameters, json!({})));
    let mut options = testbed::MongodOptions::default();
    for flag in mongod(&objects) {
        // All flags but those for which the test has paths and addresses of its own.
        let is_of_the_pod = [
            "--replSet",
            "--bind_ip_all",
            "--port",
            "--dbpath",
            "--nounixsocket",
            "--keyFile",
            "--tls",
            "--wiredTigerCacheSizeGB",
        ]
        .iter()
        .any(|prefix| flag.starts_with(prefix));
        if !is_of_the_pod {
            options = options.arg(flag);
        }
    }
    testbed::Mongod::start(options).await.unwrap()
}

/// It negotiates compression before login.
#[tokio::test]
async fn mongod_offers_no_zlib_to_whoever_connects() {
    let mongod = started(json!({})).await;
    let client = mongodb::Client::with_uri_str(mongod.uri()).await.unwrap();
    let hello = doc! { "hello": 1, "compression": ["zlib", "snappy", "zstd"] };
    let answer = client.database("admin").run_command(hello).await.unwrap();
    let offered: Vec<_> = answer
        .get_array("compression")
        .unwrap()
        .iter()
        .filter_map(mongodb::bson::Bson::as_str)
        .collect();
    assert_eq!(offered, ["snappy", "zstd"]);
}

#[tokio::test]
async fn mongod_takes_one_mechanism_of_login_only() {
    let mongod = started(json!({})).await;
    let client = mongodb::Client::with_uri_str(mongod.uri()).await.unwrap();
    let begin = async |mechanism: &str| {
        let payload = Binary {
            subtype: BinarySubtype::Generic,
            bytes: b"n,,n=somebody,r=nonce".to_vec(),
        };
        let command = doc! { "saslStart": 1, "mechanism": mechanism, "payload": payload };
        let answer = client.database("admin").run_command(command).await;
        answer.unwrap_err().to_string()
    };
    let refused = begin("SCRAM-SHA-1").await;
    assert!(refused.contains("not enabled"), "{refused}");
    // This one gets as far as looking for the user.
    let refused = begin("SCRAM-SHA-256").await;
    assert!(!refused.contains("not enabled"), "{refused}");
}

#[tokio::test]
async fn mongod_runs_no_javascript_unless_that_is_asked_for() {
    for (asked, runs) in [
        (json!({}), false),
        (json!({ "server_side_javascript": true }), true),
    ] {
        let mongod = started(asked).await;
        let client = mongodb::Client::with_uri_str(mongod.uri()).await.unwrap();
        let shop = client.database("shop");
        let items = shop.collection("items");
        items.insert_one(doc! { "price": 1 }).await.unwrap();
        let function = doc! { "$function": {
            "body": "function(price) { return price + 1 }", "args": ["$price"], "lang": "js",
        }};
        for command in [
            doc! { "find": "items", "filter": { "$where": "this.price == 1" } },
            doc! { "aggregate": "items", "cursor": {}, "pipeline": [{ "$project": { "x": function } }] },
            doc! {
                "mapReduce": "items", "map": "function() { emit(1, this.price) }",
                "reduce": "function(key, all) { return 1 }", "out": { "inline": 1 },
            },
        ] {
            let answer = shop.run_command(command.clone()).await;
            assert_eq!(answer.is_ok(), runs, "{command}: {answer:?}");
        }
    }
}

#[test]
fn parameters_outside_of_the_schema_are_refused() {
    let plan = load(&shipped(), "small");
    for parameters in [
        json!({ "version": "6.0" }),
        json!({ "slow_ms": 0 }),
        // One app pools up to 100, and nobody could revoke its login.
        json!({ "max_connections": 499 }),
        json!({ "slow_ms": "1\n- --noauth" }),
        json!({ "allowed_namespaces": ["x: y\nz: 1\n# "] }),
        json!({ "allowed_cidrs": ["everywhere"] }),
        json!({ "allowed_cidrs": ["999.0.0.0/8"] }),
        json!({ "allowed_cidrs": ["10.0.0/8"] }),
        json!({ "allowed_cidrs": ["10.0.0.0/33"] }),
        json!({ "allowed_cidrs": ["::/129"] }),
        json!({ "unknown": 1 }),
    ] {
        let refused = plan.bundle().create_parameters(&object(parameters.clone()));
        assert!(refused.is_err(), "{parameters}");
    }
}

#[test]
fn who_may_connect_is_what_was_asked_for_else_the_sites_default_else_the_cluster() {
    let plan = load(&shipped(), "small");
    let named = |name: &str| json!({ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": name } } });
    let block = |cidr: &str| json!({ "ipBlock": { "cidr": cidr } });

    let nobody = variables(&plan, json!({}), json!({}));
    assert_eq!(
        admitted(&render(&plan, &nobody)),
        [json!({ "namespaceSelector": {} })]
    );

    let mut site = nobody.clone();
    site.broker.allowed_namespaces = vec!["apps".to_owned()];
    site.broker.allowed_cidrs = vec!["10.0.0.0/8".to_owned()];
    assert_eq!(
        admitted(&render(&plan, &site)),
        [named("apps"), block("10.0.0.0/8")]
    );

    let asked = json!({ "allowed_namespaces": ["shop"], "allowed_cidrs": ["192.168.0.0/16"] });
    let asked = Variables {
        broker: site.broker.clone(),
        ..variables(&plan, asked, json!({}))
    };
    assert_eq!(
        admitted(&render(&plan, &asked)),
        [named("shop"), block("192.168.0.0/16")]
    );

    let platform = variables(
        &plan,
        json!({}),
        json!({ "platform": "kubernetes", "namespace": "team" }),
    );
    assert_eq!(admitted(&render(&plan, &platform)), [named("team")]);
}

#[test]
fn the_topology_is_ready_when_no_member_is_in_the_set_that_shall_go() {
    let plan = load(&shipped(), "medium");
    let variables = variables(&plan, json!({}), json!({}));
    let applied = of_kind(&render(&plan, &variables), "ConfigMap").clone();
    let judged = |annotations: Value| {
        let mut live = applied.clone();
        live["metadata"]["annotations"] = annotations;
        plan.readiness(&live, &applied, &variables, jiff::Timestamp::UNIX_EPOCH)
    };
    let report = |report: Value| {
        judged(json!({
            "mongodb-osb.io/bootstrapped": "mdb",
            "mongodb-osb.io/topology-report": report.to_string(),
        }))
    };
    assert_eq!(judged(json!({})), Readiness::Ready, "before there is a set");
    assert_eq!(
        judged(json!({ "mongodb-osb.io/bootstrapped": "mdb" })),
        Readiness::Waiting(
            "ConfigMap/mdb-topology: waiting for the replica set to report".to_owned()
        )
    );
    let good = json!({ "desired": 3, "members": [0], "excess": [], "primaryOrdinal": 0 });
    assert_eq!(report(good.clone()), Readiness::Ready);
    for (key, value) in [
        ("desired", json!(1)),
        ("excess", json!([3])),
        ("primaryOrdinal", json!(3)),
        ("primaryOrdinal", Value::Null),
    ] {
        let mut bad = good.clone();
        bad[key] = value;
        bad["message"] = json!("there is no primary");
        assert_eq!(
            report(bad),
            Readiness::Waiting("ConfigMap/mdb-topology: there is no primary".to_owned()),
            "{key}"
        );
    }
}

/// What the broker asks before it deletes the volume claim of a member.
#[test]
fn a_claim_may_go_once_the_primary_has_reported_that_its_member_left() {
    let plan = load(&shipped(), "small");
    let variables = variables(&plan, json!({}), json!({}));
    let rule = &plan.bundle().descriptor().claims["mdb"];
    let judged = |members: &str, report: Option<Value>| {
        let report = report.map(|report| report.to_string());
        let live = json!({
            "data": { "members": members },
            "metadata": { "annotations": { "mongodb-osb.io/topology-report": report } },
        });
        [0, 1, 2].map(|ordinal| plan.membership(rule, &live, ordinal, &variables))
    };
    let [member, left, unknown] = [Membership::Member, Membership::Left, Membership::Unknown];
    let one = json!({ "desired": 1, "members": [0], "excess": [], "primaryOrdinal": 0 });
    assert_eq!(
        judged("1", Some(one.clone())),
        [member.clone(), left.clone(), left.clone()]
    );
    // Members that are in, and those that join: whatever the report says of them.
    for report in [None, Some(one.clone())] {
        assert_eq!(
            judged("3", report),
            [member.clone(), member.clone(), member.clone()]
        );
    }
    // The members above have left when the primary says so, and of this number.
    for (key, value) in [
        ("desired", json!(3)),
        ("excess", json!([2])),
        ("primaryOrdinal", Value::Null),
    ] {
        let mut bad = one.clone();
        bad[key] = value;
        assert_eq!(
            judged("1", Some(bad)),
            [member.clone(), unknown.clone(), unknown.clone()],
            "{key}"
        );
    }
    assert_eq!(judged("1", None), [member, unknown.clone(), unknown]);
    // kubectl scale deletes nothing.
    let objects = render(&plan, &variables);
    let policy = &of_kind(&objects, "StatefulSet")["spec"]["persistentVolumeClaimRetentionPolicy"];
    assert_eq!(
        policy,
        &json!({ "whenScaled": "Retain", "whenDeleted": "Retain" })
    );
}

/// Every plan, from every version, to every version of every plan that it may become.
#[test]
fn a_version_goes_to_the_next_one_or_stays_whatever_the_plan() {
    let order = ["7.0", "8.0"];
    let parameters = |version: &str| object(json!({ "version": version }));
    let plans = ["small", "medium", "large"].map(|name| load(&shipped(), name));
    for (from, before) in order.iter().enumerate() {
        for (to, after) in order.iter().enumerate() {
            for (old, new) in plans
                .iter()
                .flat_map(|old| plans.iter().map(move |n| (old, n)))
            {
                let made = old.bundle().create_parameters(&parameters(before)).unwrap();
                let asked = new.bundle().update_parameters(&made, &parameters(after));
                assert_eq!(
                    asked.is_ok(),
                    to == from || to == from + 1,
                    "{before} {after}"
                );
                if let Err(violations) = asked {
                    let unsupported = plan::schema::Violation::is_unsupported_change;
                    assert!(violations.iter().all(unsupported));
                }
                // What does not speak of it, and what asks for the default, moves it no further.
                let silent = new.bundle().update_parameters(&made, &Map::new()).unwrap();
                assert_eq!(silent.effective["version"], **before);
            }
        }
    }
    for plan in &plans {
        let images = &plan.bundle().descriptor().values["versions"];
        let known: Vec<_> = images.as_object().unwrap().keys().collect();
        assert_eq!(known, order);
    }
}

#[test]
fn an_older_server_than_the_data_is_of_is_not_started() {
    let plan = load(&shipped(), "medium");
    let variables = variables(&plan, json!({ "version": "7.0" }), json!({}));
    let applied = of_kind(&render(&plan, &variables), "ConfigMap").clone();
    let judged = |version: Value, data: Value| {
        let report = json!({
            "desired": 3, "members": [0, 1, 2], "excess": [], "primaryOrdinal": 0,
            "version": version, "dataVersion": data, "message": "never go down",
        });
        let mut live = applied.clone();
        live["metadata"]["annotations"] = json!({
            "mongodb-osb.io/bootstrapped": "mdb",
            "mongodb-osb.io/topology-report": report.to_string(),
        });
        plan.readiness(&live, &applied, &variables, jiff::Timestamp::UNIX_EPOCH)
    };
    for data in ["6.0", "7.0"] {
        assert_eq!(judged(json!("7.0"), json!(data)), Readiness::Ready);
    }
    let refused = Readiness::Waiting("ConfigMap/mdb-topology: never go down".to_owned());
    for data in ["8.0", "10.0"] {
        assert_eq!(judged(json!("7.0"), json!(data)), refused, "{data}");
    }
    // A report that speaks of another version was written before this one was asked for.
    assert_eq!(judged(json!("8.0"), json!("7.0")), refused);
}

#[test]
fn an_upgrade_is_done_when_the_set_has_the_compatibility_that_was_asked_for() {
    let plan = load(&shipped(), "medium");
    let variables = variables(&plan, json!({ "version": "8.0" }), json!({}));
    let objects = render(&plan, &variables);
    let applied = objects.last().unwrap();
    assert_eq!(applied["data"], json!({ "version": "8.0" }));
    let judged = |annotations: Value| {
        let mut live = applied.clone();
        live["metadata"]["annotations"] = annotations;
        plan.readiness(&live, applied, &variables, jiff::Timestamp::UNIX_EPOCH)
    };
    let report = |report: Value| {
        judged(json!({ "mongodb-osb.io/compatibility-report": report.to_string() }))
    };
    let waiting =
        |message: &str| Readiness::Waiting(format!("ConfigMap/mdb-compatibility: {message}"));
    let nothing = waiting("waiting for the feature compatibility version 8.0");
    assert_eq!(judged(json!({})), nothing);
    assert_eq!(
        report(json!({ "desired": "7.0", "version": "7.0" })),
        nothing
    );
    let old = "member 2 does not run the new server version yet";
    let report_of = |version: &str| json!({ "desired": "8.0", "version": version, "message": old });
    assert_eq!(report(report_of("7.0")), waiting(old));
    assert_eq!(
        report(json!({ "desired": "8.0", "version": "8.0" })),
        Readiness::Ready
    );
}

#[test]
fn the_members_are_ready_when_all_are_in_and_up_to_date() {
    let plan = load(&shipped(), "medium");
    let variables = variables(&plan, json!({}), json!({}));
    let applied = of_kind(&render(&plan, &variables), "StatefulSet").clone();
    let judged = |ready: u32, updated: u32| {
        let mut live = applied.clone();
        live["metadata"]["generation"] = json!(2);
        live["status"] = json!({
            "observedGeneration": 2, "replicas": 3, "readyReplicas": ready,
            "updatedReplicas": updated, "currentRevision": "b", "updateRevision": "b",
        });
        plan.readiness(&live, &applied, &variables, jiff::Timestamp::UNIX_EPOCH)
    };
    assert_eq!(judged(3, 3), Readiness::Ready);
    let waiting = Readiness::Waiting("StatefulSet/mdb: 2 of 3 members ready".to_owned());
    assert_eq!(judged(2, 3), waiting);
    assert!(matches!(judged(3, 1), Readiness::Waiting(_)));
}

#[test]
fn data_outlives_the_larger_plans_for_a_week() {
    for (name, days) in [("small", 0), ("medium", 7), ("large", 7)] {
        let plan = load(&shipped(), name);
        assert_eq!(
            plan.bundle().descriptor().deletion.retain.as_secs(),
            days * 86_400,
            "{name}"
        );
    }
}

#[tokio::test]
async fn the_api_server_takes_every_object_as_it_is() {
    let control_plane = testbed::ControlPlane::start().await.unwrap();
    let client = control_plane.client();
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
    let namespace = serde_json::from_value(json!({ "metadata": {
        "name": NAMESPACE,
        // The strictest level of pod security.
        "labels": { "pod-security.kubernetes.io/enforce": "restricted" },
    }}));
    namespaces
        .create(&PostParams::default(), &namespace.unwrap())
        .await
        .unwrap();
    let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> =
        Api::namespaced(client.clone(), NAMESPACE);
    let account = serde_json::from_value(json!({ "metadata": { "name": "mdb" } })).unwrap();
    accounts
        .create(&PostParams::default(), &account)
        .await
        .unwrap();

    for (trees, name) in [
        (shipped(), "small"),
        (shipped(), "large"),
        (demo(), "small"),
    ] {
        let plan = load(&trees, name);
        for parameters in [
            json!({}),
            json!({
                "tls": "required", "allowed_namespaces": ["a", "b"],
                "allowed_cidrs": ["::/0", "0.0.0.0/0", "255.10.99.0/24", "2001:db8::/32"],
            }),
        ] {
            let objects = render(&plan, &variables(&plan, parameters, json!({})));
            for object in &objects {
                apply(client.clone(), object).await;
            }
            apply(client.clone(), &pod(of_kind(&objects, "StatefulSet"))).await;
        }
    }
}

/// A pod as the StatefulSet's controller makes it, for admission to judge.
fn pod(set: &Value) -> Value {
    let mut pod = set["spec"]["template"].clone();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!("mdb-0");
    let volumes = pod["spec"]["volumes"].as_array_mut().unwrap();
    volumes.push(json!({ "name": "data", "persistentVolumeClaim": { "claimName": "data-mdb-0" } }));
    pod
}

/// Applies an object for a trial, and insists on every field.
async fn apply(client: kube::Client, object: &Value) {
    let text = |key: &str| object[key].as_str().unwrap();
    let (group, version) = text("apiVersion")
        .split_once('/')
        .unwrap_or_else(|| ("", text("apiVersion")));
    let kind = GroupVersionKind::gvk(group, version, text("kind"));
    let plural = match text("kind") {
        "NetworkPolicy" => "networkpolicies".to_owned(),
        kind => format!("{}s", kind.to_lowercase()),
    };
    let resource = ApiResource::from_gvk_with_plural(&kind, &plural);
    let api: Api<DynamicObject> = Api::namespaced_with(client, NAMESPACE, &resource);
    let params = PatchParams {
        dry_run: true,
        ..PatchParams::apply("mongodb-osb").force()
    }
    .validation_strict();
    let name = object["metadata"]["name"].as_str().unwrap();
    if let Err(error) = api.patch(name, &params, &Patch::Apply(object)).await {
        panic!("{}/{name}: {error}", text("kind"));
    }
}
