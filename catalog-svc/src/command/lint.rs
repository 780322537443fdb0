//! `plan lint`.

use std::io::Write;

use clap::{Args, ValueEnum};
use plan::Fault;
use serde_json::json;

use super::{Failure, Plans, Roots, as_warning, count};

/// Check plans.
#[derive(Debug, Args)]
pub struct Lint {
    /// How to print what is found.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Take warnings for faults: exit with 1 if there is any.
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    roots: Roots,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for each fault and warning, and a summary.
    Text,
    /// One JSON object: `plans`, `faults` and `warnings`.
    Json,
    /// Annotations of GitHub Actions.
    Github,
}

impl Lint {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<(), Failure> {
        let plans = self.roots.plans()?;
        match self.format {
            Format::Text => self.text(&plans, out)?,
            Format::Json => self.json(&plans, out)?,
            Format::Github => self.github(&plans, out)?,
        }
        let is_warned = self.strict && !plans.catalog.warnings.is_empty();
        if plans.faults.is_empty() && !is_warned {
            Ok(())
        } else {
            Err(Failure::Faults)
        }
    }

    fn text(&self, plans: &Plans, out: &mut impl Write) -> anyhow::Result<()> {
        self.roots.print(&plans.faults, out)?;
        let warnings = plans.catalog.warnings.iter().map(as_warning);
        self.roots.print(&warnings.collect::<Vec<_>>(), out)?;
        let valid = count(plans.catalog.plans.len(), "valid plan");
        let mut summary = format!("{valid}, {}", count(plans.faults.len(), "fault"));
        if !plans.catalog.warnings.is_empty() {
            let warnings = count(plans.catalog.warnings.len(), "warning");
            summary = format!("{summary}, {warnings}");
        }
        writeln!(out, "{summary}")?;
        Ok(())
    }

    fn json(&self, plans: &Plans, out: &mut impl Write) -> anyhow::Result<()> {
        let all = |faults: &[Fault]| -> Vec<Fault> {
            faults.iter().map(|fault| self.roots.place(fault)).collect()
        };
        let valid: Vec<_> = plans
            .catalog
            .plans
            .iter()
            .map(|bundle| {
                json!({
                    "provider": bundle.provider(),
                    "plan": bundle.name(),
                    "digest": bundle.digest().to_string(),
                    "parameters": bundle.schemas().create,
                })
            })
            .collect();
        let found = json!({
            "plans": valid,
            "faults": all(&plans.faults),
            "warnings": all(&plans.catalog.warnings),
        });
        writeln!(out, "{found:#}")?;
        Ok(())
    }

    fn github(&self, plans: &Plans, out: &mut impl Write) -> anyhow::Result<()> {
        let faults = plans.faults.iter().map(|fault| ("error", fault));
        let warnings = plans.catalog.warnings.iter();
        for (level, fault) in faults.chain(warnings.map(|warning| ("warning", warning))) {
            let place = annotated(&self.roots.place(fault));
            writeln!(out, "::{level} {place}::{}", escaped(&fault.message, ""))?;
        }
        Ok(())
    }
}

/// The place of an annotation. One without a file belongs to the whole run.
fn annotated(fault: &Fault) -> String {
    let parts = [
        fault
            .file
            .as_ref()
            .map(|file| format!("file={}", escaped(file, ":,"))),
        fault.line.map(|line| format!("line={line}")),
        fault.column.map(|column| format!("col={column}")),
    ];
    let known: Vec<_> = parts.into_iter().flatten().collect();
    known.join(",")
}

/// What an annotation reads as syntax, as GitHub has it escaped.
fn escaped(text: &str, also: &str) -> String {
    text.chars()
        .map(|c| {
            if matches!(c, '%' | '\r' | '\n') || also.contains(c) {
                format!("%{:02X}", u32::from(c))
            } else {
                c.to_string()
            }
        })
        .collect()
}
