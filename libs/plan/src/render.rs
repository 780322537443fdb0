//! Templates to manifests, so that a value never becomes syntax.
//!
//! The engine writes a marker for each value and keeps the value apart (`slots`), the text with
//! nothing but the author's syntax is read as YAML, and the markers are replaced in the tree
//! (`tree`). What comes out is checked against what the plan may do (`check`).

pub(crate) mod ast;
pub(crate) mod check;
pub(crate) mod engine;
mod expansion;
pub(crate) mod explain;
mod filters;
pub(crate) mod names;
pub(crate) mod secrecy;
pub(crate) mod skeleton;
pub(crate) mod slots;
pub(crate) mod tree;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The objects of one template file, a barrier of its own.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct File {
    /// The file's name in the plan folder.
    pub name: String,
    /// The objects in the order of the file.
    pub objects: Vec<Value>,
}

/// Shows what the objects are, not what is in them: they may be Secrets.
impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.objects.iter().map(check::describe).collect();
        f.debug_struct("File")
            .field("name", &self.name)
            .field("objects", &names)
            .finish()
    }
}

/// Why a template did not render. The text holds no value of a user or a Secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{file}:{line}:{column}: {message}")]
pub struct Error {
    /// The file's name in the plan folder.
    pub file: String,
    /// Line, from 1; 0 where it is not known.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
}

/// How much an error may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Everything: the values are samples.
    Full,
    /// Nothing that the engine says about values: they are real.
    Safe,
}

/// A template value as JSON.
pub(crate) fn slots_to_json(value: &minijinja::value::Value) -> Result<Value, String> {
    slots::to_json(value, &mut slots::pay_once()).map_err(|refusal| refusal.to_string())
}

/// A JSON value as the engine sees it.
pub(crate) fn jinja<T: serde::Serialize>(value: T) -> minijinja::value::Value {
    minijinja::value::Value::from(minijinja::value::Serde(value))
}
