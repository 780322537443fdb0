//! `plan schema`.

use std::io::Write;

use clap::{Args, ValueEnum};

use super::Failure;

/// Print a JSON Schema.
#[derive(Debug, Args)]
pub struct Schema {
    /// The file to describe.
    #[arg(value_enum, value_name = "FILE", default_value = "plan")]
    of: Descriptor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Descriptor {
    /// plan.yaml
    Plan,
    /// service.yaml
    Service,
}

impl Schema {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<(), Failure> {
        let text = match self.of {
            Descriptor::Plan => plan::descriptor::PLAN_SCHEMA,
            Descriptor::Service => plan::descriptor::SERVICE_SCHEMA,
        };
        writeln!(out, "{}", text.trim_end())?;
        Ok(())
    }
}
