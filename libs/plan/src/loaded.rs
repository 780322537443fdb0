//! A bundle ready for work: templates compiled, rules at hand. Make one per digest and keep it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::binding;
use crate::bundle::{Bundle, Error as BundleError};
use crate::claims::{self, Membership};
use crate::descriptor::{ClaimRule, Generate, KindRef, Text};
use crate::display::{self, Display};
use crate::expr::{Context, Evaluator};
use crate::fields;
use crate::kinds::ServedKinds;
use crate::outputs;
use crate::ready::{self, Readiness, Rules};
use crate::render::engine::{Engine, TextError};
use crate::render::tree::Document;
use crate::render::{self, Detail, File, check, secrecy};
use crate::source::natural_order;
use crate::variables::{self, Own, SECRET_NAMES, Variables};

/// A compiled bundle.
pub struct Loaded {
    bundle: Arc<Bundle>,
    engine: Engine,
    evaluator: Evaluator,
    files: Vec<String>,
    binding_files: Vec<String>,
    /// The files that may use a secret.
    secretive: Vec<String>,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded")
            .field("bundle", &self.bundle)
            .finish_non_exhaustive()
    }
}

impl Loaded {
    /// Compiles a bundle. A bundle that was validated compiles, unless an older broker made it.
    pub fn new(bundle: Arc<Bundle>) -> Result<Self, BundleError> {
        let folder = format!("{}/{}", bundle.provider(), bundle.name());
        let templates = bundle
            .files()
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()));
        let engine = Engine::new(&folder, templates).map_err(|problems| {
            let all: Vec<_> = problems
                .into_iter()
                .map(|p| p.of(bundle.provider(), Some(bundle.name())).to_string())
                .collect();
            BundleError::Load(all.join("; "))
        })?;
        let secretive = secrecy::users(bundle.files());
        let mut names: Vec<_> = bundle.files().keys().cloned().collect();
        names.sort_by(|a, b| natural_order(a, b));
        let (binding_files, files) = names.into_iter().partition(|n| n.starts_with("binding/"));
        Ok(Self {
            bundle,
            engine,
            evaluator: Evaluator::new(),
            files,
            binding_files,
            secretive,
        })
    }

    /// The bundle.
    pub fn bundle(&self) -> &Arc<Bundle> {
        &self.bundle
    }

    /// The template files in the order in which they are applied, each a barrier.
    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// Renders one file. `variables.outputs` holds what the files before it brought. A file that
    /// would show a secret outside of Secrets is refused.
    pub fn render_file(&self, name: &str, variables: &Variables) -> Result<File, render::Error> {
        let masked = || self.context(&secrecy::masked(variables));
        let context = self.context(variables);
        let rendered = self.render_with(name, variables, &context, masked, Purpose::Use);
        rendered.map(|rendered| rendered.file)
    }

    /// Renders all files with the outputs that are known, and checks that no object is in two.
    pub fn render(&self, variables: &Variables) -> Result<Vec<File>, render::Error> {
        let files: Vec<File> = self
            .files
            .iter()
            .map(|name| self.render_file(name, variables))
            .collect::<Result<_, _>>()?;
        self.check_unique(&files, variables)?;
        Ok(files)
    }

    /// Checks that no object is in two files.
    pub fn check_unique(&self, files: &[File], variables: &Variables) -> Result<(), render::Error> {
        check::unique(files, &variables.instance.namespace)
    }

    /// Judges a live object. `applied` is the object as it was last applied.
    pub fn readiness(
        &self,
        object: &Value,
        applied: &Value,
        variables: &Variables,
        now: jiff::Timestamp,
    ) -> Readiness {
        ready::evaluate(
            Rules::shipped(),
            &self.bundle.descriptor().ready,
            &self.evaluator,
            &ready::Subject {
                object,
                applied,
                now,
            },
            self.public_context(variables),
        )
    }

    /// Whether a pod still belongs to its database, by a rule of `claims` and the report that it
    /// names, as it is in the cluster.
    pub fn membership(
        &self,
        rule: &ClaimRule,
        report: &Value,
        ordinal: u32,
        variables: &Variables,
    ) -> Membership {
        let context = self.public_context(variables);
        claims::membership(rule, &self.evaluator, report, ordinal, context)
    }

    /// All outputs that can be known by now, from the live objects so far. What is missing is
    /// not there yet; after the last file, [`Loaded::missing_outputs`] must be empty.
    pub fn outputs(
        &self,
        variables: &Variables,
        objects: &[Value],
    ) -> Result<Map<String, Value>, outputs::Error> {
        let outputs = &self.bundle.descriptor().outputs;
        let context = self.public_context(variables);
        outputs::evaluate(outputs, &self.evaluator, context, objects)
    }

    /// The declared outputs that are not known.
    pub fn missing_outputs(&self, known: &Map<String, Value>) -> Vec<&str> {
        let declared = self.bundle.descriptor().outputs.keys();
        declared
            .map(String::as_str)
            .filter(|name| !known.contains_key(*name))
            .collect()
    }

    /// What the platform shows of an instance, from what is known before anything exists: outputs
    /// are unknown here.
    pub fn display(&self, variables: &Variables) -> Result<Display, display::Error> {
        let early = Variables {
            outputs: Map::new(),
            ..variables.clone()
        };
        display::evaluate(
            self.bundle.descriptor(),
            &self.evaluator,
            &self.public_context(&early),
        )
    }

    /// The database of an instance, for method `database`.
    pub fn database(&self, variables: &Variables) -> Result<binding::Database, binding::Error> {
        let binding = self.bundle.descriptor().binding.as_ref();
        let scope = binding::Scope {
            evaluator: &self.evaluator,
            public: &self.public_context(variables),
            secret: &self.context(variables),
        };
        binding::resolve(binding, &scope)
    }

    /// What to generate, with the names of certificates filled in.
    pub fn generate(
        &self,
        variables: &Variables,
    ) -> Result<BTreeMap<String, Generate>, outputs::Error> {
        let context = self.public_context(variables);
        self.bundle
            .descriptor()
            .generate
            .iter()
            .map(|(name, generate)| Ok((name.clone(), self.filled(name, generate, &context)?)))
            .collect()
    }

    fn filled(
        &self,
        name: &str,
        generate: &Generate,
        context: &Context,
    ) -> Result<Generate, outputs::Error> {
        let Generate::Certificate { sans } = generate else {
            return Ok(generate.clone());
        };
        let sans = sans
            .iter()
            .map(|san| match self.evaluator.text(san, context) {
                Ok(Value::String(text)) => Ok(Text(text)),
                Ok(_) => Err("a subject name is no text".to_owned()),
                Err(TextError::Undefined(message) | TextError::Other(message)) => Err(message),
            })
            .collect::<Result<_, _>>()
            .map_err(|message| outputs::Error {
                name: format!("generate.{name}"),
                message,
            })?;
        Ok(Generate::Certificate { sans })
    }

    pub(crate) fn evaluator(&self) -> &Evaluator {
        &self.evaluator
    }

    /// The names of a binding's files, in the order in which they are applied.
    pub fn binding_files(&self) -> &[String] {
        &self.binding_files
    }

    /// The variables by name, for what is stored outside of Secrets or shown.
    pub(crate) fn public_context(&self, variables: &Variables) -> Context {
        let mut context = self.context(variables);
        context.retain(|name, _| !SECRET_NAMES.contains(&name.as_str()));
        context
    }

    /// The variables by name, for what stays in Secrets.
    pub(crate) fn context(&self, variables: &Variables) -> Context {
        let bundle = &self.bundle;
        let own = Own {
            service_id: bundle.offering_id().as_str(),
            service_name: bundle
                .service()
                .name
                .as_deref()
                .unwrap_or_else(|| bundle.provider()),
            plan_id: bundle.plan_id().as_str(),
            plan_name: bundle.name(),
            values: &bundle.descriptor().values,
        };
        variables::context(variables, &own)
    }

    /// `masked` has other secrets than `context`, and is the same otherwise.
    pub(crate) fn render_with(
        &self,
        name: &str,
        variables: &Variables,
        context: &Context,
        masked: impl FnOnce() -> Context,
        purpose: Purpose<'_>,
    ) -> Result<Rendered, render::Error> {
        let documents = self.engine.render(name, context, purpose.detail())?;
        // First: what comes after it may quote what was rendered.
        if self.secretive.iter().any(|file| file == name) {
            secrecy::check_with(&self.engine, name, &documents, &masked())?;
        }
        let rules = check::Rules {
            kinds: self.bundle.kinds(),
            scope: self.bundle.scope(),
            namespace: &variables.instance.namespace,
        };
        let (faults, doubts) = match purpose {
            Purpose::Trial(served) => field_faults(name, &documents, served),
            // The API server judges what is real.
            Purpose::Use => Default::default(),
        };
        let file = check::file(name, documents, &rules)?;
        Ok(Rendered {
            file,
            faults,
            doubts,
        })
    }
}

/// What a file is rendered for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose<'a> {
    /// An instance.
    Use,
    /// Lint, which knows these kinds of others.
    Trial(&'a ServedKinds),
}

impl Purpose<'_> {
    fn detail(self) -> Detail {
        match self {
            Self::Use => Detail::Safe,
            Self::Trial(_) => Detail::Full,
        }
    }
}

/// A file as it was rendered.
pub(crate) struct Rendered {
    pub(crate) file: File,
    /// Fields with values of another type than the one that their kind has; looked for in a trial
    /// only.
    pub(crate) faults: Vec<render::Error>,
    /// Fields that are not known, and may be of a newer Kubernetes.
    pub(crate) doubts: Vec<render::Error>,
}

/// Faults and doubts.
fn field_faults(
    file: &str,
    documents: &[Document],
    served: &ServedKinds,
) -> (Vec<render::Error>, Vec<render::Error>) {
    let (mut faults, mut doubts) = (Vec::new(), Vec::new());
    for document in documents {
        let text = |key: &str| document.value.get(key).and_then(Value::as_str);
        let kind = KindRef::new(
            text("apiVersion").unwrap_or_default(),
            text("kind").unwrap_or_default(),
        );
        let object = Value::Object(document.value.clone());
        for fault in fields::built_in().check(&kind, &object, served) {
            let (line, column) = document.key(&fault.path.join("."));
            let list = if fault.is_sure {
                &mut faults
            } else {
                &mut doubts
            };
            list.push(render::Error {
                file: file.to_owned(),
                line,
                column,
                message: fault.message,
            });
        }
    }
    (faults, doubts)
}
