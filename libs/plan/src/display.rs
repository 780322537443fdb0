//! What the platform shows of an instance: its dashboard and metadata. OSB wants the dashboard in
//! the very first answer, so all of it is worked out from the request alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::descriptor::{Plan, Text};
use crate::expr::{Context, Evaluator};
use crate::outputs::filled;
use crate::render::engine::TextError;

/// What the platform shows of an instance.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Display {
    /// OSB's `dashboard_url`.
    pub dashboard_url: Option<String>,
    /// OSB's `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// OSB's `metadata.attributes`.
    pub attributes: Map<String, Value>,
}

/// A text that has no value. Its own text holds no value either.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{key} cannot be evaluated: {message}")]
pub struct Error {
    /// The key of plan.yaml: `dashboard_url`, `labels.<name>` …
    pub key: String,
    /// What is wrong.
    pub message: String,
}

impl Plan {
    /// Whether there is anything to show.
    pub fn has_display(&self) -> bool {
        self.dashboard_url.is_some() || !self.labels.is_empty() || !self.attributes.is_empty()
    }
}

/// Evaluates all texts.
pub(crate) fn evaluate(
    plan: &Plan,
    evaluator: &Evaluator,
    context: &Context,
) -> Result<Display, Error> {
    let text = |key: String, text: &Text| match evaluator.text(text, context) {
        Ok(Value::String(value)) => Ok(value),
        // A number or truth value is as good as its text here.
        Ok(value) => Ok(value.to_string()),
        Err(TextError::Undefined(message) | TextError::Other(message)) => {
            Err(Error { key, message })
        }
    };
    let dashboard_url = plan
        .dashboard_url
        .as_ref()
        .map(|url| text("dashboard_url".to_owned(), url))
        .transpose()?
        .filter(|url| !url.is_empty());
    let labels = plan
        .labels
        .iter()
        .map(|(name, label)| Ok((name.clone(), text(format!("labels.{name}"), label)?)))
        .collect::<Result<_, Error>>()?;
    let attributes = plan
        .attributes
        .iter()
        .map(|(name, value)| match filled(value, evaluator, context) {
            Ok(value) => Ok((name.clone(), value)),
            Err(TextError::Undefined(message) | TextError::Other(message)) => Err(Error {
                key: format!("attributes.{name}"),
                message,
            }),
        })
        .collect::<Result<_, Error>>()?;
    Ok(Display {
        dashboard_url,
        labels,
        attributes,
    })
}
