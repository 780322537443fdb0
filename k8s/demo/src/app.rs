//! The demo's app: it has nothing but the URI of a binding, as an app on a
//! platform would, and runs as a pod, since that is where the members' names
//! resolve.

use std::{fs, path::Path, process::ExitCode, time::Duration};

use anyhow::{Context as _, ensure};
use mongodb::{
    Client, Database,
    bson::{Document, doc},
    error::{Error, ErrorKind},
    options::{ClientOptions, ReadConcern, WriteConcern},
};

const SERVER_LIMIT: Duration = Duration::from_secs(20);
const COLLECTION: &str = "demo";
/// The server's code for a login that it does not know.
const AUTHENTICATION_FAILED: i32 = 18;

/// How the app's run ended; the exit code of its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything worked.
    Worked,
    /// The database refused the login.
    LoginRefused,
    /// Anything else; the log says what.
    Failed,
}

impl Outcome {
    /// From a container's exit code.
    pub fn from_exit_code(code: i32) -> Self {
        match code {
            0 => Self::Worked,
            3 => Self::LoginRefused,
            _ => Self::Failed,
        }
    }

    /// For a process.
    pub fn exit_code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Worked => 0,
            Self::LoginRefused => 3,
            Self::Failed => 1,
        })
    }
}

/// Writes a document with this text, or reads it back if it is there already,
/// in the database that the URI names.
pub async fn run(uri_file: &Path, document: &str) -> Outcome {
    match write_and_read(uri_file, document).await {
        Ok(line) => {
            println!("{line}");
            Outcome::Worked
        }
        Err(error) if refused(&error) => {
            println!("the database refuses the login");
            Outcome::LoginRefused
        }
        Err(error) => {
            // The driver's errors name hosts, never the password.
            println!("{error:#}");
            Outcome::Failed
        }
    }
}

async fn write_and_read(uri_file: &Path, document: &str) -> anyhow::Result<String> {
    let database = open(uri_file).await?;
    let documents = database.collection::<Document>(COLLECTION);

    let wanted = doc! {"_id": document, "text": format!("written as {document}")};
    documents
        .update_one(
            doc! {"_id": document},
            doc! {"$set": {"text": wanted.get_str("text")?}},
        )
        .upsert(true)
        .await
        .context("write a document")?;
    let found = documents
        .find_one(doc! {"_id": document})
        .await
        .context("read the document")?;
    ensure!(
        found.as_ref() == Some(&wanted),
        "read {}, wrote {wanted}",
        found.map_or_else(|| "nothing".to_owned(), |found| found.to_string())
    );
    let count = documents
        .count_documents(doc! {})
        .await
        .context("count the documents")?;
    Ok(format!(
        "wrote and read {wanted} in the database {}, which now holds {count} document(s)",
        database.name()
    ))
}

/// The database that the URI names: writes are durable, and reads see what is.
pub(crate) async fn open(uri_file: &Path) -> anyhow::Result<Database> {
    let uri =
        fs::read_to_string(uri_file).with_context(|| format!("read {}", uri_file.display()))?;
    let mut options = ClientOptions::parse(uri.trim())
        .await
        .context("parse the URI")?;
    options.server_selection_timeout = Some(SERVER_LIMIT);
    options.connect_timeout = Some(Duration::from_secs(5));
    options.write_concern = Some(WriteConcern::majority());
    options.read_concern = Some(ReadConcern::majority());
    let client = Client::with_options(options).context("make a client")?;
    client
        .default_database()
        .context("the URI names no database")
}

fn refused(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<Error>())
        .any(|error| match &*error.kind {
            ErrorKind::Authentication { .. } => true,
            ErrorKind::Command(command) => command.code == AUTHENTICATION_FAILED,
            _ => false,
        })
}
