//! The parameters that a user may send, as written: three JSON Schemas, which may inherit from one
//! another.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The parameters of a plan. What is left out takes none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// For a new instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create: Option<ParameterSchema>,
    /// For an update: a JSON Merge Patch on what was sent before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<ParameterSchema>,
    /// For a binding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind: Option<ParameterSchema>,
}

/// A JSON Schema (draft-04) of an object, closed unless it says `additionalProperties`. A
/// property may say `x-immutable: true`: an update cannot change it. One with an enum may say
/// `x-ordered: true`: an update may move it to the enum's next value, neither back nor over one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ParameterSchema {
    /// Takes another operation's schema as its base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inherit: Option<Inherit>,
    /// The schema's own keys: `properties`, `required`, …
    #[serde(flatten)]
    pub schema: Map<String, Value>,
}

/// The operation whose schema is inherited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Inherit {
    /// That of a new instance.
    Create,
    /// That of an update.
    Update,
}
