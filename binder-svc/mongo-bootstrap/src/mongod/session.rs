//! A mongod, logged in as the admin user.

use std::time::Duration;

use mongo::{
    marks::{self, Found},
    revocation, users,
};
use mongodb::{
    Client,
    bson::{Document, doc},
};

use super::{APP_NAME, MongodError, PATIENCE, call, call_unless, call_within};
use crate::{
    answer::Hello,
    replica_set::SetConfig,
    version::{self, Level, ServerVersion},
};

/// How long raising the feature compatibility version may take: the primary answers only once it
/// has converted the metadata.
const RAISE: Duration = Duration::from_secs(120);
/// How long a primary that steps down waits for a secondary to catch up, in seconds.
const CATCH_UP_SECONDS: i32 = 5;
/// For how long it then does not stand for election, in seconds.
const STEP_DOWN_SECONDS: i32 = 60;

/// A mongod, logged in as the admin user.
#[derive(Clone)]
pub struct AdminSession(Client);

impl AdminSession {
    /// Logs in.
    pub(super) async fn open(client: Client) -> Result<Self, MongodError> {
        // The driver logs in with the first command; this one needs no rights.
        call(&client, doc! { "ping": 1 }).await?;
        Ok(Self(client))
    }

    /// Ends its connections.
    pub(super) async fn close(self) {
        self.0.shutdown().immediate(true).await;
    }

    /// `buildInfo`.
    pub(super) async fn build_info(&self) -> Result<Document, MongodError> {
        call(&self.0, doc! { "buildInfo": 1 }).await
    }

    /// `replSetGetStatus`.
    pub async fn status(&self) -> Result<Document, MongodError> {
        call(&self.0, doc! { "replSetGetStatus": 1 }).await
    }

    /// The configuration of the set.
    pub async fn config(&self) -> Result<SetConfig, MongodError> {
        let answer = call(&self.0, doc! { "replSetGetConfig": 1 }).await?;
        Ok(SetConfig::read(&answer)?)
    }

    /// Replaces the configuration. mongod refuses one that is not made from the present one, and
    /// one while the present one is not yet with a majority.
    pub async fn reconfigure(&self, config: SetConfig) -> Result<(), MongodError> {
        let command = doc! { "replSetReconfig": config.into_document() };
        call(&self.0, command).await.map(drop)
    }

    /// The feature compatibility version.
    pub async fn level(&self) -> Result<Level, MongodError> {
        Ok(Level::read(&call(&self.0, Level::command()).await?)?)
    }

    /// Raises the feature compatibility version. Changes nothing where it is that already.
    pub async fn raise_level(
        &self,
        to: ServerVersion,
        server: ServerVersion,
    ) -> Result<(), MongodError> {
        let command = version::raise(to, server);
        call_within(RAISE, &self.0, command).await.map(drop)
    }

    /// Steps down, so that another member is elected. Fails if none has caught up in time.
    pub async fn step_down(&self) -> Result<(), MongodError> {
        let command = doc! {
            "replSetStepDown": STEP_DOWN_SECONDS,
            "secondaryCatchUpPeriodSecs": CATCH_UP_SECONDS,
        };
        call(&self.0, command).await.map(drop)
    }

    /// `hello`. A call that ends before mongod answers ends its connection as well: this one, and
    /// those below, wait as long as the connection may be slow.
    pub async fn hello(&self) -> Result<Hello, MongodError> {
        let answer = call_within(PATIENCE, &self.0, doc! { "hello": 1 }).await?;
        Ok(Hello::read(&answer))
    }

    /// The users that bear the mark of a binding record.
    pub async fn users_of(&self, binding: &str) -> Result<Vec<Found>, MongodError> {
        let answer = call_within(PATIENCE, &self.0, marks::find(Some(binding))).await?;
        Ok(marks::users(&answer))
    }

    /// Drops a user, with a majority; one that is not there is fine.
    pub async fn drop_user(&self, name: &str) -> Result<(), MongodError> {
        call_unless(&self.0, users::NOT_FOUND, users::drop(name, APP_NAME)).await
    }

    /// Those of these names that are users.
    pub async fn existing(&self, names: &[String]) -> Result<Vec<String>, MongodError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let answer = call_within(PATIENCE, &self.0, revocation::named(names)).await?;
        Ok(revocation::names(&answer))
    }

    /// Fails unless a majority follows this primary.
    pub async fn confirm_primary(&self, comment: &str) -> Result<(), MongodError> {
        let command = revocation::confirm_primary(comment);
        call_within(PATIENCE, &self.0, command).await.map(drop)
    }
}
