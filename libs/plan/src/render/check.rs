//! What a plan may apply: complete objects, of its declared kinds, inside its namespace, each
//! once.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

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
    let mut seen = BTreeSet::new();
    let mut objects = Vec::with_capacity(documents.len());
    for document in documents {
        let (line, column) = (document.line, document.column);
        let fail = |message: String| Error {
            file: name.to_owned(),
            line,
            column,
            message,
        };
        object(&document.value, rules).map_err(fail)?;
        let object = Value::Object(document.value);
        if !seen.insert(identity(&object, rules.namespace)) {
            return Err(fail(format!("{} is rendered twice", describe(&object))));
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
    let mut seen = BTreeSet::new();
    for file in files {
        for object in &file.objects {
            if !seen.insert(identity(object, namespace)) {
                return Err(Error {
                    file: file.name.clone(),
                    line: 0,
                    column: 1,
                    message: format!(
                        "{} is rendered by an earlier file already",
                        describe(object)
                    ),
                });
            }
        }
    }
    Ok(())
}

fn object(object: &Map<String, Value>, rules: &Rules<'_>) -> Result<(), String> {
    let text = |key: &str| {
        object
            .get(key)
            .and_then(Value::as_str)
            .filter(|s| !s.is_empty())
    };
    let api_version = text("apiVersion").ok_or("apiVersion is missing")?;
    let kind = text("kind").ok_or("kind is missing")?;
    if kind == "List" || (kind.ends_with("List") && object.contains_key("items")) {
        return Err("lists are not supported: write documents, with --- between them".to_owned());
    }
    let metadata = object.get("metadata").and_then(Value::as_object);
    let metadata = metadata.ok_or("metadata is missing")?;
    let name = metadata.get("name").ok_or("metadata.name is missing")?;
    match name {
        Value::String(name) if !name.is_empty() => {}
        _ => return Err("metadata.name must be a string: quote it".to_owned()),
    }
    let kind = KindRef::new(api_version, kind);
    if !rules.kinds.iter().any(|allowed| allowed.matches(&kind)) {
        return Err(format!("{kind} is not listed in kinds of plan.yaml"));
    }
    if rules.scope == Scope::Namespace {
        confined(&kind, metadata.get("namespace"), rules.namespace)?;
    }
    Ok(())
}

fn confined(kind: &KindRef, namespace: Option<&Value>, own: &str) -> Result<(), String> {
    if kinds::is_cluster_scoped(kind) || kinds::is_rbac(kind) {
        return Err(format!("{kind} needs scope: cluster"));
    }
    match namespace {
        None => Ok(()),
        Some(Value::String(namespace)) if namespace == own => Ok(()),
        Some(_) => Err("metadata.namespace is not the instance's: leave it out".to_owned()),
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

/// The kinds that a template's source spells out: apiVersion and kind cannot come from values.
/// Documents in flow style are not seen.
pub(crate) fn literal_kinds(source: &str) -> BTreeSet<KindRef> {
    let mut kinds = BTreeSet::new();
    let (mut api_version, mut kind) = (None, None);
    for line in source.lines() {
        let value = |key: &str| {
            let rest = line.strip_prefix(key)?.strip_prefix(':')?;
            Some(
                rest.split(" #")
                    .next()
                    .unwrap_or(rest)
                    .trim()
                    .trim_matches(['"', '\'']),
            )
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
        }
        if let (Some(api_version), Some(kind)) = (api_version, kind) {
            kinds.extend(format!("{api_version}/{kind}").parse::<KindRef>());
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
        let kinds: Vec<_> = literal_kinds(source)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(kinds, ["v1/Secret", "apps/v1/Deployment"]);
    }

    #[test]
    fn alternatives_are_kinds_of_their_own() {
        let source = "{% if a %}\napiVersion: v1\nkind: Secret\n{% else %}\n\
                      apiVersion: apps/v1\nkind: Deployment\n{% endif %}\n";
        assert_eq!(literal_kinds(source).len(), 2);
    }
}
