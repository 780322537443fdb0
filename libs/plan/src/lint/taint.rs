//! Text inside text: what a user says must not reach a shell, or a file's lines, as it is. A value
//! never becomes YAML syntax, but one level down, in a configuration file or a script, text is text.

mod bounds;
mod reader;
mod regions;

use std::collections::BTreeSet;

use minijinja::machinery::ast;
use serde_json::Value;

use super::{Skeletons, Subject};
use crate::fault::Problem;
use crate::render::ast::{self as tree, Place, Visitor};
use crate::render::engine::syntax_config;
use crate::schema::Schemas;
use crate::variables::{BUILT_INS, CONTEXT_KEYS};

use bounds::is_bounded;
use regions::regions;

/// Filters whose result is a number.
const BOUNDING_FILTERS: [&str; 3] = ["length", "count", "int"];

/// What reads a text that is written into an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Region {
    /// A block scalar: a file of lines.
    Block,
    /// A text that a shell or another interpreter runs.
    Script,
    /// The name of what is run.
    Program,
}

impl Region {
    fn describe(self) -> &'static str {
        match self {
            Self::Block => "inside a block scalar, where it can add lines",
            Self::Script => "in a text that a shell or another interpreter runs",
            Self::Program => "as the program that is run",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::Block => ", or write it as JSON with | tojson if that is what reads it",
            Self::Script => {
                ", or pass it on as it is: as an environment variable that the script reads as \
                 \"$NAME\", or as an argument behind it: [sh, -c, 'run \"$1\"', --, VALUE]"
            }
            Self::Program => "",
        }
    }
}

/// Finds each output of free text in a place that reads text.
pub(crate) fn check(
    subject: &Subject<'_>,
    schemas: &Schemas,
    skeletons: &Skeletons<'_>,
) -> Vec<Problem> {
    // JSON text is a string to what reads JSON, and anything to a shell.
    let (text, json) = (
        Free::of(subject, schemas, Json::IsText),
        Free::of(subject, schemas, Json::IsBounded),
    );
    let mut problems = Vec::new();
    for (name, source) in subject.files {
        let skeleton = skeletons.get(name.as_str()).and_then(Option::as_ref);
        let by_line = regions(source);
        let region = |place: &Place| match skeleton.and_then(|s| s.position(place.offset)) {
            Some(position) => reader::of(&position),
            None => by_line.get(&place.line).copied(),
        };
        let not_as_json = json.outputs(name, source).into_iter();
        let not_as_json: BTreeSet<Place> = not_as_json.map(|(place, _)| place).collect();
        for (place, what) in text.outputs(name, source) {
            let Some(region) = region(&place) else {
                continue;
            };
            if region == Region::Block && !not_as_json.contains(&place) {
                continue;
            }
            let (from, bounds) = if text.is_of_platform(&what) {
                ("the platform", "leave it out")
            } else {
                (
                    "the user",
                    "give it an enum, a number's type, or an anchored pattern without blanks and \
                     syntax like ^[a-z0-9-]+$",
                )
            };
            let message = format!(
                "{what} is free text from {from} {}: {bounds}{}",
                region.describe(),
                region.remedy()
            );
            let pos = subject.place(name, place.line, place.column);
            problems.push(Problem::at(&pos, message));
        }
    }
    problems
}

/// What the text that `tojson` makes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Json {
    IsText,
    IsBounded,
}

/// The names of parameters that can be any text.
struct Free {
    parameters: BTreeSet<String>,
    /// Names that are parameters or context keys at top level, and are not hidden by a built-in.
    top: BTreeSet<String>,
    json: Json,
}

impl Free {
    fn of(subject: &Subject<'_>, schemas: &Schemas, json: Json) -> Self {
        let mut parameters = BTreeSet::new();
        let mut safe = BTreeSet::new();
        for schema in [&schemas.create, &schemas.update] {
            for (name, property) in properties(schema) {
                if is_bounded(property) {
                    safe.insert(name.clone());
                } else {
                    parameters.insert(name.clone());
                }
            }
        }
        let values = &subject.descriptor.values;
        let context = CONTEXT_KEYS
            .iter()
            .filter(|key| !safe.contains(**key) && !values.contains_key(**key))
            .map(|key| (*key).to_owned());
        let top = parameters
            .iter()
            .cloned()
            .chain(context)
            .filter(|name| !BUILT_INS.contains(&name.as_str()))
            .collect();
        Self {
            parameters,
            top,
            json,
        }
    }

    /// The outputs of a template that can be free text, and what they show.
    fn outputs(&self, name: &str, source: &str) -> Vec<(Place, String)> {
        let syntax = syntax_config();
        let mut locals = Locals {
            free: self,
            names: BTreeSet::new(),
            changed: true,
        };
        // A local may be made from one that is made later in the file: until nothing changes.
        while std::mem::take(&mut locals.changed) {
            tree::visit(source, name, &syntax, &mut locals);
        }
        let names = locals.names;
        let mut outputs = Outputs {
            free: self,
            locals: &names,
            found: Vec::new(),
        };
        tree::visit(source, name, &syntax, &mut outputs);
        outputs.found
    }

    /// Whether the platform chooses a text, and no schema of the plan can bound it.
    fn is_of_platform(&self, what: &str) -> bool {
        let first = what.split('.').next().unwrap_or_default();
        let own = self.parameters.contains(first);
        matches!(what, "instance" | "instance.id" | "binding" | "binding.id")
            || first == "context"
            || (!own && CONTEXT_KEYS.contains(&first))
    }

    /// Whether an expression can give any text. Numbers of it, comparisons and tests cannot.
    fn reaches(&self, e: &ast::Expr<'_>, locals: &BTreeSet<String>) -> Option<String> {
        match e {
            ast::Expr::Filter(f) if BOUNDING_FILTERS.contains(&f.name) => None,
            ast::Expr::Filter(f) if f.name == "tojson" && self.json == Json::IsBounded => None,
            ast::Expr::Test(_) | ast::Expr::Compare(_) | ast::Expr::UnaryOp(_) => None,
            ast::Expr::IfExpr(i) => self
                .reaches(&i.true_expr, locals)
                .or_else(|| i.false_expr.as_ref().and_then(|e| self.reaches(e, locals))),
            ast::Expr::Var(v) => {
                let any = v.id == "parameters" && !self.parameters.is_empty();
                let whole = matches!(v.id, "context" | "instance" | "binding");
                let free = any || whole || self.top.contains(v.id);
                (free || locals.contains(v.id)).then(|| v.id.to_owned())
            }
            ast::Expr::GetAttr(g) => self.member(&g.expr, Some(g.name), locals),
            ast::Expr::GetItem(g) => {
                let key = match &g.subscript_expr {
                    ast::Expr::Const(c) => c.value.as_str(),
                    _ => None,
                };
                self.member(&g.expr, key, locals)
            }
            other => {
                let mut parts = Parts(Vec::new());
                children(other, &mut parts);
                parts
                    .0
                    .into_iter()
                    .find_map(|part| self.reaches(part, locals))
            }
        }
    }

    fn member(
        &self,
        of: &ast::Expr<'_>,
        key: Option<&str>,
        locals: &BTreeSet<String>,
    ) -> Option<String> {
        if let (ast::Expr::Var(v), Some(key)) = (of, key) {
            match v.id {
                "parameters" => {
                    return self
                        .parameters
                        .contains(key)
                        .then(|| format!("parameters.{key}"));
                }
                "binding" => {
                    let free = matches!(key, "parameters" | "id");
                    return free.then(|| format!("binding.{key}"));
                }
                // The other two are the broker's: names that Kubernetes takes.
                "instance" => return (key == "id").then(|| "instance.id".to_owned()),
                _ => {}
            }
        }
        self.reaches(of, locals)
    }
}

struct Parts<'e, 'a>(Vec<&'e ast::Expr<'a>>);

/// The direct parts of an expression.
fn children<'e, 'a>(e: &'e ast::Expr<'a>, parts: &mut Parts<'e, 'a>) {
    match e {
        ast::Expr::Slice(s) => parts.0.push(&s.expr),
        ast::Expr::BinOp(s) => parts.0.extend([&s.left, &s.right]),
        ast::Expr::Filter(s) => {
            parts.0.extend(s.expr.as_ref());
            arguments(&s.args, parts);
        }
        ast::Expr::Call(s) => {
            parts.0.push(&s.expr);
            arguments(&s.args, parts);
        }
        ast::Expr::List(s) => parts.0.extend(&s.items),
        ast::Expr::Tuple(s) => parts.0.extend(&s.items),
        ast::Expr::Map(s) => parts.0.extend(s.keys.iter().chain(&s.values)),
        _ => {}
    }
}

fn arguments<'e, 'a>(args: &'e [ast::CallArg<'a>], parts: &mut Parts<'e, 'a>) {
    parts.0.extend(args.iter().map(|arg| match arg {
        ast::CallArg::Pos(e)
        | ast::CallArg::Kwarg(_, e)
        | ast::CallArg::PosSplat(e)
        | ast::CallArg::KwargSplat(e) => e,
    }));
}

/// Locals that can hold free text: set from it, looped over it, or a macro's argument of it.
struct Locals<'a> {
    free: &'a Free,
    names: BTreeSet<String>,
    changed: bool,
}

impl Locals<'_> {
    fn assign(&mut self, target: &ast::Expr<'_>, value: &ast::Expr<'_>) {
        if self.free.reaches(value, &self.names).is_some() {
            self.mark(target);
        }
    }

    fn mark(&mut self, target: &ast::Expr<'_>) {
        match target {
            ast::Expr::Var(v) => self.changed |= self.names.insert(v.id.to_owned()),
            ast::Expr::List(l) => l.items.iter().for_each(|item| self.mark(item)),
            ast::Expr::Tuple(t) => t.items.iter().for_each(|item| self.mark(item)),
            ast::Expr::GetAttr(g) => self.mark(&g.expr),
            _ => {}
        }
    }

    /// A call with free text marks all arguments of a macro of that name, by its argument list,
    /// which is seen as `name()` targets below.
    fn call(&mut self, call: &ast::Call<'_>) {
        let ast::Expr::Var(name) = &call.expr else {
            return;
        };
        let mut parts = Parts(Vec::new());
        arguments(&call.args, &mut parts);
        let free = parts
            .0
            .iter()
            .any(|e| self.free.reaches(e, &self.names).is_some());
        if free {
            self.changed |= self.names.insert(format!("{}()", name.id));
        }
    }
}

impl Visitor for Locals<'_> {
    fn stmt(&mut self, stmt: &ast::Stmt<'_>) {
        match stmt {
            ast::Stmt::Set(s) => self.assign(&s.target, &s.expr),
            ast::Stmt::ForLoop(s) => self.assign(&s.target, &s.iter),
            ast::Stmt::WithBlock(s) => {
                s.assignments
                    .iter()
                    .for_each(|(target, value)| self.assign(target, value));
            }
            ast::Stmt::Macro(s) => {
                if self.names.contains(&format!("{}()", s.name)) {
                    s.args.iter().for_each(|arg| self.mark(arg));
                }
                // A macro that writes free text is free text where it is called.
                let mut outputs = Outputs {
                    free: self.free,
                    locals: &self.names,
                    found: Vec::new(),
                };
                tree::walk(stmt, &mut outputs);
                if !outputs.found.is_empty() {
                    self.changed |= self.names.insert(s.name.to_owned());
                }
            }
            ast::Stmt::CallBlock(s) => self.call(&s.call),
            ast::Stmt::Do(s) => self.call(&s.call),
            _ => {}
        }
    }

    fn expr(&mut self, expr: &ast::Expr<'_>) {
        if let ast::Expr::Call(call) = expr {
            self.call(call);
        }
    }
}

/// Outputs that can be free text.
struct Outputs<'a> {
    free: &'a Free,
    locals: &'a BTreeSet<String>,
    found: Vec<(Place, String)>,
}

impl Visitor for Outputs<'_> {
    fn stmt(&mut self, stmt: &ast::Stmt<'_>) {
        let (place, what) = match stmt {
            ast::Stmt::EmitExpr(emit) => {
                (emit.expr.span(), self.free.reaches(&emit.expr, self.locals))
            }
            ast::Stmt::CallBlock(block) => {
                let mut parts = Parts(vec![&block.call.expr]);
                arguments(&block.call.args, &mut parts);
                let found = parts
                    .0
                    .into_iter()
                    .find_map(|e| self.free.reaches(e, self.locals));
                (block.call_expr_span, found)
            }
            _ => return,
        };
        if let Some(what) = what {
            self.found.push((place.into(), what));
        }
    }
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
}
