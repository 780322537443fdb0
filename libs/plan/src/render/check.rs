//! What a plan may apply: complete objects, of its declared kinds, inside its namespace, each
//! once.

mod beyond;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::skeleton::Found;
use super::tree::Document;
use super::{Error, File};
use crate::descriptor::{KindRef, Scope};
use crate::kinds;

/// The rules of a plan for what its templates render.
#[derive(Debug, Clone)]
pub(crate) struct Rules<'a> {
    pub(crate) kinds: &'a [KindRef],
    pub(crate) scope: Scope,
    pub(crate) namespace: &'a str,
}

/// Checks the documents of one file.
pub(crate) fn file(name: &str, documents: Vec<Document>, rules: &Rules<'_>) -> Result<File, Error> {
    let mut seen = BTreeMap::new();
    let mut objects = Vec::with_capacity(documents.len());
    for document in documents {
        let fail = |(line, column): (u32, u32), message: String| Error {
            file: name.to_owned(),
            line,
            column,
            message,
        };
        if let Err((key, message)) = object(&document.value, rules) {
            return Err(fail(document.key(key), message));
        }
        let place = (document.line, document.column);
        let object = Value::Object(document.value);
        if let Some(first) = seen.insert(identity(&object, rules.namespace), place.0) {
            let object = describe(&object);
            let message = format!("{object} is rendered twice; the first is at line {first}");
            return Err(fail(place, message));
        }
        objects.push(object);
    }
    Ok(File {
        name: name.to_owned(),
        objects,
    })
}

/// Checks that no object is in two files.
pub(crate) fn unique(files: &[File], namespace: &str) -> Result<(), Error> {
    let mut seen = BTreeMap::new();
    for file in files {
        for object in &file.objects {
            if let Some(first) = seen.insert(identity(object, namespace), &file.name) {
                return Err(Error {
                    file: file.name.clone(),
                    line: 0,
                    column: 1,
                    message: format!("{} is rendered by {first} already", describe(object)),
                });
            }
        }
    }
    Ok(())
}

/// What is wrong with an object, and the key to look at.
type Refusal = (&'static str, String);

fn object(object: &Map<String, Value>, rules: &Rules<'_>) -> Result<(), Refusal> {
    let text = |key: &'static str| {
        let value = object.get(key).and_then(Value::as_str);
        let given = value.filter(|text| !text.is_empty());
        given.ok_or_else(|| (key, format!("{key} is missing")))
    };
    let api_version = text("apiVersion")?;
    let kind = text("kind")?;
    if kind == "List" || (kind.ends_with("List") && object.contains_key("items")) {
        return Err(("kind", kinds::NO_LISTS.to_owned()));
    }
    let metadata = object.get("metadata").and_then(Value::as_object);
    let metadata = metadata.ok_or_else(|| ("metadata", "metadata is missing".to_owned()))?;
    match metadata.get("name") {
        Some(Value::String(name)) if !name.is_empty() => {}
        Some(Value::String(_)) => {
            return Err(("metadata.name", "metadata.name is empty".to_owned()));
        }
        Some(_) => {
            let message = "metadata.name must be a string: quote it";
            return Err(("metadata.name", message.to_owned()));
        }
        None => return Err(("metadata", "metadata.name is missing".to_owned())),
    }
    let kind = KindRef::new(api_version, kind);
    if !rules.kinds.iter().any(|allowed| allowed.matches(&kind)) {
        let listed: Vec<_> = rules.kinds.iter().map(ToString::to_string).collect();
        let message = format!(
            "{kind} is not listed in kinds of plan.yaml, which has {}",
            listed.join(", ")
        );
        return Err(("kind", message));
    }
    if rules.scope == Scope::Namespace {
        confined(&kind, metadata.get("namespace"), rules.namespace)?;
    }
    beyond::check(&kind, object)
}

fn confined(kind: &KindRef, namespace: Option<&Value>, own: &str) -> Result<(), Refusal> {
    if kinds::is_cluster_scoped(kind) || kinds::is_rbac(kind) {
        return Err(("kind", format!("{kind} needs scope: cluster")));
    }
    match namespace {
        None => Ok(()),
        Some(Value::String(namespace)) if namespace == own => Ok(()),
        Some(_) => {
            let message = "metadata.namespace is not the instance's, which each instance has of its \
                           own: leave it out, or say namespace: {shared: NAME} in plan.yaml";
            Err(("metadata.namespace", message.to_owned()))
        }
    }
}

fn identity(object: &Value, own: &str) -> (String, String, String, String) {
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let kind = KindRef::new(text("/apiVersion"), text("/kind"));
    let namespace = match text("/metadata/namespace") {
        "" => own,
        given => given,
    };
    (
        kind.group,
        kind.kind,
        namespace.to_owned(),
        text("/metadata/name").to_owned(),
    )
}

/// `Kind/name`.
pub(crate) fn describe(object: &Value) -> String {
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or("?")
    };
    format!("{}/{}", text("/kind"), text("/metadata/name"))
}

/// The kinds that a template spells out, with their places, where its branches together are no YAML:
/// documents in flow style are not seen.
pub(crate) fn kinds_by_line(source: &str) -> Vec<Found> {
    let mut kinds = Vec::new();
    let (mut api_version, mut kind) = (None, None);
    for (number, line) in (1..).zip(source.trim_start_matches('\u{FEFF}').lines()) {
        let value = |key: &str| {
            let rest = line.strip_prefix(key)?.strip_prefix(':')?;
            let rest = rest.split(" #").next().unwrap_or(rest);
            Some(rest.trim().trim_matches(['"', '\'']))
        };
        if line.starts_with("---") {
            (api_version, kind) = (None, None);
        } else if let Some(text) = value("apiVersion") {
            // A second pair in one document is an alternative: {% if %} … {% else %}.
            if api_version.is_some() {
                kind = None;
            }
            api_version = Some(text);
        } else if let Some(text) = value("kind") {
            kind = Some(text);
        } else {
            continue;
        }
        if let (Some(api_version), Some(kind)) = (api_version, kind) {
            let kind = format!("{api_version}/{kind}").parse::<KindRef>();
            kinds.extend(kind.map(|kind| (kind, (number, 1))));
        }
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_from_the_source() {
        let source = "apiVersion: v1 # core\nkind: Secret\n---\nkind: \"Deployment\"\n\
                      apiVersion: apps/v1\nspec:\n  kind: Nested\n";
        let kinds: Vec<_> = kinds_by_line(source)
            .iter()
            .map(|(kind, _)| kind.to_string())
            .collect();
        assert_eq!(kinds, ["v1/Secret", "apps/v1/Deployment"]);
    }

    #[test]
    fn alternatives_are_kinds_of_their_own() {
        let source = "{% if a %}\napiVersion: v1\nkind: Secret\n{% else %}\n\
                      apiVersion: apps/v1\nkind: Deployment\n{% endif %}\n";
        assert_eq!(kinds_by_line(source).len(), 2);
    }
}
