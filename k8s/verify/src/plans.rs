//! The plans that are ordered, and what an instance of them must consist of.

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use crate::database::{ADMIN, ADMIN_PASSWORD};

/// The offering: name of its folder and in the catalog.
pub(crate) const OFFERING: &str = "verify";

const SERVICE: &str = "description: Plans under faults\n";

const BASE: &str = r#"
version: 1.0.0
kinds: [v1/ConfigMap, v1/Secret]
generate:
  token: {type: password}
parameters:
  create:
    properties:
      size: {type: string, enum: [S, M, L], default: S}
      note: {type: string, maxLength: 40, default: none}
      extra: {type: boolean, default: true}
  update: {inherit: create}
values: {hosts: ["HOST"], password: "PASSWORD"}
binding:
  method: database
  hosts: plan.values.hosts
  replica_set: "'rs0'"
  admin: {username: ADMIN, password: plan.values.password, database: admin}
  rotatable: true
"#;

const FIRST: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: first}
data: {size: "{{ size }}"}
---
apiVersion: v1
kind: Secret
metadata: {name: first}
stringData: {token: "{{ generated.token }}"}
"#;

const SECOND: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: second}
data: {note: "{{ note }}"}
{% if extra %}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: third}
data: {size: "{{ size }}"}
{% endif %}
"#;

/// A plan of the offering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Everything is answered with 202.
    Polled,
    /// Everything is done when it is answered.
    Prompt,
}

impl Plan {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Polled, Self::Prompt];

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Polled => "polled",
            Self::Prompt => "prompt",
        }
    }

    fn descriptor(self) -> &'static str {
        match self {
            Self::Polled => "extends: _base\nprovision: async\nbinding: {async: true}\n",
            Self::Prompt => "extends: _base\nprovision: sync\n",
        }
    }
}

/// What a user asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// S, M or L.
    pub(crate) size: &'static str,
    /// Any text.
    pub(crate) note: String,
    /// Whether there is a third object.
    pub(crate) extra: bool,
}

impl Wanted {
    /// As OSB parameters.
    pub(crate) fn parameters(&self) -> serde_json::Value {
        serde_json::json!({"size": self.size, "note": self.note, "extra": self.extra})
    }

    /// The ConfigMaps that must be there: name to data, without generated values.
    pub(crate) fn objects(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let one = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let mut objects = BTreeMap::from([
            ("first".to_owned(), one("size", self.size)),
            ("second".to_owned(), one("note", &self.note)),
        ]);
        if self.extra {
            objects.insert("third".to_owned(), one("size", self.size));
        }
        objects
    }
}

/// Key of the generated value in the Secret `first`.
pub(crate) const GENERATED: &str = "token";

/// Writes the folders.
pub(crate) fn write(root: &Path, database: SocketAddr) -> anyhow::Result<()> {
    let folder = root.join(OFFERING);
    let base = BASE
        .replace("HOST", &database.to_string())
        .replace("PASSWORD", ADMIN_PASSWORD)
        .replace("ADMIN", ADMIN);
    rig::put(&folder.join("service.yaml"), SERVICE)?;
    rig::put(&folder.join("_base/plan.yaml"), &base)?;
    rig::put(&folder.join("_base/10-first.yaml"), FIRST)?;
    rig::put(&folder.join("_base/20-second.yaml"), SECOND)?;
    for plan in Plan::ALL {
        let path = folder.join(plan.name()).join("plan.yaml");
        rig::put(&path, plan.descriptor())?;
    }
    Ok(())
}
