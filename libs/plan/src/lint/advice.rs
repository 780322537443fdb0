//! Where the server of logins is: what is probably not meant, and what would leave logins behind.

use serde_json::Value;

use super::Subject;
use crate::descriptor::{Method, Server};
use crate::fault::Problem;
use crate::reach::Reach;
use crate::schema::Schemas;

/// What a plan is warned of: the server of its logins seems to be another one than the instance's
/// own.
pub(crate) fn advice(subject: &Subject<'_>) -> Vec<Problem> {
    let Some(binding) = &subject.descriptor.binding else {
        return Vec::new();
    };
    let is_database = binding.method == Method::Database && binding.hosts.is_some();
    if !is_database || binding.server == Server::Shared {
        return Vec::new();
    }
    let names = Reach::of(subject.descriptor).names;
    let is_own = |path: &Vec<String>| matches!(path[0].as_str(), "instance" | "namespace" | "name");
    if names.iter().any(is_own) {
        return Vec::new();
    }
    let message = "nothing in these hosts comes from the instance: if the server outlives it, say \
                   server: shared, else logins stay on the server when the instance goes";
    vec![Problem::at(&subject.key(["binding", "hosts"]), message)]
}

/// What is wrong with a plan whose logins are on a server that outlives the instance: a parameter
/// that an update changes would move later logins to another server, and leave the earlier ones.
pub(crate) fn moving(subject: &Subject<'_>, schemas: &Schemas) -> Vec<Problem> {
    let plan = subject.descriptor;
    let binding = plan.binding.as_ref();
    if binding.is_none_or(|binding| binding.server == Server::Own) {
        return Vec::new();
    }
    let names = Reach::of(plan).names.into_iter().filter_map(|path| {
        let is_parameter = path[0] == "parameters";
        let path = if is_parameter { &path[1..] } else { &path[..] };
        let is_known = |schema: &Value| schema["properties"].get(path.first()?).map(|_| ());
        let is_known = is_known(&schemas.create).or_else(|| is_known(&schemas.update));
        is_known?;
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        schemas.can_change(&path).then(|| path.join("."))
    });
    let fault = |name: String| {
        let message = format!(
            "the server of logins outlives the instance and depends on the parameter {name:?}, which \
             an update can change: logins that exist would stay on the server before; write \
             x-immutable: true at the parameter, or leave it out of update"
        );
        Problem::at(&subject.key(["binding", "hosts"]), message)
    };
    names.map(fault).collect()
}
