//! Readiness as data: rules by group and kind, shipped in `rules/`, overridden by a plan. The
//! check of observedGeneration is the library's, and no override removes it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use minijinja::value::Value as Jinja;
use serde::Deserialize;
use serde_json::Value;

use crate::descriptor::{Expression, KindRef, ReadyRule, Text};
use crate::expr::{Context, Evaluator};
use crate::node::{Node, from_node};
use crate::render::jinja;

/// What an object's state means for the operation that waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It is as it was asked to be.
    Ready,
    /// Not yet; the text says what is waited for.
    Waiting(String),
    /// It will not be; the text says why.
    Failed(String),
}

/// The shipped rules, by group and kind.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    by_kind: BTreeMap<(String, String), Rule>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Rule {
    ready: Option<Expression>,
    failed: Option<Expression>,
    message: Option<Text>,
    observed: Observed,
}

/// Where a kind says which generation its status speaks of.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Observed {
    /// In `status.observedGeneration`, if at all.
    #[default]
    Optional,
    /// In `status.observedGeneration`, always: without it the status says nothing yet.
    Always,
    /// At these JSON pointers, all of them.
    At(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    group: String,
    rules: BTreeMap<String, Rule>,
}

const SHIPPED: [(&str, &str); 11] = [
    ("core.yaml", include_str!("../rules/core.yaml")),
    ("apps.yaml", include_str!("../rules/apps.yaml")),
    ("batch.yaml", include_str!("../rules/batch.yaml")),
    ("policy.yaml", include_str!("../rules/policy.yaml")),
    ("networking.yaml", include_str!("../rules/networking.yaml")),
    ("rbac.yaml", include_str!("../rules/rbac.yaml")),
    (
        "apiextensions.yaml",
        include_str!("../rules/apiextensions.yaml"),
    ),
    ("mongodb.yaml", include_str!("../rules/mongodb.yaml")),
    (
        "mongodbcommunity.yaml",
        include_str!("../rules/mongodbcommunity.yaml"),
    ),
    ("mongodb-ai.yaml", include_str!("../rules/mongodb-ai.yaml")),
    ("atlas.yaml", include_str!("../rules/atlas.yaml")),
];

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let mut by_kind = BTreeMap::new();
    for (_, source) in SHIPPED {
        by_kind.extend(parse(source).into_iter().flatten());
    }
    Rules { by_kind }
});

/// The rules of one file. A test holds that each shipped one parses.
fn parse(source: &str) -> Result<BTreeMap<(String, String), Rule>, String> {
    let node = Node::read("rules", source.as_bytes()).map_err(|p| p.message)?;
    let file: RuleFile = from_node(&node).map_err(|p| p.message)?;
    let group = file.group;
    Ok(file
        .rules
        .into_iter()
        .map(|(kind, rule)| ((group.clone(), kind), rule))
        .collect())
}

impl Rules {
    /// The rules that come with the library.
    pub fn shipped() -> &'static Self {
        &RULES
    }

    fn get(&self, kind: &KindRef) -> &Rule {
        self.by_kind
            .get(&(kind.group.clone(), kind.kind.clone()))
            .unwrap_or(&CUSTOM)
    }
}

/// A kind without a rule: ready, unless it has a condition `Ready` that says otherwise.
static CUSTOM: LazyLock<Rule> = LazyLock::new(|| Rule {
    ready: Some(Expression(
        "object.status.conditions | default([]) | selectattr('type', 'eq', 'Ready') \
         | rejectattr('status', 'eq', 'True') | list | length == 0"
            .to_owned(),
    )),
    ..Rule::default()
});

/// Judges a live object. `context` holds the template variables; `applied` is the object as it
/// was last applied.
pub(crate) fn evaluate(
    rules: &Rules,
    overrides: &BTreeMap<String, ReadyRule>,
    evaluator: &Evaluator,
    subject: &Subject<'_>,
    mut context: Context,
) -> Readiness {
    let object = subject.object;
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (kind, name) = (text("/kind"), text("/metadata/name"));
    let label = format!("{kind}/{name}");
    let shipped = rules.get(&KindRef::new(text("/apiVersion"), kind));
    let own = overrides.get(&label).or_else(|| overrides.get(kind));

    if object.pointer("/metadata/deletionTimestamp").is_some() {
        return Readiness::Waiting(format!("{label} is being deleted"));
    }
    if !is_observed(object, &shipped.observed) {
        return Readiness::Waiting(format!("{label}: waiting for its controller"));
    }
    context.insert("object".to_owned(), jinja(object));
    context.insert("applied".to_owned(), jinja(subject.applied));
    context.insert("now".to_owned(), Jinja::from(subject.now.to_string()));

    let pick = |own: Option<&Expression>, shipped: Option<&Expression>| own.or(shipped).cloned();
    let failed = pick(
        own.and_then(|rule| rule.failed.as_ref()),
        shipped.failed.as_ref(),
    );
    let ready = pick(
        own.and_then(|rule| rule.ready.as_ref()),
        shipped.ready.as_ref(),
    );
    let message = own
        .and_then(|rule| rule.message.as_ref())
        .or(shipped.message.as_ref());
    let say = |fallback: &str| {
        let said = message.and_then(|text| evaluator.message(text, &context).ok());
        match said.as_deref().map(str::trim) {
            Some(said) if !said.is_empty() => format!("{label}: {said}"),
            _ => format!("{label} {fallback}"),
        }
    };
    match ready.map(|rule| evaluator.holds(&rule, &context)) {
        None | Some(Ok(true)) => return Readiness::Ready,
        Some(Err(error)) => {
            return Readiness::Waiting(format!(
                "{label}: its ready rule cannot be evaluated: {error}"
            ));
        }
        Some(Ok(false)) => {}
    }
    match failed.map(|rule| evaluator.holds(&rule, &context)) {
        Some(Ok(true)) => Readiness::Failed(say("has failed")),
        Some(Ok(false) | Err(_)) | None => Readiness::Waiting(say("is not ready yet")),
    }
}

/// What is judged, and when.
pub(crate) struct Subject<'a> {
    pub(crate) object: &'a Value,
    pub(crate) applied: &'a Value,
    pub(crate) now: jiff::Timestamp,
}

fn is_observed(object: &Value, observed: &Observed) -> bool {
    let Some(generation) = object
        .pointer("/metadata/generation")
        .and_then(Value::as_i64)
    else {
        return true;
    };
    let current = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_i64)
            .map(|observed| observed >= generation)
    };
    match observed {
        Observed::Optional => current("/status/observedGeneration").unwrap_or(true),
        Observed::Always => current("/status/observedGeneration").unwrap_or(false),
        Observed::At(pointers) => pointers.iter().all(|p| current(p).unwrap_or(false)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judge(object: &Value, applied: &Value) -> Readiness {
        let subject = Subject {
            object,
            applied,
            now: "2026-11-24T12:00:00Z".parse().unwrap(),
        };
        let none = BTreeMap::new();
        evaluate(
            Rules::shipped(),
            &none,
            &Evaluator::new(),
            &subject,
            Context::new(),
        )
    }

    fn judged(object: Value) -> Readiness {
        judge(&object, &Value::Null)
    }

    fn waits(object: Value) -> String {
        match judged(object) {
            Readiness::Waiting(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_shipped_file_parses_and_every_rule_compiles() {
        let evaluator = Evaluator::new();
        for (file, source) in SHIPPED {
            let rules = parse(source).unwrap_or_else(|e| panic!("{file}: {e}"));
            for ((_, kind), rule) in rules {
                for expression in rule.ready.iter().chain(&rule.failed) {
                    evaluator
                        .check(expression)
                        .unwrap_or_else(|e| panic!("{kind}: {e}"));
                    evaluator
                        .value(expression, &Context::new())
                        .unwrap_or_else(|e| panic!("{kind} on nothing: {e}"));
                }
                if let Some(message) = &rule.message {
                    evaluator
                        .message(message, &Context::new())
                        .unwrap_or_else(|e| panic!("{kind} on nothing: {e}"));
                }
            }
        }
    }

    fn stateful_set(generation: i64, status: &Value) -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": {"name": "mdb", "generation": generation},
            "spec": {"replicas": 3}, "status": status,
        })
    }

    #[test]
    fn a_stateful_set_is_ready_when_all_pods_are_new_and_ready() {
        let status = |observed, ready, updated| {
            json!({
                "observedGeneration": observed, "replicas": 3,
                "readyReplicas": ready, "updatedReplicas": updated,
            })
        };
        assert_eq!(judged(stateful_set(2, &status(2, 3, 3))), Readiness::Ready);
        let text = waits(stateful_set(2, &status(2, 2, 3)));
        assert_eq!(text, "StatefulSet/mdb: 2 of 3 pods ready");
        assert!(waits(stateful_set(2, &status(2, 3, 1))).contains("3 of 3"));
        assert!(waits(stateful_set(2, &status(1, 3, 3))).contains("controller"));
        assert!(waits(stateful_set(1, &json!({}))).contains("controller"));
        let fresh = waits(stateful_set(
            1,
            &json!({"observedGeneration": 1, "replicas": 0}),
        ));
        assert_eq!(fresh, "StatefulSet/mdb: 0 of 3 pods ready");
    }

    #[test]
    fn no_override_removes_the_check_of_the_generation() {
        let object = stateful_set(2, &json!({"observedGeneration": 1}));
        let subject = Subject {
            object: &object,
            applied: &object,
            now: jiff::Timestamp::UNIX_EPOCH,
        };
        let always = ReadyRule {
            ready: Some(Expression("true".into())),
            ..ReadyRule::default()
        };
        let overrides = BTreeMap::from([("StatefulSet/mdb".to_owned(), always)]);
        let rules = Rules::shipped();
        let judged = evaluate(
            rules,
            &overrides,
            &Evaluator::new(),
            &subject,
            Context::new(),
        );
        assert!(matches!(judged, Readiness::Waiting(_)));
    }

    fn mongodb(status: &Value) -> Value {
        json!({
            "apiVersion": "mongodb.com/v1", "kind": "MongoDB",
            "metadata": {"name": "m", "generation": 4}, "status": status,
        })
    }

    #[test]
    fn a_failed_mongodb_is_given_time() {
        let status = |phase, since| {
            json!({
                "phase": phase, "observedGeneration": 4, "lastTransition": since,
                "message": "no space",
            })
        };
        assert_eq!(
            judged(mongodb(&status("Running", "2026-11-24T11:59:00Z"))),
            Readiness::Ready
        );
        let waiting = waits(mongodb(&status("Failed", "2026-11-24T11:59:00Z")));
        assert_eq!(waiting, "MongoDB/m: phase Failed no space");
        let failed = judged(mongodb(&status("Failed", "2026-11-24T11:50:00Z")));
        assert_eq!(
            failed,
            Readiness::Failed("MongoDB/m: phase Failed no space".to_owned())
        );
        assert!(matches!(
            judged(mongodb(&status("Unsupported", "2026-11-24T11:59:59Z"))),
            Readiness::Failed(_)
        ));
        assert!(waits(mongodb(&json!({}))).contains("controller"));
    }

    #[test]
    fn a_community_database_is_ready_when_the_annotation_holds_what_was_applied() {
        let object = |last: &str| {
            json!({
                "apiVersion": "mongodbcommunity.mongodb.com/v1", "kind": "MongoDBCommunity",
                "metadata": {
                    "name": "m", "generation": 2,
                    "annotations": {"mongodb.com/v1.lastSuccessfulConfiguration": last},
                },
                "status": {"phase": "Running"},
            })
        };
        let applied = json!({"spec": {"members": 3}});
        let done = object("{\"members\":3,\"type\":\"ReplicaSet\"}");
        assert_eq!(judge(&done, &applied), Readiness::Ready);
        let before = object("{\"members\":1,\"type\":\"ReplicaSet\"}");
        assert!(matches!(judge(&before, &applied), Readiness::Waiting(_)));
    }

    #[test]
    fn what_exists_is_ready_unless_it_goes() {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
        assert_eq!(judged(secret), Readiness::Ready);
        let going = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "s", "deletionTimestamp": "2026-11-24T12:00:00Z"},
        });
        assert!(waits(going).contains("deleted"));
    }

    #[test]
    fn an_unknown_kind_waits_for_its_ready_condition_if_it_has_one() {
        let object = |status: &str| {
            json!({
                "apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"},
                "status": {"conditions": [{"type": "Ready", "status": status}]},
            })
        };
        assert_eq!(judged(object("True")), Readiness::Ready);
        assert!(matches!(judged(object("False")), Readiness::Waiting(_)));
    }

    #[test]
    fn claims_load_balancers_jobs_and_definitions() {
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"},
            "status": {"phase": "Pending"},
        });
        assert_eq!(judged(claim), Readiness::Ready);
        let service = |spec: &Value, status: &Value| {
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
                "spec": spec, "status": status,
            })
        };
        let balanced = json!({"type": "LoadBalancer"});
        assert!(waits(service(&balanced, &json!({"loadBalancer": {}}))).contains("load balancer"));
        let address = json!({"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}});
        assert_eq!(judged(service(&balanced, &address)), Readiness::Ready);
        assert_eq!(
            judged(service(&json!({"clusterIP": "None"}), &json!({}))),
            Readiness::Ready
        );
        let job = |kind: &str| {
            json!({
                "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"},
                "status": {"conditions": [{"type": kind, "status": "True"}], "failed": 1},
            })
        };
        assert_eq!(judged(job("Complete")), Readiness::Ready);
        assert!(matches!(judged(job("Failed")), Readiness::Failed(_)));
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "d", "generation": 1},
            "status": {"conditions": [{"type": "Established", "status": "True"}]},
        });
        assert_eq!(judged(definition), Readiness::Ready);
    }
}
