//! The two ways in which a descriptor speaks to the template engine.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! source {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// The source text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

source! {
    /// A Jinja expression without braces: `outputs.hosts`, `object.status.readyReplicas == 3`.
    Expression
}
source! {
    /// Text in which `{{ … }}` is replaced; without braces it is the literal text. Text that is
    /// exactly one `{{ … }}` takes the value with its type.
    Text
}
