//! One command, with a deadline.

use std::time::Duration;

use mongodb::{Client, bson::Document};

use crate::Failure;

/// Runs a command on the database `admin`. The deadline includes waiting for a connection. A
/// write that the primary has done but a majority has not yet confirmed is
/// [`Failure::Unavailable`]: it may still be undone, so it is sent again.
pub async fn run(
    client: &Client,
    deadline: Duration,
    command: Document,
) -> Result<Document, Failure> {
    run_in(client, "admin", deadline, command).await
}

/// Runs a command on a database; else as [`run`].
pub async fn run_in(
    client: &Client,
    database: &str,
    deadline: Duration,
    command: Document,
) -> Result<Document, Failure> {
    let database = client.database(database);
    let answer = tokio::time::timeout(deadline, database.run_command(command)).await;
    let answer = answer.map_err(|_| Failure::Unavailable(None))?;
    let answer = answer.map_err(Failure::from)?;
    match answer.get_document("writeConcernError") {
        Ok(_) => Err(Failure::Unavailable(None)),
        Err(_) => Ok(answer),
    }
}
