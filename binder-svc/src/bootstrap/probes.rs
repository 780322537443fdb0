//! The pod's probes, for the kubelet.
//!
//! `/ready`: mongod is primary or secondary, votes, and the set has its admin user, so that a set
//! whose pods are ready can be used. Asked without a login and without the API server.
//! `/live`: fails only where another start of mongod helps: when it has been silent for long after
//! it had answered before, or did not find itself among the members when it started. Never while
//! it starts, recovers or copies data, however long that takes.

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
use tokio::{net::TcpListener, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    mongod::{Hello, Mongod, MongodError, Role},
    next::{Mongod as Seen, Observed},
};

/// How long the question of a probe may take.
const QUESTION: Duration = Duration::from_secs(3);

/// Answers the probes.
#[derive(Clone)]
pub(super) struct Probes(Arc<Shared>);

struct Shared {
    mongod: Mongod,
    dead_after: Duration,
    /// When mongod last answered.
    contact: Mutex<Option<Instant>>,
    /// Whether this mongod is known to have users, which it then keeps for its life.
    has_users: AtomicBool,
    /// Whether mongod is out of its set and needs another start to be in it.
    is_stranded: AtomicBool,
}

/// Why a member is not ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unready {
    Silent,
    OutOfSet,
    NotItself,
    Starting,
    Joining,
    NoAdmin,
}

impl fmt::Display for Unready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silent => "mongod does not answer",
            Self::OutOfSet => "not in the replica set",
            Self::NotItself => "not among the members of its replica set",
            Self::Starting => "neither primary nor secondary",
            Self::Joining => "joins without a vote",
            Self::NoAdmin => "the admin user is not there yet",
        })
    }
}

impl Probes {
    pub(super) fn new(mongod: Mongod, dead_after: Duration) -> Self {
        Self(Arc::new(Shared {
            mongod,
            dead_after,
            contact: Mutex::new(None),
            has_users: AtomicBool::new(false),
            is_stranded: AtomicBool::new(false),
        }))
    }

    /// Takes what the worker saw, and asks for no restart without need.
    pub(super) fn note_stranded(&self, observed: &Observed) {
        let stranded = matches!(&observed.mongod, Seen::Outside(outside)
            if outside.is_at_home && outside.members.contains(&observed.ordinal));
        self.0.is_stranded.store(stranded, Ordering::Relaxed);
    }

    /// Serves until `stop` is cancelled. A probe that is under way then is not waited for.
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
        let Ok(Ok(hello)) = tokio::time::timeout(QUESTION, shared.mongod.hello()).await else {
            shared.has_users.store(false, Ordering::Relaxed);
            return Err(Unready::Silent);
        };
        self.note_contact();
        if let Err(unready) = standing(&hello) {
            shared.has_users.store(false, Ordering::Relaxed);
            return Err(unready);
        }
        if !shared.has_users.load(Ordering::Relaxed) {
            let asked = tokio::time::timeout(QUESTION, shared.mongod.has_users()).await;
            match asked {
                Ok(Ok(true)) => shared.has_users.store(true, Ordering::Relaxed),
                Ok(Ok(false)) => return Err(Unready::NoAdmin),
                Ok(Err(_)) | Err(_) => return Err(Unready::Silent),
            }
        }
        Ok(())
    }

    /// How long mongod has been silent, if it ever answered. Asks it.
    async fn silence(&self) -> Option<Duration> {
        let asked = tokio::time::timeout(QUESTION, self.0.mongod.hello()).await;
        // Any answer is a sign of life, a refusal too.
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

/// Whether a member that says this can be used.
fn standing(hello: &Hello) -> Result<(), Unready> {
    let Some(me) = hello.set.as_ref().and(hello.me.as_ref()) else {
        return Err(Unready::OutOfSet);
    };
    if hello.passives.contains(me) {
        return Err(Unready::Joining);
    }
    if !hello.hosts.contains(me) {
        return Err(Unready::NotItself);
    }
    match hello.role {
        Role::Primary | Role::Secondary => Ok(()),
        Role::Other => Err(Unready::Starting),
    }
}

async fn live(State(probes): State<Probes>) -> (StatusCode, String) {
    if probes.0.is_stranded.load(Ordering::Relaxed) {
        let text = "mongod did not find itself among the members when it started\n";
        return (StatusCode::SERVICE_UNAVAILABLE, text.to_owned());
    }
    match probes.silence().await {
        Some(silence) if silence > probes.0.dead_after => {
            let text = format!("mongod has not answered for {} s\n", silence.as_secs());
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
            assert_eq!(standing(&hello(role)), Ok(()));
        }
    }

    #[test]
    fn a_member_is_not_ready_while_it_starts_or_joins() {
        assert_eq!(standing(&hello(Role::Other)), Err(Unready::Starting));
        let joining = Hello {
            hosts: vec!["b:1".to_owned()],
            passives: vec!["a:1".to_owned()],
            ..hello(Role::Secondary)
        };
        assert_eq!(standing(&joining), Err(Unready::Joining));
    }

    #[test]
    fn a_mongod_outside_of_the_set_is_not_ready() {
        let fresh = Hello {
            set: None,
            me: None,
            ..hello(Role::Other)
        };
        assert_eq!(standing(&fresh), Err(Unready::OutOfSet));
        let stranger = Hello {
            hosts: vec!["b:1".to_owned()],
            ..hello(Role::Secondary)
        };
        assert_eq!(standing(&stranger), Err(Unready::NotItself));
    }
}
