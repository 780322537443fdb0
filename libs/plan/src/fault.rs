//! What is wrong with a plan folder, and where. A fault takes its own plan out of the catalog and
//! touches no other.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One thing that is wrong, with the place to mend it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fault {
    /// The provider folder.
    pub provider: String,
    /// The plan folder; `None` if the fault is the offering's own.
    pub plan: Option<String>,
    /// The file, from the root of the templates: `mongodb/small/plan.yaml`.
    pub file: Option<String>,
    /// Line in the file, from 1.
    pub line: Option<u32>,
    /// Column in the line, from 1.
    pub column: Option<u32>,
    /// What is wrong and, where known, how to mend it.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, &self.plan) {
            (Some(file), _) => f.write_str(file)?,
            (None, Some(plan)) => write!(f, "{}/{plan}", self.provider)?,
            (None, None) => f.write_str(&self.provider)?,
        }
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
            if let Some(column) = self.column {
                write!(f, ":{column}")?;
            }
        }
        write!(f, ": {}", self.message)
    }
}

/// A place in a file; lines and columns count from 1, and line 0 means the file as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pos {
    #[serde(with = "shared_text")]
    pub(crate) file: std::sync::Arc<str>,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl Pos {
    pub(crate) fn file(file: &str) -> Self {
        Self {
            file: file.into(),
            line: 0,
            column: 0,
        }
    }

    pub(crate) fn new(file: &str, line: u32, column: u32) -> Self {
        Self {
            file: file.into(),
            line,
            column,
        }
    }
}

/// A message with its place, before it is known which plan it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Problem {
    pub(crate) pos: Option<Pos>,
    pub(crate) message: String,
}

impl Problem {
    pub(crate) fn at(pos: &Pos, message: impl Into<String>) -> Self {
        Self {
            pos: Some(pos.clone()),
            message: message.into(),
        }
    }

    pub(crate) fn of(self, provider: &str, plan: Option<&str>) -> Fault {
        let line = self.pos.as_ref().map(|p| p.line).filter(|l| *l > 0);
        Fault {
            provider: provider.to_owned(),
            plan: plan.map(str::to_owned),
            column: self
                .pos
                .as_ref()
                .filter(|_| line.is_some())
                .map(|p| p.column),
            file: self.pos.map(|p| p.file.to_string()),
            line,
            message: self.message,
        }
    }
}

/// Many places share the name of their file.
mod shared_text {
    use std::sync::Arc;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(text: &Arc<str>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<str>, D::Error> {
        String::deserialize(from).map(Arc::from)
    }
}
