//! What templates and expressions see.

use std::collections::BTreeMap;
use std::fmt;

use minijinja::Value as Jinja;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::render::jinja;

/// Names that belong to the broker. A parameter of such a name is a load error.
pub(crate) const BUILT_INS: [&str; 15] = [
    "instance",
    "service",
    "plan",
    "parameters",
    "context",
    "generated",
    "secrets",
    "outputs",
    "broker",
    "binding",
    "name",
    "namespace",
    "object",
    "applied",
    "now",
];

/// Built-ins whose values belong in Secrets. Whatever is stored or shown elsewhere (outputs,
/// messages, labels, addresses) is worked out without them.
pub(crate) const SECRET_NAMES: [&str; 3] = ["generated", "secrets", "binding"];

/// Names that only expressions see beside the built-ins.
pub(crate) const EXPRESSION_NAMES: [&str; 3] = ["objects", "item", "ordinal"];

/// The keys of a context object that platforms send (OSB profile), legal at top level.
pub(crate) const CONTEXT_KEYS: [&str; 13] = [
    "platform",
    "namespace",
    "namespace_annotations",
    "clusterid",
    "instance_name",
    "instance_annotations",
    "organization_guid",
    "organization_name",
    "organization_annotations",
    "space_guid",
    "space_name",
    "space_annotations",
    "cluster_annotations",
];

/// The input of a rendering, beside what the plan itself knows (`service`, `plan`). Values may be
/// secret: it is serialized for the process that renders, and for nothing else.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Variables {
    /// `instance`, and `name` and `namespace` at top level.
    pub instance: Instance,
    /// `parameters`, with defaults applied; each also at top level.
    pub parameters: Map<String, Value>,
    /// `context` as the platform sent it; each key also at top level.
    pub context: Map<String, Value>,
    /// `generated`: the values that were made for this instance.
    pub generated: Map<String, Value>,
    /// `secrets`: the broker's operator's inputs, `secrets.<name>.<key>`.
    pub secrets: Map<String, Value>,
    /// `outputs`: what is known so far.
    pub outputs: Map<String, Value>,
    /// `broker`: what the broker adds; pinned with the revision.
    pub broker: Broker,
    /// `binding`: `id`, `name`, `username`, `password`, `parameters` … in templates of `binding/`.
    pub binding: Option<Map<String, Value>>,
}

/// The instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The platform's id.
    pub id: String,
    /// A short legal object name of its own: the record's.
    pub name: String,
    /// Where its objects live.
    pub namespace: String,
}

/// What the broker adds to a rendering.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Broker {
    /// The cluster's DNS domain: `cluster.local`.
    pub cluster_domain: String,
    /// The broker's own namespace.
    pub namespace: String,
    /// The image that holds mongo-bootstrap.
    pub bootstrap_image: String,
    /// Network ranges that may reach databases where an instance names none.
    pub allowed_cidrs: Vec<String>,
    /// Namespaces that may reach databases where an instance names none.
    pub allowed_namespaces: Vec<String>,
}

/// Names only: values may be secret.
impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |map: &Map<String, Value>| map.keys().cloned().collect::<Vec<_>>();
        f.debug_struct("Variables")
            .field("instance", &self.instance)
            .field("parameters", &names(&self.parameters))
            .field("context", &names(&self.context))
            .field("generated", &names(&self.generated))
            .field("secrets", &names(&self.secrets))
            .field("outputs", &names(&self.outputs))
            .field("broker", &self.broker)
            .field("binding", &self.binding.as_ref().map(names))
            .finish()
    }
}

/// What a plan knows of itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Own<'a> {
    pub(crate) service_id: &'a str,
    pub(crate) service_name: &'a str,
    pub(crate) plan_id: &'a str,
    pub(crate) plan_name: &'a str,
    pub(crate) values: &'a Map<String, Value>,
}

/// The variables by name. A name at top level is a built-in, else a parameter, else one of the
/// plan's values, else a context key.
pub(crate) fn context(variables: &Variables, own: &Own<'_>) -> BTreeMap<String, Jinja> {
    let mut all = BTreeMap::new();
    for map in [&variables.context, own.values, &variables.parameters] {
        all.extend(map.iter().map(|(k, v)| (k.clone(), jinja(v))));
    }
    let service = serde_json::json!({"id": own.service_id, "name": own.service_name});
    let plan = serde_json::json!({"id": own.plan_id, "name": own.plan_name, "values": own.values});
    let built_ins = [
        ("instance", jinja(&variables.instance)),
        ("name", Jinja::from(variables.instance.name.as_str())),
        (
            "namespace",
            Jinja::from(variables.instance.namespace.as_str()),
        ),
        ("service", jinja(&service)),
        ("plan", jinja(&plan)),
        ("parameters", jinja(&variables.parameters)),
        ("context", jinja(&variables.context)),
        ("generated", jinja(&variables.generated)),
        ("secrets", jinja(&variables.secrets)),
        ("outputs", jinja(&variables.outputs)),
        ("broker", jinja(&variables.broker)),
    ];
    all.extend(built_ins.map(|(name, value)| (name.to_owned(), value)));
    match &variables.binding {
        Some(binding) => all.insert("binding".to_owned(), jinja(binding)),
        None => all.remove("binding"),
    };
    for name in ["object", "applied", "now"] {
        all.remove(name);
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_resolve_in_order_and_debug_shows_no_value() {
        let object = |v: Value| v.as_object().cloned().unwrap();
        let variables = Variables {
            instance: Instance {
                name: "n".into(),
                ..Instance::default()
            },
            parameters: object(json!({"a": "parameter", "password": "hunter2"})),
            context: object(json!({"a": "context", "b": "context", "c": 1, "name": "x"})),
            ..Variables::default()
        };
        let values = object(json!({"a": "value", "b": "value"}));
        let own = Own {
            service_id: "s",
            service_name: "s",
            plan_id: "p",
            plan_name: "p",
            values: &values,
        };
        let all = context(&variables, &own);
        let text = |name: &str| all[name].to_string();
        assert_eq!(
            [text("a"), text("b"), text("c"), text("name")],
            ["parameter", "value", "1", "n"]
        );
        assert!(!format!("{variables:?}").contains("hunter2"));
    }
}
