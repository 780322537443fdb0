//! Where the server of logins is: what is probably not meant, and what would leave logins behind.

use serde_json::Value;

use super::Subject;
use crate::descriptor::{Binding, Method, Plan, Server};
use crate::fault::Problem;
use crate::schema::Schemas;

/// What a plan is warned of.
pub(crate) fn advice(subject: &Subject<'_>) -> Vec<Problem> {
    let plan = subject.descriptor;
    let binding = plan.binding.as_ref();
    let is_elsewhere = binding.is_some_and(|binding| is_elsewhere(plan, binding));
    let warning = is_elsewhere.then(|| {
        let message = "nothing in these hosts comes from the instance: if the server outlives it, \
                       say server: shared, else logins stay on the server when the instance goes";
        Problem::at(&subject.key(["binding", "hosts"]), message)
    });
    warning.into_iter().collect()
}

/// Whether the server of logins seems to be another one than the instance's own.
fn is_elsewhere(plan: &Plan, binding: &Binding) -> bool {
    let mut texts = reach(plan, binding).into_iter();
    let is_own = texts.any(|text| {
        let mut roots = words(&text).map(root);
        roots.any(|root| matches!(root, "instance" | "namespace" | "name"))
    });
    binding.hosts.is_some()
        && binding.method == Method::Database
        && binding.server == Server::Own
        && !is_own
}

/// What is wrong with a plan whose logins are on a server that outlives the instance: a parameter
/// that an update changes would move later logins to another server, and leave the earlier ones.
pub(crate) fn moving(subject: &Subject<'_>, schemas: &Schemas) -> Vec<Problem> {
    let plan = subject.descriptor;
    let Some(binding) = plan.binding.as_ref() else {
        return Vec::new();
    };
    if binding.server == Server::Own {
        return Vec::new();
    }
    let texts = reach(plan, binding);
    let known = schemas.create["properties"].as_object();
    let names = known.into_iter().flatten().map(|(name, _)| name);
    let used = names.filter(|name| {
        let is_it = |word: &str| {
            let word = word.strip_prefix("parameters.").unwrap_or(word);
            root(word) == name.as_str()
        };
        texts.iter().any(|text| words(text).any(is_it))
    });
    let is_fixed = |property: &Value| property["x-immutable"] == true;
    let changes = |name: &&String| {
        let later = &schemas.update["properties"][name.as_str()];
        later.is_object()
            && !is_fixed(later)
            && !is_fixed(&schemas.create["properties"][name.as_str()])
    };
    let fault = |name: &String| {
        let message = format!(
            "the server of logins outlives the instance and depends on the parameter {name:?}, which \
             an update can change: logins that exist would stay on the server before; write \
             x-immutable: true at the parameter, or leave it out of update"
        );
        Problem::at(&subject.key(["binding", "hosts"]), message)
    };
    used.filter(changes).map(fault).collect()
}

/// All that says where the server is, outputs that it names included.
fn reach(plan: &Plan, binding: &Binding) -> Vec<String> {
    let own = [&binding.hosts, &binding.replica_set];
    let mut texts: Vec<String> = own.into_iter().flatten().map(|it| it.0.clone()).collect();
    let outputs = plan.outputs.iter().filter(|(name, _)| {
        let is_used = |word: &str| word.strip_prefix("outputs.") == Some(name);
        let mut all = texts.iter().flat_map(|text| words(text));
        all.any(|word| is_used(word) || word == "outputs")
    });
    let outputs = outputs.filter_map(|(_, output)| serde_json::to_string(output).ok());
    let outputs: Vec<String> = outputs.collect();
    texts.extend(outputs);
    texts
}

/// The names in a text: `a.b`.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '.'))
}

/// `a` of `a.b`.
fn root(word: &str) -> &str {
    word.split('.').next().unwrap_or(word)
}
