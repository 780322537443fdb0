//! The tables.

use super::{Row, Seen, alone, within};
use Seen::{
    Claims, Database, Display, Entry, Fault, Generated, Objects, Offering, Outputs, Parameters,
    Read, Readiness, Reason, Rights,
};

const PROVISIONER: &str = "provisioner-svc";
const BINDER: &str = "binder-svc";

/// A plan of method `database`, to which keys of `binding` are added.
const BOUND: &str = "generate: {g: {type: password}, h: {type: password}}\n\
                     outputs: {hosts: ['h:1'], others: ['h:2'], set: rs}\n\
                     binding:\n  method: database\n";
/// With all that it needs.
const BINDABLE: &str = "generate: {g: {type: password}, h: {type: password}}\n\
                        outputs: {hosts: ['h:1'], set: rs}\n\
                        binding:\n  method: database\n  hosts: outputs.hosts\n  \
                        admin: {username: u, password: generated.g}\n";

pub(super) fn of_plan() -> Vec<Row> {
    let groups = [
        described(),
        operated(),
        placed(),
        allowed(),
        asked(),
        generated(),
        told(),
        bound(),
        reached(),
    ];
    groups.into_iter().flatten().collect()
}

fn described() -> Vec<Row> {
    vec![
        alone("extends", "extends: _base", "extends: null", Entry),
        alone("id", "id: x", "id: z", Entry),
        alone("description", "description: x", "description: z", Entry),
        alone("free", "free: true", "free: false", Entry),
        within(
            "bindable",
            BINDABLE,
            "bindable: true",
            "bindable: false",
            Entry,
        ),
        alone("display_name", "display_name: x", "display_name: z", Entry),
        alone("name", "name: x", "name: z", Entry),
        alone("author", "author: x", "author: z", Entry),
        alone("bullets", "bullets: [x]", "bullets: [z]", Entry),
        alone(
            "costs",
            "costs: [{amount: {usd: 1}, unit: x}]",
            "costs: []",
            Entry,
        ),
        alone(
            "costs.[].amount",
            "costs: [{amount: {usd: 1}, unit: x}]",
            "costs: [{amount: {usd: 2}, unit: x}]",
            Entry,
        ),
        alone(
            "costs.[].unit",
            "costs: [{amount: {usd: 1}, unit: x}]",
            "costs: [{amount: {usd: 1}, unit: z}]",
            Entry,
        ),
        alone("metadata", "metadata: {x: 1}", "metadata: {x: 2}", Entry),
        alone("version", "version: 1.0.0", "version: 2.0.0", Entry),
        within(
            "version_description",
            "version: 1.0.0\n",
            "version_description: x",
            "version_description: z",
            Entry,
        ),
    ]
}

fn operated() -> Vec<Row> {
    vec![
        alone("updates_to", "updates_to: [b]", "updates_to: []", Entry),
        alone("provision", "provision: sync", "provision: async", Entry),
        alone("deadline", "deadline: {total: 1h}", "deadline: {}", Entry),
        alone(
            "deadline.total",
            "deadline: {total: 1h}",
            "deadline: {total: 2h}",
            Entry,
        ),
        alone(
            "deadline.idle",
            "deadline: {idle: 1m}",
            "deadline: {idle: 2m}",
            Read(PROVISIONER, ".deadline()", |plan| {
                format!("{:?}", plan.deadline().idle())
            }),
        ),
    ]
}

fn placed() -> Vec<Row> {
    vec![
        alone(
            "namespace",
            "namespace: own",
            "namespace: context",
            Read(PROVISIONER, ".namespace()", |plan| {
                format!("{:?}", plan.namespace())
            }),
        ),
        alone(
            "namespace.shared",
            "namespace: {shared: x}",
            "namespace: {shared: z}",
            Read(PROVISIONER, ".namespace()", |plan| {
                format!("{:?}", plan.namespace())
            }),
        ),
        alone(
            "pod_security",
            "pod_security: baseline",
            "pod_security: restricted",
            Read(PROVISIONER, ".pod_security()", |plan| {
                format!("{:?}", plan.pod_security())
            }),
        ),
        alone(
            "deletion",
            "deletion: {retain: 1d}",
            "deletion: {}",
            Read(PROVISIONER, ".retain()", |plan| {
                format!("{:?}", plan.retain())
            }),
        ),
        alone(
            "deletion.retain",
            "deletion: {retain: 1d}",
            "deletion: {retain: 2d}",
            Read(PROVISIONER, ".retain()", |plan| {
                format!("{:?}", plan.retain())
            }),
        ),
    ]
}

fn allowed() -> Vec<Row> {
    vec![
        alone(
            "kinds",
            "kinds: [v1/ConfigMap]",
            "kinds: [v1/ConfigMap, v1/Secret]",
            Rights,
        ),
        alone(
            "requires",
            "requires: [example.com/v1/X]",
            "requires: []",
            Reason,
        ),
        alone("scope", "scope: cluster", "scope: namespace", Reason),
        alone("secrets", "secrets: {s: {name: x}}", "secrets: {}", {
            Read(PROVISIONER, ".secrets", |plan| {
                format!("{:?}", plan.descriptor().secrets)
            })
        }),
        alone(
            "secrets.*.name",
            "secrets: {s: {name: x}}",
            "secrets: {s: {name: z}}",
            {
                Read(PROVISIONER, ".secrets", |plan| {
                    format!("{:?}", plan.descriptor().secrets)
                })
            },
        ),
        alone("values", "values: {x: 1}", "values: {x: 2}", Objects),
        within(
            "tenant_is_admin",
            "namespace: context\noutputs: {hosts: ['h:1']}\nbinding:\n  method: database\n  \
             hosts: outputs.hosts\n  admin: {username: u, password: \"'p'\"}\n",
            "tenant_is_admin: true",
            "tenant_is_admin: false",
            Fault,
        ),
        alone(
            "bootstrap",
            "bootstrap: {service_account: x}",
            "bootstrap: null",
            {
                Read(PROVISIONER, ".bootstrap()", |plan| {
                    format!("{:?}", plan.bootstrap())
                })
            },
        ),
        alone(
            "bootstrap.service_account",
            "bootstrap: {service_account: x}",
            "bootstrap: {service_account: z}",
            Read(PROVISIONER, ".bootstrap()", |plan| {
                format!("{:?}", plan.bootstrap())
            }),
        ),
    ]
}

fn asked() -> Vec<Row> {
    vec![
        alone(
            "parameters",
            "parameters: {create: {properties: {x: {}}}}",
            "parameters: {}",
            Parameters,
        ),
        alone(
            "parameters.create",
            "parameters: {create: {properties: {x: {}}}}",
            "parameters: {create: {}}",
            Parameters,
        ),
        alone(
            "parameters.update",
            "parameters: {update: {properties: {x: {}}}}",
            "parameters: {update: {}}",
            Parameters,
        ),
        alone(
            "parameters.bind",
            "parameters: {bind: {properties: {x: {}}}}",
            "parameters: {bind: {}}",
            Parameters,
        ),
        alone(
            "parameters.create.inherit",
            "parameters: {create: {inherit: update}, update: {properties: {x: {}}}}",
            "parameters: {create: {}, update: {properties: {x: {}}}}",
            Fault,
        ),
        alone(
            "parameters.update.inherit",
            "parameters: {update: {inherit: create}, create: {properties: {x: {}}}}",
            "parameters: {update: {}, create: {properties: {x: {}}}}",
            Parameters,
        ),
        alone(
            "parameters.bind.inherit",
            "parameters: {bind: {inherit: create}, create: {properties: {x: {}}}}",
            "parameters: {bind: {}, create: {properties: {x: {}}}}",
            Parameters,
        ),
    ]
}

fn generated() -> Vec<Row> {
    vec![
        alone(
            "generate",
            "generate: {g: {type: password}}",
            "generate: {}",
            Generated,
        ),
        alone(
            "generate.*.type",
            "generate: {g: {type: password}}",
            "generate: {g: {type: key}}",
            Generated,
        ),
        alone(
            "generate.*.length",
            "generate: {g: {type: password, length: 16}}",
            "generate: {g: {type: password, length: 17}}",
            Generated,
        ),
        alone(
            "generate.*.bytes",
            "generate: {g: {type: key, bytes: 16}}",
            "generate: {g: {type: key, bytes: 17}}",
            Generated,
        ),
        alone(
            "generate.*.sans",
            "generate: {g: {type: certificate, sans: [x]}}",
            "generate: {g: {type: certificate, sans: [z]}}",
            Generated,
        ),
    ]
}

fn told() -> Vec<Row> {
    vec![
        alone(
            "claims",
            "claims: {s: {report: ConfigMap/c, left: 'true'}}",
            "claims: {}",
            Claims,
        ),
        alone(
            "claims.*.left",
            "claims: {s: {report: ConfigMap/c, left: 'true'}}",
            "claims: {s: {report: ConfigMap/c, left: 'false'}}",
            Claims,
        ),
        alone(
            "claims.*.report",
            "claims: {s: {report: ConfigMap/c, left: 'true'}}",
            "claims: {s: {report: ConfigMap/d, left: 'true'}}",
            Read(PROVISIONER, ".report", |plan| {
                format!("{:?}", plan.descriptor().claims)
            }),
        ),
        alone(
            "ready",
            "ready: {ConfigMap/c: {ready: 'false'}}",
            "ready: {}",
            Readiness,
        ),
        alone(
            "ready.*.ready",
            "ready: {ConfigMap/c: {ready: 'false'}}",
            "ready: {ConfigMap/c: {ready: 'true'}}",
            Readiness,
        ),
        alone(
            "ready.*.failed",
            "ready: {ConfigMap/c: {ready: 'false', failed: 'true'}}",
            "ready: {ConfigMap/c: {ready: 'false', failed: 'false'}}",
            Readiness,
        ),
        alone(
            "ready.*.message",
            "ready: {ConfigMap/c: {ready: 'false', message: x}}",
            "ready: {ConfigMap/c: {ready: 'false', message: z}}",
            Readiness,
        ),
        alone("outputs", "outputs: {o: x}", "outputs: {}", Outputs),
        alone(
            "outputs.*.each",
            "outputs: {o: {each: range(1), value: x}}",
            "outputs: {o: {each: range(2), value: x}}",
            Outputs,
        ),
        alone(
            "outputs.*.value",
            "outputs: {o: {each: range(1), value: x}}",
            "outputs: {o: {each: range(1), value: z}}",
            Outputs,
        ),
        alone(
            "dashboard_url",
            "dashboard_url: https://x",
            "dashboard_url: https://y",
            Display,
        ),
        alone("labels", "labels: {l: x}", "labels: {l: z}", Display),
        alone(
            "attributes",
            "attributes: {a: x}",
            "attributes: {a: z}",
            Display,
        ),
    ]
}

fn bound() -> Vec<Row> {
    vec![
        within(
            "binding",
            "outputs: {hosts: ['h:1']}\n",
            "binding: {method: database, hosts: outputs.hosts, admin: {username: u, password: \"'p'\"}}",
            "binding: null",
            Entry,
        ),
        within(
            "binding.method",
            "outputs: {hosts: ['h:1']}\n",
            "binding: {method: database, hosts: outputs.hosts, admin: {username: u, password: \"'p'\"}}",
            "binding: {method: none, hosts: outputs.hosts, admin: {username: u, password: \"'p'\"}}",
            Entry,
        ),
        within(
            "binding.hosts",
            BOUND,
            "  admin: {username: u, password: generated.g}\n  hosts: outputs.hosts",
            "  admin: {username: u, password: generated.g}\n  hosts: outputs.others",
            Database,
        ),
        within(
            "binding.admin",
            BOUND,
            "  hosts: outputs.hosts\n  admin: {username: u, password: generated.g}",
            "  hosts: outputs.hosts\n  admin: null",
            Fault,
        ),
        within(
            "binding.admin.username",
            BOUND,
            "  hosts: outputs.hosts\n  admin: {username: u, password: generated.g}",
            "  hosts: outputs.hosts\n  admin: {username: v, password: generated.g}",
            Database,
        ),
        within(
            "binding.admin.password",
            BOUND,
            "  hosts: outputs.hosts\n  admin: {username: u, password: generated.g}",
            "  hosts: outputs.hosts\n  admin: {username: u, password: generated.h}",
            Database,
        ),
        within(
            "binding.admin.database",
            BOUND,
            "  hosts: outputs.hosts\n  admin: {username: u, password: generated.g, database: x}",
            "  hosts: outputs.hosts\n  admin: {username: u, password: generated.g, database: z}",
            Database,
        ),
    ]
}

fn reached() -> Vec<Row> {
    vec![
        within(
            "binding.replica_set",
            BINDABLE,
            "  replica_set: outputs.set",
            "  replica_set: null",
            Database,
        ),
        within(
            "binding.tls",
            BINDABLE,
            "  tls: {mode: \"'required'\"}",
            "  tls: null",
            Database,
        ),
        within(
            "binding.tls.mode",
            BINDABLE,
            "  tls: {mode: \"'required'\"}",
            "  tls: {mode: \"'preferred'\"}",
            Database,
        ),
        within(
            "binding.tls.ca",
            BINDABLE,
            "  tls: {mode: \"'required'\", ca: generated.g}",
            "  tls: {mode: \"'required'\", ca: generated.h}",
            Database,
        ),
        within(
            "binding.database",
            BINDABLE,
            "  database: x",
            "  database: z",
            Database,
        ),
        within(
            "binding.rotatable",
            BINDABLE,
            "  rotatable: true",
            "  rotatable: false",
            Entry,
        ),
        within(
            "binding.async",
            BINDABLE,
            "  async: true",
            "  async: false",
            Entry,
        ),
        within(
            "binding.server",
            BINDABLE,
            "  server: own",
            "  server: shared",
            Read(BINDER, ".binding_server()", |plan| {
                format!("{:?}", plan.binding_server())
            }),
        ),
        within(
            "binding.requires_app",
            BINDABLE,
            "  requires_app: true",
            "  requires_app: false",
            Read(BINDER, ".binding_requires_app()", |plan| {
                plan.binding_requires_app().to_string()
            }),
        ),
        within(
            "binding.expires_in",
            BINDABLE,
            "  expires_in: 1h",
            "  expires_in: 2h",
            Read(BINDER, ".binding_expires_in()", |plan| {
                format!("{:?}", plan.binding_expires_in())
            }),
        ),
        within(
            "binding.renew_before",
            BINDABLE,
            "  expires_in: 1h\n  renew_before: 1m",
            "  expires_in: 1h\n  renew_before: 2m",
            Read(BINDER, ".binding_renew_before()", |plan| {
                format!("{:?}", plan.binding_renew_before())
            }),
        ),
    ]
}

pub(super) fn of_service() -> Vec<Row> {
    vec![
        alone("name", "name: x", "name: z", Offering),
        alone("id", "id: x", "id: z", Offering),
        alone("description", "description: x", "description: z", Offering),
        alone("bindable", "bindable: true", "bindable: false", Offering),
        alone("tags", "tags: [x]", "tags: [z]", Offering),
        alone(
            "requires",
            "requires: [syslog_drain]",
            "requires: []",
            Offering,
        ),
        alone(
            "instances_retrievable",
            "instances_retrievable: true",
            "instances_retrievable: false",
            Offering,
        ),
        alone(
            "bindings_retrievable",
            "bindings_retrievable: true",
            "bindings_retrievable: false",
            Offering,
        ),
        alone(
            "allow_context_updates",
            "allow_context_updates: true",
            "allow_context_updates: false",
            Offering,
        ),
        alone(
            "display_name",
            "display_name: x",
            "display_name: z",
            Offering,
        ),
        alone("metadata", "metadata: {x: 1}", "metadata: {x: 2}", Offering),
        alone(
            "dashboard_client",
            "dashboard_client: {id: x, secret: s, redirect_uri: r}",
            "dashboard_client: null",
            Offering,
        ),
        alone(
            "dashboard_client.id",
            "dashboard_client: {id: x, secret: s, redirect_uri: r}",
            "dashboard_client: {id: z, secret: s, redirect_uri: r}",
            Offering,
        ),
        alone(
            "dashboard_client.secret",
            "dashboard_client: {id: x, secret: s, redirect_uri: r}",
            "dashboard_client: {id: x, secret: t, redirect_uri: r}",
            Offering,
        ),
        alone(
            "dashboard_client.redirect_uri",
            "dashboard_client: {id: x, secret: s, redirect_uri: https://x}",
            "dashboard_client: {id: x, secret: s, redirect_uri: https://y}",
            Offering,
        ),
    ]
}
