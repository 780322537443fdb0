//! [`UserAdmin`] on real databases: one small connection pool per instance,
//! kept while it is used.

use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::future::{BoxFuture, FutureExt as _};
use mongo::{Failure, marks, roles, users};
use mongodb::{
    Client,
    bson::{Document, doc},
};
use service::context::RequestContext;
use tokio::time::Instant;

use super::{Error, Found, Made, NewUser, Target, UserAdmin, connection, role};
use crate::grant::Role;

/// All of one call.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
/// How long a pool is kept unused: monitoring an idle database costs it and us.
const IDLE: Duration = Duration::from_secs(300);

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
        let (options, authority) = connection::options(&target.database)?;
        let client =
            Client::with_options(options).map_err(|_| connection::unusable("its TLS settings"))?;
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
        self.try_run(target, command).await?.map_err(Error::from)
    }

    /// The outer error is of the target's settings, the inner one of the command.
    async fn try_run(
        &self,
        target: &Target,
        command: Document,
    ) -> Result<Result<Document, Failure>, Error> {
        self.try_run_in(target, "admin", command).await
    }

    async fn try_run_in(
        &self,
        target: &Target,
        database: &str,
        command: Document,
    ) -> Result<Result<Document, Failure>, Error> {
        let client = self.client(target)?;
        Ok(mongo::run_in(&client, database, DEADLINE, command).await)
    }

    async fn make(&self, target: &Target, user: &NewUser<'_>) -> Result<Made, Error> {
        let comment = comment("bind", &user.mark.binding);
        if role::is_needed(user.grant) {
            self.make_role(target, &user.grant.database, &comment)
                .await?;
        }
        let command = users::create(&as_asked(user, &comment));
        match self.try_run(target, command).await? {
            Ok(_) => return Ok(Made::New),
            Err(failure) if failure.code() == Some(users::EXISTS) => {}
            Err(failure) => return Err(failure.into()),
        }
        // Was it made by a call whose answer was lost?
        let found = self.run(target, doc! { "usersInfo": user.name }).await?;
        let ours = marks::users(&found)
            .into_iter()
            .any(|found| found.mark == *user.mark);
        if ours {
            Ok(Made::Found)
        } else {
            Err(Error::Taken)
        }
    }

    /// Makes the role that stands in for `dbAdmin`, or makes it anew: the server may be another
    /// version by now. Binds that do it at the same time do the same.
    async fn make_role(&self, target: &Target, database: &str, comment: &str) -> Result<(), Error> {
        let asked = roles::privileges(Role::DbAdmin.name());
        let answer = self.try_run_in(target, database, asked).await??;
        let privileges = roles::privileges_of(&answer).unwrap_or_default();
        let privileges = role::narrowed(&privileges, database);
        let create = roles::create(role::DB_ADMIN, &privileges, comment);
        match self.try_run_in(target, database, create).await? {
            Ok(_) => return Ok(()),
            Err(failure) if failure.code() == Some(roles::EXISTS) => {}
            Err(failure) => return Err(failure.into()),
        }
        let update = roles::update(role::DB_ADMIN, &privileges, comment);
        self.try_run_in(target, database, update).await??;
        Ok(())
    }

    /// Returns, as createUser does, once a majority has it.
    async fn change(&self, target: &Target, user: &NewUser<'_>) -> Result<(), Error> {
        let comment = comment("bind", &user.mark.binding);
        let command = users::update(&as_asked(user, &comment));
        match self.try_run(target, command).await? {
            Ok(_) => Ok(()),
            // Undone by an election: the next try makes it anew.
            Err(failure) if failure.code() == Some(users::NOT_FOUND) => {
                Err(Error::Unreachable(None))
            }
            Err(failure) => Err(failure.into()),
        }
    }

    async fn remove(&self, target: &Target, name: &str) -> Result<(), Error> {
        let command = users::drop(name, &comment("unbind", name));
        match self.try_run(target, command).await? {
            Ok(_) => Ok(()),
            Err(failure) if failure.code() == Some(users::NOT_FOUND) => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }

    async fn list(&self, target: &Target, binding: Option<&str>) -> Result<Vec<Found>, Error> {
        let answer = self.run(target, marks::find(binding)).await?;
        Ok(marks::users(&answer))
    }
}

impl UserAdmin for Driver {
    fn create_user<'a>(
        &'a self,
        target: &'a Target,
        user: &'a NewUser<'a>,
    ) -> BoxFuture<'a, Result<Made, Error>> {
        self.make(target, user).boxed()
    }

    fn set_password<'a>(
        &'a self,
        target: &'a Target,
        user: &'a NewUser<'a>,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.change(target, user).boxed()
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

    fn close<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, ()> {
        let pool = self.pools().remove(&target.key);
        async move {
            if let Some(pool) = pool {
                pool.client.shutdown().await;
            }
        }
        .boxed()
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unavailable(error) => Self::Unreachable(error),
            Failure::Unauthorized(error) | Failure::LoginRefused(error) => Self::Login(error),
            Failure::Refused(error) => Self::Refused(error),
        }
    }
}

/// The user as the commands take it.
fn as_asked<'a>(user: &NewUser<'a>, comment: &'a str) -> users::NewUser<'a> {
    let grant = user.grant;
    let roles = grant.roles.iter().map(|role| role::granted(*role));
    users::NewUser {
        name: user.name,
        password: user.password,
        roles: roles.map(|role| (role, &*grant.database)).collect(),
        custom_data: Some(marks::custom_data(user.mark)),
        comment,
    }
}

/// Shows in the server's log and profiler; the request id leads back to ours.
fn comment(verb: &str, what: &str) -> String {
    match RequestContext::current() {
        Some(context) => format!("mongodb-osb {verb} {what} request {}", context.request_id),
        None => format!("mongodb-osb {verb} {what}"),
    }
}
