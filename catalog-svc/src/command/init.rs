//! `plan init`.

use std::{
    fs,
    io::{self, Read as _, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use clap::Args;
use plan::{Bundle, Fault, source::TESTS};
use sandbox::{Sandbox, SandboxArgs};

use super::{Failure, Roots, golden, kinds::KindArgs, test, wait};
use crate::{snapshot::PlanKey, source::url::UrlArgs};

const PLAN: &str = include_str!("init/plan.yaml");
const BARE_PLAN: &str = include_str!("init/bare-plan.yaml");
const TEMPLATE: &str = include_str!("init/1-web.yaml");
const CASE: &str = include_str!("init/case.yaml");
const BARE_CASE: &str = include_str!("init/bare-case.yaml");
/// The case that a new plan has.
const EXAMPLE: &str = "tests/example.yaml";

/// Make the folder of a new plan.
#[derive(Debug, Args)]
pub struct Init {
    /// The plan, as `<service provider>/<plan>`.
    #[arg(long, value_parser = super::key)]
    plan: PlanKey,
    /// A manifest to begin with, instead of an example; "-" reads standard input.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Directory of plans; it is made if there is none.
    #[arg(value_name = "DIR")]
    root: PathBuf,
}

impl Init {
    /// Writes the files, and checks them: a manifest may have faults as a plan.
    pub(super) fn run(&self, out: &mut impl Write) -> Result<(), Failure> {
        let folder = self.root.join(self.plan.to_string());
        if folder.exists() {
            return Err(anyhow::anyhow!("{} exists already", folder.display()).into());
        }
        let files = self.files()?;
        let tests = folder.join(TESTS);
        fs::create_dir_all(&tests).with_context(|| format!("make {}", tests.display()))?;
        for (name, content) in &files {
            let path = folder.join(name);
            fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
            writeln!(out, "{}", path.display())?;
        }
        let roots = Roots {
            folders: vec![self.root.clone()],
            namespace: "mongodb-osb".to_owned(),
            kinds: KindArgs::default(),
            sandbox: SandboxArgs::default(),
            url: UrlArgs::default(),
        };
        let plans = roots.plans()?;
        let mut own = plans.faults_of(&self.plan);
        let valid = plans.catalog.plans.iter();
        let mut valid = valid.filter(|bundle| PlanKey::of(bundle) == self.plan);
        if let Some(bundle) = valid.next() {
            own.extend(self.golden(bundle, &roots, out)?);
        }
        if !own.is_empty() {
            writeln!(out, "\nTo mend:")?;
            roots.print(&own, out)?;
        }
        write!(out, "{}", self.next())?;
        Ok(())
    }

    /// Writes the golden file of the example, or tells what is wrong.
    fn golden(
        &self,
        bundle: &Arc<Bundle>,
        roots: &Roots,
        out: &mut impl Write,
    ) -> anyhow::Result<Vec<Fault>> {
        let folder = self.root.join(self.plan.to_string());
        let case = fs::read(folder.join(EXAMPLE)).context("read the example")?;
        let file = format!("{}/{EXAMPLE}", self.plan);
        let sandbox = Sandbox::new(&roots.sandbox);
        let outcome = wait(async { Ok(test::outcome(&file, &case, bundle, &sandbox).await) })?;
        match outcome {
            Ok(Some(text)) => {
                let path = folder.join(EXAMPLE.replace(".yaml", golden::ENDING));
                golden::write(&path, &text)?;
                writeln!(out, "{}", path.display())?;
                Ok(Vec::new())
            }
            Ok(None) => Ok(Vec::new()),
            Err(faults) => Ok(faults),
        }
    }

    fn files(&self) -> anyhow::Result<Vec<(&'static str, String)>> {
        let Some(path) = &self.from else {
            return Ok(vec![
                ("plan.yaml", PLAN.to_owned()),
                ("1-web.yaml", TEMPLATE.to_owned()),
                (EXAMPLE, CASE.to_owned()),
            ]);
        };
        let manifest = read(path).with_context(|| format!("read {}", path.display()))?;
        // Jinja of another language, or text that looks like it.
        let is_raw = ["{{", "{%", "{#"]
            .iter()
            .any(|mark| manifest.contains(mark));
        let template = if is_raw {
            format!("{{% raw %}}\n{}\n{{% endraw %}}\n", manifest.trim_end())
        } else {
            manifest
        };
        Ok(vec![
            ("plan.yaml", BARE_PLAN.to_owned()),
            ("1-manifest.yaml", template),
            (EXAMPLE, BARE_CASE.to_owned()),
        ])
    }

    fn next(&self) -> String {
        let (root, plan) = (self.root.display(), &self.plan);
        format!(
            "\nNext:\n  \
             catalog-svc plan lint {root}\n  \
             catalog-svc plan test {root}       # whether the cases in tests/ are rendered as before\n  \
             catalog-svc plan render --plan {plan} --parameters '{{}}' {root}\n  \
             catalog-svc plan configmap --plan {plan} {root} | kubectl apply -f -\n  \
             catalog-svc plan rbac {root}       # what the broker may have to be allowed\n  \
             catalog-svc plan explain           # what templates can use\n"
        )
    }
}

fn read(path: &Path) -> io::Result<String> {
    if path != Path::new("-") {
        return fs::read_to_string(path);
    }
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    Ok(text)
}
