//! `plan lint`.

use std::io::Write;

use clap::Args;

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
        let (valid, faults) = (plans.catalog.plans.len(), plans.faults.len());
        writeln!(
            out,
            "{}, {}",
            count(valid, "valid plan"),
            count(faults, "fault")
        )?;
        if faults == 0 {
            Ok(())
        } else {
            Err(Failure::Faults)
        }
    }
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
