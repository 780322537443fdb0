//! An instance of a plan as it can be known without a cluster: stand-ins for what would be
//! generated, the manifests, and the outputs that need no object's status.

use std::sync::Arc;

use anyhow::Context as _;
use plan::{
    Bundle, Loaded, Variables,
    binding::{Database, TlsMode},
    descriptor::{Generate, Method},
    render::File,
    variables::{Broker, Instance},
};
use sandbox::Sandbox;
use serde_json::{Map, Value, json};

/// What an instance is made with.
#[derive(Default)]
pub(super) struct Sample {
    /// Its parameters, with defaults.
    pub(super) parameters: Map<String, Value>,
    /// The OSB context.
    pub(super) context: Map<String, Value>,
    /// Outputs that only a cluster would bring; they are laid over those that are worked out.
    pub(super) outputs: Map<String, Value>,
    /// The parameters of a binding, with defaults, if there is one.
    pub(super) bind: Option<Map<String, Value>>,
}

/// What became of it.
pub(super) struct Rendered {
    files: Vec<File>,
    /// What logins are made with, or why that is not known.
    login: Option<Result<Value, String>>,
    outputs: Value,
}

/// Renders the files, each with the outputs of those before it, and those of the binding.
pub(super) async fn render(
    sandbox: &Sandbox,
    bundle: &Arc<Bundle>,
    sample: Sample,
) -> anyhow::Result<Rendered> {
    let loaded = &Loaded::new(Arc::clone(bundle))?;
    let mut variables = variables(bundle, sample.parameters, sample.context);
    let (mut files, mut objects) = (Vec::new(), Vec::new());
    for name in loaded.files() {
        let file = sandbox.render_file(loaded, name, &variables).await??;
        objects.extend(file.objects.clone());
        files.push(file);
        variables.outputs = sandbox.outputs(loaded, &variables, &objects).await??;
        variables.outputs.extend(sample.outputs.clone());
    }
    loaded.check_unique(&files, &variables)?;
    let mut login = None;
    if let Some(parameters) = sample.bind {
        if bundle.method() == Method::Database {
            let database = sandbox.database(loaded, &variables).await?;
            login = Some(database.as_ref().map(shown).map_err(ToString::to_string));
        }
        variables.binding = Some(binding(parameters));
        for name in loaded.binding_files() {
            files.push(sandbox.render_file(loaded, name, &variables).await??);
        }
    }
    Ok(Rendered {
        files,
        login,
        outputs: Value::Object(variables.outputs),
    })
}

impl Rendered {
    /// All manifests, and how a login is made, as documents of YAML.
    pub(super) fn manifests(&self) -> anyhow::Result<String> {
        let mut text = String::new();
        for file in &self.files {
            for object in &file.objects {
                text.push_str(&document(&file.name, object)?);
            }
        }
        match &self.login {
            Some(Ok(login)) => text.push_str(&document("login", login)?),
            Some(Err(error)) => text.extend(["---\n# login: ", error, "\n"]),
            None => {}
        }
        Ok(text)
    }

    /// The outputs, as one more document.
    pub(super) fn outputs(&self) -> anyhow::Result<String> {
        document("outputs", &self.outputs)
    }
}

fn document(title: &str, content: &Value) -> anyhow::Result<String> {
    let text = serde_saphyr::to_string(content).with_context(|| format!("print {title}"))?;
    Ok(format!("---\n# {title}\n{}\n", text.trim_end()))
}

fn variables(
    bundle: &Bundle,
    parameters: Map<String, Value>,
    context: Map<String, Value>,
) -> Variables {
    let generated = bundle.descriptor().generate.iter();
    let secrets = bundle.descriptor().secrets.keys();
    Variables {
        instance: Instance {
            id: "00000000-0000-0000-0000-000000000000".to_owned(),
            name: "example".to_owned(),
            namespace: "mdb-example".to_owned(),
        },
        parameters,
        context,
        generated: generated
            .map(|(name, generate)| (name.clone(), stand_in(name, generate)))
            .collect(),
        secrets: secrets.map(|name| (name.clone(), json!({}))).collect(),
        broker: Broker {
            cluster_domain: "cluster.local".to_owned(),
            namespace: "mongodb-osb".to_owned(),
            bootstrap_image: "mongo-bootstrap".to_owned(),
            ..Broker::default()
        },
        ..Variables::default()
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

/// A binding, as its templates see it.
fn binding(parameters: Map<String, Value>) -> Map<String, Value> {
    let known = [
        ("id", "00000000-0000-0000-0000-000000000001"),
        ("name", "example"),
        ("username", "username"),
        ("password", "password"),
    ];
    let known = known.map(|(key, value)| (key.to_owned(), json!(value)));
    let parameters = ("parameters".to_owned(), Value::Object(parameters));
    known.into_iter().chain([parameters]).collect()
}

/// What of a database is part of credentials.
fn shown(database: &Database) -> Value {
    let mode = match database.tls.mode {
        TlsMode::Disabled => "disabled",
        TlsMode::Preferred => "preferred",
        TlsMode::Required => "required",
    };
    let mut shown = json!({
        "hosts": database.hosts,
        "replica_set": database.replica_set,
        "database": database.database,
        "tls": {"mode": mode, "ca": database.tls.ca},
    });
    // What a plan does not say.
    if let Value::Object(keys) = &mut shown {
        keys.retain(|_, value| !value.is_null());
    }
    shown
}
