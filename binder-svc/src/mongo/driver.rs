//! [`UserAdmin`] on real databases: one small connection pool per instance,
//! kept while it is used.

use std::{
    collections::HashMap,
    future::Future,
    os::fd::{AsRawFd as _, OwnedFd},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::future::{BoxFuture, FutureExt as _};
use mongodb::{
    Client,
    bson::{Bson, Document, doc},
    error::{Error as DriverError, ErrorKind},
    options::{
        AuthMechanism, ClientOptions, Credential, ServerAddress, Tls as DriverTls, TlsOptions,
    },
};
use plan::binding::{Database, TlsMode};
use secrecy::ExposeSecret as _;
use service::context::RequestContext;
use tokio::time::Instant;

use super::{Error, Found, Mark, NewUser, Target, UserAdmin};

/// The database that all users live in.
const USERS: &str = "admin";
const APP_NAME: &str = "mongodb-osb-binder";
/// No primary for this long: the caller hears of it and tries again later.
const SELECTION: Duration = Duration::from_secs(3);
const CONNECT: Duration = Duration::from_secs(2);
/// A majority must have a user within this time.
const MAJORITY: Duration = Duration::from_secs(5);
/// All of one call.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
/// mongod hashes one password at a time; more connections only wait.
const POOL: u32 = 4;
/// Monitoring an idle database costs it and us.
const IDLE: Duration = Duration::from_secs(300);

/// Codes of the server: the name is taken, the user is not there.
const USER_EXISTS: i32 = 51003;
const USER_NOT_FOUND: i32 = 11;
/// The admin lacks a right, or its login fails.
const LOGIN: [i32; 2] = [13, 18];
/// Elections, shutdowns, time limits: HostUnreachable, HostNotFound,
/// MaxTimeMSExpired, WriteConcernFailed, NetworkTimeout, ShutdownInProgress,
/// PrimarySteppedDown, ExceededTimeLimit, SocketException, NotWritablePrimary,
/// InterruptedAtShutdown, InterruptedDueToReplStateChange,
/// NotPrimaryNoSecondaryOk, NotPrimaryOrSecondary.
const PASSING: [i32; 14] = [
    6, 7, 50, 64, 89, 91, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436,
];

/// Pools by target.
#[derive(Debug, Default)]
pub struct Driver {
    pools: Mutex<HashMap<String, Pool>>,
}

#[derive(Debug)]
struct Pool {
    client: Client,
    used: Instant,
    /// The certificate authority as a file; the driver takes only a path.
    _authority: Option<OwnedFd>,
}

impl Driver {
    /// Closes pools that were not used for a while.
    pub fn evict_idle(&self) {
        let now = Instant::now();
        self.pools().retain(|_, pool| now - pool.used < IDLE);
    }

    fn client(&self, target: &Target) -> Result<Client, Error> {
        let mut pools = self.pools();
        if let Some(pool) = pools.get_mut(&target.key) {
            pool.used = Instant::now();
            return Ok(pool.client.clone());
        }
        let (options, authority) = options(&target.database)?;
        let client = Client::with_options(options).map_err(|_| unusable("its TLS settings"))?;
        let pool = Pool {
            client: client.clone(),
            used: Instant::now(),
            _authority: authority,
        };
        pools.insert(target.key.clone(), pool);
        Ok(client)
    }

    fn pools(&self) -> std::sync::MutexGuard<'_, HashMap<String, Pool>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(&self, target: &Target, command: Document) -> Result<Document, Error> {
        let client = self.client(target)?;
        let answer = within(async { client.database(USERS).run_command(command).await }).await?;
        match answer.get_document("writeConcernError") {
            // Done, but not yet by a majority.
            Ok(_) => Err(Error::Unreachable(None)),
            Err(_) => Ok(answer),
        }
    }

    async fn make(&self, target: &Target, user: &NewUser<'_>) -> Result<(), Error> {
        let roles: Vec<Document> = user
            .grant
            .roles
            .iter()
            .map(|role| doc! { "role": role.name(), "db": &user.grant.database })
            .collect();
        let command = doc! {
            "createUser": user.name,
            "pwd": user.password.expose_secret(),
            "roles": roles,
            "mechanisms": ["SCRAM-SHA-256"],
            "customData": custom_data(user.mark),
            "writeConcern": write_concern(),
            "comment": comment("bind", &user.mark.binding),
        };
        match self.run(target, command).await {
            Err(Error::Refused(error)) if code(&error) == Some(USER_EXISTS) => {
                self.confirm(target, user).await
            }
            other => other.map(drop),
        }
    }

    /// A user of that name is there: ours, from a call whose answer was lost?
    async fn confirm(&self, target: &Target, user: &NewUser<'_>) -> Result<(), Error> {
        let found = self.run(target, doc! { "usersInfo": user.name }).await?;
        let ours = users(&found)
            .into_iter()
            .any(|found| found.mark == *user.mark);
        if !ours {
            return Err(Error::Taken);
        }
        // Writes nothing new, but returns only when a majority has it.
        let command = doc! {
            "updateUser": user.name,
            "customData": custom_data(user.mark),
            "writeConcern": write_concern(),
        };
        self.run(target, command).await.map(drop)
    }

    async fn remove(&self, target: &Target, name: &str) -> Result<(), Error> {
        let command = doc! {
            "dropUser": name,
            "writeConcern": write_concern(),
            "comment": comment("unbind", name),
        };
        match self.run(target, command).await {
            Err(Error::Refused(error)) if code(&error) == Some(USER_NOT_FOUND) => Ok(()),
            other => other.map(drop),
        }
    }

    async fn list(&self, target: &Target, binding: Option<&str>) -> Result<Vec<Found>, Error> {
        let ours = binding.map_or_else(|| Bson::from(doc! { "$exists": true }), Bson::from);
        let filter = doc! { "customData.osb.binding": ours };
        let answer = self
            .run(target, doc! { "usersInfo": 1, "filter": filter })
            .await?;
        Ok(users(&answer))
    }
}

impl UserAdmin for Driver {
    fn create_user<'a>(
        &'a self,
        target: &'a Target,
        user: &'a NewUser<'a>,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.make(target, user).boxed()
    }

    fn drop_user<'a>(
        &'a self,
        target: &'a Target,
        name: &'a str,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.remove(target, name).boxed()
    }

    fn find_users<'a>(
        &'a self,
        target: &'a Target,
        binding: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<Found>, Error>> {
        self.list(target, binding).boxed()
    }
}

async fn within<T>(call: impl Future<Output = Result<T, DriverError>>) -> Result<T, Error> {
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(answer) => answer.map_err(sort),
        Err(_) => Err(Error::Unreachable(None)),
    }
}

/// By what is to be done about it.
fn sort(error: DriverError) -> Error {
    match error.kind.as_ref() {
        ErrorKind::Authentication { .. } => Error::Login(error),
        ErrorKind::Command(command) if LOGIN.contains(&command.code) => Error::Login(error),
        ErrorKind::Command(command) if PASSING.contains(&command.code) => {
            Error::Unreachable(Some(error))
        }
        ErrorKind::Command(_) | ErrorKind::InvalidArgument { .. } => Error::Refused(error),
        // Sockets, selection, DNS, pools: all that passes with the outage.
        _ => Error::Unreachable(Some(error)),
    }
}

fn code(error: &DriverError) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}

fn write_concern() -> Document {
    let millis = i64::try_from(MAJORITY.as_millis()).unwrap_or(i64::MAX);
    doc! { "w": "majority", "wtimeout": millis }
}

/// Shows in the server's log and profiler; the request id leads back to ours.
fn comment(verb: &str, what: &str) -> String {
    match RequestContext::current() {
        Some(context) => format!("mongodb-osb {verb} {what} request {}", context.request_id),
        None => format!("mongodb-osb {verb} {what}"),
    }
}

fn custom_data(mark: &Mark) -> Document {
    doc! { "osb": {
        "instance": &mark.instance,
        "binding": &mark.binding,
        "incarnation": &mark.incarnation,
        "attempt": i64::from(mark.attempt),
    } }
}

/// The users of an answer to `usersInfo` that carry our mark.
fn users(answer: &Document) -> Vec<Found> {
    let Ok(users) = answer.get_array("users") else {
        return Vec::new();
    };
    users
        .iter()
        .filter_map(Bson::as_document)
        .filter_map(found)
        .collect()
}

fn found(user: &Document) -> Option<Found> {
    let osb = user
        .get_document("customData")
        .ok()?
        .get_document("osb")
        .ok()?;
    let text = |key: &str| osb.get_str(key).ok().map(str::to_owned);
    let attempt = match osb.get("attempt")? {
        Bson::Int32(number) => u32::try_from(*number).ok()?,
        Bson::Int64(number) => u32::try_from(*number).ok()?,
        _ => return None,
    };
    Some(Found {
        name: user.get_str("user").ok()?.to_owned(),
        mark: Mark {
            instance: text("instance")?,
            binding: text("binding")?,
            incarnation: text("incarnation")?,
            attempt,
        },
    })
}

fn unusable(what: &str) -> Error {
    Error::Address(format!("{what} cannot be used"))
}

fn options(database: &Database) -> Result<(ClientOptions, Option<OwnedFd>), Error> {
    let hosts = database
        .hosts
        .iter()
        .map(|host| ServerAddress::parse(host).map_err(|_| unusable("a host")))
        .collect::<Result<Vec<_>, _>>()?;
    let credential = Credential::builder()
        .username(database.admin.username.clone())
        .password(database.admin.password.clone())
        .source(database.admin.database.clone())
        .mechanism(AuthMechanism::ScramSha256)
        .build();
    let (tls, authority) = tls(database)?;
    let mut options = ClientOptions::builder()
        .hosts(hosts)
        .app_name(APP_NAME.to_owned())
        .credential(credential)
        .server_selection_timeout(SELECTION)
        .connect_timeout(CONNECT)
        .max_pool_size(POOL)
        .build();
    options.repl_set_name.clone_from(&database.replica_set);
    options.tls = tls;
    Ok((options, authority))
}

/// Encrypted wherever we can verify the peer or have to; the authority goes
/// through a file in memory, since the root file system is read-only.
fn tls(database: &Database) -> Result<(Option<DriverTls>, Option<OwnedFd>), Error> {
    let enabled = |options| Some(DriverTls::Enabled(options));
    match (database.tls.mode, &database.tls.ca) {
        (TlsMode::Disabled, _) | (TlsMode::Preferred, None) => Ok((None, None)),
        (TlsMode::Required, None) => Ok((enabled(TlsOptions::default()), None)),
        (TlsMode::Preferred | TlsMode::Required, Some(pem)) => {
            let file = memory_file(pem).map_err(|_| unusable("the certificate authority"))?;
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            let mut options = TlsOptions::default();
            options.ca_file_path = Some(path.into());
            Ok((enabled(options), Some(file)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_users_with_our_mark_are_ours() {
        let mark = Mark {
            instance: "i".into(),
            binding: "b".into(),
            incarnation: "x".into(),
            attempt: 3,
        };
        let answer = doc! { "users": [
            { "user": "osb-admin" },
            { "user": "b-1", "customData": custom_data(&mark) },
            { "user": "by-hand", "customData": { "osb": "what" } },
        ] };
        assert_eq!(
            users(&answer),
            [Found {
                name: "b-1".into(),
                mark
            }]
        );
    }

    #[test]
    fn a_certificate_authority_can_be_read_again_and_again() {
        let file = memory_file("PEM").unwrap();
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        for _ in 0..2 {
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "PEM");
        }
    }
}
