//! `plan lint`.

use std::io::Write;

use clap::Args;
use plan::Fault;

use super::{Failure, Roots};

/// Check plans.
#[derive(Debug, Args)]
pub struct Lint {
    #[command(flatten)]
    roots: Roots,
}

impl Lint {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<(), Failure> {
        let plans = self.roots.plans()?;
        self.roots.print(&plans.faults, out)?;
        let warnings = plans.catalog.warnings.iter().map(warning);
        self.roots.print(&warnings.collect::<Vec<_>>(), out)?;
        let (valid, faults) = (plans.catalog.plans.len(), plans.faults.len());
        let mut summary = format!("{}, {}", count(valid, "valid plan"), count(faults, "fault"));
        if !plans.catalog.warnings.is_empty() {
            let warnings = count(plans.catalog.warnings.len(), "warning");
            summary = format!("{summary}, {warnings}");
        }
        writeln!(out, "{summary}")?;
        if faults == 0 {
            Ok(())
        } else {
            Err(Failure::Faults)
        }
    }
}

fn warning(fault: &Fault) -> Fault {
    Fault {
        message: format!("warning: {}", fault.message),
        ..fault.clone()
    }
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
