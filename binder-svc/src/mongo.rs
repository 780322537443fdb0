//! Users in a database: the trait that the worker needs, and what can go wrong.
//! The driver itself is in [`driver`].

mod connection;
pub mod driver;
mod role;

use std::fmt;

use futures::future::BoxFuture;
use plan::binding::Database;
use secrecy::SecretString;

use crate::grant::Grant;

pub use ::mongo::marks::{Found, Mark};

/// A database that the broker is admin of.
pub struct Target {
    /// Changes whenever anything else here does; connections are kept by it.
    pub key: String,
    /// Where it is and how to log in.
    pub database: Database,
}

impl Target {
    /// The same database, over connections of its own.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self {
            key: format!("apart/{}", self.key),
            database: self.database.clone(),
        }
    }
}

/// Without the admin's password.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("hosts", &self.database.hosts)
            .finish_non_exhaustive()
    }
}

/// A user to make.
#[derive(Debug)]
pub struct NewUser<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its password.
    pub password: &'a SecretString,
    /// What it may do.
    pub grant: &'a Grant,
    /// The attempt that it belongs to.
    pub mark: &'a Mark,
}

/// What can go wrong, by what is to be done about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No primary answers in time: try again.
    #[error("reach the database")]
    Unreachable(#[source] Option<mongodb::error::Error>),
    /// The admin's login is refused, or lacks a right: read it again and try again.
    #[error("log in to the database as its admin")]
    Login(#[source] mongodb::error::Error),
    /// The database will not do it, however often it is asked.
    #[error("change users of the database")]
    Refused(#[source] mongodb::error::Error),
    /// A user of that name is not of this attempt.
    #[error("make a user whose name is taken")]
    Taken,
    /// The plan gives an address or a certificate that cannot be used.
    #[error("use the database's address: {0}")]
    Address(String),
}

impl Error {
    /// Whether trying again is useless.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Taken | Self::Address(_) => true,
            Self::Unreachable(_) | Self::Login(_) => false,
        }
    }
}

/// What became of a user that was to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// It was made, with the password.
    New,
    /// It is there already, of the same attempt, with whatever password.
    Found,
}

/// Makes and drops users. Each call has a deadline of its own, waits for a
/// majority, and can be repeated.
pub trait UserAdmin: Send + Sync + fmt::Debug {
    /// Makes a user unless it is there; [`Error::Taken`] if that one has
    /// another mark.
    fn create_user<'a>(
        &'a self,
        target: &'a Target,
        user: &'a NewUser<'a>,
    ) -> BoxFuture<'a, Result<Made, Error>>;

    /// Gives a user that is there its password. The caller must give one user
    /// always the same, since a call whose answer was lost may still take effect.
    fn set_password<'a>(
        &'a self,
        target: &'a Target,
        user: &'a NewUser<'a>,
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// Drops a user; one that is not there is fine.
    fn drop_user<'a>(
        &'a self,
        target: &'a Target,
        name: &'a str,
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// The users of a binding record, or of all bindings.
    fn find_users<'a>(
        &'a self,
        target: &'a Target,
        binding: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<Found>, Error>>;

    /// Closes the connections to a target.
    fn close<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, ()>;
}
