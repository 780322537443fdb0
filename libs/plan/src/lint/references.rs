//! What a descriptor says about its own templates and variables, after they were tried: an order must
//! not wait until its deadline for a name that nothing has.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Subject, names};
use crate::expr::Context;
use crate::fault::Problem;
use crate::loaded::Loaded;
use crate::node::{nearest, unknown};
use crate::render::check::describe;
use crate::render::explain::{self, Path};
use crate::variables::{BUILT_INS, CONTEXT_KEYS, EXPRESSION_NAMES};

/// An expression or a text of a descriptor.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Its keys in the descriptor.
    pub(crate) key: Vec<String>,
    pub(crate) text: String,
    pub(crate) form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Expression,
    Text,
}

/// What an instance with some parameters came to.
pub(crate) struct Tried {
    /// Its objects, as `Kind/name`.
    pub(crate) objects: BTreeSet<String>,
    pub(crate) context: Context,
}

impl Tried {
    pub(crate) fn new(objects: &[Value], context: Context) -> Self {
        Self {
            objects: objects.iter().map(describe).collect(),
            context,
        }
    }
}

/// Finds what no trial had: objects of `ready` and `objects[…]`, variables of expressions and texts.
pub(crate) fn check(
    subject: &Subject<'_>,
    loaded: &Loaded,
    sources: &[Source],
    tried: &[Tried],
) -> Vec<Problem> {
    let is_open = names::is_open(loaded.bundle().schemas());
    let rendered: BTreeSet<&str> = tried
        .iter()
        .flat_map(|one| one.objects.iter().map(String::as_str))
        .collect();
    let mut problems = Vec::new();
    for target in subject.descriptor.ready.keys() {
        if let Some(message) = no_object(target, &rendered) {
            problems.push(Problem::at(&subject.key(["ready", target]), message));
        }
    }
    let known = known(tried);
    for source in sources {
        let place = || subject.key(source.key.iter().map(String::as_str));
        for path in loaded.evaluator().paths(&source.text, source.form) {
            let message = match path.parts.as_slice() {
                [objects, object, ..] if objects == "objects" => no_object(object, &rendered),
                [name, ..] if !path.is_local && !known.contains(name.as_str()) => {
                    let known: Vec<_> = known.iter().copied().collect();
                    (!is_open).then(|| unknown("variable", name, &known))
                }
                _ => missing(&path, tried),
            };
            if let Some(message) = message {
                let message = format!("{}: {message}", source.key.join("."));
                problems.push(Problem::at(&place(), message));
            }
        }
    }
    problems
}

/// The names that expressions may use: one that no sample has is unknown.
fn known(tried: &[Tried]) -> BTreeSet<&str> {
    let of_samples = tried.iter().flat_map(|one| one.context.keys());
    of_samples
        .map(String::as_str)
        .chain(BUILT_INS)
        .chain(EXPRESSION_NAMES)
        .chain(CONTEXT_KEYS)
        .collect()
}

/// `target` is `Kind`, or `Kind/name`.
fn no_object(target: &str, rendered: &BTreeSet<&str>) -> Option<String> {
    let is_it = |object: &str| object == target || object.split('/').next() == Some(target);
    if rendered.iter().any(|object| is_it(object)) {
        return None;
    }
    let all = rendered.iter().copied();
    let near = if target.contains('/') {
        nearest(target, all)
    } else {
        nearest(
            target,
            all.map(|object| object.split('/').next().unwrap_or(object)),
        )
    };
    Some(match near {
        Some(near) => format!("no template renders {target}, did you mean {near}?"),
        None => format!("no template renders {target}"),
    })
}

/// What is wrong with a path that has no value whatever the parameters are.
fn missing(path: &Path, tried: &[Tried]) -> Option<String> {
    let mut message = None;
    for one in tried {
        message = Some(explain::missing(path, &one.context)?);
    }
    message
}
