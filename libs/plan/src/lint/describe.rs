//! The descriptor: what its types cannot say about it.

use std::collections::HashSet;

use serde_json::Value;

use super::Subject;
use super::references::{Form, Source};
use crate::bundle::Offering;
use crate::descriptor::{
    Binding, Duration, Expression, Generate, KindRef, Method, Namespace, Output, Scope, Server,
    Text,
};
use crate::expr::Evaluator;
use crate::fault::{Pos, Problem};
use crate::kinds;
use crate::node;
use crate::schema::{self, Schemas};
use crate::variables::{BUILT_INS, EXPRESSION_NAMES, SECRET_NAMES};

/// Catalog strings longer than this are no use to platforms (CAT-04).
const MAX_STRING: usize = 255;
/// All tags of an offering that Cloud Foundry takes.
const MAX_TAGS: usize = 2048;
/// No platform polls longer: Cloud Foundry's own limit is 7 days.
const MAX_DEADLINE: Duration = Duration::from_secs(7 * 86_400);

/// Checks an offering.
pub(crate) fn service(offering: &Offering, place: &dyn Fn(&[&str]) -> Pos) -> Vec<Problem> {
    let mut problems = shown_by_platforms(offering, place);
    let place = |key: &str| place(&[key]);
    let mut check = |key: &str, text: &str| {
        if let Err(message) = catalog_string(text) {
            problems.push(Problem::at(&place(key), format!("{key} {message}")));
        }
    };
    check("name", &offering.name);
    check("description", &offering.description);
    offering.tags.iter().for_each(|tag| check("tags", tag));
    let cli = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if !offering.name.bytes().all(cli) {
        let message = "name may only have letters, digits, '-', '_' and '.'";
        problems.push(Problem::at(&place("name"), message));
    }
    problems
}

/// What Cloud Foundry refuses the whole catalog for.
fn shown_by_platforms(offering: &Offering, place: &dyn Fn(&[&str]) -> Pos) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (key, value) in &offering.metadata {
        let expected = match key.as_str() {
            "shareable" if !value.is_boolean() => "true or false",
            "displayName"
            | "imageUrl"
            | "longDescription"
            | "providerDisplayName"
            | "documentationUrl"
            | "supportUrl"
                if !value.is_string() =>
            {
                "a text"
            }
            _ => continue,
        };
        let message = format!("metadata.{key} must be {expected}");
        problems.push(Problem::at(&place(&["metadata", key]), message));
    }
    let tags: usize = offering
        .tags
        .iter()
        .map(|tag| tag.chars().count() + 1)
        .sum();
    if tags > MAX_TAGS {
        let message = format!("the tags have {tags} characters in all, platforms take {MAX_TAGS}");
        problems.push(Problem::at(&place(&["tags"]), message));
    }
    if let Some(client) = &offering.dashboard_client {
        let place = place(&["dashboard_client"]);
        if client.id.trim().is_empty() || client.secret.trim().is_empty() {
            let message = "dashboard_client needs an id and a secret";
            problems.push(Problem::at(&place, message));
        }
        if client.redirect_uri.is_none() {
            let message = "dashboard_client needs a redirect_uri: Cloud Foundry takes none without";
            problems.push(Problem::at(&place, message));
        }
    }
    problems
}

fn catalog_string(text: &str) -> Result<(), String> {
    match text.chars().count() {
        _ if text.trim().is_empty() => Err("is empty".to_owned()),
        n if n > MAX_STRING => Err(format!(
            "has {n} characters, at most {MAX_STRING} are shown"
        )),
        _ => Ok(()),
    }
}

/// Checks a plan's descriptor, and finds its expressions and texts.
pub(crate) fn plan(subject: &Subject<'_>, schemas: &Schemas) -> (Vec<Problem>, Vec<Source>) {
    let mut checks = Checks {
        subject,
        evaluator: Evaluator::new(),
        problems: Vec::new(),
        sources: Vec::new(),
    };
    checks.texts();
    checks.deadline();
    checks.parameters(schemas);
    checks.generated();
    checks.ready();
    checks.claims();
    checks.outputs();
    checks.display();
    checks.binding();
    checks.relations();
    (checks.problems, checks.sources)
}

/// Checks the kinds, written out or found.
pub(crate) fn kinds(subject: &Subject<'_>, found: &[(KindRef, Pos)]) -> Vec<Problem> {
    let is_confined = subject.descriptor.scope == Scope::Namespace;
    let served = subject.served;
    let problem = |(kind, place): &(KindRef, Pos)| {
        let message = kinds::refused(kind, served).or_else(|| {
            let what = if kinds::is_cluster_scoped_in(kind, served) {
                "lives outside of namespaces"
            } else if kinds::is_rbac(kind) {
                "gives rights"
            } else {
                return None;
            };
            is_confined.then(|| format!("{kind} {what}: that needs scope: cluster, and an installer, which this version does not have"))
        })?;
        Some(Problem::at(place, message))
    };
    found.iter().filter_map(problem).collect()
}

struct Checks<'a> {
    subject: &'a Subject<'a>,
    evaluator: Evaluator,
    problems: Vec<Problem>,
    sources: Vec<Source>,
}

impl Checks<'_> {
    fn problem(&mut self, path: &[&str], message: impl Into<String>) {
        let pos = self.subject.key(path.iter().copied());
        self.problems.push(Problem::at(&pos, message));
    }

    /// An expression whose value is stored or shown outside of Secrets.
    fn expression(&mut self, path: &[&str], expression: Option<&Expression>) {
        self.secret_expression(path, expression);
        if let Some(expression) = expression {
            let names = self.evaluator.names(expression);
            self.without_secrets(path, &names);
        }
    }

    /// An expression whose value stays in Secrets.
    fn secret_expression(&mut self, path: &[&str], expression: Option<&Expression>) {
        let Some(expression) = expression else { return };
        match self.evaluator.check(expression) {
            Ok(()) => self.source(path, expression.as_str(), Form::Expression),
            Err(message) => self.problem(
                path,
                format!("{} is not a valid expression: {message}", path.join(".")),
            ),
        }
    }

    /// A text that is stored or shown outside of Secrets, as all are.
    fn text(&mut self, path: &[&str], text: Option<&Text>) {
        let Some(text) = text else { return };
        match self.evaluator.check_text(text) {
            Ok(()) => self.source(path, text.as_str(), Form::Text),
            Err(message) => self.problem(
                path,
                format!("{} is not valid template text: {message}", path.join(".")),
            ),
        }
        let names = self.evaluator.names_of_text(text);
        self.without_secrets(path, &names);
    }

    fn source(&mut self, path: &[&str], text: &str, form: Form) {
        self.sources.push(Source {
            key: path.iter().map(|key| (*key).to_owned()).collect(),
            text: text.to_owned(),
            form,
        });
    }

    fn without_secrets(&mut self, path: &[&str], names: &HashSet<String>) {
        for name in SECRET_NAMES.iter().filter(|name| names.contains(**name)) {
            let users = match *name {
                "generated" => "templates, binding.admin.password and binding.tls.ca",
                _ => "templates",
            };
            self.problem(
                path,
                format!(
                    "{} cannot use {name}, whose values stay in Secrets: only {users} can",
                    path.join(".")
                ),
            );
        }
    }

    fn texts(&mut self) {
        let plan = self.subject.descriptor;
        let strings = [
            ("description", plan.description.as_ref()),
            ("display_name", plan.display_name.as_ref()),
            ("name", plan.name.as_ref()),
            ("author", plan.author.as_ref()),
            ("version_description", plan.version_description.as_ref()),
        ];
        for (key, text) in strings {
            if let Some(Err(message)) = text.map(|text| catalog_string(text)) {
                self.problem(&[key], format!("{key} {message}"));
            }
        }
        for (i, bullet) in plan.bullets.iter().enumerate() {
            if let Err(message) = catalog_string(bullet) {
                self.problem(&["bullets", &i.to_string()], format!("bullet {message}"));
            }
        }
    }

    fn deadline(&mut self) {
        let deadline = &self.subject.descriptor.deadline;
        let (idle, total) = (deadline.idle(), deadline.total);
        if total.as_secs() == 0 || total > MAX_DEADLINE {
            self.problem(
                &["deadline", "total"],
                format!("deadline.total must be 1s to {MAX_DEADLINE}"),
            );
        } else if idle.as_secs() == 0 || idle > total {
            self.problem(
                &["deadline", "idle"],
                format!("deadline.idle must be 1s to {total}, which is deadline.total"),
            );
        }
    }

    fn parameters(&mut self, schemas: &Schemas) {
        let named = [
            ("create", &schemas.create),
            ("update", &schemas.update),
            ("bind", &schemas.bind),
        ];
        for (operation, schema) in named {
            let properties = schema.get("properties").and_then(Value::as_object);
            for (name, property) in properties.into_iter().flatten() {
                let path = ["parameters", operation, "properties", name.as_str()];
                let reserved =
                    BUILT_INS.contains(&name.as_str()) || EXPRESSION_NAMES.contains(&name.as_str());
                if reserved && operation != "bind" {
                    self.problem(
                        &path,
                        format!("parameter {name:?} has the name of a built-in variable"),
                    );
                }
                if !property.is_object() {
                    self.problem(&path, format!("parameter {name:?} must be a JSON Schema"));
                }
                if let Some(default) = property.get("default")
                    && let Some(broken) = schema::broken(schema, name, default).first()
                {
                    self.problem(
                        &path,
                        format!(
                            "the default of {name:?} does not match its schema: {}",
                            broken.rule
                        ),
                    );
                }
            }
        }
        for name in self.subject.descriptor.values.keys() {
            if BUILT_INS.contains(&name.as_str()) {
                self.problem(
                    &["values", name],
                    format!("value {name:?} has the name of a built-in variable"),
                );
            }
        }
    }

    fn generated(&mut self) {
        for (name, generate) in &self.subject.descriptor.generate {
            let path = ["generate", name.as_str()];
            match generate {
                Generate::Password { length } if !(16..=128).contains(length) => {
                    self.problem(&path, "length of a password must be 16 to 128");
                }
                Generate::Key { bytes } if !(6..=756).contains(bytes) => {
                    self.problem(&path, "bytes of a key must be 6 to 756");
                }
                Generate::Certificate { sans } => {
                    if sans.is_empty() {
                        self.problem(&path, "a certificate needs at least one name in sans");
                    }
                    for (i, san) in sans.iter().enumerate() {
                        let index = i.to_string();
                        self.text(&["generate", name, "sans", &index], Some(san));
                    }
                }
                Generate::Password { .. } | Generate::Key { .. } => {}
            }
        }
    }

    fn ready(&mut self) {
        for (target, rule) in &self.subject.descriptor.ready {
            let kind = target.split('/').next().unwrap_or_default();
            let legal = kind.starts_with(|c: char| c.is_ascii_uppercase())
                && target.split('/').count() <= 2
                && !target.ends_with('/');
            if !legal {
                self.problem(
                    &["ready", target],
                    format!("{target:?} is not Kind or Kind/name"),
                );
            }
            if kind == "Secret" {
                self.problem(
                    &["ready", target],
                    "a Secret has no ready rule: Secrets are not watched, and ready as soon as \
                     they exist",
                );
            }
            self.expression(&["ready", target, "ready"], rule.ready.as_ref());
            self.expression(&["ready", target, "failed"], rule.failed.as_ref());
            self.text(&["ready", target, "message"], rule.message.as_ref());
        }
    }

    fn claims(&mut self) {
        for (set, rule) in &self.subject.descriptor.claims {
            let parts: Vec<_> = rule.report.split('/').collect();
            if !matches!(&parts[..], [kind, name] if !name.is_empty()
                && kind.starts_with(|c: char| c.is_ascii_uppercase()))
            {
                self.problem(
                    &["claims", set, "report"],
                    format!("{:?} is not Kind/name", rule.report),
                );
            }
            self.expression(&["claims", set, "left"], Some(&rule.left));
        }
    }

    fn outputs(&mut self) {
        for (name, output) in &self.subject.descriptor.outputs {
            match output {
                Output::Each { each, value } => {
                    self.expression(&["outputs", name, "each"], Some(each));
                    self.text(&["outputs", name, "value"], Some(value));
                }
                Output::Value(Value::Object(map)) if map.contains_key("each") => {
                    self.problem(
                        &["outputs", name],
                        "a list output is {each: EXPRESSION, value: TEXT}",
                    );
                }
                Output::Value(value) => self.output_texts(&["outputs", name], value),
            }
        }
    }

    fn display(&mut self) {
        let plan = self.subject.descriptor;
        self.text(&["dashboard_url"], plan.dashboard_url.as_ref());
        for (name, label) in &plan.labels {
            self.text(&["labels", name], Some(label));
        }
        for (name, value) in &plan.attributes {
            self.output_texts(&["attributes", name], value);
        }
    }

    fn output_texts(&mut self, path: &[&str], value: &Value) {
        match value {
            Value::String(text) => self.text(path, Some(&Text(text.clone()))),
            Value::Array(items) => items.iter().for_each(|item| self.output_texts(path, item)),
            Value::Object(map) => map.values().for_each(|item| self.output_texts(path, item)),
            _ => {}
        }
    }

    fn binding(&mut self) {
        let plan = self.subject.descriptor;
        let method = plan
            .binding
            .as_ref()
            .map_or(Method::None, |binding| binding.method);
        if plan.bindable == Some(true) && method == Method::None {
            self.problem(
                &["bindable"],
                "a bindable plan needs a binding with a method",
            );
        }
        let has_templates = self
            .subject
            .files
            .keys()
            .any(|name| name.starts_with("binding/"));
        if method == Method::Resources && !has_templates {
            self.problem(&["binding"], "method resources needs templates in binding/");
        }
        let Some(binding) = &plan.binding else { return };
        if method == Method::Database {
            self.database(binding);
        }
        if binding.server == Server::Shared && method != Method::Database {
            self.problem(
                &["binding", "server"],
                "server is of method database; leave it out",
            );
        }
        self.lifetime(binding);
        self.expression(&["binding", "hosts"], binding.hosts.as_ref());
        self.expression(&["binding", "replica_set"], binding.replica_set.as_ref());
        self.text(&["binding", "database"], binding.database.as_ref());
        if let Some(admin) = &binding.admin {
            self.text(&["binding", "admin", "username"], Some(&admin.username));
            self.secret_expression(&["binding", "admin", "password"], Some(&admin.password));
            self.text(&["binding", "admin", "database"], Some(&admin.database));
        }
        if let Some(tls) = &binding.tls {
            self.expression(&["binding", "tls", "mode"], Some(&tls.mode));
            self.secret_expression(&["binding", "tls", "ca"], tls.ca.as_ref());
        }
    }

    /// A binding lasts some time, and is renewed before that has passed.
    fn lifetime(&mut self, binding: &Binding) {
        if binding.expires_in.is_some_and(|span| span.as_secs() == 0) {
            self.problem(
                &["binding", "expires_in"],
                "expires_in must be longer than 0s",
            );
        }
        match (binding.renew_before, binding.expires_in) {
            (Some(_), None) => self.problem(
                &["binding", "renew_before"],
                "renew_before needs expires_in",
            ),
            (Some(before), Some(whole)) if before >= whole => self.problem(
                &["binding", "renew_before"],
                "renew_before must be shorter than expires_in",
            ),
            _ => {}
        }
    }

    fn database(&mut self, binding: &Binding) {
        if binding.hosts.is_none() {
            self.problem(&["binding"], "method database needs hosts");
        }
        if binding.admin.is_none() {
            self.problem(&["binding"], "method database needs an admin");
        }
        let plan = self.subject.descriptor;
        if plan.namespace == Namespace::Context && !plan.tenant_is_admin {
            self.problem(
                &["namespace"],
                "method database in the platform's namespace makes whoever reads Secrets there \
                 admin of the database: say tenant_is_admin: true if that is meant",
            );
        }
    }

    /// What a name tells. Whether the namespace is an instance's only the cluster knows: the
    /// provisioner asks it at each order, and again before it applies anything.
    fn shared_namespace(&mut self, name: &str) {
        let path = ["namespace", "shared"];
        if !is_label(name) {
            self.problem(&path, format!("{name:?} is not a valid namespace name"));
        } else if name.starts_with(SYSTEM) {
            self.problem(
                &path,
                format!("{name} belongs to Kubernetes: a plan cannot apply objects there"),
            );
        } else if self
            .subject
            .broker_namespace
            .is_some_and(|broker| is_of(broker, name))
        {
            self.problem(
                &path,
                format!(
                    "{name} is the broker's own namespace, or is named like those of its state: \
                     a plan that applies objects there could take over the broker"
                ),
            );
        }
    }

    fn relations(&mut self) {
        let plan = self.subject.descriptor;
        let own = self
            .subject
            .folder
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        let siblings: Vec<_> = self.subject.siblings.iter().copied().collect();
        for (i, target) in plan.updates_to.iter().enumerate() {
            let index = i.to_string();
            if *target == own {
                self.problem(&["updates_to", &index], "a plan cannot change to itself");
            } else if !siblings.contains(&target.as_str()) {
                let message = node::unknown("plan", target, &siblings);
                self.problem(&["updates_to", &index], message);
            }
        }
        if let Namespace::Shared(name) = &plan.namespace {
            self.shared_namespace(name);
        }
        if !plan.pod_security.is_restricted() && plan.namespace != Namespace::Own {
            self.problem(
                &["pod_security"],
                "pod_security needs namespace: own; in a namespace of others its owner decides",
            );
        }
        if let Some(bootstrap) = &plan.bootstrap {
            if !is_label(&bootstrap.service_account) {
                self.problem(
                    &["bootstrap"],
                    "service_account is not a valid ServiceAccount name",
                );
            }
            if plan.namespace != Namespace::Own {
                self.problem(&["bootstrap"], "bootstrap needs namespace: own");
            }
        }
    }
}

/// Namespaces of Kubernetes itself.
const SYSTEM: &str = "kube-";

/// Whether a namespace is the broker's or may be one of those that hold its state, which
/// are named after it.
fn is_of(broker: &str, name: &str) -> bool {
    let rest = name.strip_prefix(broker);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn is_label(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(legal)
        && !name.starts_with('-')
        && !name.ends_with('-')
}
