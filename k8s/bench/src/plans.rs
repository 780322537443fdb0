//! The plans that are ordered, and the same objects for the raw baseline.

use std::{net::SocketAddr, path::Path};

use serde_json::{Value, json};

/// The offering: name of its folder and in the catalog.
pub(crate) const OFFERING: &str = "bench";
/// The user in the databases that makes users.
pub(crate) const ADMIN: &str = "osb-admin";
/// Its password.
pub(crate) const ADMIN_PASSWORD: &str = "bench-admin-password";

/// Plans, and properties of each, of the other offering.
const OTHERS: usize = 10;
const PROPERTIES: usize = 30;

const SERVICE: &str = "description: Plans that are measured\n";

const PLAN: &str = r#"
version: 1.0.0
provision: async
parameters:
  create:
    properties:
      note: {type: string, maxLength: 40, default: none}
  update: {inherit: create}
values: {hosts: ["HOST"], password: "PASSWORD"}
binding:
  method: database
  hosts: plan.values.hosts
  replica_set: "'rs0'"
  admin: {username: ADMIN, password: plan.values.password, database: admin}
  rotatable: true
"#;

const OBJECTS: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: login}
stringData: {password: "not-a-secret"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {note: "{{ note }}"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: scripts}
data: {start.sh: "exec mongod --config /etc/mongod.conf"}
---
apiVersion: v1
kind: Service
metadata: {name: database}
spec:
  clusterIP: None
  selector: {app: database}
  ports: [{name: mongodb, port: 27017}]
"#;

/// The number of the plan whose instances never become ready.
pub(crate) const STUCK: usize = usize::MAX;

/// There is no node, so that its pod stays pending.
const NEVER_READY: &str = r"
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: pending}
spec:
  serviceName: pending
  selector: {matchLabels: {app: pending}}
  template:
    metadata: {labels: {app: pending}}
    spec:
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: main
          image: example.invalid/none
          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
";

/// The name of the plan whose bindings are in the database of that number, or
/// of the one that is [`STUCK`].
pub(crate) fn name(database: usize) -> String {
    match database {
        STUCK => "stuck".to_owned(),
        number => format!("four-objects-{number}"),
    }
}

/// Writes the folders: one plan for each database.
pub(crate) fn write(root: &Path, databases: &[SocketAddr]) -> anyhow::Result<()> {
    let folder = root.join(OFFERING);
    rig::put(&folder.join("service.yaml"), SERVICE)?;
    for (number, address) in databases.iter().enumerate() {
        let plan = PLAN
            .replace("HOST", &address.to_string())
            .replace("PASSWORD", ADMIN_PASSWORD)
            .replace("ADMIN", ADMIN);
        let folder = folder.join(name(number));
        rig::put(&folder.join("plan.yaml"), &plan)?;
        rig::put(&folder.join("10-objects.yaml"), OBJECTS)?;
    }
    let folder = folder.join(name(STUCK));
    rig::put(&folder.join("plan.yaml"), "version: 1.0.0\n")?;
    rig::put(&folder.join("10-set.yaml"), NEVER_READY)?;
    write_others(root)
}

/// An offering that nobody orders: with it the catalog has the size of a
/// shipped one.
fn write_others(root: &Path) -> anyhow::Result<()> {
    let folder = root.join("others");
    rig::put(&folder.join("service.yaml"), SERVICE)?;
    for number in 0..OTHERS {
        let mut plan = String::from("version: 1.0.0\nparameters:\n  create:\n    properties:\n");
        for property in 0..PROPERTIES {
            let text = "How much of it there is at first, and at most.";
            let line = format!(
                "      setting{property}: {{type: integer, minimum: 1, description: \"{text}\"}}\n"
            );
            plan.push_str(&line);
        }
        let folder = folder.join(format!("plan-{number}"));
        rig::put(&folder.join("plan.yaml"), &plan)?;
        rig::put(
            &folder.join("10-object.yaml"),
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n",
        )?;
    }
    Ok(())
}

/// The same four objects, ready to be applied.
pub(crate) fn objects(note: &str) -> [Value; 4] {
    [
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"},
               "stringData": {"password": "not-a-secret"}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"},
               "data": {"note": note}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "scripts"},
               "data": {"start.sh": "exec mongod --config /etc/mongod.conf"}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "database"},
               "spec": {"clusterIP": "None", "selector": {"app": "database"},
                        "ports": [{"name": "mongodb", "port": 27017}]}}),
    ]
}
