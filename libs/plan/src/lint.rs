//! What is checked of a plan before it is served, so that a fault shows at load, with file and
//! line, and not when somebody orders.

mod advice;
mod describe;
mod encoding;
mod names;
pub(crate) mod references;
mod refused;
mod taint;
mod trial;

use std::collections::{BTreeMap, BTreeSet};

use crate::descriptor::{KindRef, Parameters, Plan};
use crate::fault::{Pos, Problem};
use crate::kinds::{self, ServedKinds};
use crate::node::Node;
use crate::render::ast;
use crate::render::check::kinds_by_line;
use crate::render::engine::{Engine, syntax_config};
use crate::render::skeleton::Skeleton;
use crate::schema::{self, Schemas};

pub(crate) use advice::{advice, moving};
pub(crate) use describe::service;
pub(crate) use refused::refused;
pub(crate) use trial::trial;

use references::Source;

/// A plan with everything it inherits.
pub(crate) struct Subject<'a> {
    /// `<provider>/<plan>`.
    pub(crate) folder: String,
    pub(crate) node: &'a Node,
    pub(crate) descriptor: &'a Plan,
    pub(crate) files: &'a BTreeMap<String, String>,
    /// The plans of the same offering.
    pub(crate) siblings: BTreeSet<&'a str>,
    pub(crate) origins: &'a BTreeMap<String, String>,
    /// The broker's own namespace, where it is known.
    pub(crate) broker_namespace: Option<&'a str>,
    /// Kinds of others that the plan may mean.
    pub(crate) served: &'a ServedKinds,
}

impl Subject<'_> {
    /// A place in a template, in the folder that it really is in.
    pub(crate) fn place(&self, file: &str, line: u32, column: u32) -> Pos {
        match self.origins.get(file) {
            Some(origin) => Pos::new(origin, line, column),
            None => Pos::new(&format!("{}/{file}", self.folder), line, column),
        }
    }

    /// A place in the descriptor.
    pub(crate) fn key<'s>(&self, path: impl IntoIterator<Item = &'s str>) -> Pos {
        self.node.place(path)
    }
}

/// The templates without their template syntax, by name; `None` where that is no YAML.
type Skeletons<'a> = BTreeMap<&'a str, Option<Skeleton<'a>>>;

/// What the checks work out on their way.
pub(crate) struct Checked {
    pub(crate) kinds: Vec<KindRef>,
    pub(crate) schemas: Schemas,
    /// The expressions and texts of the descriptor.
    pub(crate) sources: Vec<Source>,
}

/// Checks all that can be seen without rendering.
pub(crate) fn plan(subject: &Subject<'_>) -> Result<Checked, Vec<Problem>> {
    if !subject
        .files
        .keys()
        .any(|name| !name.starts_with("binding/"))
    {
        let message = "the plan has no template";
        return Err(vec![Problem::at(&Pos::file(&subject.folder), message)]);
    }
    let templates = subject
        .files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()));
    let engine = Engine::new(&subject.folder, templates).map_err(|problems| {
        problems
            .into_iter()
            .map(|problem| relocated(problem, subject))
            .collect::<Vec<_>>()
    })?;
    let parameters = match &subject.descriptor.parameters {
        Some(parameters) => parameters.clone(),
        None => inferred(subject, &engine)?,
    };
    let schemas = schemas(subject, &parameters)?;
    let (mut problems, sources) = describe::plan(subject, &schemas);
    if subject.descriptor.parameters.is_some() {
        problems.extend(names::check(subject, &engine, &schemas));
    }
    let skeletons: Skeletons<'_> = subject
        .files
        .iter()
        .map(|(name, text)| (name.as_str(), Skeleton::of(text)))
        .collect();
    problems.extend(taint::check(subject, &schemas, &skeletons));
    problems.extend(encoding::check(subject, &skeletons));
    let found = kinds(subject, &skeletons);
    problems.extend(describe::kinds(subject, &found));
    if problems.is_empty() {
        let kinds = found.iter();
        let kinds = kinds.map(|(kind, _)| kinds::with_plural(kind, subject.served));
        Ok(Checked {
            kinds: kinds.collect(),
            schemas,
            sources,
        })
    } else {
        Err(problems)
    }
}

/// The parameters of a plan that declares none. A name that is nearly one of the broker's is none.
fn inferred(subject: &Subject<'_>, engine: &Engine) -> Result<Parameters, Vec<Problem>> {
    let misspelt = names::misspelt(subject, engine);
    if !misspelt.is_empty() {
        return Err(misspelt);
    }
    let mut uses = schema::Uses::default();
    for (name, source) in subject.files {
        ast::visit(source, name, &syntax_config(), &mut uses);
    }
    Ok(uses.parameters(names::unknown(subject, engine)))
}

/// The kinds that a plan may apply, and where each is named.
fn kinds(subject: &Subject<'_>, skeletons: &Skeletons<'_>) -> Vec<(KindRef, Pos)> {
    if let Some(kinds) = &subject.descriptor.kinds {
        let place = |i: usize| subject.key(["kinds", i.to_string().as_str()]);
        let found = kinds.iter().enumerate();
        return found.map(|(i, kind)| (kind.clone(), place(i))).collect();
    }
    let mut first = BTreeMap::new();
    for (name, text) in subject.files {
        let found = match skeletons.get(name.as_str()) {
            Some(Some(skeleton)) => skeleton.kinds(),
            _ => kinds_by_line(text),
        };
        for (kind, (line, column)) in found {
            let place = || subject.place(name, line, column);
            first.entry(kind).or_insert_with(place);
        }
    }
    first.into_iter().collect()
}

fn schemas(subject: &Subject<'_>, parameters: &Parameters) -> Result<Schemas, Vec<Problem>> {
    let whole = subject.key(["parameters"]);
    let mut problems = keywords(subject, parameters);
    if !problems.is_empty() {
        return Err(problems);
    }
    let schemas = schema::build(parameters).map_err(|m| vec![Problem::at(&whole, m)])?;
    for (operation, schema) in [
        ("create", &schemas.create),
        ("update", &schemas.update),
        ("bind", &schemas.bind),
    ] {
        if let Err(message) = schema::check_schema(schema) {
            let pos = subject.key(["parameters", operation]);
            problems.push(Problem::at(
                &pos,
                format!("parameters.{operation} {message}"),
            ));
        }
    }
    if problems.is_empty() {
        Ok(schemas)
    } else {
        Err(problems)
    }
}

/// What schemas say that means nothing.
fn keywords(subject: &Subject<'_>, parameters: &Parameters) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (operation, schema) in [
        ("create", &parameters.create),
        ("update", &parameters.update),
        ("bind", &parameters.bind),
    ] {
        let Some(own) = schema else { continue };
        for (path, message) in schema::keywords::check(own) {
            let keys = ["parameters", operation].into_iter();
            let pos = subject.key(keys.chain(path.iter().map(String::as_str)));
            problems.push(Problem::at(&pos, message));
        }
    }
    problems
}

/// Moves a problem of the engine, which knows the plan's folder only, to where the file really is.
fn relocated(problem: Problem, subject: &Subject<'_>) -> Problem {
    let pos = problem.pos.map(|pos| {
        let name = pos
            .file
            .strip_prefix(&format!("{}/", subject.folder))
            .unwrap_or(&pos.file);
        subject.place(name, pos.line, pos.column)
    });
    Problem { pos, ..problem }
}
