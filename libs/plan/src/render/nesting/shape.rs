//! What an expression is made of, as far as size goes.

use minijinja::machinery::ast;

/// Where a value comes from, and what holds what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    /// A number, a text, a truth value, or a list of those: nothing can be nested in it.
    Flat,
    /// A variable or its attribute: one of this file, or from outside.
    Name(Name),
    /// One of them.
    Either(Vec<Shape>),
    /// A value of its own that holds them: deeper by one.
    Held(Vec<Shape>),
    /// So many times the same, if it is a list.
    Times(Box<Shape>, u64),
    /// A product: a number, unless one side is a list.
    Product(Box<Shape>, Box<Shape>),
    /// A sum: a number or a text, unless both sides are lists, which are then side by side.
    Sum(Box<Shape>, Box<Shape>),
}

/// A name as it stands in the template.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    /// The macro that it stands in.
    pub(super) scope: Option<String>,
    pub(super) variable: String,
    pub(super) attribute: Option<String>,
}

impl Shape {
    /// All names in it.
    pub(super) fn names<'s>(&'s self, into: &mut Vec<&'s Name>) {
        match self {
            Self::Flat => {}
            Self::Name(name) => into.push(name),
            Self::Either(parts) | Self::Held(parts) => {
                for part in parts {
                    part.names(into);
                }
            }
            Self::Times(part, _) => part.names(into),
            Self::Sum(left, right) | Self::Product(left, right) => {
                left.names(into);
                right.names(into);
            }
        }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.variable.as_str() {
            super::ANY => "an argument of a call",
            variable => variable,
        })?;
        match &self.attribute {
            Some(attribute) => write!(f, ".{attribute}"),
            None => Ok(()),
        }
    }
}

/// Filters whose result is a number or a text, or a list of texts.
const FLAT_FILTERS: [&str; 21] = [
    "abs",
    "bool",
    "capitalize",
    "count",
    "float",
    "format",
    "indent",
    "int",
    "join",
    "length",
    "lines",
    "lower",
    "replace",
    "round",
    "split",
    "string",
    "title",
    "tojson",
    "trim",
    "upper",
    "urlencode",
];
/// Filters whose result holds parts of what they are given in new lists or pairs, or reads it
/// only when it is asked for.
const HOLDING_FILTERS: [&str; 8] = [
    "batch", "chain", "dictsort", "groupby", "items", "map", "slice", "zip",
];

/// The shape of an expression that stands in a macro, or in none.
pub(super) fn of(expr: &ast::Expr<'_>, scope: Option<&str>) -> Shape {
    let of = |expr: &ast::Expr<'_>| of(expr, scope);
    let each = |exprs: &[ast::Expr<'_>]| exprs.iter().map(of).collect::<Vec<_>>();
    match expr {
        ast::Expr::Const(_)
        | ast::Expr::UnaryOp(_)
        | ast::Expr::Compare(_)
        | ast::Expr::Test(_) => Shape::Flat,
        ast::Expr::Var(var) => Shape::Name(name(var.id, None, scope)),
        ast::Expr::GetAttr(get) => match &get.expr {
            ast::Expr::Var(var) => Shape::Name(name(var.id, Some(get.name), scope)),
            other => of(other),
        },
        ast::Expr::GetItem(get) => of(&get.expr),
        ast::Expr::Slice(slice) => Shape::Held(vec![of(&slice.expr)]),
        ast::Expr::IfExpr(choice) => Shape::Either(
            [&choice.true_expr]
                .into_iter()
                .chain(&choice.false_expr)
                .map(of)
                .collect(),
        ),
        ast::Expr::List(list) => Shape::Held(each(&list.items)),
        ast::Expr::Tuple(tuple) => Shape::Held(each(&tuple.items)),
        ast::Expr::Map(map) => Shape::Held(map.keys.iter().chain(&map.values).map(of).collect()),
        ast::Expr::BinOp(operation) => binary(operation, scope),
        ast::Expr::Filter(filter) => {
            let parts = filter
                .expr
                .iter()
                .map(of)
                .chain(arguments(&filter.args, scope));
            if FLAT_FILTERS.contains(&filter.name) {
                Shape::Flat
            } else if HOLDING_FILTERS.contains(&filter.name) {
                Shape::Held(parts.collect())
            } else {
                Shape::Either(parts.collect())
            }
        }
        ast::Expr::Call(call) => match &call.expr {
            ast::Expr::Var(function) if function.id == "range" => Shape::Flat,
            // A map or a namespace, or what is not known. A macro's text is not nested, but its
            // name may be that of a variable as well.
            _ => Shape::Held(arguments(&call.args, scope).collect()),
        },
    }
}

fn binary(operation: &ast::BinOp<'_>, scope: Option<&str>) -> Shape {
    let (left, right) = (of(&operation.left, scope), of(&operation.right, scope));
    match operation.op {
        ast::BinOpKind::ScAnd | ast::BinOpKind::ScOr => Shape::Either(vec![left, right]),
        ast::BinOpKind::Add => Shape::Sum(left.into(), right.into()),
        ast::BinOpKind::Mul => match (times(&operation.left), times(&operation.right)) {
            (None, None) => Shape::Product(left.into(), right.into()),
            (Some(_), Some(_)) => Shape::Flat,
            (Some(count), None) => Shape::Times(right.into(), count),
            (None, Some(count)) => Shape::Times(left.into(), count),
        },
        _ => Shape::Flat,
    }
}

fn times(expr: &ast::Expr<'_>) -> Option<u64> {
    let ast::Expr::Const(value) = expr else {
        return None;
    };
    // Whatever is no count cannot repeat a list.
    Some(value.value.as_usize().map_or(1, |count| count as u64))
}

/// The shapes of arguments.
pub(super) fn arguments(
    args: &[ast::CallArg<'_>],
    scope: Option<&str>,
) -> impl Iterator<Item = Shape> {
    args.iter().map(move |arg| of(argument(arg), scope))
}

/// The expression of an argument.
pub(super) fn argument<'e, 'a>(arg: &'e ast::CallArg<'a>) -> &'e ast::Expr<'a> {
    let (ast::CallArg::Pos(expr)
    | ast::CallArg::Kwarg(_, expr)
    | ast::CallArg::PosSplat(expr)
    | ast::CallArg::KwargSplat(expr)) = arg;
    expr
}

pub(super) fn name(variable: &str, attribute: Option<&str>, scope: Option<&str>) -> Name {
    Name {
        scope: scope.map(str::to_owned),
        variable: variable.to_owned(),
        attribute: attribute.map(str::to_owned),
    }
}
