//! Text inside text: what a user says must not reach a block scalar or a command line as it is.
//! A value never becomes YAML syntax, but one level down, in a configuration file or a shell,
//! text is text.

mod regions;

use std::collections::BTreeSet;

use minijinja::machinery::ast;
use minijinja::syntax::SyntaxConfig;
use serde_json::Value;

use super::Subject;
use crate::fault::Problem;
use crate::render::ast::{self as tree, Place, Visitor};
use crate::schema::Schemas;
use crate::variables::{BUILT_INS, CONTEXT_KEYS};

use regions::{Region, is_whole_scalar, regions};

/// Filters whose result is a number, or text that stays one JSON string.
const BOUNDING_FILTERS: [&str; 4] = ["tojson", "length", "count", "int"];

/// Finds each output of free text of a user in a place that reads text.
pub(crate) fn check(subject: &Subject<'_>, schemas: &Schemas) -> Vec<Problem> {
    let free = Free::of(subject, schemas);
    let mut problems = Vec::new();
    for (name, source) in subject.files {
        let syntax = SyntaxConfig::default();
        let mut locals = Locals {
            free: &free,
            names: BTreeSet::new(),
            changed: true,
        };
        // A local may be made from one that is made later in the file: until nothing changes.
        while std::mem::take(&mut locals.changed) {
            tree::visit(source, name, &syntax, &mut locals);
        }
        let names = locals.names;
        let regions = regions(source);
        let mut outputs = Outputs {
            free: &free,
            locals: &names,
            found: Vec::new(),
        };
        tree::visit(source, name, &syntax, &mut outputs);
        for (place, what) in outputs.found {
            let Some(region) = regions.get(&place.line) else {
                continue;
            };
            if *region == Region::Arguments && is_whole_scalar(source, place) {
                continue;
            }
            let pos = subject.place(name, place.line, place.column);
            let message = format!(
                "{what} is free text from the user {}: give it an enum, an anchored pattern or a \
                 number's type, or use | tojson",
                region.describe()
            );
            problems.push(Problem::at(&pos, message));
        }
    }
    problems
}

/// The names of parameters that can be any text.
struct Free {
    parameters: BTreeSet<String>,
    /// Names that are parameters or context keys at top level, and are not hidden by a built-in.
    top: BTreeSet<String>,
}

impl Free {
    fn of(subject: &Subject<'_>, schemas: &Schemas) -> Self {
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
        Self { parameters, top }
    }

    /// Whether an expression can give any text. Numbers of it, comparisons and tests cannot.
    fn reaches(&self, e: &ast::Expr<'_>, locals: &BTreeSet<String>) -> Option<String> {
        match e {
            ast::Expr::Filter(f) if BOUNDING_FILTERS.contains(&f.name) => None,
            ast::Expr::Test(_) | ast::Expr::Compare(_) | ast::Expr::UnaryOp(_) => None,
            ast::Expr::IfExpr(i) => self
                .reaches(&i.true_expr, locals)
                .or_else(|| i.false_expr.as_ref().and_then(|e| self.reaches(e, locals))),
            ast::Expr::Var(v) => {
                let any = v.id == "parameters" && !self.parameters.is_empty();
                let free = any || v.id == "context" || self.top.contains(v.id);
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
                "binding" => return (key == "parameters").then(|| "binding.parameters".to_owned()),
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

/// Whether a schema leaves no room for text that means something.
fn is_bounded(schema: &Value) -> bool {
    if schema.get("enum").is_some() {
        return true;
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
        return pattern.starts_with('^') && pattern.ends_with('$') && !pattern.ends_with("\\$");
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("number" | "integer" | "boolean" | "null") => true,
        Some("array") => schema.get("items").is_some_and(is_bounded),
        Some("object") => {
            schema.get("additionalProperties") == Some(&Value::Bool(false))
                && properties(schema).all(|(_, property)| is_bounded(property))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchored_pattern_bounds_text() {
        let schema = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert!(is_bounded(&schema(r#"{"pattern": "^[a-z]+$"}"#)));
        assert!(!is_bounded(&schema(r#"{"pattern": "[a-z]+"}"#)));
        assert!(!is_bounded(&schema(r#"{"type": "string"}"#)));
        assert!(is_bounded(&schema(
            r#"{"type": "array", "items": {"enum": ["a"]}}"#
        )));
        assert!(!is_bounded(&schema(r#"{"type": ["string", "number"]}"#)));
    }
}
