//! Talking to mongod: this pod's, over loopback, where the localhost exception holds, and the
//! peers', for what they say of themselves. Every call has a deadline.

mod session;

use std::{fmt, path::PathBuf, time::Duration};

use mongo::{Failure, Login, users};
use mongodb::{
    Client,
    bson::{Document, doc},
    options::{ClientOptions, ServerAddress, ServerMonitoringMode},
};
use secrecy::SecretString;

use super::{
    answer::{Hello, ShapeError},
    args::RunArgs,
    version::{self, ServerVersion},
};

pub use session::AdminSession;

/// How long a call may take, waiting for a connection included.
const CALL: Duration = Duration::from_secs(10);
/// How long to wait for a mongod that does not answer.
const SELECTION: Duration = Duration::from_secs(2);
/// How slow a mongod may be before the connection that is kept counts as lost.
const PATIENCE: Duration = Duration::from_secs(60);
/// Shows in mongod's log.
const APP_NAME: &str = "mongo-bootstrap";
/// The roles of the admin user, all on `admin`: making users and granting them any role, changing
/// the membership, reading the state of the set. It can read no data, other than by granting
/// itself that.
const ADMIN_ROLES: [&str; 3] = ["userAdminAnyDatabase", "clusterManager", "clusterMonitor"];
/// mongod's number of the error for a set that is initiated already.
const ALREADY_INITIALIZED: i32 = 23;

/// A call that failed.
#[derive(Debug, thiserror::Error)]
pub enum MongodError {
    /// mongod does not answer, or is in an election or a shutdown.
    #[error("mongod does not answer")]
    Unreachable(#[source] Option<mongodb::error::Error>),
    /// The command needs a login: there are users.
    #[error("mongod requires a login")]
    LoginNeeded,
    /// The user does not exist, or has another password.
    #[error("mongod refuses the login")]
    LoginRefused,
    /// mongod refuses the command.
    #[error("mongod refuses {command}: {reason}")]
    Refused {
        /// The command's name.
        command: String,
        /// mongod's text and its name of the error.
        reason: String,
    },
    /// The answer is not understood.
    #[error("understand mongod's answer")]
    Shape(#[from] ShapeError),
    /// The password cannot be read.
    #[error("read the password file {}", path.display())]
    Password {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The driver does not take the settings.
    #[error("set up the driver")]
    Driver(#[source] mongodb::error::Error),
}

/// This pod's mongod. Clones share their connections.
#[derive(Clone)]
pub struct Mongod {
    address: ServerAddress,
    ca: Option<PathBuf>,
    admin_user: String,
    admin_password_file: PathBuf,
    anonymous: Client,
}

impl fmt::Debug for Mongod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mongod")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Mongod {
    /// Sets up connections; none is opened yet.
    pub fn new(args: &RunArgs) -> Result<Self, MongodError> {
        let address = ServerAddress::parse(&args.mongod).map_err(MongodError::Driver)?;
        let anonymous = connect(address.clone(), args.ca.as_ref(), None)?;
        Ok(Self {
            address,
            ca: args.ca.clone(),
            admin_user: args.admin_user.clone(),
            admin_password_file: args.admin_password_file.clone(),
            anonymous,
        })
    }

    /// `hello`, which needs no login.
    pub async fn hello(&self) -> Result<Hello, MongodError> {
        hello(&self.anonymous).await
    }

    /// `hello` of a peer. Absent if it does not answer.
    pub async fn hello_of(&self, host: &str) -> Option<Hello> {
        let address = ServerAddress::parse(host).ok()?;
        let client = connect(address, self.ca.as_ref(), None).ok()?;
        let answer = hello(&client).await.ok();
        client.shutdown().immediate(true).await;
        answer
    }

    /// Whether there is any user. Without one, whoever connects over loopback may create the first
    /// and read the status; with one, that needs a login.
    pub async fn has_users(&self) -> Result<bool, MongodError> {
        match call(&self.anonymous, doc! { "replSetGetStatus": 1 }).await {
            // Rights are checked first: if anything else is refused, such as the status without a
            // set, no login was needed.
            Ok(_) | Err(MongodError::Refused { .. }) => Ok(false),
            Err(MongodError::LoginNeeded) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Initiates the set. Changes nothing where it is initiated already.
    pub async fn initiate(&self, config: Document) -> Result<(), MongodError> {
        let command = doc! { "replSetInitiate": config };
        call_unless(&self.anonymous, ALREADY_INITIALIZED, command).await
    }

    /// Creates the admin user through the localhost exception. One that exists stays as it is.
    pub async fn create_admin(&self) -> Result<(), MongodError> {
        let command = users::create(&users::NewUser {
            name: &self.admin_user,
            password: &self.password()?,
            roles: ADMIN_ROLES.iter().map(|role| (*role, "admin")).collect(),
            custom_data: None,
            comment: APP_NAME,
        });
        call_unless(&self.anonymous, users::EXISTS, command).await
    }

    /// The version of a peer's server. Absent if it does not answer.
    pub async fn server_of(&self, host: &str) -> Option<ServerVersion> {
        // With a login: later servers require one for their version.
        let address = ServerAddress::parse(host).ok()?;
        let session = self.log_in_at(address).await.ok()?;
        let answer = session.build_info().await;
        session.close().await;
        version::of_build(&answer.ok()?).ok()
    }

    /// Logs in with the password that the Secret holds now.
    pub async fn log_in(&self) -> Result<AdminSession, MongodError> {
        self.log_in_at(self.address.clone()).await
    }

    async fn log_in_at(&self, address: ServerAddress) -> Result<AdminSession, MongodError> {
        let login = Login {
            username: &self.admin_user,
            password: &self.password()?,
            database: "admin",
        };
        let client = connect(address, self.ca.as_ref(), Some(&login))?;
        AdminSession::open(client).await
    }

    /// The same over a single connection that is never closed. Its server is looked at seldom and
    /// with patience: the driver closes connections to one that is slow to answer its look.
    pub async fn log_in_to_keep(&self) -> Result<AdminSession, MongodError> {
        let password = self.password()?;
        let login = Login {
            username: &self.admin_user,
            password: &password,
            database: "admin",
        };
        let mut options = options(self.address.clone(), self.ca.as_ref(), Some(&login));
        options.max_pool_size = Some(1);
        options.min_pool_size = Some(1);
        options.connect_timeout = Some(PATIENCE);
        options.heartbeat_freq = Some(PATIENCE);
        options.server_monitoring_mode = Some(ServerMonitoringMode::Poll);
        let client = Client::with_options(options).map_err(MongodError::Driver)?;
        AdminSession::open(client).await
    }

    fn password(&self) -> Result<SecretString, MongodError> {
        let path = &self.admin_password_file;
        std::fs::read_to_string(path)
            .map(|text| text.trim_end_matches(['\r', '\n']).into())
            .map_err(|source| MongodError::Password {
                path: path.clone(),
                source,
            })
    }
}

async fn hello(client: &Client) -> Result<Hello, MongodError> {
    let answer = call(client, doc! { "hello": 1 }).await?;
    Ok(Hello::read(&answer))
}

fn connect(
    address: ServerAddress,
    ca: Option<&PathBuf>,
    login: Option<&Login<'_>>,
) -> Result<Client, MongodError> {
    Client::with_options(options(address, ca, login)).map_err(MongodError::Driver)
}

fn options(
    address: ServerAddress,
    ca: Option<&PathBuf>,
    login: Option<&Login<'_>>,
) -> ClientOptions {
    let mut options = mongo::options(APP_NAME, vec![address], SELECTION, login);
    options.direct_connection = Some(true);
    options.tls = ca.map(|file| mongo::tls(Some(file)));
    options
}

/// Runs a command on `admin`.
async fn call(client: &Client, command: Document) -> Result<Document, MongodError> {
    call_within(CALL, client, command).await
}

async fn call_within(
    limit: Duration,
    client: &Client,
    command: Document,
) -> Result<Document, MongodError> {
    let name = name_of(&command);
    let answer = mongo::run(client, limit, command).await;
    answer.map_err(|failure| error_of(failure, name))
}

/// Runs a command on `admin`. The error with this number counts as success.
async fn call_unless(client: &Client, harmless: i32, command: Document) -> Result<(), MongodError> {
    let name = name_of(&command);
    match mongo::run(client, CALL, command).await {
        Ok(_) => Ok(()),
        Err(failure) if failure.code() == Some(harmless) => Ok(()),
        Err(failure) => Err(error_of(failure, name)),
    }
}

fn error_of(failure: Failure, command: String) -> MongodError {
    match failure {
        Failure::Unavailable(error) => MongodError::Unreachable(error),
        Failure::Unauthorized(_) => MongodError::LoginNeeded,
        Failure::LoginRefused(_) => MongodError::LoginRefused,
        Failure::Refused(_) => MongodError::Refused {
            command,
            reason: failure.reason(),
        },
    }
}

/// A command's name is its first key.
fn name_of(command: &Document) -> String {
    command.keys().next().cloned().unwrap_or_default()
}
