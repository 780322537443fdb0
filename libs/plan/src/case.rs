//! A case: an example of a plan, which its author keeps beside it as `tests/<name>.yaml`. Here is
//! what it says, and whether the plan takes it as it says. What is then rendered, and what that is
//! compared with, is the caller's.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::bundle::Bundle;
use crate::fault::{Fault, Pos, Problem};
use crate::node::{Kind, Node, all_from_node, unknown};
use crate::schema::Violation;

/// An example of a plan.
#[derive(Debug, Clone)]
pub struct Case {
    keys: Keys,
    node: Node,
}

/// What a case may say.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Keys {
    parameters: Map<String, Value>,
    context: Map<String, Value>,
    outputs: Map<String, Value>,
    bind: Option<Map<String, Value>>,
    update: Vec<Map<String, Value>>,
    refused: Option<Texts>,
}

/// One text, or several.
#[derive(Debug, Clone)]
struct Texts(Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let texts = from.deserialize_any(OneOrMore)?;
        // An empty text is part of every other, and no text at all as well.
        if texts.is_empty() || texts.iter().any(String::is_empty) {
            return Err(D::Error::custom("must name what the refusal says"));
        }
        Ok(Self(texts))
    }
}

struct OneOrMore;

impl<'de> Visitor<'de> for OneOrMore {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of texts")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(vec![text.to_owned()])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = items.next_element()? {
            texts.push(text);
        }
        Ok(texts)
    }
}

/// What a case comes to, with the plan's defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// The parameters of the instance, after the last update.
    pub parameters: Map<String, Value>,
    /// The parameters of the binding, if there is one.
    pub bind: Option<Map<String, Value>>,
}

/// What the plan refuses of a case.
struct Refusal {
    /// Where it stands in the case.
    path: Vec<String>,
    violations: Vec<Violation>,
}

impl Case {
    /// Reads a case of a plan. `file` is its path from the root.
    pub fn read(file: &str, content: &[u8], plan: &Bundle) -> Result<Self, Vec<Fault>> {
        Self::parse(file, content, plan).map_err(|problems| faults(problems, plan))
    }

    fn parse(file: &str, content: &[u8], plan: &Bundle) -> Result<Self, Vec<Problem>> {
        let node = Node::document(file, content).map_err(|problem| vec![problem])?;
        if matches!(node.kind, Kind::Null) {
            let message = "is empty: a case of the defaults alone is written {}";
            return Err(vec![Problem::at(&Pos::new(file, 1, 1), message)]);
        }
        let keys = all_from_node(&node)?;
        let case = Self { keys, node };
        let problems = case.problems(plan);
        if problems.is_empty() {
            Ok(case)
        } else {
            Err(problems)
        }
    }

    /// What this plan cannot have.
    fn problems(&self, plan: &Bundle) -> Vec<Problem> {
        let declared: Vec<_> = plan.descriptor().outputs.keys().collect();
        let names: Vec<_> = declared.iter().map(|name| name.as_str()).collect();
        let strange = self.keys.outputs.keys();
        let strange = strange.filter(|name| !names.contains(&name.as_str()));
        let mut problems: Vec<_> = strange
            .map(|name| {
                let message = if names.is_empty() {
                    "the plan has no outputs".to_owned()
                } else {
                    unknown("output", name, &names)
                };
                Problem::at(&self.node.place(["outputs", name.as_str()]), message)
            })
            .collect();
        if self.keys.bind.is_some() && !plan.is_bindable() {
            let place = self.node.place(["bind"]);
            problems.push(Problem::at(&place, "the plan cannot be bound"));
        }
        problems
    }

    /// The OSB context of the instance.
    pub fn context(&self) -> &Map<String, Value> {
        &self.keys.context
    }

    /// Outputs that only a cluster would bring.
    pub fn outputs(&self) -> &Map<String, Value> {
        &self.keys.outputs
    }

    /// Judges what the case asks for as the broker judges orders, updates and bindings. `None`: it
    /// is refused, as the case says.
    pub fn judge(&self, plan: &Bundle) -> Result<Option<Accepted>, Vec<Fault>> {
        let problems = match (self.accepted(plan), &self.keys.refused) {
            (Ok(accepted), None) => return Ok(Some(accepted)),
            (Ok(_), Some(_)) => {
                let place = self.node.place(["refused"]);
                vec![Problem::at(&place, "nothing is refused")]
            }
            (Err(refusal), None) => self.unexpected(&refusal),
            (Err(refusal), Some(texts)) => self.unsaid(&refusal, texts),
        };
        if problems.is_empty() {
            Ok(None)
        } else {
            Err(faults(problems, plan))
        }
    }

    fn accepted(&self, plan: &Bundle) -> Result<Accepted, Refusal> {
        let Keys {
            parameters,
            update,
            bind,
            ..
        } = &self.keys;
        let mut instance = plan
            .create_parameters(parameters)
            .map_err(|violations| Refusal::of(&["parameters"], violations))?;
        for (i, patch) in update.iter().enumerate() {
            instance = plan
                .update_parameters(&instance, patch)
                .map_err(|violations| Refusal::of(&["update", &i.to_string()], violations))?;
        }
        let bind = bind.as_ref().map(|sent| plan.bind_parameters(sent));
        let bind = bind
            .transpose()
            .map_err(|violations| Refusal::of(&["bind"], violations))?;
        Ok(Accepted {
            parameters: instance.effective,
            bind: bind.map(|resolved| resolved.effective),
        })
    }

    /// Each rule that is broken, where the value stands.
    fn unexpected(&self, refusal: &Refusal) -> Vec<Problem> {
        let problem = |violation: &Violation| {
            let pointer = violation.pointer.split('/').skip(1);
            let pointer = pointer.map(|part| part.replace("~1", "/").replace("~0", "~"));
            let place = self.node.place(refusal.path.iter().cloned().chain(pointer));
            Problem::at(&place, format!("is refused: {violation}"))
        };
        refusal.violations.iter().map(problem).collect()
    }

    /// Each text of the case that the refusal does not have.
    fn unsaid(&self, refusal: &Refusal, texts: &Texts) -> Vec<Problem> {
        let said: Vec<_> = refusal.violations.iter().map(ToString::to_string).collect();
        let texts = texts.0.iter().enumerate();
        let unsaid = texts.filter(|(_, text)| !said.iter().any(|one| one.contains(*text)));
        unsaid
            .map(|(i, text)| {
                let place = self.node.place(["refused", &i.to_string()]);
                let message = format!("the refusal has no {text:?}, it says: {}", said.join("; "));
                Problem::at(&place, message)
            })
            .collect()
    }
}

impl Refusal {
    fn of(path: &[&str], violations: Vec<Violation>) -> Self {
        Self {
            path: path.iter().map(|part| (*part).to_owned()).collect(),
            violations,
        }
    }
}

fn faults(problems: Vec<Problem>, plan: &Bundle) -> Vec<Fault> {
    let fault = |problem: Problem| problem.of(plan.provider(), Some(plan.name()));
    problems.into_iter().map(fault).collect()
}
