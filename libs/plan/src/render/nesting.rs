//! How large and how deep the values that a template makes can get, found before it runs.
//!
//! A list may hold another one many times, and that a third one, and so on: a few lines make a
//! value whose parts nobody can count, in no memory. The engine counts instructions, not what one
//! of them goes through when it compares or writes such a value, and a value that is nested too deep
//! ends the process when it is freed. So a value must not be put into itself, nor be taken twice
//! to make itself, and what is nested without that stays small: [`MAX_PARTS`] times what
//! comes from outside, and [`MAX_DEPTH`] levels deeper. A list that gets one item with each turn of a
//! loop is fine: the engine counts the turns.

mod graph;
mod shape;

use std::collections::{BTreeMap, BTreeSet};

use minijinja::machinery::ast;

use self::{
    graph::Graph,
    shape::{Name, Shape},
};
use super::ast::{Place, Visitor};

/// How often a value may hold parts that come from outside.
const MAX_PARTS: u64 = 200;
/// How many levels deeper than what comes from outside a value may be.
const MAX_DEPTH: u64 = 32;

/// Finds what may grow without bounds.
#[derive(Default)]
pub(crate) struct Nesting {
    /// What is assigned to each name.
    assigned: BTreeMap<Name, Vec<(Place, Shape)>>,
    /// Lists and objects that stand for themselves.
    loose: Vec<(Place, Shape)>,
    /// The arguments of each macro.
    macros: BTreeMap<String, Vec<String>>,
    /// Targets of loops that call themselves, and arguments of call blocks.
    called_back: Vec<Name>,
    calls: Vec<Call>,
    /// The macro that is being read.
    scope: Option<String>,
}

struct Call {
    place: Place,
    /// The macro's name, if it is called by name.
    function: Option<String>,
    args: Vec<(Argument, Shape)>,
}

enum Argument {
    At(usize),
    Named(String),
    /// Any of them.
    Unpacked,
}

impl Nesting {
    /// What is refused, with the reason.
    pub(crate) fn problems(mut self) -> Vec<(Place, String)> {
        self.connect_calls();
        let graph = Graph::new(self.assigned);
        let mut problems = graph.problems();
        problems.extend(
            self.loose
                .iter()
                .filter_map(|(place, shape)| Some((*place, graph.too_large(shape)?))),
        );
        problems.sort();
        problems.dedup();
        problems
    }

    /// Gives the arguments of each call to the macros that it may call.
    fn connect_calls(&mut self) {
        for call in std::mem::take(&mut self.calls) {
            let function = call.function.as_deref();
            if function.is_some_and(|name| BUILT_IN.contains(&name)) {
                continue;
            }
            // Otherwise a loop, the block of a call, or a macro by another name.
            let known = function.and_then(|name| Some((name, self.macros.get(name)?)));
            let targets: Vec<Name> = call
                .args
                .iter()
                .map(|(argument, _)| {
                    let parameter = known.and_then(|(_, parameters)| match argument {
                        Argument::At(index) => parameters.get(*index),
                        Argument::Named(named) => parameters.iter().find(|name| *name == named),
                        Argument::Unpacked => None,
                    });
                    let parameter = parameter.map_or(ANY, String::as_str);
                    shape::name(parameter, None, known.map(|(function, _)| function))
                })
                .collect();
            for (name, (_, shape)) in targets.into_iter().zip(call.args) {
                self.assign(name, call.place, shape);
            }
        }
        let parameters = self.macros.iter().flat_map(|(function, parameters)| {
            let of = |parameter: &String| shape::name(parameter, None, Some(function));
            parameters.iter().map(of)
        });
        let called: Vec<Name> = parameters.chain(self.called_back.clone()).collect();
        let anywhere = shape::name(ANY, None, None);
        for parameter in called {
            let any = shape::name(ANY, None, parameter.scope.as_deref());
            for any in BTreeSet::from([any, anywhere.clone()]) {
                if let Some([(place, _), ..]) = self.assigned.get(&any).map(Vec::as_slice) {
                    self.assign(parameter.clone(), *place, Shape::Name(any));
                }
            }
        }
    }

    fn assign(&mut self, name: Name, place: Place, shape: Shape) {
        self.assigned.entry(name).or_default().push((place, shape));
    }

    fn set(&mut self, target: &ast::Expr<'_>, shape: &Shape) {
        let place = Place::from(target.span());
        let scope = self.scope.clone();
        match target {
            ast::Expr::Var(var) => {
                let name = shape::name(var.id, None, scope.as_deref());
                self.assign(name, place, shape.clone());
            }
            // Of a namespace.
            ast::Expr::GetAttr(get) => {
                if let ast::Expr::Var(var) = &get.expr {
                    let name = shape::name(var.id, Some(get.name), scope.as_deref());
                    self.assign(name, get.expr.span().into(), shape.clone());
                }
            }
            ast::Expr::List(list) => list.items.iter().for_each(|item| self.set(item, shape)),
            ast::Expr::Tuple(tuple) => tuple.items.iter().for_each(|item| self.set(item, shape)),
            _ => {}
        }
    }

    fn call(&mut self, call: &ast::Call<'_>, place: Place) {
        let scope = self.scope.clone();
        let args = call.args.iter().enumerate().map(|(at, arg)| {
            let argument = match arg {
                ast::CallArg::Pos(_) => Argument::At(at),
                ast::CallArg::Kwarg(name, _) => Argument::Named((*name).to_owned()),
                ast::CallArg::PosSplat(_) | ast::CallArg::KwargSplat(_) => Argument::Unpacked,
            };
            (argument, shape::of(shape::argument(arg), scope.as_deref()))
        });
        let function = match &call.expr {
            ast::Expr::Var(var) => Some(var.id.to_owned()),
            _ => None,
        };
        self.calls.push(Call {
            place,
            function,
            args: args.collect(),
        });
    }

    fn declare(&mut self, declared: &ast::Macro<'_>) {
        let names = declared.args.iter().filter_map(|arg| match arg {
            ast::Expr::Var(var) => Some(var.id.to_owned()),
            _ => None,
        });
        self.macros
            .insert(declared.name.to_owned(), names.collect());
        self.scope = Some(declared.name.to_owned());
        // Defaults belong to the last arguments.
        let first = declared.args.len() - declared.defaults.len();
        for (target, value) in declared.args[first..].iter().zip(&declared.defaults) {
            let shape = shape::of(value, self.scope.as_deref());
            self.set(target, &shape);
        }
    }
}

/// The attributes that a call of `namespace` gives.
fn namespace<'e, 'a>(expr: &'e ast::Expr<'a>) -> Option<Vec<(&'a str, &'e ast::Expr<'a>)>> {
    let ast::Expr::Call(call) = expr else {
        return None;
    };
    let ast::Expr::Var(function) = &call.expr else {
        return None;
    };
    let attributes = call.args.iter().map(|arg| match arg {
        ast::CallArg::Kwarg(name, value) => Some((*name, value)),
        _ => None,
    });
    (function.id == "namespace").then(|| attributes.collect())?
}

/// Stands for all arguments of a macro, or of all macros. No template has such a name.
const ANY: &str = "*";
/// Functions of the engine, which keep nothing of their arguments but in what they return.
const BUILT_IN: [&str; 3] = ["dict", "namespace", "range"];

impl Visitor for Nesting {
    fn stmt(&mut self, stmt: &ast::Stmt<'_>) {
        let scope = self.scope.clone();
        let of = |expr: &ast::Expr<'_>| shape::of(expr, scope.as_deref());
        match stmt {
            ast::Stmt::Set(set) => match (&set.target, namespace(&set.expr)) {
                (ast::Expr::Var(var), Some(attributes)) => {
                    self.set(&set.target, &Shape::Flat);
                    for (attribute, value) in attributes {
                        let name = shape::name(var.id, Some(attribute), scope.as_deref());
                        self.assign(name, value.span().into(), of(value));
                    }
                }
                _ => self.set(&set.target, &of(&set.expr)),
            },
            ast::Stmt::ForLoop(turns) => {
                self.set(&turns.target, &of(&turns.iter));
                if turns.recursive
                    && let ast::Expr::Var(var) = &turns.target
                {
                    let name = shape::name(var.id, None, scope.as_deref());
                    self.called_back.push(name);
                }
            }
            ast::Stmt::WithBlock(with) => {
                for (target, value) in &with.assignments {
                    self.set(target, &of(value));
                }
            }
            ast::Stmt::Macro(declared) => self.declare(declared),
            ast::Stmt::CallBlock(block) => {
                self.call(&block.call, block.call_expr_span.into());
                for arg in &block.macro_decl.args {
                    if let ast::Expr::Var(var) = arg {
                        let name = shape::name(var.id, None, scope.as_deref());
                        self.called_back.push(name);
                    }
                }
            }
            ast::Stmt::Do(block) => self.call(&block.call, block.span().into()),
            _ => {}
        }
    }

    fn leave(&mut self, stmt: &ast::Stmt<'_>) {
        // Macros do not stand in macros.
        if matches!(stmt, ast::Stmt::Macro(_)) {
            self.scope = None;
        }
    }

    fn expr(&mut self, expr: &ast::Expr<'_>) {
        match expr {
            ast::Expr::Call(call) => self.call(call, call.span().into()),
            ast::Expr::List(_) | ast::Expr::Tuple(_) | ast::Expr::Map(_) => {
                let shape = shape::of(expr, self.scope.as_deref());
                self.loose.push((expr.span().into(), shape));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
