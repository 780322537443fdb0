//! What the engine says, in words that name the place, the cause and the remedy. Nothing of it shows
//! a value of a user or a Secret, unless the values are samples.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::machinery::{
    self,
    ast::{self, Expr},
};
use minijinja::value::{Value as Jinja, ValueKind};
use minijinja::{Environment, Error as JinjaError, ErrorKind};

use super::Detail;
use super::ast::{self as tree, Visitor};
use super::engine::line_column;
use crate::node::nearest;

/// How the engine's parser names parts of a template, and how people write them.
const PARTS: [(&str, &str); 4] = [
    ("end of variable block", "}}"),
    ("end of block", "%}, or the {% end… %} of a block"),
    ("unexpected end of input", "the template ends too early"),
    ("unexpected end of string", "a text in quotes does not end"),
];
/// What other languages write, and Jinja's way. The first that is in an expression counts.
const FOREIGN: [(&str, &str); 5] = [
    ("&&", "in Jinja && is written: and"),
    ("||", "in Jinja || is written: or"),
    ("?", "in Jinja a choice is written: a if condition else b"),
    ("!", "in Jinja ! is written: not"),
    ("=>", "in Jinja there are no arrows"),
];
/// What templates of Helm, Go and Prometheus begin an expression with.
const RAW: [&str; 7] = [
    "$", ".", "toYaml", "include", "template", "printf", "define",
];
const RAW_ADVICE: &str =
    "text of another template language stands between {% raw %} and {% endraw %}";

/// A syntax error: line and column from 1 (0 where not known), and what is wrong.
pub(crate) fn syntax(error: &JinjaError, source: &str) -> (u32, u32, String) {
    let Some(range) = error.range() else {
        let line = error.line().and_then(|line| u32::try_from(line).ok());
        return (line.unwrap_or(0), 1, describe(error));
    };
    let (line, column) = line_column(source, range.start);
    let mut message = describe(error);
    if error.kind() == ErrorKind::SyntaxError {
        let detail = error.detail().unwrap_or_default();
        message = if detail == "unexpected character" {
            let found = source
                .get(range.start..)
                .and_then(|rest| rest.chars().next());
            let found = found.map(String::from).unwrap_or_default();
            format!("syntax error: no expression has {found:?}")
        } else {
            let spoken = |text: String, (from, to): &(&str, &str)| text.replace(from, to);
            format!(
                "syntax error: {}",
                PARTS.iter().fold(detail.to_owned(), spoken)
            )
        };
        if let Some(advice) = advice(source, range.start) {
            message = format!("{message}; {advice}");
        }
    }
    (line, column, message)
}

fn advice(source: &str, offset: usize) -> Option<&'static str> {
    let before = source.get(..offset)?;
    let start = before.rfind("{{").max(before.rfind("{%"))? + 2;
    let rest = source.get(start..)?;
    let inner = rest.split(['\n', '}']).next().unwrap_or(rest);
    let words = inner.trim_start_matches(['-', '+']).trim_start();
    if RAW.iter().any(|first| words.starts_with(first)) {
        return Some(RAW_ADVICE);
    }
    let found = FOREIGN.iter().find(|(text, _)| inner.contains(text));
    found.map(|(_, advice)| *advice)
}

/// What the engine says, whole: for samples, and for what cannot hold a value.
pub(crate) fn describe(error: &JinjaError) -> String {
    let detail = error.detail().unwrap_or_default();
    match error.kind() {
        ErrorKind::OutOfFuel => "takes too long: too many steps, or too much text; a loop over a \
                                 long list, or loops in loops, may be the cause"
            .to_owned(),
        // The detail says it all.
        ErrorKind::UnknownFilter
        | ErrorKind::UnknownTest
        | ErrorKind::UnknownFunction
        | ErrorKind::UnknownMethod
            if !detail.is_empty() =>
        {
            detail.to_owned()
        }
        ErrorKind::InvalidOperation if detail.starts_with("tried to use - operator") => {
            format!("{detail}: a hyphen subtracts; a name with one is written parameters[\"a-b\"]")
        }
        kind if detail.is_empty() => kind.to_string(),
        kind => format!("{kind}: {detail}"),
    }
}

/// What the engine says, as far as it cannot quote a value. Names of filters, tests and templates
/// may be values: `map(x)`, `include x`.
pub(crate) fn explain(error: &JinjaError, detail: Detail) -> String {
    let names_only = matches!(
        error.kind(),
        ErrorKind::UndefinedError
            | ErrorKind::SyntaxError
            | ErrorKind::UnknownFunction
            | ErrorKind::UnknownMethod
            | ErrorKind::OutOfFuel
    );
    if names_only || detail == Detail::Full {
        describe(error)
    } else {
        error.kind().to_string()
    }
}

/// Why an evaluation failed, in the words of the template: which name has no value, and what is
/// near it. `None` where it failed for something else.
pub(crate) fn undefined(
    error: &JinjaError,
    env: &Environment<'static>,
    source: &str,
    context: &BTreeMap<String, Jinja>,
    detail: Detail,
) -> Option<String> {
    let may_be = matches!(
        error.kind(),
        ErrorKind::UndefinedError | ErrorKind::InvalidOperation | ErrorKind::BadSerialization
    );
    let range = error.range().filter(|_| may_be)?;
    let (start, end) = expression(source, range.start);
    paths(source, env)
        .into_iter()
        .filter(|path| start <= path.offset && path.offset < end)
        .find_map(|path| missing_with(&path, context, detail))
}

/// The names that a template reads, with their attributes; none of a function.
pub(crate) fn paths(source: &str, env: &Environment<'static>) -> Vec<Path> {
    let mut paths = Paths::default();
    tree::visit(source, "", &super::engine::syntax_config(), &mut paths);
    paths.finish(env)
}

/// As [`paths`], of an expression.
pub(crate) fn paths_of_expression(source: &str, env: &Environment<'static>) -> Vec<Path> {
    let mut paths = Paths::default();
    if let Ok(expression) = machinery::parse_expr(source) {
        tree::expr(&expression, &mut paths);
    }
    paths.finish(env)
}

/// What is wrong with a path that has no value in samples.
pub(crate) fn missing(path: &Path, context: &BTreeMap<String, Jinja>) -> Option<String> {
    if path.is_guarded || !(path.is_local || context.contains_key(path.parts.first()?)) {
        return None;
    }
    missing_with(path, context, Detail::Full)
}

/// The `{{ … }}` or `{% … %}` around an offset.
fn expression(source: &str, offset: usize) -> (usize, usize) {
    let before = source.get(..offset).unwrap_or_default();
    let start = before.rfind("{{").max(before.rfind("{%")).unwrap_or(0);
    let rest = source.get(offset..).unwrap_or_default();
    let end = [rest.find("}}"), rest.find("%}")]
        .into_iter()
        .flatten()
        .min();
    (start, end.map_or(source.len(), |end| offset + end))
}

fn missing_with(path: &Path, context: &BTreeMap<String, Jinja>, detail: Detail) -> Option<String> {
    let (first, rest) = path.parts.split_first()?;
    let (mut value, mut shown) = match context.get(first) {
        Some(value) => (value.clone(), first.clone()),
        // A name of a loop or of {% set %} has its value elsewhere.
        None if path.is_local => return None,
        None => return Some(format!("{first} is undefined{}", remedy(first))),
    };
    if value.is_undefined() {
        return Some(format!("{shown} is undefined{}", remedy(&shown)));
    }
    for part in rest {
        let next = value.get_item(&Jinja::from(part.as_str())).ok()?;
        if next.is_undefined() {
            let whole = format!("{shown}.{part}");
            let keys = keys(&value);
            let near = (detail == Detail::Full)
                .then(|| nearest(part, keys.iter().map(String::as_str)))
                .flatten();
            return Some(match near {
                Some(near) => format!("{whole} is undefined, did you mean {shown}.{near}?"),
                None if !matches!(value.kind(), ValueKind::Map) => {
                    format!("{whole} is undefined: {shown} is a {}", value.kind())
                }
                None if matches!(first.as_str(), "parameters" | "context") || path.is_local => {
                    format!("{whole} is undefined{}", remedy(&whole))
                }
                None if keys.is_empty() || detail == Detail::Safe => {
                    format!("{whole} is undefined")
                }
                None => format!("{whole} is undefined: {shown} has {}", keys.join(", ")),
            });
        }
        shown = format!("{shown}.{part}");
        value = next;
    }
    None
}

fn remedy(name: &str) -> String {
    format!(
        " where nobody gives it a value: give it a default, write {{{{ {name} | default(…) }}}}, or \
         ask with {{% if {name} is defined %}}"
    )
}

fn keys(value: &Jinja) -> Vec<String> {
    let keys = value.try_iter().into_iter().flatten();
    keys.filter_map(|key| key.as_str().map(str::to_owned))
        .collect()
}

/// A name and its attributes: `parameters.limits.cpu`.
#[derive(Debug)]
pub(crate) struct Path {
    /// At least one.
    pub(crate) parts: Vec<String>,
    offset: usize,
    /// Whether the template gives the name its value itself.
    pub(crate) is_local: bool,
    /// Whether the template says what to do without a value.
    is_guarded: bool,
}

/// The paths of a template, the longest of each place.
#[derive(Default)]
struct Paths {
    found: Vec<Path>,
    called: Vec<usize>,
    guarded: Vec<usize>,
    /// The names that the template gives a value itself.
    assigned: BTreeSet<String>,
}

impl Paths {
    fn assign(&mut self, target: &Expr<'_>) {
        match target {
            Expr::Var(var) => {
                self.assigned.insert(var.id.to_owned());
            }
            Expr::List(list) => list.items.iter().for_each(|item| self.assign(item)),
            Expr::Tuple(list) => list.items.iter().for_each(|item| self.assign(item)),
            _ => {}
        }
    }

    fn finish(self, env: &Environment<'static>) -> Vec<Path> {
        // The variable `namespace` hides the function.
        let globals = env.globals().map(|(name, _)| name);
        let globals: Vec<&str> = globals.filter(|name| *name != "namespace").collect();
        let is_value = |path: &Path| {
            !self.called.contains(&path.offset) && !globals.contains(&path.parts[0].as_str())
        };
        let finished = |path: Path| Path {
            is_local: self.assigned.contains(&path.parts[0]),
            is_guarded: self.guarded.contains(&path.offset),
            ..path
        };
        self.found
            .into_iter()
            .filter(is_value)
            .map(finished)
            .collect()
    }
}

impl Visitor for Paths {
    fn stmt(&mut self, stmt: &ast::Stmt<'_>) {
        match stmt {
            ast::Stmt::Set(set) => self.assign(&set.target),
            ast::Stmt::ForLoop(each) => self.assign(&each.target),
            ast::Stmt::WithBlock(with) => {
                let targets = with.assignments.iter().map(|(target, _)| target);
                targets.for_each(|target| self.assign(target));
            }
            ast::Stmt::Macro(of) => {
                self.assigned.insert(of.name.to_owned());
                of.args.iter().for_each(|arg| self.assign(arg));
            }
            _ => {}
        }
    }

    fn expr(&mut self, expr: &Expr<'_>) {
        let offset = |expr: &Expr<'_>| expr.span().start_offset as usize;
        match expr {
            Expr::Call(call) if matches!(call.expr, Expr::Var(_)) => {
                self.called.push(offset(&call.expr));
            }
            Expr::Filter(filter) if matches!(filter.name, "default" | "d") => {
                self.guarded.extend(filter.expr.as_ref().map(offset));
            }
            Expr::Test(test) if matches!(test.name, "defined" | "undefined" | "none") => {
                self.guarded.push(offset(&test.expr));
            }
            _ => {}
        }
        if let Some(parts) = parts(expr) {
            let offset = offset(expr);
            if self.found.iter().all(|path| path.offset != offset) {
                self.found.push(Path {
                    parts,
                    offset,
                    is_local: false,
                    is_guarded: false,
                });
            }
        }
    }
}

fn parts(expr: &Expr<'_>) -> Option<Vec<String>> {
    match expr {
        Expr::Var(var) => Some(vec![var.id.to_owned()]),
        Expr::GetAttr(get) => {
            let mut parts = parts(&get.expr)?;
            parts.push(get.name.to_owned());
            Some(parts)
        }
        Expr::GetItem(get) => {
            let mut parts = parts(&get.expr)?;
            let ast::Expr::Const(key) = &get.subscript_expr else {
                return None;
            };
            parts.push(key.value.as_str()?.to_owned());
            Some(parts)
        }
        _ => None,
    }
}
