//! What says where the server of a plan's logins is: the texts, and the names in them, those of the
//! outputs that they use included.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::descriptor::{Expression, Output, Plan, Text};
use crate::expr::Evaluator;
use crate::lint::references::Form;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    texts: BTreeSet<String>,
    /// Names with their attributes: `["plan", "values", "hosts"]`.
    pub(crate) names: BTreeSet<Vec<String>>,
}

impl Reach {
    /// Of a plan whose logins are made in a database; of another one, nothing.
    pub(crate) fn of(plan: &Plan) -> Self {
        let mut reach = Self::default();
        let Some(binding) = &plan.binding else {
            return reach;
        };
        let evaluator = Evaluator::new();
        for expression in [&binding.hosts, &binding.replica_set].into_iter().flatten() {
            reach.expression(&evaluator, expression);
        }
        if let Some(admin) = &binding.admin {
            reach.text(&evaluator, &admin.username);
            reach.text(&evaluator, &admin.database);
        }
        // Outputs may use others.
        let mut seen = BTreeSet::new();
        loop {
            let used = |name: &str| {
                let mut names = reach.names.iter();
                names.any(|path| {
                    path[0] == "outputs" && path.get(1).is_none_or(|second| second == name)
                })
            };
            let mut outputs = plan.outputs.iter();
            let next = outputs.find(|(name, _)| used(name) && !seen.contains(*name));
            let Some((name, output)) = next else {
                return reach;
            };
            seen.insert(name.clone());
            match output {
                Output::Each { each, value } => {
                    reach.expression(&evaluator, each);
                    reach.text(&evaluator, value);
                }
                Output::Value(value) => reach.value(&evaluator, value),
            }
        }
    }

    /// Whether two plans find the same server with the same parameters, as far as can be seen.
    pub(crate) fn is_same(one: (&Plan, &str), other: (&Plan, &str)) -> bool {
        let all = |(plan, name): (&Plan, &str)| {
            let reach = Self::of(plan);
            let values = reach.names.iter().map(|path| given(plan, name, path));
            (values.collect::<Vec<_>>(), reach.texts)
        };
        all(one) == all(other)
    }

    fn expression(&mut self, evaluator: &Evaluator, expression: &Expression) {
        self.source(evaluator, expression.as_str(), Form::Expression);
    }

    fn text(&mut self, evaluator: &Evaluator, text: &Text) {
        self.source(evaluator, text.as_str(), Form::Text);
    }

    fn source(&mut self, evaluator: &Evaluator, source: &str, form: Form) {
        self.texts.insert(source.to_owned());
        let paths = evaluator.paths(source, form).into_iter();
        let names = paths.filter(|path| !path.is_local && !path.parts.is_empty());
        self.names.extend(names.map(|path| path.parts));
    }

    fn value(&mut self, evaluator: &Evaluator, value: &Value) {
        match value {
            Value::String(text) => self.source(evaluator, text, Form::Text),
            Value::Array(items) => items.iter().for_each(|item| self.value(evaluator, item)),
            Value::Object(entries) => {
                entries
                    .values()
                    .for_each(|entry| self.value(evaluator, entry));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {
                self.texts.insert(value.to_string());
            }
        }
    }
}

/// The value that the plan itself gives to a name.
fn given(plan: &Plan, name: &str, path: &[String]) -> Value {
    let value = |rest: &[String]| {
        let whole = json!(plan.values);
        rest.iter().fold(whole, |value, part| value[part].clone())
    };
    match path {
        [root, second, rest @ ..] if root == "plan" && second == "values" => value(rest),
        [root, ..] if root == "plan" => json!([name, plan.values]),
        [root, ..] if plan.values.contains_key(root) => value(path),
        _ => Value::Null,
    }
}
