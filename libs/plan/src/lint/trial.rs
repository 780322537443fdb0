//! A trial rendering with sample parameters: undefined variables, bad YAML, forbidden kinds and
//! expressions that do not evaluate are found before anybody orders.

use std::collections::BTreeMap;
use std::sync::Arc;

use data_encoding::BASE64;
use minijinja::value::{Enumerator, Object, Value as Jinja};
use serde_json::{Map, Value, json};

use super::Subject;
use super::references::{self, Source, Tried};
use crate::binding;
use crate::bundle::Bundle;
use crate::claims::Membership;
use crate::descriptor::{Generate, Method, Namespace, Output};
use crate::expr::Context;
use crate::fault::{Pos, Problem};
use crate::loaded::{Loaded, Purpose};
use crate::ready::Readiness;
use crate::render::{self, jinja, secrecy};
use crate::schema;
use crate::source::NOT_FETCHED;
use crate::variables::{Broker, Instance, Variables};

/// Renders a bundle with each sample of its parameters. `sources` are the descriptor's expressions
/// and texts. What is probably not meant is added to `warnings`.
pub(crate) fn trial(
    bundle: &Bundle,
    subject: &Subject<'_>,
    sources: &[Source],
    warnings: &mut Vec<Problem>,
) -> Result<(), Vec<Problem>> {
    let loaded = Loaded::new(Arc::new(bundle.clone()))
        .map_err(|e| vec![Problem::at(&Pos::file(&subject.folder), e.to_string())])?;
    let trial = Trial {
        loaded: &loaded,
        subject,
        sources,
    };
    let mut found = Found::default();
    let outcome = trial.all(&mut found);
    warnings.extend(found.doubts);
    let mut faults = found.faults;
    match outcome {
        Ok(tried) => faults.extend(references::check(subject, &loaded, sources, &tried)),
        Err(problem) => faults.push(problem),
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults)
    }
}

/// What is wrong with fields, or may be; each once for all renderings.
#[derive(Debug, Default)]
struct Found {
    faults: Vec<Problem>,
    doubts: Vec<Problem>,
}

struct Trial<'a> {
    loaded: &'a Loaded,
    subject: &'a Subject<'a>,
    sources: &'a [Source],
}

impl Trial<'_> {
    /// The same problem, with the name that has no value if that is the cause.
    fn named(&self, problem: Problem, objects: &[Value], variables: &Variables) -> Problem {
        let tried = Tried::new(objects, self.loaded.context(variables));
        let found = references::check(self.subject, self.loaded, self.sources, &[tried]);
        let same = found.into_iter().find(|found| found.pos == problem.pos);
        same.unwrap_or(problem)
    }

    /// A rendering with each sample.
    fn all(&self, found: &mut Found) -> Result<Vec<Tried>, Problem> {
        let mut tried = Vec::new();
        for parameters in schema::samples(&self.loaded.bundle().schemas().create) {
            tried.push(self.run(parameters, found)?);
        }
        let is_whole = self.subject.files.values().all(|text| text != NOT_FETCHED);
        if is_whole && tried.iter().all(|one| one.objects.is_empty()) {
            let message = "no template of this plan renders an object: there is nothing to order";
            return Err(Problem::at(&Pos::file(&self.subject.folder), message));
        }
        Ok(tried)
    }

    /// One rendering.
    fn run(&self, parameters: Map<String, Value>, found: &mut Found) -> Result<Tried, Problem> {
        let mut variables = self.variables(parameters);
        self.loaded
            .display(&variables)
            .map_err(|e| Problem::at(&self.subject.key(e.key.split('.')), e.to_string()))
            .map_err(|problem| self.named(problem, &[], &variables))?;
        let mut files = Vec::new();
        let mut objects = Vec::new();
        for name in self.loaded.files() {
            let file = self.render(name, &variables, found)?;
            objects.extend(file.objects.clone());
            let known = self
                .loaded
                .outputs(&variables, &objects)
                .map_err(|e| Problem::at(&self.subject.key(["outputs", &e.name]), e.to_string()))?;
            variables.outputs = self.guessed(known);
            files.push(file);
        }
        self.loaded
            .check_unique(&files, &variables)
            .map_err(|e| self.problem(&e))?;
        self.readiness(&objects, &variables)?;
        self.claims(&objects, &variables)?;
        self.generated(&variables)?;
        self.binding(&variables, found)
            .map_err(|problem| self.named(problem, &objects, &variables))?;
        Ok(Tried::new(&objects, self.loaded.context(&variables)))
    }

    fn render(
        &self,
        name: &str,
        variables: &Variables,
        found: &mut Found,
    ) -> Result<render::File, Problem> {
        let masked = || self.context(&secrecy::masked(variables), "others");
        let context = self.context(variables, "sample");
        let purpose = Purpose::Trial(self.subject.served);
        let rendered = self
            .loaded
            .render_with(name, variables, &context, masked, purpose)
            .map_err(|e| self.problem(&e))?;
        for (errors, problems) in [
            (&rendered.faults, &mut found.faults),
            (&rendered.doubts, &mut found.doubts),
        ] {
            let new = errors.iter().map(|error| self.problem(error));
            for problem in new {
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
            }
        }
        Ok(rendered.file)
    }

    fn context(&self, variables: &Variables, secret: &'static str) -> Context {
        let mut context = self.loaded.context(variables);
        let secrets: BTreeMap<_, _> = self
            .subject
            .descriptor
            .secrets
            .keys()
            .map(|name| (name.clone(), Jinja::from_object(AnyKey(secret))))
            .collect();
        context.insert("secrets".to_owned(), jinja(secrets));
        context
    }

    fn problem(&self, error: &render::Error) -> Problem {
        let pos = self.subject.place(&error.file, error.line, error.column);
        Problem::at(&pos, error.message.clone())
    }

    /// Outputs that depend on live objects get sample values.
    fn guessed(&self, mut known: Map<String, Value>) -> Map<String, Value> {
        for (name, output) in &self.subject.descriptor.outputs {
            known.entry(name.clone()).or_insert_with(|| match output {
                Output::Each { .. } => json!(["sample"]),
                Output::Value(_) => json!("sample"),
            });
        }
        known
    }

    fn readiness(&self, objects: &[Value], variables: &Variables) -> Result<(), Problem> {
        for (target, rule) in &self.subject.descriptor.ready {
            let (kind, name) = target.split_once('/').unwrap_or((target, ""));
            let object = objects
                .iter()
                .find(|o| o["kind"] == kind && (name.is_empty() || o["metadata"]["name"] == name));
            // A rule for an object that only some parameters bring is no fault.
            let Some(object) = object else { continue };
            let now = jiff::Timestamp::UNIX_EPOCH;
            let judged = self.loaded.readiness(object, object, variables, now);
            if let Readiness::Waiting(text) | Readiness::Failed(text) = judged
                && text.contains("cannot be evaluated")
            {
                let pos = self.subject.key(["ready", target, "ready"]);
                return Err(Problem::at(&pos, text));
            }
            let context = self.loaded.public_context(variables);
            for expression in rule.ready.iter().chain(&rule.failed) {
                self.loaded
                    .evaluator()
                    .value(expression, &context)
                    .map_err(|m| Problem::at(&self.subject.key(["ready", target]), m))?;
            }
        }
        Ok(())
    }

    fn claims(&self, objects: &[Value], variables: &Variables) -> Result<(), Problem> {
        let rendered = |kind: &str, name: &str| {
            objects
                .iter()
                .find(|o| o["kind"] == kind && o["metadata"]["name"] == name)
        };
        for (set, rule) in &self.subject.descriptor.claims {
            // A StatefulSet that only some parameters bring is no fault.
            let Some(manifest) = rendered("StatefulSet", set) else {
                continue;
            };
            let problem = |key: &str, message: String| {
                Problem::at(&self.subject.key(["claims", set, key]), message)
            };
            let policy = "/spec/persistentVolumeClaimRetentionPolicy/whenScaled";
            if manifest
                .pointer(policy)
                .is_some_and(|policy| policy == "Delete")
            {
                let message = format!(
                    "StatefulSet/{set} has whenScaled: Delete, so that kubectl scale deletes the \
                     claims of members that have not left: write Retain"
                );
                return Err(problem("left", message));
            }
            let (kind, name) = rule.report.split_once('/').unwrap_or_default();
            let Some(report) = rendered(kind, name) else {
                let message = format!("no template renders {}", rule.report);
                return Err(problem("report", message));
            };
            let judged = self.loaded.membership(rule, report, 0, variables);
            if let Membership::Faulty(text) = judged {
                return Err(problem("left", text));
            }
        }
        Ok(())
    }

    fn generated(&self, variables: &Variables) -> Result<(), Problem> {
        self.loaded.generate(variables).map(drop).map_err(|e| {
            let path = e.name.split('.').collect::<Vec<_>>();
            Problem::at(&self.subject.key(path), e.to_string())
        })
    }

    fn binding(&self, variables: &Variables, found: &mut Found) -> Result<(), Problem> {
        if self.loaded.bundle().method() == Method::Database {
            self.loaded.database(variables).map_err(|e| {
                let path: Vec<_> = match &e {
                    binding::Error::Method => vec!["binding"],
                    binding::Error::Key { key, .. } => {
                        ["binding"].into_iter().chain(key.split('.')).collect()
                    }
                };
                Problem::at(&self.subject.key(path), e.to_string())
            })?;
        }
        for bind in schema::samples(&self.loaded.bundle().schemas().bind) {
            let binding = json!({
                "id": "sample", "name": "sample", "username": "sample", "password": "sample",
                "parameters": bind,
            });
            let variables = Variables {
                binding: binding.as_object().cloned(),
                ..variables.clone()
            };
            for name in self.loaded.binding_files() {
                self.render(name, &variables, found)?;
            }
        }
        Ok(())
    }

    fn variables(&self, parameters: Map<String, Value>) -> Variables {
        let object = |value: Value| value.as_object().cloned().unwrap_or_default();
        let generated = self
            .subject
            .descriptor
            .generate
            .iter()
            .map(|(name, generate)| {
                let value = match generate {
                    // As long as the real ones, so that no part of them goes unseen.
                    Generate::Password { length } => json!(sample(*length)),
                    Generate::Key { bytes } => {
                        json!(BASE64.encode(sample(*bytes).as_bytes()))
                    }
                    Generate::Certificate { .. } => {
                        let pem = sample(1024);
                        json!({"certificate": pem, "key": pem, "ca": pem, "pem": pem})
                    }
                };
                (name.clone(), value)
            });
        Variables {
            instance: Instance {
                id: "6d9ab20c-7ae7-4a0f-93c1-2cbf0a2b0e7e".to_owned(),
                name: "msample".to_owned(),
                namespace: match &self.subject.descriptor.namespace {
                    Namespace::Shared(name) => name.clone(),
                    Namespace::Context => "sample-context".to_owned(),
                    Namespace::Own => "sample".to_owned(),
                },
            },
            parameters,
            context: object(json!({
                "platform": "kubernetes", "namespace": "sample-context", "clusterid": "sample",
                "namespace_annotations": {}, "instance_annotations": {},
                "organization_annotations": {}, "space_annotations": {},
                "cluster_annotations": {},
                "instance_name": "sample", "organization_guid": "sample",
                "organization_name": "sample", "space_guid": "sample", "space_name": "sample",
            })),
            generated: generated.collect(),
            secrets: Map::new(),
            outputs: Map::new(),
            broker: Broker {
                cluster_domain: "cluster.local".to_owned(),
                namespace: "broker".to_owned(),
                bootstrap_image: "sample".to_owned(),
                allowed_cidrs: vec!["10.0.0.0/8".to_owned()],
                allowed_namespaces: vec!["sample".to_owned()],
            },
            binding: None,
        }
    }
}

fn sample(length: u32) -> String {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    "sample".chars().cycle().take(length).collect()
}

/// A Secret of the operator: its keys are not known here.
#[derive(Debug)]
struct AnyKey(&'static str);

impl Object for AnyKey {
    fn get_value(self: &Arc<Self>, _: &Jinja) -> Option<Jinja> {
        Some(Jinja::from(self.0))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Empty
    }
}
