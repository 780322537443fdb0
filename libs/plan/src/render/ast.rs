//! A template's syntax tree, read but never run: what is refused at load, and which names occur
//! where. Uses the engine's unstable parser, which is why its version is pinned.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::machinery::{self, Span, ast};
use minijinja::syntax::SyntaxConfig;

/// A place in a template, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) line: u32,
    pub(crate) column: u32,
    /// Offset in bytes, from 0.
    pub(crate) offset: usize,
}

impl From<Span> for Place {
    fn from(span: Span) -> Self {
        Self {
            line: u32::from(span.start_line),
            column: u32::from(span.start_col) + 1,
            offset: span.start_offset as usize,
        }
    }
}

/// Sees each statement and each expression of a template, parents first.
pub(crate) trait Visitor {
    fn stmt(&mut self, _stmt: &ast::Stmt<'_>) {}
    fn expr(&mut self, _expr: &ast::Expr<'_>) {}
}

/// Parses a template and shows it to a visitor. A syntax error is the engine's to report.
pub(crate) fn visit(source: &str, name: &str, syntax: &SyntaxConfig, visitor: &mut dyn Visitor) {
    if let Ok(template) = machinery::parse(source, name, syntax.clone()) {
        walk(&template, visitor);
    }
}

/// Statements that are refused, with the reason.
pub(crate) struct Refused(pub(crate) Vec<(Place, &'static str)>);

impl Visitor for Refused {
    fn stmt(&mut self, stmt: &ast::Stmt<'_>) {
        let found = match stmt {
            ast::Stmt::SetBlock(s) => (
                s.span(),
                "block set is not supported (its text cannot be compared): use {% set x = … %}, \
                 or a macro",
            ),
            ast::Stmt::AutoEscape(s) => (s.span(), "autoescape is not supported"),
            ast::Stmt::FilterBlock(s) => (
                s.span(),
                "filter blocks are not supported: use a filter on each value",
            ),
            ast::Stmt::Include(s) => (s.span(), "include is not supported: a file stands alone"),
            ast::Stmt::Import(s) => (s.span(), "import is not supported: a file stands alone"),
            ast::Stmt::FromImport(s) => (s.span(), "import is not supported: a file stands alone"),
            ast::Stmt::Extends(s) => (
                s.span(),
                "template inheritance is not supported: use extends in plan.yaml",
            ),
            ast::Stmt::Block(s) => (
                s.span(),
                "template inheritance is not supported: use extends in plan.yaml",
            ),
            _ => return,
        };
        self.0.push((found.0.into(), found.1));
    }
}

/// The first place of each variable name, declared in the template or not. What is called is a
/// function, and no variable.
#[derive(Default)]
pub(crate) struct Names {
    pub(crate) places: BTreeMap<String, Place>,
    called: BTreeSet<usize>,
}

impl Visitor for Names {
    fn expr(&mut self, expr: &ast::Expr<'_>) {
        match expr {
            // Seen before its parts are.
            ast::Expr::Call(call) => {
                if let ast::Expr::Var(function) = &call.expr {
                    self.called.insert(Place::from(function.span()).offset);
                }
            }
            ast::Expr::Var(var) => {
                let place = Place::from(var.span());
                if !self.called.contains(&place.offset) {
                    self.places.entry(var.id.to_owned()).or_insert(place);
                }
            }
            _ => {}
        }
    }
}

pub(crate) fn walk(stmt: &ast::Stmt<'_>, visitor: &mut dyn Visitor) {
    visitor.stmt(stmt);
    match stmt {
        ast::Stmt::Template(s) => all(&s.children, visitor),
        ast::Stmt::EmitExpr(s) => expr(&s.expr, visitor),
        ast::Stmt::ForLoop(s) => {
            expr(&s.target, visitor);
            expr(&s.iter, visitor);
            maybe(s.filter_expr.as_ref(), visitor);
            all(&s.body, visitor);
            all(&s.else_body, visitor);
        }
        ast::Stmt::IfCond(s) => {
            expr(&s.expr, visitor);
            all(&s.true_body, visitor);
            all(&s.false_body, visitor);
        }
        ast::Stmt::WithBlock(s) => {
            for (target, value) in &s.assignments {
                expr(target, visitor);
                expr(value, visitor);
            }
            all(&s.body, visitor);
        }
        ast::Stmt::Set(s) => {
            expr(&s.target, visitor);
            expr(&s.expr, visitor);
        }
        ast::Stmt::SetBlock(s) => all(&s.body, visitor),
        ast::Stmt::AutoEscape(s) => all(&s.body, visitor),
        ast::Stmt::FilterBlock(s) => all(&s.body, visitor),
        ast::Stmt::Block(s) => all(&s.body, visitor),
        ast::Stmt::Macro(s) => {
            s.args
                .iter()
                .chain(&s.defaults)
                .for_each(|e| expr(e, visitor));
            all(&s.body, visitor);
        }
        ast::Stmt::CallBlock(s) => {
            expr(&s.call.expr, visitor);
            args(&s.call.args, visitor);
            all(&s.macro_decl.body, visitor);
        }
        ast::Stmt::Do(s) => {
            expr(&s.call.expr, visitor);
            args(&s.call.args, visitor);
        }
        ast::Stmt::EmitRaw(_)
        | ast::Stmt::Import(_)
        | ast::Stmt::FromImport(_)
        | ast::Stmt::Extends(_)
        | ast::Stmt::Include(_) => {}
    }
}

fn all(body: &[ast::Stmt<'_>], visitor: &mut dyn Visitor) {
    for stmt in body {
        walk(stmt, visitor);
    }
}

fn maybe(e: Option<&ast::Expr<'_>>, visitor: &mut dyn Visitor) {
    if let Some(e) = e {
        expr(e, visitor);
    }
}

fn args(args: &[ast::CallArg<'_>], visitor: &mut dyn Visitor) {
    for arg in args {
        let (ast::CallArg::Pos(e)
        | ast::CallArg::Kwarg(_, e)
        | ast::CallArg::PosSplat(e)
        | ast::CallArg::KwargSplat(e)) = arg;
        expr(e, visitor);
    }
}

pub(crate) fn expr(e: &ast::Expr<'_>, visitor: &mut dyn Visitor) {
    visitor.expr(e);
    match e {
        ast::Expr::Var(_) | ast::Expr::Const(_) => {}
        ast::Expr::Slice(s) => {
            expr(&s.expr, visitor);
            for part in [&s.start, &s.stop, &s.step] {
                maybe(part.as_ref(), visitor);
            }
        }
        ast::Expr::UnaryOp(s) => expr(&s.expr, visitor),
        ast::Expr::BinOp(s) => {
            expr(&s.left, visitor);
            expr(&s.right, visitor);
        }
        ast::Expr::Compare(s) => {
            expr(&s.expr, visitor);
            s.ops.iter().for_each(|op| expr(&op.expr, visitor));
        }
        ast::Expr::IfExpr(s) => {
            expr(&s.test_expr, visitor);
            expr(&s.true_expr, visitor);
            maybe(s.false_expr.as_ref(), visitor);
        }
        ast::Expr::Filter(s) => {
            maybe(s.expr.as_ref(), visitor);
            args(&s.args, visitor);
        }
        ast::Expr::Test(s) => {
            expr(&s.expr, visitor);
            args(&s.args, visitor);
        }
        ast::Expr::GetAttr(s) => expr(&s.expr, visitor),
        ast::Expr::GetItem(s) => {
            expr(&s.expr, visitor);
            expr(&s.subscript_expr, visitor);
        }
        ast::Expr::Call(s) => {
            expr(&s.expr, visitor);
            args(&s.args, visitor);
        }
        ast::Expr::List(s) => s.items.iter().for_each(|e| expr(e, visitor)),
        ast::Expr::Tuple(s) => s.items.iter().for_each(|e| expr(e, visitor)),
        ast::Expr::Map(s) => s
            .keys
            .iter()
            .chain(&s.values)
            .for_each(|e| expr(e, visitor)),
    }
}
