//! Which filters, tests and functions templates have, and what to write instead of those that they
//! do not have. Found when a plan is read, in branches that no trial takes, too.

use std::collections::BTreeSet;

use minijinja::Environment;
use minijinja::machinery::{
    self,
    ast::{self, Expr},
};

use super::ast::{Place, Visitor};
use crate::language::{FILTERS, TESTS, has, names};
use crate::node::unknown;

/// Filters of other engines, and Jinja's way.
const ELSEWHERE: [(&[&str], &str); 11] = [
    (
        &["safe", "e", "escape", "quote", "squote"],
        "a value needs no quotes and no escaping: it never becomes syntax",
    ),
    (
        &["pprint", "toyaml", "to_yaml", "toYaml", "to_json", "toJson"],
        "{{ x }} alone gives a value with its type, and tojson its JSON text",
    ),
    (
        &["random", "shuffle"],
        "a rendering gives the same each time: generate in plan.yaml makes values once",
    ),
    (
        &["nindent"],
        "a value of any depth is put in by {{ x }}; indent is for text",
    ),
    (&["b64enc", "base64"], "it is called b64encode"),
    (&["b64dec"], "it is called b64decode"),
    (&["sha256sum", "hash"], "it is called sha256"),
    (&["trunc"], "it is called truncate"),
    (
        &["wordcount"],
        "split gives the words, and length their number",
    ),
    (&["center", "wordwrap"], "layout of text is not supported"),
    (
        &["fromjson", "from_json"],
        "only expressions of plan.yaml have it",
    ),
];
/// What macros may call.
const OF_MACROS: [&str; 1] = ["caller"];

/// The calls of a template that lead nowhere.
struct Unknown<'e> {
    env: &'e Environment<'static>,
    macros: BTreeSet<String>,
    found: Vec<(Place, String)>,
}

impl<'e> Unknown<'e> {
    /// `macros` are the names of the template's own.
    fn new(env: &'e Environment<'static>, macros: BTreeSet<String>) -> Self {
        Self {
            env,
            macros,
            found: Vec::new(),
        }
    }

    /// Expressions have one more, which is a function of theirs, too.
    fn has_filter(&self, name: &str) -> bool {
        let of_expressions = || self.env.globals().any(|(global, _)| global == "fromjson");
        has(&FILTERS, name) || (name == "fromjson" && of_expressions())
    }

    fn function(&self, name: &str) -> Option<String> {
        let globals: Vec<&str> = self.env.globals().map(|(name, _)| name).collect();
        let known =
            globals.contains(&name) || OF_MACROS.contains(&name) || self.macros.contains(name);
        if known {
            return None;
        }
        if let Some(advice) = elsewhere(name) {
            return Some(format!("unknown function {name:?}: {advice}"));
        }
        let all: Vec<_> = globals
            .into_iter()
            .chain(self.macros.iter().map(String::as_str))
            .collect();
        Some(unknown("function", name, &all))
    }
}

fn elsewhere(name: &str) -> Option<&'static str> {
    let found = ELSEWHERE.iter().find(|(names, _)| names.contains(&name));
    found.map(|(_, advice)| *advice)
}

impl Visitor for Unknown<'_> {
    fn expr(&mut self, expr: &Expr<'_>) {
        let found = match expr {
            Expr::Filter(filter) if !self.has_filter(filter.name) => {
                Some(elsewhere(filter.name).map_or_else(
                    || unknown("filter", filter.name, &names(&FILTERS)),
                    |advice| format!("unknown filter {:?}: {advice}", filter.name),
                ))
            }
            Expr::Test(test)
                if !has(&TESTS, test.name) && test.name.starts_with(char::is_alphabetic) =>
            {
                Some(unknown("test", test.name, &names(&TESTS)))
            }
            Expr::Call(call) => match &call.expr {
                Expr::Var(name) => self.function(name.id),
                _ => None,
            },
            _ => None,
        };
        if let Some(message) = found {
            self.found.push((expr.span().into(), message));
        }
    }
}

/// What a template calls and nothing has.
pub(crate) fn unknown_in_template(
    source: &str,
    env: &Environment<'static>,
) -> Vec<(Place, String)> {
    let mut macros = Macros::default();
    super::ast::visit(source, "", env.syntax(), &mut macros);
    let mut unknown = Unknown::new(env, macros.0);
    super::ast::visit(source, "", env.syntax(), &mut unknown);
    unknown.found
}

/// What an expression calls and nothing has.
pub(crate) fn unknown_in_expression(source: &str, env: &Environment<'static>) -> Vec<String> {
    let mut unknown = Unknown::new(env, BTreeSet::new());
    if let Ok(expression) = machinery::parse_expr(source) {
        super::ast::expr(&expression, &mut unknown);
    }
    unknown
        .found
        .into_iter()
        .map(|(_, message)| message)
        .collect()
}

/// The names of a template's macros, and of what is set: a variable may hold a macro.
#[derive(Default)]
struct Macros(BTreeSet<String>);

impl Visitor for Macros {
    fn stmt(&mut self, stmt: &ast::Stmt<'_>) {
        match stmt {
            ast::Stmt::Macro(of) => {
                self.0.insert(of.name.to_owned());
                self.0.extend(of.args.iter().filter_map(name));
            }
            ast::Stmt::Set(set) => self.0.extend(name(&set.target)),
            ast::Stmt::ForLoop(each) => self.0.extend(name(&each.target)),
            _ => {}
        }
    }
}

fn name(target: &Expr<'_>) -> Option<String> {
    match target {
        Expr::Var(var) => Some(var.id.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_called_otherwise_is_not_there() {
        for name in ELSEWHERE.iter().flat_map(|(names, _)| *names) {
            assert!(!has(&FILTERS, name), "{name}");
        }
    }
}
