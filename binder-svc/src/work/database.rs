//! Method `database`: the broker makes a user in the instance's database and
//! drops it again.

mod revoke;

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use secrecy::ExposeSecret as _;

use super::method::{Goal, Issue, Method, Place, Session, Site};
use crate::{
    credentials::Issued,
    error::Error,
    ledger::{Attempt, Login, Record},
    login,
    mongo::{Found, Made, Mark, NewUser, Target},
    request::Request,
    resource::Kind,
};

/// What was done, or found done.
#[derive(Debug, Default)]
struct Observed {
    /// The user is there, and its password in its Secret.
    created: bool,
    /// The users that had to go are gone.
    dropped: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Make the user, and put its password into a Secret.
    CreateUser,
    /// Drop the users that must not be there.
    DropUsers,
}

impl Step {
    const fn name(self) -> &'static str {
        match self {
            Self::CreateUser => "CreateUser",
            Self::DropUsers => "DropUsers",
        }
    }
}

fn next(goal: Goal, observed: &Observed) -> Option<Step> {
    match goal {
        Goal::Made if !observed.created => Some(Step::CreateUser),
        Goal::Revoked if !observed.dropped => Some(Step::DropUsers),
        Goal::Made | Goal::Revoked => None,
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Database {
    observed: Observed,
    issue: Option<Issue>,
}

impl Method for Database {
    fn next(&self, goal: Goal) -> Option<&'static str> {
        next(goal, &self.observed).map(Step::name)
    }

    fn advance<'a>(&'a mut self, goal: Goal, site: Site<'a>) -> BoxFuture<'a, Result<(), Error>> {
        async move {
            match next(goal, &self.observed) {
                Some(Step::CreateUser) => self.create_user(&site).await,
                Some(Step::DropUsers) => {
                    revoke::drop_users(&site).await?;
                    self.observed.dropped = true;
                    Ok(())
                }
                None => Ok(()),
            }
        }
        .boxed()
    }

    fn restart(&mut self) {
        self.observed = Observed::default();
    }

    fn issue(&self) -> Option<&Issue> {
        self.issue.as_ref()
    }

    fn find<'a>(&'a self, place: &'a Place<'a>) -> BoxFuture<'a, Result<Vec<Found>, Error>> {
        async move {
            let target = target(place).await?;
            Ok(place.context.users.find_users(&target, None).await?)
        }
        .boxed()
    }

    fn revoke<'a>(
        &'a self,
        place: &'a Place<'a>,
        name: &'a str,
    ) -> BoxFuture<'a, Result<(), Error>> {
        async move {
            let target = target(place).await?;
            Ok(place.context.users.drop_user(&target, name).await?)
        }
        .boxed()
    }

    fn close<'a>(&'a self, place: &'a Place<'a>) -> BoxFuture<'a, ()> {
        async move {
            // One that cannot be worked out was never opened.
            if let Ok(target) = target(place).await {
                place.context.users.close(&target).await;
            }
        }
        .boxed()
    }
}

impl Database {
    async fn create_user(&mut self, site: &Site<'_>) -> Result<(), Error> {
        let target = target(&site.place).await?;
        let login = &attempt_of(site.record)?.login;
        let issued = make_login(site, &target).await;
        // Also after a failure: the user may be there all the same.
        if !site.turn.is_in_term() {
            confirm_user(site, &target, login).await?;
        }
        self.issue = Some(Issue {
            user: login.user.clone(),
            issued: Arc::new(issued?),
        });
        self.observed.created = true;
        Ok(())
    }
}

async fn target(place: &Place<'_>) -> Result<Arc<Target>, Error> {
    let target = place
        .context
        .databases
        .of(place.instance, &place.plan)
        .await?;
    Ok(match place.session {
        Session::Kept => target,
        Session::Once => Arc::new(target.apart()),
    })
}

fn request<'a>(site: &'a Site<'_>) -> Result<&'a Request, Error> {
    let name = &site.record.spec().request;
    site.request
        .as_deref()
        .ok_or_else(|| Error::Secret(name.clone()))
}

fn attempt_of(record: &Record) -> Result<&Attempt, Error> {
    let attempt = record.ledger.attempt.as_ref();
    attempt.ok_or_else(|| Error::NoAttempt(record.name().to_owned()))
}

/// User and Secret are made side by side: nobody is told of either before both
/// are there, and whoever takes over makes others. Only the password in the
/// Secret counts; if it is an earlier try's, the user gets that one.
async fn make_login(site: &Site<'_>, target: &Target) -> Result<Issued, Error> {
    let request = request(site)?;
    let (context, record) = (site.place.context, site.record);
    let attempt = attempt_of(record)?;
    let login = &attempt.login;
    let password = login::password();
    let database = &request.grant.database;
    let issued = Issued::new(&target.database, database, &login.user, &password);
    let mark = Mark {
        instance: cluster::names::instance_record(&record.spec().instance_id),
        binding: record.name().to_owned(),
        incarnation: record.spec().incarnation.clone(),
        attempt: attempt.number,
    };
    let user = NewUser {
        name: &login.user,
        password: &password,
        grant: &request.grant,
        mark: &mark,
    };
    let stored = context.store.write_login(&login.secret, record, issued);
    let created = context.users.create_user(target, &user);
    let (stored, created) = futures::join!(stored, created);
    let (issued, created) = (stored?, created?);
    let stored = issued.password();
    let stored = stored.ok_or_else(|| Error::Secret(login.secret.clone()))?;
    let is_same = stored.expose_secret() == password.expose_secret();
    if !is_same || created == Made::Found {
        let user = NewUser {
            password: &stored,
            ..user
        };
        context.users.set_password(target, &user).await?;
    }
    Ok(issued)
}

/// A replica that was paused may have made its user when its attempt had been
/// given up, even revoked: then the user goes again.
async fn confirm_user(site: &Site<'_>, target: &Target, login: &Login) -> Result<(), Error> {
    let context = site.place.context;
    let current = context.store.read(site.record.name()).await?;
    let wanted = current
        .filter(|record| !record.is_open(Kind::Unbind))
        .and_then(|record| record.ledger.attempt)
        .is_some_and(|attempt| attempt.login == *login);
    if wanted {
        return Ok(());
    }
    context.users.drop_user(target, &login.user).await?;
    Err(Error::Cluster(cluster::Error::Conflict))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_done_twice() {
        let mut observed = Observed::default();
        assert_eq!(next(Goal::Made, &observed), Some(Step::CreateUser));
        observed.created = true;
        assert_eq!(next(Goal::Made, &observed), None);
        assert_eq!(next(Goal::Revoked, &observed), Some(Step::DropUsers));
        observed.dropped = true;
        assert_eq!(next(Goal::Revoked, &observed), None);
    }

    #[test]
    fn a_new_version_of_the_record_is_worked_on_from_the_start() {
        let mut method = Database::default();
        method.observed.created = true;
        method.observed.dropped = true;
        method.restart();
        assert_eq!(method.next(Goal::Made), Some("CreateUser"));
        assert_eq!(method.next(Goal::Revoked), Some("DropUsers"));
    }
}
