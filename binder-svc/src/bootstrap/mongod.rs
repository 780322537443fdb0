//! Talking to mongod: this pod's, over loopback, where the localhost exception holds, and to the
//! peers' for a `hello`. Every call has a deadline.

use std::{fmt, path::PathBuf, time::Duration};

use mongodb::{
    Client,
    bson::{Document, doc, oid::ObjectId},
    error::ErrorKind,
    options::{AuthMechanism, ClientOptions, Credential, ServerAddress, Tls, TlsOptions},
};

use super::{
    args::RunArgs,
    replica_set::{SetConfig, ShapeError},
    version::{self, Level, ServerVersion},
};

/// How long a call may take, waiting for a connection included.
const CALL: Duration = Duration::from_secs(10);
/// How long the one long call may take: the primary converts what must be before it answers.
const RAISE: Duration = Duration::from_secs(120);
/// How long to wait for a mongod that does not answer.
const SELECTION: Duration = Duration::from_secs(2);
/// How long a primary that steps down waits for another to catch up, in seconds.
const CATCH_UP_SECONDS: i32 = 5;
/// For how long it then does not stand for election, in seconds.
const STEP_DOWN_SECONDS: i32 = 60;
/// The roles of the admin user, all on `admin`: making users and granting them any role, changing
/// the membership, seeing how the set is. It can read no data, other than by granting itself that.
const ADMIN_ROLES: [&str; 3] = ["userAdminAnyDatabase", "clusterManager", "clusterMonitor"];

mod code {
    //! mongod's numbers of errors.
    pub(super) const UNAUTHORIZED: i32 = 13;
    pub(super) const AUTHENTICATION_FAILED: i32 = 18;
    pub(super) const ALREADY_INITIALIZED: i32 = 23;
    pub(super) const USER_EXISTS: i32 = 51003;
}

/// A call that failed.
#[derive(Debug, thiserror::Error)]
pub enum MongodError {
    /// mongod does not answer.
    #[error("mongod does not answer")]
    Unreachable(#[source] Option<mongodb::error::Error>),
    /// Nobody is logged in and that would be needed: there are users.
    #[error("mongod wants a login")]
    LoginNeeded,
    /// The user or the password is wrong.
    #[error("mongod refuses the login")]
    LoginRefused,
    /// mongod refuses the command.
    #[error("mongod refuses {command}: {message} ({name})")]
    Refused {
        /// The command's name.
        command: &'static str,
        /// mongod's name of the error.
        name: String,
        /// mongod's text.
        message: String,
    },
    /// The answer is not understood.
    #[error("understand mongod's answer")]
    Shape(#[from] ShapeError),
    /// The settings cannot be used.
    #[error("use {what}")]
    Settings {
        /// Which of them.
        what: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The driver cannot be set up.
    #[error("set up the driver")]
    Driver(#[source] mongodb::error::Error),
}

/// The answer to `hello`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The process that answered: another one after each start.
    pub process: Option<ObjectId>,
    /// The set that it is in.
    pub set: Option<String>,
    /// Its own name there.
    pub me: Option<String>,
    /// The members that vote.
    pub hosts: Vec<String>,
    /// Those that cannot be primary.
    pub passives: Vec<String>,
    /// The primary it knows.
    pub primary: Option<String>,
    /// What it is.
    pub role: Role,
}

/// What a mongod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It takes writes.
    Primary,
    /// It follows, and has all data.
    Secondary,
    /// Neither.
    Other,
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

/// This pod's mongod, logged in as the admin user.
#[derive(Clone)]
pub struct AdminSession(Client);

impl Mongod {
    /// Sets up connections; none is made yet.
    pub fn new(args: &RunArgs) -> Result<Self, MongodError> {
        let address = ServerAddress::parse(&args.mongod).map_err(MongodError::Driver)?;
        let anonymous = connect(address.clone(), args.ca.clone(), None)?;
        Ok(Self {
            address,
            ca: args.ca.clone(),
            admin_user: args.admin_user.clone(),
            admin_password_file: args.admin_password_file.clone(),
            anonymous,
        })
    }

    /// What it is, without a login.
    pub async fn hello(&self) -> Result<Hello, MongodError> {
        hello(&self.anonymous).await
    }

    /// What a peer is, without a login. Absent if it does not answer.
    pub async fn hello_of(&self, host: &str) -> Option<Hello> {
        let address = ServerAddress::parse(host).ok()?;
        let client = connect(address, self.ca.clone(), None).ok()?;
        let answer = hello(&client).await.ok();
        client.shutdown().immediate(true).await;
        answer
    }

    /// Whether there is any user. Without one, whoever connects over loopback may make the first
    /// and see how the set is; with one, that needs a login.
    pub async fn has_users(&self) -> Result<bool, MongodError> {
        match call(&self.anonymous, doc! { "replSetGetStatus": 1 }).await {
            // Rights are checked first: whatever else is refused, such as the status of no set, a
            // login was not missed.
            Ok(_) | Err(MongodError::Refused { .. }) => Ok(false),
            Err(MongodError::LoginNeeded) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Starts the set. Harmless where there is one: mongod refuses, and that is fine.
    pub async fn initiate(&self, config: Document) -> Result<(), MongodError> {
        let answer = run(&self.anonymous, doc! { "replSetInitiate": config }).await;
        unless(answer, code::ALREADY_INITIALIZED, "replSetInitiate")
    }

    /// Makes the admin user through the localhost exception. If it is there, it stays as it is.
    pub async fn create_admin(&self) -> Result<(), MongodError> {
        let roles: Vec<Document> = ADMIN_ROLES
            .iter()
            .map(|role| doc! { "role": role, "db": "admin" })
            .collect();
        let command = doc! {
            "createUser": &self.admin_user,
            "pwd": self.password()?,
            "roles": roles,
            "mechanisms": ["SCRAM-SHA-256"],
            "writeConcern": { "w": "majority", "wtimeout": 5000 },
            "comment": "mongo-bootstrap",
        };
        unless(
            run(&self.anonymous, command).await,
            code::USER_EXISTS,
            "createUser",
        )
    }

    /// The version of a peer's server. Absent if it does not answer.
    pub async fn server_of(&self, host: &str) -> Option<ServerVersion> {
        // With a login: later servers tell their version to nobody without one.
        let address = ServerAddress::parse(host).ok()?;
        let session = self.log_in_at(address).await.ok()?;
        let answer = call(&session.0, doc! { "buildInfo": 1 }).await;
        session.0.shutdown().immediate(true).await;
        version::of_build(&answer.ok()?).ok()
    }

    /// Logs in with the password that the Secret holds now.
    pub async fn log_in(&self) -> Result<AdminSession, MongodError> {
        self.log_in_at(self.address.clone()).await
    }

    async fn log_in_at(&self, address: ServerAddress) -> Result<AdminSession, MongodError> {
        let credential = Credential::builder()
            .username(self.admin_user.clone())
            .password(self.password()?)
            .source("admin".to_owned())
            .mechanism(AuthMechanism::ScramSha256)
            .build();
        let session = AdminSession(connect(address, self.ca.clone(), Some(credential))?);
        // The login happens with the first command; this one needs no rights.
        call(&session.0, doc! { "ping": 1 }).await?;
        Ok(session)
    }

    fn password(&self) -> Result<String, MongodError> {
        let path = &self.admin_password_file;
        std::fs::read_to_string(path)
            .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
            .map_err(|source| MongodError::Settings {
                what: format!("the password file {}", path.display()),
                source,
            })
    }
}

impl AdminSession {
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
        call(&self.0, doc! { "replSetReconfig": config.into_document() })
            .await
            .map(drop)
    }

    /// The feature compatibility version.
    pub async fn level(&self) -> Result<Level, MongodError> {
        Ok(Level::read(&call(&self.0, Level::question()).await?)?)
    }

    /// Raises the feature compatibility version. Harmless where it is that already.
    pub async fn raise_level(
        &self,
        to: ServerVersion,
        server: ServerVersion,
    ) -> Result<(), MongodError> {
        let command = version::raise(to, server);
        run_within(RAISE, &self.0, command)
            .await
            .map(drop)
            .map_err(|failure| failure.sorted("setFeatureCompatibilityVersion"))
    }

    /// Lets another member be primary. Fails if none has caught up in time.
    pub async fn step_down(&self) -> Result<(), MongodError> {
        let command = doc! {
            "replSetStepDown": STEP_DOWN_SECONDS,
            "secondaryCatchUpPeriodSecs": CATCH_UP_SECONDS,
        };
        call(&self.0, command).await.map(drop)
    }
}

async fn hello(client: &Client) -> Result<Hello, MongodError> {
    let answer = call(client, doc! { "hello": 1 }).await?;
    let text = |key| answer.get_str(key).ok().map(str::to_owned);
    let list = |key| {
        let items = answer.get_array(key).map_or(&[][..], Vec::as_slice);
        items
            .iter()
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect()
    };
    let flag = |key| answer.get_bool(key).unwrap_or(false);
    let version = answer.get_document("topologyVersion").ok();
    Ok(Hello {
        process: version.and_then(|version| version.get_object_id("processId").ok()),
        set: text("setName"),
        me: text("me"),
        hosts: list("hosts"),
        passives: list("passives"),
        primary: text("primary"),
        role: match (flag("isWritablePrimary"), flag("secondary")) {
            (true, _) => Role::Primary,
            (false, true) => Role::Secondary,
            (false, false) => Role::Other,
        },
    })
}

fn connect(
    address: ServerAddress,
    ca: Option<PathBuf>,
    credential: Option<Credential>,
) -> Result<Client, MongodError> {
    let tls = ca.map(|file| Tls::Enabled(TlsOptions::builder().ca_file_path(file).build()));
    let options = ClientOptions::builder()
        .hosts(vec![address])
        .direct_connection(true)
        .app_name("mongo-bootstrap".to_owned())
        .max_pool_size(4)
        .connect_timeout(SELECTION)
        .server_selection_timeout(SELECTION)
        .tls(tls)
        .credential(credential)
        .build();
    Client::with_options(options).map_err(MongodError::Driver)
}

/// Runs a command on `admin` and sorts its errors.
async fn call(client: &Client, command: Document) -> Result<Document, MongodError> {
    let name = name_of(&command);
    run(client, command)
        .await
        .map_err(|failure| failure.sorted(name))
}

/// A command that failed: by mongod's word, or without one.
enum Failure {
    Error(mongodb::error::Error),
    Deadline,
}

impl Failure {
    fn code(&self) -> Option<i32> {
        match self {
            Self::Error(error) => code_of(error),
            Self::Deadline => None,
        }
    }

    fn sorted(self, command: &'static str) -> MongodError {
        let error = match self {
            Self::Deadline => return MongodError::Unreachable(None),
            Self::Error(error) => error,
        };
        match error.kind.as_ref() {
            ErrorKind::Authentication { .. } => MongodError::LoginRefused,
            ErrorKind::Command(refusal) => match refusal.code {
                code::UNAUTHORIZED => MongodError::LoginNeeded,
                code::AUTHENTICATION_FAILED => MongodError::LoginRefused,
                _ => MongodError::Refused {
                    command,
                    name: refusal.code_name.clone(),
                    message: refusal.message.clone(),
                },
            },
            _ => MongodError::Unreachable(Some(error)),
        }
    }
}

async fn run(client: &Client, command: Document) -> Result<Document, Failure> {
    run_within(CALL, client, command).await
}

async fn run_within(
    limit: Duration,
    client: &Client,
    command: Document,
) -> Result<Document, Failure> {
    let database = client.database("admin");
    match tokio::time::timeout(limit, database.run_command(command)).await {
        Ok(answer) => answer.map_err(Failure::Error),
        Err(_) => Err(Failure::Deadline),
    }
}

/// Takes one error of mongod's for a success.
fn unless(
    answer: Result<Document, Failure>,
    harmless: i32,
    command: &'static str,
) -> Result<(), MongodError> {
    match answer {
        Ok(_) => Ok(()),
        Err(failure) if failure.code() == Some(harmless) => Ok(()),
        Err(failure) => Err(failure.sorted(command)),
    }
}

fn code_of(error: &mongodb::error::Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(refusal) => Some(refusal.code),
        _ => None,
    }
}

/// The command's name, of those that are sent with [`call`].
fn name_of(command: &Document) -> &'static str {
    const NAMES: [&str; 8] = [
        "hello",
        "ping",
        "replSetGetStatus",
        "replSetGetConfig",
        "replSetReconfig",
        "replSetStepDown",
        "getParameter",
        "buildInfo",
    ];
    NAMES
        .into_iter()
        .find(|name| command.contains_key(name))
        .unwrap_or("a command")
}
