//! What the binder needs to make a login, worked out from the descriptor and the instance.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::descriptor::{self, Expression, Method, Text};
use crate::expr::{Context, Evaluator};
use crate::render::engine::TextError;
use crate::render::slots_to_json;

/// A database as the binder reaches it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// `host:port` of every member.
    pub hosts: Vec<String>,
    /// The name of the replica set, if it is one.
    pub replica_set: Option<String>,
    /// The user that makes users.
    pub admin: Admin,
    /// How connections are encrypted.
    pub tls: Tls,
    /// The database of a binding that names none, if the plan fixes it.
    pub database: Option<String>,
}

/// The user that makes users.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admin {
    /// Its name.
    pub username: String,
    /// Its password.
    pub password: String,
    /// The database it is defined in.
    pub database: String,
}

/// How connections are encrypted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// Whether, and whether it must be.
    pub mode: TlsMode,
    /// The certificate authority in PEM.
    pub ca: Option<String>,
}

/// Whether connections are encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsMode {
    /// Never.
    #[default]
    Disabled,
    /// If the client wants it.
    Preferred,
    /// Always.
    Required,
}

/// An address as OSB's `endpoints` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The host.
    pub host: String,
    /// The port, as text.
    pub port: String,
}

impl Database {
    /// All members as endpoints.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.hosts
            .iter()
            .map(|host| match host.rsplit_once(':') {
                Some((host, port)) => Endpoint {
                    host: host.to_owned(),
                    port: port.to_owned(),
                },
                None => Endpoint {
                    host: host.clone(),
                    port: "27017".to_owned(),
                },
            })
            .collect()
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("hosts", &self.hosts)
            .field("replica_set", &self.replica_set)
            .field("admin", &self.admin)
            .field("tls", &self.tls.mode)
            .field("database", &self.database)
            .finish()
    }
}

/// Without the password.
impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("username", &self.username)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

/// Why a binding has no address or login. No text holds a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Error {
    /// The plan's method is another one.
    #[error("plan does not bind by method database")]
    Method,
    /// A key cannot be evaluated.
    #[error("binding.{key} cannot be evaluated: {message}")]
    Key {
        /// The key below `binding`.
        key: String,
        /// What is wrong.
        message: String,
    },
}

/// Works out the database of an instance.
pub(crate) fn resolve(
    binding: Option<&descriptor::Binding>,
    scope: &Scope<'_>,
) -> Result<Database, Error> {
    let binding = binding
        .filter(|b| b.method == Method::Database)
        .ok_or(Error::Method)?;
    let admin = binding.admin.as_ref().ok_or_else(|| missing("admin"))?;
    let hosts = binding.hosts.as_ref().ok_or_else(|| missing("hosts"))?;
    let tls = match &binding.tls {
        None => Tls::default(),
        Some(tls) => Tls {
            mode: mode(&scope.string("tls.mode", &tls.mode)?)?,
            ca: tls
                .ca
                .as_ref()
                .map(|ca| scope.secret("tls.ca", ca))
                .transpose()?,
        },
    };
    Ok(Database {
        hosts: scope.hosts(hosts)?,
        replica_set: match &binding.replica_set {
            Some(name) => scope.optional("replica_set", name)?,
            None => None,
        },
        admin: Admin {
            username: scope.text("admin.username", &admin.username)?,
            password: scope.secret("admin.password", &admin.password)?,
            database: scope.text("admin.database", &admin.database)?,
        },
        tls,
        database: binding
            .database
            .as_ref()
            .map(|d| scope.text("database", d))
            .transpose()?,
    })
}

/// What the keys of `binding` are evaluated with.
pub(crate) struct Scope<'a> {
    pub(crate) evaluator: &'a Evaluator,
    /// For keys that are shown: addresses and names.
    pub(crate) public: &'a Context,
    /// For keys that stay in Secrets.
    pub(crate) secret: &'a Context,
}

impl Scope<'_> {
    fn json(&self, key: &'static str, source: &Expression) -> Result<Option<Value>, Error> {
        self.json_with(self.public, key, source)
    }

    fn json_with(
        &self,
        context: &Context,
        key: &'static str,
        source: &Expression,
    ) -> Result<Option<Value>, Error> {
        let fail = |message| Error::Key {
            key: key.to_owned(),
            message,
        };
        let value = self.evaluator.value(source, context).map_err(fail)?;
        if value.is_undefined() || value.is_none() {
            return Ok(None);
        }
        slots_to_json(&value).map(Some).map_err(fail)
    }

    fn optional(&self, key: &'static str, source: &Expression) -> Result<Option<String>, Error> {
        self.json(key, source)?
            .map(|value| string(key, value))
            .transpose()
    }

    fn string(&self, key: &'static str, source: &Expression) -> Result<String, Error> {
        self.optional(key, source)?.ok_or_else(|| missing(key))
    }

    fn secret(&self, key: &'static str, source: &Expression) -> Result<String, Error> {
        let value = self.json_with(self.secret, key, source)?;
        string(key, value.ok_or_else(|| missing(key))?)
    }

    fn text(&self, key: &'static str, source: &Text) -> Result<String, Error> {
        match self.evaluator.text(source, self.public) {
            Ok(value) => string(key, value),
            Err(TextError::Undefined(message) | TextError::Other(message)) => Err(Error::Key {
                key: key.to_owned(),
                message,
            }),
        }
    }

    fn hosts(&self, source: &Expression) -> Result<Vec<String>, Error> {
        let fail = || Error::Key {
            key: "hosts".to_owned(),
            message: "is not a list of host:port".to_owned(),
        };
        match self.json("hosts", source)? {
            None => Err(missing("hosts")),
            Some(Value::Array(items)) if !items.is_empty() => items
                .into_iter()
                .map(|item| match item {
                    Value::String(host) if !host.is_empty() => Ok(host),
                    _ => Err(fail()),
                })
                .collect(),
            Some(_) => Err(fail()),
        }
    }
}

fn string(key: &'static str, value: Value) -> Result<String, Error> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(Error::Key {
            key: key.to_owned(),
            message: "is not a string".to_owned(),
        }),
    }
}

fn mode(text: &str) -> Result<TlsMode, Error> {
    match text {
        "disabled" => Ok(TlsMode::Disabled),
        "preferred" => Ok(TlsMode::Preferred),
        "required" => Ok(TlsMode::Required),
        _ => Err(Error::Key {
            key: "tls.mode".to_owned(),
            message: "is none of disabled, preferred, required".to_owned(),
        }),
    }
}

fn missing(key: &'static str) -> Error {
    Error::Key {
        key: key.to_owned(),
        message: "has no value".to_owned(),
    }
}
