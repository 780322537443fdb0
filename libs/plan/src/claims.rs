//! Which volume claims of a StatefulSet may be deleted: the plan's `claims`, judged by what the
//! database reports. Only a clear yes deletes; what cannot be known is not guessed at.

use minijinja::value::{Value as Jinja, ValueKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::descriptor::ClaimRule;
use crate::expr::{Context, Evaluator};
use crate::render::jinja;

/// What the report says of one pod's claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Membership {
    /// The pod belongs to the database, or joins it with an empty volume: its claims stay.
    Member,
    /// The pod has left the database for good: its claims hold nothing of value.
    Left,
    /// The report does not tell yet.
    Unknown,
    /// The rule cannot be evaluated; the text says why.
    Faulty(String),
}

/// Judges the pod with this number. `report` is the object that the rule names, as it is in the
/// cluster; `context` holds the template variables.
pub(crate) fn membership(
    rule: &ClaimRule,
    evaluator: &Evaluator,
    report: &Value,
    ordinal: u32,
    mut context: Context,
) -> Membership {
    context.insert("object".to_owned(), jinja(report));
    context.insert("ordinal".to_owned(), Jinja::from(ordinal));
    match evaluator.value(&rule.left, &context) {
        Ok(value) => match value.kind() {
            ValueKind::Undefined | ValueKind::None => Membership::Unknown,
            ValueKind::Bool if value.is_true() => Membership::Left,
            ValueKind::Bool => Membership::Member,
            kind => Membership::Faulty(format!("left gives a {kind}, not true or false")),
        },
        Err(error) => Membership::Faulty(format!("left cannot be evaluated: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::descriptor::Expression;

    fn judged(left: &str, report: &Value, ordinal: u32) -> Membership {
        let rule = ClaimRule {
            report: "ConfigMap/c".to_owned(),
            left: Expression(left.to_owned()),
        };
        membership(&rule, &Evaluator::new(), report, ordinal, Context::new())
    }

    #[test]
    fn only_true_means_left() {
        let report = json!({"data": {"members": "2"}});
        let rule = "ordinal >= object.data.members | int";
        assert_eq!(judged(rule, &report, 1), Membership::Member);
        assert_eq!(judged(rule, &report, 2), Membership::Left);
        for unclear in ["true if object.data.nothing", "object.data.nothing", "none"] {
            assert_eq!(
                judged(unclear, &report, 2),
                Membership::Unknown,
                "{unclear}"
            );
        }
        for faulty in ["1", "'true'", "object.data.members | int(x=1)"] {
            let judged = judged(faulty, &report, 2);
            assert!(
                matches!(judged, Membership::Faulty(_)),
                "{faulty}: {judged:?}"
            );
        }
    }
}
