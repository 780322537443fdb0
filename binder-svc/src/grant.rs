//! What a login may do: which database, which roles. A plan may narrow this,
//! never widen it: a user that can make users outlives unbind and rotation.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Databases that hold the server's own data.
const RESERVED: [&str; 4] = ["admin", "local", "config", "$external"];
/// MongoDB's own limit is 63 bytes.
const LONGEST_NAME: usize = 63;

/// Roles on one database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The database.
    pub database: String,
    /// The roles on it; at least one, none twice.
    pub roles: Vec<Role>,
}

/// The built-in roles that a login may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Reads.
    Read,
    /// Reads and writes.
    ReadWrite,
    /// Indexes, statistics, schema; no users, and no profiler (`mongo/role.rs`).
    DbAdmin,
}

impl Role {
    /// MongoDB's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::ReadWrite => "readWrite",
            Self::DbAdmin => "dbAdmin",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Read, Self::ReadWrite, Self::DbAdmin]
            .into_iter()
            .find(|role| role.name() == name)
    }
}

/// Why a grant is refused: JSON pointer and rule, never the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a name that a login may have.
    #[error(
        "/database must be the name of a database: letters, digits, '_' and '-', at most \
         {LONGEST_NAME} characters, and not admin, local or config"
    )]
    Database,
    /// Not a list of allowed roles.
    #[error("{0} must be one of read, readWrite, dbAdmin")]
    Role(Pointer),
    /// No role at all.
    #[error("/roles must name at least one role")]
    NoRoles,
}

/// A JSON pointer into the parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer(String);

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Grant {
    /// What resolved bind parameters ask for: `database` and `roles`, with
    /// `default_database` and readWrite where they are absent.
    pub fn from_parameters(
        parameters: &Map<String, Value>,
        default_database: &str,
    ) -> Result<Self, Error> {
        let database = match parameters.get("database") {
            None | Some(Value::Null) => default_database,
            Some(value) => value.as_str().ok_or(Error::Database)?,
        };
        if !is_allowed(database) {
            return Err(Error::Database);
        }
        let mut roles = match parameters.get("roles") {
            None | Some(Value::Null) => vec![Role::ReadWrite],
            Some(Value::Array(names)) => names
                .iter()
                .enumerate()
                .map(|(index, name)| {
                    name.as_str()
                        .and_then(Role::parse)
                        .ok_or_else(|| Error::Role(Pointer(format!("/roles/{index}"))))
                })
                .collect::<Result<_, _>>()?,
            Some(_) => return Err(Error::Role(Pointer("/roles".to_owned()))),
        };
        roles.sort_unstable();
        roles.dedup();
        if roles.is_empty() {
            return Err(Error::NoRoles);
        }
        Ok(Self {
            database: database.to_owned(),
            roles,
        })
    }
}

/// The default database of an instance: one for all its bindings.
pub fn default_database(instance_id: &str) -> String {
    let record = cluster::names::instance_record(instance_id);
    format!("db-{}", cluster::names::short(&record))
}

fn is_allowed(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    !name.is_empty()
        && name.len() <= LONGEST_NAME
        && name.bytes().all(legal)
        && !RESERVED
            .iter()
            .any(|reserved| name.eq_ignore_ascii_case(reserved))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn grant(value: &Value) -> Result<Grant, Error> {
        Grant::from_parameters(value.as_object().unwrap(), "db-x")
    }

    #[test]
    fn an_empty_request_gets_read_and_write_on_the_default_database() {
        let expected = Grant {
            database: "db-x".into(),
            roles: vec![Role::ReadWrite],
        };
        assert_eq!(grant(&json!({})).unwrap(), expected);
        assert_eq!(
            grant(&json!({"database": null, "roles": null})).unwrap(),
            expected
        );
    }

    #[test]
    fn roles_are_a_set_from_a_closed_list_whatever_the_plan_allows() {
        let found = grant(&json!({"roles": ["dbAdmin", "read", "dbAdmin"]})).unwrap();
        assert_eq!(found.roles, [Role::Read, Role::DbAdmin]);
        for role in [
            "dbOwner",
            "userAdmin",
            "root",
            "readAnyDatabase",
            "readWriteAnyDatabase",
            "",
        ] {
            let error = grant(&json!({"roles": ["read", role]})).unwrap_err();
            assert!(error.to_string().contains("/roles/1"), "{error}");
        }
        assert_eq!(grant(&json!({"roles": []})), Err(Error::NoRoles));
        assert!(grant(&json!({"roles": "read"})).is_err());
    }

    #[test]
    fn the_servers_own_databases_are_out_of_reach() {
        for name in [
            "admin",
            "Admin",
            "local",
            "config",
            "$external",
            "",
            "a.b",
            "a b",
            "a/b",
            "a\0b",
        ] {
            assert_eq!(
                grant(&json!({"database": name})),
                Err(Error::Database),
                "{name:?}"
            );
        }
        assert!(grant(&json!({"database": "x".repeat(64)})).is_err());
        assert!(grant(&json!({"database": "orders_2"})).is_ok());
        assert!(is_allowed(&default_database("any id at all / ü")));
    }

    proptest::proptest! {
        #[test]
        fn no_parameters_whatever_reach_beyond_one_database(
            database in ".{0,70}",
            roles in proptest::collection::vec(".{0,12}|read|readWrite|dbAdmin|root", 0..4),
        ) {
            let value = json!({"database": database, "roles": roles});
            if let Ok(found) = grant(&value) {
                assert_eq!(found.database, database);
                // Goes into a URI's path as it is.
                assert!(database.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
                assert!(!RESERVED.contains(&database.to_lowercase().as_str()));
                assert!(found.roles.iter().all(|role| roles.iter().any(|asked| asked == role.name())));
            }
        }
    }
}
