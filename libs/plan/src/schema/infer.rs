//! The schema of a folder that declares no parameters: each variable that nothing else defines is a
//! parameter, of the type that its uses need.

use std::collections::BTreeMap;

use minijinja::machinery::ast::{self, Expr};
use serde_json::{Map, Value, json};

use crate::descriptor::{Inherit, ParameterSchema, Parameters};
use crate::render::ast::Visitor;

/// What templates do with a variable, or with a part of it.
#[derive(Debug, Default)]
pub(crate) struct Use {
    /// Its attributes: it is a map.
    attributes: BTreeMap<String, Use>,
    /// Its items: it is a list.
    items: Option<Box<Use>>,
    /// Whether a template says what to do without it.
    optional: bool,
    default: Option<Value>,
    /// Whether it decides something by being true or false.
    decides: bool,
}

/// Collects the uses of variables in templates.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    variables: BTreeMap<String, Use>,
    /// Names of loops, and the path of what they loop over.
    loops: BTreeMap<String, Vec<Step>>,
}

#[derive(Debug, Clone)]
enum Step {
    Attribute(String),
    Item,
}

impl Uses {
    /// The parameters, of the names that nothing else defines.
    pub(crate) fn parameters(mut self, names: impl IntoIterator<Item = String>) -> Parameters {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for name in names {
            let used = self.variables.remove(&name).unwrap_or_default();
            if !used.optional {
                required.push(name.clone());
            }
            properties.insert(name, used.schema());
        }
        if properties.is_empty() {
            return Parameters::default();
        }
        let mut schema = Map::from_iter([("properties".to_owned(), Value::Object(properties))]);
        if !required.is_empty() {
            schema.insert("required".to_owned(), json!(required));
        }
        Parameters {
            create: Some(ParameterSchema {
                inherit: None,
                schema,
            }),
            update: Some(ParameterSchema {
                inherit: Some(Inherit::Create),
                schema: Map::new(),
            }),
            bind: None,
        }
    }

    fn at(&mut self, path: &[Step]) -> Option<&mut Use> {
        let (Step::Attribute(first), rest) = path.split_first()? else {
            return None;
        };
        let mut used = self.variables.entry(first.clone()).or_default();
        for step in rest {
            used = match step {
                Step::Attribute(name) => used.attributes.entry(name.clone()).or_default(),
                Step::Item => used.items.get_or_insert_default(),
            };
        }
        Some(used)
    }

    /// Where a value comes from; `None` if it is no part of a variable.
    fn path(&self, expr: &Expr<'_>) -> Option<Vec<Step>> {
        match expr {
            Expr::Var(var) => Some(match self.loops.get(var.id) {
                Some(path) => path.clone(),
                None => vec![Step::Attribute(var.id.to_owned())],
            }),
            Expr::GetAttr(get) => {
                let mut path = self.path(&get.expr)?;
                path.push(Step::Attribute(get.name.to_owned()));
                Some(path)
            }
            Expr::GetItem(get) => {
                let Expr::Const(key) = &get.subscript_expr else {
                    return None;
                };
                let mut path = self.path(&get.expr)?;
                path.push(match key.value.as_str() {
                    Some(name) => Step::Attribute(name.to_owned()),
                    None => Step::Item,
                });
                Some(path)
            }
            _ => None,
        }
    }

    fn mark(&mut self, expr: &Expr<'_>, mark: impl FnOnce(&mut Use)) {
        if let Some(path) = self.path(expr)
            && let Some(used) = self.at(&path)
        {
            mark(used);
        }
    }

    /// What a condition asks: whether there is a value, or whether it is true.
    fn condition(&mut self, expr: &Expr<'_>) {
        match expr {
            Expr::UnaryOp(not) => self.condition(&not.expr),
            Expr::BinOp(both) => {
                self.condition(&both.left);
                self.condition(&both.right);
            }
            value => self.mark(value, |used| used.decides = true),
        }
    }
}

impl Visitor for Uses {
    fn stmt(&mut self, stmt: &ast::Stmt<'_>) {
        match stmt {
            ast::Stmt::ForLoop(each) => {
                let over = match &each.iter {
                    Expr::Filter(filter) => filter.expr.as_ref().and_then(|expr| self.path(expr)),
                    expr => self.path(expr),
                };
                if let (Some(mut path), Expr::Var(target)) = (over, &each.target) {
                    path.push(Step::Item);
                    self.at(&path);
                    self.loops.insert(target.id.to_owned(), path);
                }
            }
            ast::Stmt::IfCond(condition) => self.condition(&condition.expr),
            _ => {}
        }
    }

    fn expr(&mut self, expr: &Expr<'_>) {
        match expr {
            Expr::IfExpr(choice) => self.condition(&choice.test_expr),
            Expr::Filter(filter) if matches!(filter.name, "default" | "d") => {
                let default = filter.args.first().and_then(|argument| match argument {
                    ast::CallArg::Pos(value) => value.as_const(),
                    _ => None,
                });
                let default = default.and_then(|value| serde_json::to_value(value).ok());
                if let Some(of) = &filter.expr {
                    self.mark(of, |used| {
                        used.optional = true;
                        used.default = used.default.take().or(default);
                    });
                }
            }
            Expr::Test(test) if matches!(test.name, "defined" | "undefined") => {
                self.mark(&test.expr, |used| used.optional = true);
            }
            other => self.mark(other, |_| {}),
        }
    }
}

impl Use {
    fn schema(self) -> Value {
        let mut schema = if let Some(items) = self.items {
            json!({"type": "array", "items": items.schema()})
        } else if self.attributes.is_empty() {
            let mut types = vec!["string", "number"];
            let of_default = matches!(self.default, Some(Value::Bool(_)));
            if self.decides || of_default {
                types.push("boolean");
            }
            json!({"type": types})
        } else {
            let required: Vec<_> = self
                .attributes
                .iter()
                .filter(|(_, used)| !used.optional)
                .map(|(name, _)| name.clone())
                .collect();
            let properties = self.attributes.into_iter();
            let properties: Map<_, _> = properties
                .map(|(name, used)| (name, used.schema()))
                .collect();
            let mut schema = json!({"type": "object", "properties": properties});
            if !required.is_empty() {
                schema["required"] = json!(required);
            }
            schema
        };
        let of_type = |default: &Value| match schema["type"].as_str() {
            Some("array") => default.is_array(),
            Some("object") => default.is_object(),
            _ => default.is_string() || default.is_number() || default.is_boolean(),
        };
        if let Some(default) = self.default.filter(of_type) {
            schema["default"] = default;
        }
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::ast::visit;
    use crate::render::engine::syntax_config;

    fn inferred(source: &str, names: &[&str]) -> Value {
        let mut uses = Uses::default();
        visit(source, "", &syntax_config(), &mut uses);
        let parameters = uses.parameters(names.iter().map(|name| (*name).to_owned()));
        Value::Object(
            parameters
                .create
                .map(|create| create.schema)
                .unwrap_or_default(),
        )
    }

    #[test]
    fn a_parameter_has_the_type_that_its_uses_need() {
        let text = json!({"type": ["string", "number"]});
        for (source, schema, required) in [
            ("{{ x }}", text.clone(), true),
            (
                "{{ x | default(8080) }}",
                json!({"type": ["string", "number"], "default": 8080}),
                false,
            ),
            (
                "{% if x is defined %}{{ x }}{% endif %}",
                text.clone(),
                false,
            ),
            (
                "{% if x %}a{% endif %}",
                json!({"type": ["string", "number", "boolean"]}),
                true,
            ),
            (
                "{{ 1 if not x else 2 }}",
                json!({"type": ["string", "number", "boolean"]}),
                true,
            ),
            (
                "{% for n in x %}{{ n }}{% endfor %}",
                json!({"type": "array", "items": text}),
                true,
            ),
            (
                "{% for n in x | sort %}{{ n.a }}{{ n['b'] | default('c') }}{% endfor %}",
                json!({"type": "array", "items": {
                    "type": "object", "required": ["a"], "properties": {
                        "a": {"type": ["string", "number"]},
                        "b": {"type": ["string", "number"], "default": "c"},
                    },
                }}),
                true,
            ),
            (
                "{{ x.a.b }}",
                json!({"type": "object", "required": ["a"], "properties": {"a": {
                    "type": "object", "required": ["b"],
                    "properties": {"b": {"type": ["string", "number"]}},
                }}}),
                true,
            ),
            (
                "{{ x[0] }}",
                json!({"type": "array", "items": {"type": ["string", "number"]}}),
                true,
            ),
        ] {
            let found = inferred(source, &["x"]);
            assert_eq!(found["properties"]["x"], schema, "{source}");
            assert_eq!(found.get("required").is_some(), required, "{source}");
        }
        assert_eq!(inferred("{{ x }}", &[]), json!({}));
    }
}
