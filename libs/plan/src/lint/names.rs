//! Variables of templates that nothing defines, in branches that no trial takes, too.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Subject;
use crate::fault::Problem;
use crate::node;
use crate::render::engine::Engine;
use crate::schema::Schemas;
use crate::variables::{BUILT_INS, CONTEXT_KEYS};

/// The names that a file may use.
fn known<'a>(
    file: &str,
    subject: &'a Subject<'_>,
    schemas: Option<&'a Schemas>,
) -> BTreeSet<&'a str> {
    let binding = file.starts_with("binding/");
    let hidden = |name: &str| match name {
        "object" | "applied" | "now" => true,
        "binding" => !binding,
        _ => false,
    };
    let mut known: BTreeSet<&str> = BUILT_INS.into_iter().filter(|name| !hidden(name)).collect();
    known.extend(CONTEXT_KEYS);
    known.extend(subject.descriptor.values.keys().map(String::as_str));
    for schema in schemas.iter().flat_map(|s| [&s.create, &s.update]) {
        let properties = schema.get("properties").and_then(Value::as_object);
        known.extend(
            properties
                .into_iter()
                .flatten()
                .map(|(name, _)| name.as_str()),
        );
    }
    known
}

/// All names that nothing defines.
pub(crate) fn unknown(
    subject: &Subject<'_>,
    engine: &Engine,
    schemas: Option<&Schemas>,
) -> BTreeSet<String> {
    let mut unknown = BTreeSet::new();
    for file in subject.files.keys() {
        let known = known(file, subject, schemas);
        let names = engine.undeclared(file).into_keys();
        unknown.extend(names.filter(|name| !known.contains(name.as_str())));
    }
    unknown
}

/// Whether a user may send parameters that no schema names.
pub(crate) fn is_open(schemas: &Schemas) -> bool {
    let open = |schema: &Value| schema.get("additionalProperties") != Some(&Value::Bool(false));
    open(&schemas.create) || open(&schemas.update)
}

/// A problem for each name that nothing defines, at its first place.
pub(crate) fn check(subject: &Subject<'_>, engine: &Engine, schemas: &Schemas) -> Vec<Problem> {
    if is_open(schemas) {
        return Vec::new();
    }
    let mut problems = Vec::new();
    for file in subject.files.keys() {
        let known = known(file, subject, Some(schemas));
        for (name, place) in engine.undeclared(file) {
            if !known.contains(name.as_str()) {
                let names: Vec<_> = known.iter().copied().collect();
                let pos = subject.place(file, place.line, place.column);
                problems.push(Problem::at(&pos, node::unknown("variable", &name, &names)));
            }
        }
    }
    problems
}
