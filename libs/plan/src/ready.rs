//! Readiness as data: rules by group and kind, shipped in `rules/`, overridden by a plan. The
//! check of observedGeneration is the library's, and no override removes it. They are judged here,
//! where templates are rendered, since they see the same variables and expressions.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use minijinja::value::Value as Jinja;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::descriptor::{Expression, KindRef, ReadyRule, Text};
use crate::expr::{Context, Evaluator};
use crate::node::{Node, from_node};
use crate::render::jinja;

/// Characters of a plan's message that a poll tells.
const MAX_MESSAGE: usize = 1000;

/// What an object's state means for the operation that waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// Judges a live object, which is no Secret with a rule of the plan: lint refuses those. `context`
/// holds the template variables without secrets; `applied` is the object as it was last applied.
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
            Some(said) if !said.is_empty() => {
                let said: String = said.chars().take(MAX_MESSAGE).collect();
                format!("{label}: {said}")
            }
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
mod tests;
