//! What a plan says about bindings.

use serde::{Deserialize, Serialize};

use super::{Duration, Expression, Text};

/// How an application gets its login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// How logins are made.
    pub method: Method,
    /// A list of `host:port`, all members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Expression>,
    /// The name of the replica set; none for a standalone or a mongos.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica_set: Option<Expression>,
    /// The user that makes users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<Admin>,
    /// Whether the server is the instance's own and goes with it, or outlives it: then users are
    /// dropped when the instance is deprovisioned, and a revocation that cannot be done in its
    /// time stays pending. Of method `database`.
    #[serde(default, skip_serializing_if = "Server::is_own")]
    pub server: Server,
    /// How connections are encrypted; left out: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// The database of a binding that names none; left out: one name per instance, chosen by the
    /// broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<Text>,
    /// The catalog's `binding_rotatable`.
    #[serde(default)]
    pub rotatable: bool,
    /// Whether binding is asynchronous although it could be done at once.
    #[serde(default, rename = "async")]
    pub asynchronous: bool,
    /// Whether only an application can be bound: a bind without an `app_guid` is refused with
    /// RequiresApp.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub requires_app: bool,
    /// How long a binding lasts, shown as `metadata.expires_at`. Left out: until it is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<Duration>,
    /// How long before it expires it should be renewed, shown as `metadata.renew_before`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_before: Option<Duration>,
}

/// How the logins of bindings are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// The broker makes a database user with `createUser`.
    Database,
    /// An operator makes them from the templates in `binding/`.
    Resources,
    /// Not at all: the plan is not bindable.
    None,
}

/// Whether a server goes with its instance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Server {
    /// It does, users and all.
    #[default]
    Own,
    /// It outlives the instance.
    Shared,
}

impl Server {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde asks for a reference"
    )]
    fn is_own(&self) -> bool {
        *self == Self::Own
    }
}

/// The user that makes users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Its name.
    pub username: Text,
    /// Its password, usually `generated.<name>`.
    pub password: Expression,
    /// The database it is defined in.
    #[serde(default = "admin_database")]
    pub database: Text,
}

fn admin_database() -> Text {
    Text("admin".to_owned())
}

/// How connections are encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// `"disabled"`, `"preferred"` or `"required"`, usually `parameters.tls`.
    pub mode: Expression,
    /// The certificate authority in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<Expression>,
}
