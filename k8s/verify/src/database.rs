//! The database: one mongod, which all instances share, behind a proxy.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, bail};
use mongodb::{
    Client,
    bson::{Document, doc},
    options::ClientOptions,
};
use serde_json::Value;
use testbed::{Mongod, MongodOptions};

use crate::proxy::TcpProxy;

/// Makes the users of bindings.
pub(crate) const ADMIN: &str = "osb-admin";
/// Its password.
pub(crate) const ADMIN_PASSWORD: &str = "verify-admin-password";
/// Looks behind the broker's back.
const OBSERVER: &str = "observer";

/// A running database.
pub(crate) struct Database {
    mongod: Mongod,
    /// What the broker sees of it.
    pub(crate) proxy: TcpProxy,
    observer: Client,
}

/// Whether a login works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Login {
    Works,
    Refused,
}

impl Database {
    /// Starts it, with the admin that the plans name.
    pub(crate) async fn start(seed: u64) -> anyhow::Result<Self> {
        let options = MongodOptions::default()
            .replica_set("rs0")
            .key_file("a2V5ZmlsZWtleWZpbGU=");
        let mongod = Mongod::start(options).await?;
        let proxy = TcpProxy::start(vec![mongod.address()], seed).await?;
        let client = Client::with_uri_str(mongod.uri()).await?;
        let admin = client.database("admin");
        // Members go by the address that clients use.
        let member = doc! { "_id": 0, "host": proxy.address.to_string() };
        let config = doc! { "replSetInitiate": { "_id": "rs0", "members": [member] } };
        admin
            .run_command(config)
            .await
            .context("initiate the set")?;
        let root = user(OBSERVER, &["root"]);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        while let Err(error) = admin.run_command(root.clone()).await {
            if tokio::time::Instant::now() > deadline {
                return Err(error).context("make the first user");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let uri = format!(
            "mongodb://{OBSERVER}:{ADMIN_PASSWORD}@{}/?directConnection=true",
            mongod.address()
        );
        let observer = Client::with_uri_str(uri).await?;
        let roles = ["userAdminAnyDatabase", "clusterMonitor"];
        observer
            .database("admin")
            .run_command(user(ADMIN, &roles))
            .await
            .context("make the admin")?;
        Ok(Self {
            mongod,
            proxy,
            observer,
        })
    }

    /// The names of all users that were made for bindings.
    pub(crate) async fn users(&self) -> anyhow::Result<BTreeSet<String>> {
        let answer = self
            .observer
            .database("admin")
            .run_command(doc! { "usersInfo": { "forAllDBs": true } })
            .await
            .context("list the users")?;
        let users = answer.get_array("users").context("list the users")?;
        let names = users.iter().filter_map(|user| {
            let name = user.as_document()?.get_str("user").ok()?;
            (name != ADMIN && name != OBSERVER).then(|| name.to_owned())
        });
        Ok(names.collect())
    }

    /// Tries the credentials of a binding, past the proxy.
    pub(crate) async fn login(&self, credentials: &Value) -> anyhow::Result<Login> {
        let uri = credentials["uri"]
            .as_str()
            .context("credentials without a uri")?;
        let mut options = ClientOptions::parse(uri).await.context("parse the uri")?;
        options.hosts = vec![mongodb::options::ServerAddress::Tcp {
            host: self.mongod.address().ip().to_string(),
            port: Some(self.mongod.address().port()),
        }];
        options.repl_set_name = None;
        options.direct_connection = Some(true);
        options.server_selection_timeout = Some(Duration::from_secs(20));
        let client = Client::with_options(options)?;
        let database = client
            .default_database()
            .context("the uri names no database")?;
        let documents = database.collection::<Document>("documents");
        let answer = documents.insert_one(doc! { "a": 1 }).await;
        client.shutdown().await;
        match answer {
            Ok(_) => Ok(Login::Works),
            Err(error) => match &*error.kind {
                mongodb::error::ErrorKind::Authentication { .. } => Ok(Login::Refused),
                _ => bail!("use the database: {error}"),
            },
        }
    }
}

fn user(name: &str, roles: &[&str]) -> Document {
    doc! {
        "createUser": name, "pwd": ADMIN_PASSWORD, "roles": roles.to_vec(),
        "mechanisms": ["SCRAM-SHA-256"],
    }
}
