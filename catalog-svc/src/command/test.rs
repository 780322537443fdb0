//! `plan test`.

use std::{
    collections::BTreeSet,
    fmt::{self, Display},
    io::Write,
    sync::Arc,
};

use clap::Args;
use plan::{Bundle, Case, Fault};
use sandbox::Sandbox;

use super::{
    Failure, Roots,
    cases::{self, Folder},
    count, diff, golden,
    instance::{self, Sample},
    wait,
};
use crate::snapshot::PlanKey;

/// Render the cases of plans, and compare them with their golden files.
#[derive(Debug, Args)]
pub struct Test {
    /// The plan, as `<service provider>/<plan>`; all of them if it is left out.
    #[arg(long, value_parser = super::key)]
    plan: Option<PlanKey>,
    /// Write the golden files that are missing or differ, and remove those without a case. Read
    /// what it changes before you commit it.
    #[arg(long)]
    update: bool,
    #[command(flatten)]
    roots: Roots,
}

/// What was found.
#[derive(Debug, Default)]
struct Tally {
    passed: usize,
    failed: usize,
    /// Plans with cases, and without.
    with: usize,
    without: usize,
    /// Whatever else is wrong.
    faults: usize,
}

impl Test {
    pub(super) fn run(&self, out: &mut impl Write, err: &mut impl Write) -> Result<(), Failure> {
        let (trees, faults) = self.roots.trees()?;
        let mut plans = self.roots.build(&trees, faults)?;
        // A golden file without what was not looked at would say nothing of it.
        plans.faults.append(&mut plans.unseen);
        let found = cases::find(&self.roots, &trees, &plans.faults);
        let (bundles, faults): (Vec<_>, Vec<_>) = if let Some(wanted) = &self.plan {
            let bundle = plans.wanted(wanted, &self.roots, err)?;
            let own = found.faults.iter().filter(|fault| wanted.has(fault));
            (vec![bundle], own.cloned().collect())
        } else {
            let faults = plans.faults.iter().chain(&found.faults);
            (
                plans.catalog.plans.iter().collect(),
                faults.cloned().collect(),
            )
        };
        self.roots.print(&faults, out)?;
        let mut tally = Tally {
            faults: faults.len(),
            ..Tally::default()
        };
        let sandbox = Sandbox::new(&self.roots.sandbox);
        wait(async {
            for bundle in bundles {
                let key = PlanKey::of(bundle);
                let folder = found.folders.get(&key);
                if folder.is_some_and(|folder| !folder.cases.is_empty()) {
                    tally.with += 1;
                } else if !faults.iter().any(|fault| key.has(fault)) {
                    tally.without += 1;
                }
                if let Some(folder) = folder {
                    self.examine(bundle, folder, &sandbox, &mut tally, out)
                        .await?;
                }
            }
            Ok(())
        })?;
        writeln!(out, "{tally}")?;
        if tally.is_good() {
            Ok(())
        } else {
            Err(Failure::Faults)
        }
    }

    /// Goes through the cases of a plan.
    async fn examine(
        &self,
        bundle: &Arc<Bundle>,
        folder: &Folder,
        sandbox: &Sandbox,
        tally: &mut Tally,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        // The cases that have a golden file, or may have one once they are mended.
        let mut rendered = BTreeSet::new();
        for (name, content) in &folder.cases {
            let outcome = outcome(&folder.case(name), content, bundle, sandbox).await;
            if !matches!(outcome, Ok(None)) {
                rendered.insert(name);
            }
            let passed = match outcome {
                Ok(Some(text)) => self.settle(folder, name, &text, out)?,
                Ok(None) => true,
                Err(faults) => {
                    self.roots.print(&faults, out)?;
                    false
                }
            };
            tally.passed += usize::from(passed);
            tally.failed += usize::from(!passed);
        }
        for name in folder.golden.keys().filter(|name| !rendered.contains(name)) {
            tally.faults += usize::from(!self.settle_stale(folder, name, out)?);
        }
        Ok(())
    }

    /// Whether a case is rendered as its golden file says, if need be because that is written now.
    fn settle(
        &self,
        folder: &Folder,
        name: &str,
        text: &str,
        out: &mut impl Write,
    ) -> anyhow::Result<bool> {
        let path = folder.golden(name);
        let shown = path.display();
        let known = folder.golden.get(name);
        let known = known.map(|content| String::from_utf8_lossy(content));
        match known {
            Some(known) if diff::is_same(&known, text) => return Ok(true),
            _ if self.update => {
                golden::write(&path, text)?;
                writeln!(out, "{shown}: written")?;
                return Ok(true);
            }
            None => writeln!(out, "{shown}: there is no such file; --update writes it")?,
            Some(known) => {
                writeln!(out, "{shown}: is rendered otherwise; --update writes it")?;
                write!(
                    out,
                    "--- golden\n+++ rendered\n{}",
                    diff::unified(&known, text)
                )?;
            }
        }
        Ok(false)
    }

    /// Whether a golden file that belongs to nothing is gone now.
    fn settle_stale(
        &self,
        folder: &Folder,
        name: &str,
        out: &mut impl Write,
    ) -> anyhow::Result<bool> {
        let path = folder.golden(name);
        if self.update {
            golden::remove(&path)?;
            writeln!(out, "{}: removed", path.display())?;
        } else {
            let message = "no case is rendered as this; --update removes it";
            writeln!(out, "{}: {message}", path.display())?;
        }
        Ok(self.update)
    }
}

/// What a case is rendered as, or nothing if it is refused and should be.
pub(super) async fn outcome(
    file: &str,
    content: &[u8],
    bundle: &Arc<Bundle>,
    sandbox: &Sandbox,
) -> Result<Option<String>, Vec<Fault>> {
    let case = Case::read(file, content, bundle)?;
    let Some(accepted) = case.judge(bundle)? else {
        return Ok(None);
    };
    let sample = Sample {
        parameters: accepted.parameters,
        context: case.context().clone(),
        outputs: case.outputs().clone(),
        bind: accepted.bind,
    };
    let rendered = instance::render(sandbox, bundle, sample).await;
    let text = rendered.and_then(|rendered| Ok(rendered.manifests()? + &rendered.outputs()?));
    text.map(Some).map_err(|error| {
        let fault = PlanKey::of(bundle).fault(format!("{error:#}"));
        vec![Fault {
            file: Some(file.to_owned()),
            ..fault
        }]
    })
}

impl Tally {
    fn is_good(&self) -> bool {
        self.failed == 0 && self.faults == 0
    }
}

impl Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cases = count(self.passed, "case");
        write!(f, "{cases} of {} passed", count(self.with, "plan"))?;
        if self.failed > 0 {
            write!(f, ", {} failed", self.failed)?;
        }
        if self.without > 0 {
            let have = if self.without == 1 { "has" } else { "have" };
            write!(f, "; {} {have} none", count(self.without, "plan"))?;
        }
        if self.faults > 0 {
            write!(f, "; {}", count(self.faults, "fault"))?;
        }
        Ok(())
    }
}
