//! A connection to this pod's mongod that is always kept, with the admin user logged in. mongod
//! counts connections before any login, so strangers can take all that are left; this one they
//! cannot. It is opened before the pod is ready, and opened again at once when it is lost.

use std::time::Duration;

use tokio::sync::watch;

use super::{
    answer::Hello,
    mongod::{AdminSession, Mongod, MongodError},
};

/// Whether there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Not yet, or it is lost.
    Missing,
    /// It is there.
    Held,
    /// The admin user's password is not the one in the Secret.
    Refused,
}

/// Keeps it.
pub(super) struct Reserve {
    mongod: Mongod,
    session: Option<AdminSession>,
    state: watch::Sender<State>,
}

/// The pause before one that was lost is opened again: short, since strangers try as well.
pub(super) const REOPEN: Duration = Duration::from_millis(200);

impl Reserve {
    pub(super) fn new(mongod: Mongod) -> Self {
        Self {
            mongod,
            session: None,
            state: watch::Sender::new(State::Missing),
        }
    }

    /// Whether there is one, from now on.
    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// The connection, opened if need be, and what mongod says of itself over it.
    pub(super) async fn look(&mut self) -> Result<(AdminSession, Hello), MongodError> {
        let looked = self.try_look().await;
        let state = match &looked {
            Ok(_) => State::Held,
            Err(MongodError::LoginRefused) => State::Refused,
            Err(_) => State::Missing,
        };
        if self.state.send_replace(state) != state {
            tracing::info!(?state, "the connection in reserve");
        }
        looked
    }

    /// The next look logs in again.
    pub(super) fn log_in_again(&mut self) {
        self.session = None;
    }

    async fn try_look(&mut self) -> Result<(AdminSession, Hello), MongodError> {
        let session = match &self.session {
            Some(session) => session.clone(),
            // A missing user and a wrong password are the same error.
            None if !self.mongod.has_users().await? => return Err(MongodError::LoginNeeded),
            None => self.mongod.log_in_to_keep().await?,
        };
        // The driver opens a connection that was lost by itself, with the password that it has.
        let hello = session.hello().await;
        self.session = match &hello {
            Ok(_) | Err(MongodError::Unreachable(_)) => Some(session.clone()),
            Err(_) => None,
        };
        Ok((session, hello?))
    }
}
