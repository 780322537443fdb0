//! What is no fault, and probably not meant.

use super::Subject;
use crate::descriptor::{Binding, Method, Plan, Server};
use crate::fault::Problem;

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
    let Some(hosts) = &binding.hosts else {
        return false;
    };
    let names_instance = |text: &str| {
        words(text).any(|word| matches!(root(word), "instance" | "namespace" | "name"))
    };
    let outputs = plan.outputs.iter().filter(|(name, _)| {
        let is_used = |word: &str| word.strip_prefix("outputs.") == Some(name);
        words(&hosts.0).any(|word| is_used(word) || word == "outputs")
    });
    let mut outputs = outputs.filter_map(|(_, output)| serde_json::to_string(output).ok());
    let is_own = names_instance(&hosts.0) || outputs.any(|text| names_instance(&text));
    binding.method == Method::Database && binding.server == Server::Own && !is_own
}

/// The names in a text: `a.b`.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '.'))
}

/// `a` of `a.b`.
fn root(word: &str) -> &str {
    word.split('.').next().unwrap_or(word)
}
