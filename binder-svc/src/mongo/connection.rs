//! Options of a connection to an instance's database.

use std::{
    os::fd::{AsRawFd as _, OwnedFd},
    time::Duration,
};

use mongo::Login;
use mongodb::options::{ClientOptions, ServerAddress, Tls};
use plan::binding::{Database, TlsMode};

use super::Error;

const APP_NAME: &str = "mongodb-osb-binder";
/// How long to wait for a primary: after that the caller gets the error and tries again later.
const SELECTION: Duration = Duration::from_secs(3);

/// Options, and the file that they name: it must stay open as long as they are used.
pub(super) fn options(database: &Database) -> Result<(ClientOptions, Option<OwnedFd>), Error> {
    let hosts = database
        .hosts
        .iter()
        .map(|host| ServerAddress::parse(host).map_err(|_| unusable("a host")))
        .collect::<Result<Vec<_>, _>>()?;
    let password = database.admin.password.clone().into();
    let login = Login {
        username: &database.admin.username,
        password: &password,
        database: &database.admin.database,
    };
    let (tls, authority) = tls(database)?;
    let mut options = mongo::options(APP_NAME, hosts, SELECTION, Some(&login));
    options.repl_set_name.clone_from(&database.replica_set);
    options.tls = tls;
    Ok((options, authority))
}

/// TLS wherever the server can be verified, or must be. The driver takes the authority as a path
/// only: it is a file in memory, since the root file system is read-only.
fn tls(database: &Database) -> Result<(Option<Tls>, Option<OwnedFd>), Error> {
    match (database.tls.mode, &database.tls.ca) {
        (TlsMode::Disabled, _) | (TlsMode::Preferred, None) => Ok((None, None)),
        (TlsMode::Required, None) => Ok((Some(mongo::tls(None)), None)),
        (TlsMode::Preferred | TlsMode::Required, Some(pem)) => {
            let file = memory_file(pem).map_err(|_| unusable("the certificate authority"))?;
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            Ok((Some(mongo::tls(Some(path.as_ref()))), Some(file)))
        }
    }
}

fn memory_file(content: &str) -> std::io::Result<OwnedFd> {
    use std::io::Write as _;
    let file = rustix::fs::memfd_create("mongodb-ca", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(file);
    file.write_all(content.as_bytes())?;
    Ok(file.into())
}

/// A setting of the plan that the driver does not take.
pub(super) fn unusable(what: &str) -> Error {
    Error::Address(format!("{what} cannot be used"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_authority_can_be_read_again_and_again() {
        let file = memory_file("PEM").unwrap();
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        for _ in 0..2 {
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "PEM");
        }
    }
}
