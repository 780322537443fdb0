//! What can go wrong while real programs are fetched, built, started and ended.

use std::{io, path::PathBuf, process::ExitStatus, time::Duration};

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the testbed could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A program could not be started at all.
    #[error("cannot start {program}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program that was run to its end failed.
    #[error("{program} failed ({status}):\n{output}")]
    Failed {
        /// The program and its arguments.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines that it wrote.
        output: String,
    },
    /// A program that was run to its end did not end in time, and was killed.
    #[error("{program} did not finish within {} s", .limit.as_secs())]
    Stuck {
        /// The program and its arguments.
        program: String,
        /// How long it was given.
        limit: Duration,
    },
    /// A process that should keep running ended.
    #[error("{process} ended ({status}); the last lines of {}:\n{tail}", log.display())]
    Ended {
        /// Which process.
        process: String,
        /// How it ended.
        status: String,
        /// Its log file.
        log: PathBuf,
        /// The end of the log.
        tail: String,
    },
    /// Something did not become ready in time.
    #[error("{what} was not ready within {} s: {last}\n{tail}", .limit.as_secs())]
    NotReady {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
        /// What the last look said.
        last: String,
        /// The end of the log of the process concerned.
        tail: String,
    },
    /// This machine cannot do what was asked.
    #[error("{reason}")]
    Unsupported {
        /// What is missing, and what to do about it.
        reason: String,
    },
    /// Another cluster with a node holds this machine.
    #[error(
        "the cluster `{holder}` is running on this machine, and only one with a node can: run `testbed down --name {holder}` first"
    )]
    Held {
        /// The name of the other cluster.
        holder: String,
    },
    /// A downloaded or unpacked file is not the one that this version pins.
    #[error("{} is not the pinned file: its sha256 is {found}", path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: String,
    },
    /// A name is not usable.
    #[error("`{name}` is not a usable name: {rule}")]
    Name {
        /// The name.
        name: String,
        /// What names look like.
        rule: &'static str,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// The API server refused a call or could not be reached.
    #[error("the API server did not do what was asked")]
    Api(#[source] Box<kube::Error>),
    /// A kubeconfig does not work.
    #[error("cannot use the kubeconfig")]
    Kubeconfig(#[source] Box<kube::config::KubeconfigError>),
    /// A JSON document could not be read or written.
    #[error("cannot read or write JSON")]
    Json(#[from] serde_json::Error),
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self::Api(Box::new(error))
    }
}

impl From<kube::config::KubeconfigError> for Error {
    fn from(error: kube::config::KubeconfigError) -> Self {
        Self::Kubeconfig(Box::new(error))
    }
}

/// Gives an I/O error the path and the action that it is about.
pub(crate) trait At<T> {
    /// Says that `action` on `path` failed.
    fn at(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T> {
        self.map_err(|source| Error::File {
            action,
            path: path.into(),
            source,
        })
    }
}
