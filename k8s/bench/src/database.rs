//! Databases, and the raw commands that a binding cannot do without.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use mongodb::{
    Client,
    bson::{Document, doc},
};
use testbed::{Mongod, MongodOptions};

use crate::plans::{ADMIN, ADMIN_PASSWORD};

const LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// A mongod, and a connection of its admin that stays open.
pub(crate) struct Database {
    mongod: Mongod,
    admin: Client,
}

impl Database {
    /// Starts one, a replica set of one member with an admin.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let options = MongodOptions::default()
            .replica_set("rs0")
            .key_file("a2V5ZmlsZWtleWZpbGU=");
        let mongod = Mongod::start(options).await?;
        let client = Client::with_uri_str(mongod.uri()).await?;
        let first = client.database("admin");
        let member = doc! { "_id": 0, "host": mongod.address().to_string() };
        let config = doc! { "replSetInitiate": { "_id": "rs0", "members": [member] } };
        first
            .run_command(config)
            .await
            .context("initiate the set")?;
        let deadline = Instant::now() + LIMIT;
        while let Err(error) = first.run_command(user(ADMIN, "root", "admin")).await {
            if Instant::now() > deadline {
                return Err(error).context("make the admin");
            }
            tokio::time::sleep(PAUSE).await;
        }
        let uri = format!(
            "mongodb://{ADMIN}:{ADMIN_PASSWORD}@{}/?directConnection=true&authSource=admin",
            mongod.address()
        );
        let admin = Client::with_uri_str(uri).await?;
        admin
            .database("admin")
            .run_command(doc! { "ping": 1 })
            .await
            .context("log the admin in")?;
        Ok(Self { mongod, admin })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.mongod.address()
    }

    /// Makes a user as the broker's are made; how long that took.
    pub(crate) async fn create_user(&self, name: &str) -> anyhow::Result<Duration> {
        self.timed(user(name, "readWrite", "app")).await
    }

    /// Removes it again.
    pub(crate) async fn drop_user(&self, name: &str) -> anyhow::Result<Duration> {
        self.timed(doc! { "dropUser": name }).await
    }

    async fn timed(&self, command: Document) -> anyhow::Result<Duration> {
        let began = Instant::now();
        self.admin.database("admin").run_command(command).await?;
        Ok(began.elapsed())
    }
}

fn user(name: &str, role: &str, database: &str) -> Document {
    doc! {
        "createUser": name, "pwd": ADMIN_PASSWORD,
        "roles": [{ "role": role, "db": database }],
        "mechanisms": ["SCRAM-SHA-256"], "writeConcern": { "w": "majority" },
    }
}
