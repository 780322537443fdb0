//! `plan render`.

use std::{fs, io::Write, path::PathBuf, sync::Arc};

use anyhow::Context as _;
use clap::Args;
use plan::{
    Bundle, Loaded, Variables,
    descriptor::Generate,
    render::File,
    variables::{Broker, Instance},
};
use sandbox::Sandbox;
use serde_json::{Map, Value, json};

use super::{Failure, Roots, wait};
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
    /// Print the templates of a binding, too: its parameters, as a JSON object.
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
        let parameters = self.parameters()?;
        let resolved = match bundle.create_parameters(&parameters) {
            Ok(resolved) => resolved,
            Err(violations) => {
                for violation in violations {
                    writeln!(err, "{violation}")?;
                }
                writeln!(
                    err,
                    "parameters are passed by --parameters '{{\"name\": value}}'"
                )?;
                return Err(Failure::Faults);
            }
        };
        let mut variables = self.variables(bundle, resolved.effective);
        let loaded = Loaded::new(Arc::clone(bundle))?;
        let files = self.files(&loaded, &mut variables)?;
        for file in files.iter().chain(&self.of_binding(&loaded, &variables)?) {
            for object in &file.objects {
                let text = serde_saphyr::to_string(object).context("print a manifest")?;
                writeln!(out, "---\n# {}\n{}", file.name, text.trim_end())?;
            }
        }
        if self.outputs {
            let text = serde_saphyr::to_string(&variables.outputs).context("print the outputs")?;
            writeln!(out, "---\n# outputs\n{}", text.trim_end())?;
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

    /// The templates of a binding, if they are asked for.
    fn of_binding(&self, loaded: &Loaded, variables: &Variables) -> anyhow::Result<Vec<File>> {
        let Some(parameters) = &self.bind else {
            return Ok(Vec::new());
        };
        let binding = json!({
            "id": "00000000-0000-0000-0000-000000000001", "name": "example",
            "username": "username", "password": "password", "parameters": parameters,
        });
        let variables = Variables {
            binding: binding.as_object().cloned(),
            ..variables.clone()
        };
        wait(async {
            let sandbox = Sandbox::new(&self.roots.sandbox);
            let mut files = Vec::new();
            for name in loaded.binding_files() {
                files.push(sandbox.render_file(loaded, name, &variables).await??);
            }
            Ok(files)
        })
    }

    /// The files, each with the outputs of those before it.
    fn files(&self, loaded: &Loaded, variables: &mut Variables) -> anyhow::Result<Vec<File>> {
        wait(async {
            let sandbox = Sandbox::new(&self.roots.sandbox);
            let (mut files, mut objects) = (Vec::new(), Vec::new());
            for name in loaded.files() {
                let file = sandbox.render_file(loaded, name, variables).await??;
                objects.extend(file.objects.clone());
                files.push(file);
                variables.outputs = sandbox.outputs(loaded, variables, &objects).await??;
            }
            Ok(files)
        })
    }

    fn variables(&self, bundle: &Bundle, parameters: Map<String, Value>) -> Variables {
        let generated = bundle.descriptor().generate.iter();
        let secrets = bundle.descriptor().secrets.keys();
        Variables {
            instance: Instance {
                id: "00000000-0000-0000-0000-000000000000".to_owned(),
                name: "example".to_owned(),
                namespace: "mdb-example".to_owned(),
            },
            parameters,
            context: self.context.clone(),
            generated: generated
                .map(|(name, generate)| (name.clone(), stand_in(name, generate)))
                .collect(),
            secrets: secrets.map(|name| (name.clone(), json!({}))).collect(),
            broker: Broker {
                cluster_domain: "cluster.local".to_owned(),
                namespace: "mongodb-osb".to_owned(),
                ..Broker::default()
            },
            ..Variables::default()
        }
    }
}

fn stand_in(name: &str, generate: &Generate) -> Value {
    match generate {
        Generate::Password { .. } => json!(format!("password-{name}")),
        // Base64, as a keyfile has to be.
        Generate::Key { .. } => json!("c3RhbmQtaW4="),
        Generate::Certificate { .. } => {
            let keys = ["certificate", "cert", "key", "ca", "pem"];
            let pairs = keys.map(|key| (key.to_owned(), json!(format!("{key} of {name}"))));
            Value::Object(pairs.into_iter().collect())
        }
    }
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))
}
