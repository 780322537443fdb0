//! What an app gets: credentials and endpoints of one login.

use std::fmt;

use broker_proto::v1;
use plan::binding::{Database, TlsMode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What a bind answers with; kept as a whole in the login's Secret, so that a
/// replay and a fetch answer the same.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Issued {
    /// OSB `credentials`.
    pub credentials: Map<String, Value>,
    /// OSB `endpoints`: every member.
    pub endpoints: Vec<Endpoint>,
}

/// One member's address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Host name.
    pub host: String,
    /// Port, as text, as OSB wants it.
    pub port: String,
}

/// Without the credentials.
impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("endpoints", &self.endpoints)
            .finish_non_exhaustive()
    }
}

impl Issued {
    /// The credentials of a login to `name` (a database name) on `database`.
    pub fn new(database: &Database, name: &str, user: &str, password: &SecretString) -> Self {
        let endpoints: Vec<Endpoint> = database
            .endpoints()
            .into_iter()
            .map(|endpoint| Endpoint {
                host: endpoint.host,
                port: endpoint.port,
            })
            .collect();
        let password = password.expose_secret();
        let required = database.tls.mode == TlsMode::Required;
        let mut uri = format!(
            "mongodb://{user}:{password}@{hosts}/{name}?authSource={source}",
            hosts = database.hosts.join(","),
            source = database.admin.database,
        );
        if let Some(set) = &database.replica_set {
            uri.push_str("&replicaSet=");
            uri.push_str(set);
        }
        if required {
            uri.push_str("&tls=true");
        }
        let mut credentials = Map::new();
        let mut put = |key: &str, value: Value| credentials.insert(key.to_owned(), value);
        put("uri", json!(uri));
        put("hosts", json!(database.hosts));
        if let Some(first) = endpoints.first() {
            put("host", json!(first.host));
            // A number where it is one: that is what drivers take.
            put(
                "port",
                first
                    .port
                    .parse::<u16>()
                    .map_or_else(|_| json!(first.port), Value::from),
            );
        }
        put("username", json!(user));
        put("password", json!(password));
        put("database", json!(name));
        put("auth_source", json!(database.admin.database));
        if let Some(set) = &database.replica_set {
            put("replica_set", json!(set));
        }
        put("tls", json!(required));
        if let Some(ca) = &database.tls.ca {
            put("ca_certificate", json!(ca));
        }
        Self {
            credentials,
            endpoints,
        }
    }

    /// The password inside.
    pub fn password(&self) -> Option<SecretString> {
        self.credentials
            .get("password")
            .and_then(Value::as_str)
            .map(|text| SecretString::from(text.to_owned()))
    }

    /// The endpoints as OSB lists them.
    pub fn endpoints(&self) -> Vec<v1::Endpoint> {
        self.endpoints
            .iter()
            .map(|endpoint| v1::Endpoint {
                host: endpoint.host.clone(),
                ports: vec![endpoint.port.clone()],
                protocol: "tcp".to_owned(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use plan::binding::{Admin, Tls};

    use super::*;

    fn database(mode: TlsMode) -> Database {
        Database {
            hosts: vec![
                "mdb-0.mdb.ns.svc:27017".into(),
                "mdb-1.mdb.ns.svc:27017".into(),
            ],
            replica_set: Some("mdb".into()),
            admin: Admin {
                username: "osb-admin".into(),
                password: "admin-password".into(),
                database: "admin".into(),
            },
            tls: Tls {
                mode,
                ca: Some("PEM".into()),
            },
            database: None,
        }
    }

    fn issue(mode: TlsMode) -> Issued {
        Issued::new(
            &database(mode),
            "db-x",
            "b-1",
            &SecretString::from("hunter2"),
        )
    }

    #[test]
    fn a_uri_names_every_member_and_works_as_it_is() {
        let issued = issue(TlsMode::Preferred);
        assert_eq!(
            issued.credentials["uri"],
            "mongodb://b-1:hunter2@mdb-0.mdb.ns.svc:27017,mdb-1.mdb.ns.svc:27017/db-x?authSource=admin&replicaSet=mdb"
        );
        assert_eq!(issued.credentials["tls"], false);
        assert_eq!(issued.credentials["ca_certificate"], "PEM");
        assert_eq!(issued.credentials["host"], "mdb-0.mdb.ns.svc");
        assert_eq!(issued.credentials["port"], 27017);
    }

    #[test]
    fn required_tls_is_in_the_uri() {
        let issued = issue(TlsMode::Required);
        assert!(
            issued.credentials["uri"]
                .as_str()
                .unwrap()
                .ends_with("&tls=true")
        );
        assert_eq!(issued.credentials["tls"], true);
    }

    #[test]
    fn endpoints_list_all_members_with_ports_as_text() {
        let endpoints = issue(TlsMode::Disabled).endpoints();
        assert_eq!(endpoints.len(), 2);
        assert_eq!(endpoints[1].host, "mdb-1.mdb.ns.svc");
        assert_eq!(endpoints[1].ports, ["27017"]);
        assert_eq!(endpoints[1].protocol, "tcp");
    }

    #[test]
    fn nothing_of_the_admin_and_no_password_shows() {
        let issued = issue(TlsMode::Disabled);
        assert!(
            !serde_json::to_string(&issued)
                .unwrap()
                .contains("admin-password")
        );
        assert!(!format!("{issued:?}").contains("hunter2"));
    }

    #[tokio::test]
    async fn a_driver_reads_back_from_the_uri_what_the_parts_say() {
        let password = crate::login::password();
        let user = crate::login::attempt("abcdefghijklmnop", 1, "h", "x")
            .login
            .user;
        let issued = Issued::new(&database(TlsMode::Required), "db-x", &user, &password);
        let uri = issued.credentials["uri"].as_str().unwrap();
        let options = mongodb::options::ClientOptions::parse(uri).await.unwrap();
        let credential = options.credential.unwrap();
        assert_eq!(
            credential.username.as_deref(),
            issued.credentials["username"].as_str()
        );
        assert_eq!(
            credential.password.as_deref(),
            issued.credentials["password"].as_str()
        );
        assert_eq!(credential.source.as_deref(), Some("admin"));
        assert_eq!(options.default_database.as_deref(), Some("db-x"));
        assert_eq!(options.repl_set_name.as_deref(), Some("mdb"));
        assert_eq!(options.hosts.len(), 2);
        assert!(options.tls.is_some());
    }
}
