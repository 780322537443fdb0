//! `plan render`.

use std::{fs, io::Write, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use plan::schema::Violation;
use sandbox::Sandbox;
use serde_json::{Map, Value};

use super::{
    Failure, Roots,
    instance::{self, Sample},
    wait,
};
use crate::snapshot::PlanKey;

/// Print the manifests of a plan.
#[derive(Debug, Args)]
pub struct Render {
    /// The plan, as `<service provider>/<plan>`.
    #[arg(long, value_parser = super::key)]
    plan: PlanKey,
    /// The parameters of the instance, as a JSON object.
    #[arg(long, default_value = "{}", value_parser = object)]
    parameters: Map<String, Value>,
    /// A file with parameters, in YAML or JSON. Those of --parameters are laid over them.
    #[arg(long, value_name = "FILE")]
    parameters_file: Option<PathBuf>,
    /// Print what a binding brings, too: its templates, or how a login is made. Its parameters,
    /// as a JSON object.
    #[arg(long, value_name = "PARAMETERS", value_parser = object)]
    bind: Option<Map<String, Value>>,
    /// Print the outputs that are known without a cluster, too.
    #[arg(long)]
    outputs: bool,
    /// The OSB context of the instance, as a JSON object.
    #[arg(long, default_value = "{}", value_parser = object)]
    context: Map<String, Value>,
    #[command(flatten)]
    roots: Roots,
}

impl Render {
    pub(super) fn run(&self, out: &mut impl Write, err: &mut impl Write) -> Result<(), Failure> {
        let plans = self.roots.plans()?;
        let bundle = plans.wanted(&self.plan, &self.roots, err)?;
        let instance = match bundle.create_parameters(&self.parameters()?) {
            Ok(resolved) => resolved,
            Err(violations) => return refuse(&violations, "--parameters", err),
        };
        let bind = self.bind.as_ref().map(|sent| bundle.bind_parameters(sent));
        let bind = match bind.transpose() {
            Ok(resolved) => resolved,
            Err(violations) => return refuse(&violations, "--bind", err),
        };
        let sample = Sample {
            parameters: instance.effective,
            context: self.context.clone(),
            bind: bind.map(|resolved| resolved.effective),
            ..Sample::default()
        };
        let sandbox = Sandbox::new(&self.roots.sandbox);
        let rendered = wait(instance::render(&sandbox, bundle, sample))?;
        out.write_all(rendered.manifests()?.as_bytes())?;
        if self.outputs {
            out.write_all(rendered.outputs()?.as_bytes())?;
        }
        Ok(())
    }

    fn parameters(&self) -> anyhow::Result<Map<String, Value>> {
        let Some(path) = &self.parameters_file else {
            return Ok(self.parameters.clone());
        };
        let read = || format!("read {}", path.display());
        let text = fs::read_to_string(path).with_context(read)?;
        let mut parameters: Map<String, Value> =
            serde_saphyr::from_str(&text).with_context(read)?;
        parameters.extend(self.parameters.clone());
        Ok(parameters)
    }
}

fn refuse(violations: &[Violation], argument: &str, err: &mut impl Write) -> Result<(), Failure> {
    for violation in violations {
        writeln!(err, "{violation}")?;
    }
    writeln!(
        err,
        "parameters are passed by {argument} '{{\"name\": value}}'"
    )?;
    Err(Failure::Faults)
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))
}
