//! The plans that the suite orders, as folders of a site's templates.

use std::{fs, net::SocketAddr, path::Path};

use crate::stack::ADMIN_PASSWORD;

/// Offering of almost all plans; its folder's and catalog name.
pub(crate) const ROWS: &str = "rows";
/// An offering that takes no updates of the context alone.
pub(crate) const PLAIN: &str = "plain";

const SERVICE: &str = r#"
description: Plans of the suite
tags: [mongodb, test]
allow_context_updates: true
display_name: Rows
metadata: {providerDisplayName: Suite, shareable: true}
dashboard_client: {id: dash, secret: dash-secret, redirect_uri: "https://dash.example.com"}
"#;

/// What all plans have; `HOST` and `PASSWORD` are filled in.
const BASE: &str = r#"
version: 1.0.0
version_description: The first
provision: sync
kinds: [v1/ConfigMap]
parameters:
  create:
    properties:
      size: {type: string, enum: [S, M], default: S}
      note: {type: string, maxLength: 40, default: none}
      fixed: {type: string, default: a, x-immutable: true}
      gate: {type: string, enum: [open, shut, broken], default: open}
  update: {inherit: create}
  bind:
    properties:
      database: {type: string}
      roles: {type: array, items: {enum: [read, readWrite]}, default: [readWrite]}
values: {hosts: ["HOST"], password: PASSWORD}
ready:
  ConfigMap/gate:
    ready: "object.data.gate == 'open' or (object.metadata.annotations | default({})).opened is defined"
    failed: "object.data.gate == 'broken'"
dashboard_url: "https://dash.example.com/{{ name }}"
labels: {"example.com/size": "{{ size }}"}
attributes: {kept: {in: "{{ namespace }}"}}
binding:
  method: database
  hosts: plan.values.hosts
  replica_set: "'rs0'"
  admin: {username: osb-admin, password: plan.values.password, database: admin}
  rotatable: true
"#;

const TEMPLATE: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: gate}
data:
  gate: "{{ gate }}"
  size: "{{ size }}"
  note: "{{ note }}"
  instance: "{{ context.instance_name | default('') }}"
"#;

/// Name and descriptor, each over the base.
const PLANS: [(&str, &str); 12] = [
    // Provisioned asynchronously.
    (
        "polled",
        "provision: async\nupdates_to: [polled-large]\ndeadline: {total: 7m}\n\
         costs: [{amount: {usd: 9.5}, unit: MONTHLY}]\nbullets: [polled]\nfree: false\n",
    ),
    ("polled-large", "provision: async\n"),
    // Its operations fail soon.
    ("hasty", "provision: async\ndeadline: {total: 15s}\n"),
    ("instant", "updates_to: [instant-large]\n"),
    ("instant-large", ""),
    // Bound asynchronously.
    ("queued", "binding: {async: true}\n"),
    // The same, in a database of its own, which a test can keep from writing.
    (
        "stalled",
        "values: {hosts: [\"STALLED\"]}\nbinding: {async: true}\n",
    ),
    // Binds of it fail: there is no such address.
    (
        "astray",
        "values: {hosts: [\"one:two:three\"]}\nbinding: {async: true}\n",
    ),
    // Not bindable.
    ("closed", "binding: null\n"),
    // Bound by applications only, and never rotated.
    ("apps", "binding: {requires_app: true, rotatable: false}\n"),
    // Bindings of it end.
    ("brief", "binding: {expires_in: 4s, renew_before: 2s}\n"),
    // Gets a new version while the suite runs.
    ("upgraded", ""),
];

/// Writes all folders.
pub(crate) fn write(root: &Path, mongod: SocketAddr, stalled: SocketAddr) {
    let base = BASE
        .replace("HOST", &mongod.to_string())
        .replace("PASSWORD", ADMIN_PASSWORD);
    put(root, "rows/service.yaml", SERVICE);
    put(root, "rows/_base/plan.yaml", &base);
    put(root, "rows/_base/10-gate.yaml", TEMPLATE);
    for (name, descriptor) in PLANS {
        let text = descriptor.replace("STALLED", &stalled.to_string());
        let text = format!("extends: _base\n{text}");
        put(root, &format!("rows/{name}/plan.yaml"), &text);
    }
    put(root, "plain/only/plan.yaml", "provision: sync\n");
    let bare = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {}\n";
    put(root, "plain/only/10-c.yaml", bare);
}

/// A new version of plan `upgraded`, which marks what it makes.
pub(crate) fn upgrade(root: &Path, version: &str) {
    let text = format!("extends: _base\nversion: {version}\n");
    put(root, "rows/upgraded/plan.yaml", &text);
    let template = format!("{TEMPLATE}  version: \"{version}\"\n");
    put(root, "rows/upgraded/10-gate.yaml", &template);
}

fn put(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    // The catalog may look at any moment: never show it half a file.
    let draft = path.with_extension("draft~");
    fs::write(&draft, text).unwrap();
    fs::rename(&draft, &path).unwrap();
}
