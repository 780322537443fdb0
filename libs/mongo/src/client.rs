//! What all connections of the broker have in common.

use std::{path::Path, time::Duration};

use mongodb::options::{AuthMechanism, ClientOptions, Credential, ServerAddress, Tls, TlsOptions};
use secrecy::{ExposeSecret as _, SecretString};

/// How long opening one connection may take.
const CONNECT: Duration = Duration::from_secs(2);
/// The most connections of a client to one server. We send few commands, and mongod hashes one
/// password at a time: more would only wait, and count against the database's limit.
const POOL: u32 = 4;

/// Who logs in.
#[derive(Debug)]
pub struct Login<'a> {
    /// The user.
    pub username: &'a str,
    /// Its password.
    pub password: &'a SecretString,
    /// The database that the user is kept in.
    pub database: &'a str,
}

/// Options of a client. `app` shows in the server's log. The caller adds how it finds the server
/// (a replica set, or this one server), and TLS.
pub fn options(
    app: &str,
    hosts: Vec<ServerAddress>,
    selection: Duration,
    login: Option<&Login<'_>>,
) -> ClientOptions {
    let credential = login.map(|login| {
        Credential::builder()
            .username(login.username.to_owned())
            .password(login.password.expose_secret().to_owned())
            .source(login.database.to_owned())
            .mechanism(AuthMechanism::ScramSha256)
            .build()
    });
    ClientOptions::builder()
        .hosts(hosts)
        .app_name(app.to_owned())
        .credential(credential)
        .connect_timeout(CONNECT)
        .server_selection_timeout(selection)
        .max_pool_size(POOL)
        .build()
}

/// TLS with a server whose certificate this authority signed; without one, an authority that the
/// machine trusts.
pub fn tls(authority: Option<&Path>) -> Tls {
    let mut options = TlsOptions::default();
    options.ca_file_path = authority.map(Path::to_owned);
    Tls::Enabled(options)
}
