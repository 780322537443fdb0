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
pub(crate) fn unknown(subject: &Subject<'_>, engine: &Engine) -> BTreeSet<String> {
    let mut unknown = BTreeSet::new();
    for file in subject.files.keys() {
        let known = known(file, subject, None);
        let names = engine.undeclared(file).into_keys();
        unknown.extend(names.filter(|name| !known.contains(name.as_str())));
    }
    unknown
}

/// Built-in names with fewer letters are too near to names that people give.
const MIN_LETTERS: usize = 5;

/// A problem for each name that nothing defines and that is nearly the name of a built-in: as a
/// parameter it would be a surprise.
pub(crate) fn misspelt(subject: &Subject<'_>, engine: &Engine) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in subject.files.keys() {
        let known = known(file, subject, None);
        for (name, place) in engine.undeclared(file) {
            let long = BUILT_INS.iter().chain(&CONTEXT_KEYS);
            let near = long
                .filter(|built_in| built_in.len() >= MIN_LETTERS)
                .find(|built_in| is_slip(&name, built_in));
            if let Some(near) = near.filter(|_| !known.contains(name.as_str())) {
                let pos = subject.place(file, place.line, place.column);
                let message = format!(
                    "unknown variable {name:?}, did you mean {near:?}? A parameter of this plan needs \
                     another name"
                );
                problems.push(Problem::at(&pos, message));
            }
        }
    }
    problems
}

/// One letter is wrong, missing, added, or two are swapped; a plural is none.
fn is_slip(name: &str, meant: &str) -> bool {
    let is_plural = |one: &str, many: &str| many.strip_suffix('s') == Some(one);
    strsim::damerau_levenshtein(name, meant) == 1
        && !is_plural(name, meant)
        && !is_plural(meant, name)
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
