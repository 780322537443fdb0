//! The pod's probes, for the kubelet.
//!
//! `/ready`: mongod is primary or secondary, votes, the set has its admin user, so that a set whose
//! pods are ready can be used, and a connection is in reserve (unless the password is another one). Needs neither a login nor the API server.
//! `/live`: fails only where a restart of mongod helps: when it has not answered for long after it
//! had answered before, or did not find its own name in the configuration when it started. Never
//! while it starts, recovers or copies data, however long that takes.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::{net::TcpListener, sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    answer::{Hello, Role},
    mongod::{Mongod, MongodError},
    observed::{MongodState, Observed},
    reserve,
};

/// How long mongod may take to answer a probe's call.
const CALL: Duration = Duration::from_secs(3);
/// How long a probe waits for the connection in reserve.
const RESERVE: Duration = Duration::from_secs(1);

/// Answers the probes.
#[derive(Clone)]
pub(super) struct Probes(Arc<Shared>);

struct Shared {
    mongod: Mongod,
    dead_after: Duration,
    /// When mongod last answered.
    contact: Mutex<Option<Instant>>,
    /// Whether this mongod is known to have users. It keeps them while it runs.
    has_users: AtomicBool,
    /// Whether mongod is outside of its set until it is restarted.
    needs_restart: AtomicBool,
    reserve: watch::Receiver<reserve::State>,
}

/// Why a member is not ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unready {
    NoAnswer,
    OutsideSet,
    NotAMember,
    Starting,
    Joining,
    NoAdmin,
    NoReserve,
}

impl fmt::Display for Unready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoAnswer => "mongod does not answer",
            Self::OutsideSet => "not in the replica set",
            Self::NotAMember => "not a member by its own configuration",
            Self::Starting => "neither primary nor secondary",
            Self::Joining => "joining, without a vote yet",
            Self::NoAdmin => "the admin user does not exist yet",
            Self::NoReserve => "no connection in reserve yet",
        })
    }
}

impl Probes {
    pub(super) fn new(
        mongod: Mongod,
        dead_after: Duration,
        reserve: watch::Receiver<reserve::State>,
    ) -> Self {
        Self(Arc::new(Shared {
            mongod,
            dead_after,
            contact: Mutex::new(None),
            has_users: AtomicBool::new(false),
            needs_restart: AtomicBool::new(false),
            reserve,
        }))
    }

    /// Takes what the worker observed: a mongod that is a member by its configuration, and can be
    /// reached by its name now, would find itself if it started again.
    pub(super) fn note(&self, observed: &Observed) {
        let needs_restart = matches!(&observed.mongod, MongodState::Outside(outside)
            if outside.is_reachable_by_name && outside.members.contains(&observed.ordinal));
        self.0.needs_restart.store(needs_restart, Ordering::Relaxed);
    }

    /// Serves until `stop` is cancelled. It does not wait for a probe that is under way.
    pub(super) async fn serve(
        self,
        listener: TcpListener,
        stop: CancellationToken,
    ) -> std::io::Result<()> {
        let address: std::io::Result<SocketAddr> = listener.local_addr();
        tracing::debug!(?address, "serving probes");
        let router = Router::new()
            .route("/live", get(live))
            .route("/ready", get(ready))
            .with_state(self);
        let serve = axum::serve(listener, router).into_future();
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            outcome = serve => outcome,
        }
    }

    /// Whether the member is ready.
    async fn readiness(&self) -> Result<(), Unready> {
        let shared = &self.0;
        let Ok(Ok(hello)) = tokio::time::timeout(CALL, shared.mongod.hello()).await else {
            shared.has_users.store(false, Ordering::Relaxed);
            return Err(Unready::NoAnswer);
        };
        self.note_contact();
        if let Err(unready) = membership(&hello) {
            shared.has_users.store(false, Ordering::Relaxed);
            return Err(unready);
        }
        if !shared.has_users.load(Ordering::Relaxed) {
            let asked = tokio::time::timeout(CALL, shared.mongod.has_users()).await;
            match asked {
                Ok(Ok(true)) => shared.has_users.store(true, Ordering::Relaxed),
                Ok(Ok(false)) => return Err(Unready::NoAdmin),
                Ok(Err(_)) | Err(_) => return Err(Unready::NoAnswer),
            }
        }
        let mut reserve = shared.reserve.clone();
        let opened = reserve.wait_for(|state| *state != reserve::State::Missing);
        match tokio::time::timeout(RESERVE, opened).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Unready::NoReserve),
        }
    }

    /// Calls mongod; the time since its last answer, if it ever answered.
    async fn since_last_answer(&self) -> Option<Duration> {
        let asked = tokio::time::timeout(CALL, self.0.mongod.hello()).await;
        // A refusal is an answer too.
        if matches!(asked, Ok(Ok(_) | Err(MongodError::Refused { .. }))) {
            self.note_contact();
        }
        let contact = *self
            .0
            .contact
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        contact.map(|last| last.elapsed())
    }

    fn note_contact(&self) {
        let mut contact = self
            .0
            .contact
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *contact = Some(Instant::now());
    }
}

/// Whether a member with this answer can be used.
fn membership(hello: &Hello) -> Result<(), Unready> {
    let Some(me) = hello.set.as_ref().and(hello.me.as_ref()) else {
        return Err(Unready::OutsideSet);
    };
    if hello.passives.contains(me) {
        return Err(Unready::Joining);
    }
    if !hello.hosts.contains(me) {
        return Err(Unready::NotAMember);
    }
    match hello.role {
        Role::Primary | Role::Secondary => Ok(()),
        Role::Other => Err(Unready::Starting),
    }
}

async fn live(State(probes): State<Probes>) -> (StatusCode, String) {
    if probes.0.needs_restart.load(Ordering::Relaxed) {
        let text = "mongod did not find its own name in the configuration when it started\n";
        return (StatusCode::SERVICE_UNAVAILABLE, text.to_owned());
    }
    match probes.since_last_answer().await {
        Some(since) if since > probes.0.dead_after => {
            let text = format!("mongod has not answered for {} s\n", since.as_secs());
            (StatusCode::SERVICE_UNAVAILABLE, text)
        }
        _ => (StatusCode::OK, "alive\n".to_owned()),
    }
}

async fn ready(State(probes): State<Probes>) -> (StatusCode, String) {
    match probes.readiness().await {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(unready) => (StatusCode::SERVICE_UNAVAILABLE, format!("{unready}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(role: Role) -> Hello {
        Hello {
            process: None,
            set: Some("mdb".to_owned()),
            me: Some("a:1".to_owned()),
            hosts: vec!["a:1".to_owned()],
            passives: vec![],
            primary: None,
            role,
        }
    }

    #[test]
    fn a_primary_and_a_secondary_that_vote_are_ready() {
        for role in [Role::Primary, Role::Secondary] {
            assert_eq!(membership(&hello(role)), Ok(()));
        }
    }

    #[test]
    fn a_member_is_not_ready_while_it_starts_or_joins() {
        assert_eq!(membership(&hello(Role::Other)), Err(Unready::Starting));
        let joining = Hello {
            hosts: vec!["b:1".to_owned()],
            passives: vec!["a:1".to_owned()],
            ..hello(Role::Secondary)
        };
        assert_eq!(membership(&joining), Err(Unready::Joining));
    }

    #[test]
    fn a_mongod_outside_of_the_set_is_not_ready() {
        let fresh = Hello {
            set: None,
            me: None,
            ..hello(Role::Other)
        };
        assert_eq!(membership(&fresh), Err(Unready::OutsideSet));
        let removed = Hello {
            hosts: vec!["b:1".to_owned()],
            ..hello(Role::Secondary)
        };
        assert_eq!(membership(&removed), Err(Unready::NotAMember));
    }
}
