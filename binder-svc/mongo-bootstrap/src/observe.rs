//! Observing: asks mongod and its peers, and makes their answers [`observed`](super::observed) data.

use std::collections::BTreeMap;

use super::{
    answer::{Hello, Role},
    member::{MemberNames, Ordinal},
    mongod::{AdminSession, Mongod, MongodError},
    observed::{Admin, Member, MongodState, Outside, Peer},
    topology::Topology,
    version::{Level, ServerVersion},
};

/// Observes the mongod of one member.
pub(super) struct Observer {
    pub(super) ordinal: Ordinal,
    pub(super) names: MemberNames,
    pub(super) mongod: Mongod,
    /// Kept while it works.
    session: Option<AdminSession>,
}

impl Observer {
    pub(super) fn new(ordinal: Ordinal, names: MemberNames, mongod: Mongod) -> Self {
        Self {
            ordinal,
            names,
            mongod,
            session: None,
        }
    }

    /// The session of the admin user, if it is logged in.
    pub(super) fn session(&self) -> Option<&AdminSession> {
        self.session.as_ref()
    }

    /// The state of this pod's mongod. One that does not answer is a state, not an error.
    pub(super) async fn mongod_state(&mut self) -> Result<MongodState, MongodError> {
        let hello = match self.mongod.hello().await {
            Ok(hello) => hello,
            Err(MongodError::Unreachable(_)) => {
                self.session = None;
                return Ok(MongodState::Unreachable);
            }
            Err(error) => return Err(error),
        };
        if hello.set.is_none() {
            self.session = None;
            return self.outside(&hello).await;
        }
        // The primary that the answer names may be a moment older than its role.
        let primary = match hello.role {
            Role::Primary => Some(self.ordinal),
            Role::Secondary | Role::Other => {
                self.session = None;
                let named = hello
                    .primary
                    .as_deref()
                    .and_then(|host| self.names.ordinal(host));
                named.filter(|ordinal| *ordinal != self.ordinal)
            }
        };
        let admin = match hello.role {
            Role::Primary => Some(self.admin().await?),
            Role::Secondary | Role::Other => None,
        };
        Ok(MongodState::Member(Member {
            members: self.members(&hello),
            primary,
            admin,
        }))
    }

    /// The state of a mongod that is in no set: has it data?
    async fn outside(&mut self, hello: &Hello) -> Result<MongodState, MongodError> {
        if !self.mongod.has_users().await? {
            return Ok(MongodState::Empty);
        }
        let members = match self.mongod.log_in().await {
            Ok(session) => {
                let config = session.config().await?;
                self.session = Some(session);
                config.ordinals(&self.names)
            }
            Err(MongodError::LoginRefused) => Vec::new(),
            Err(error) => return Err(error),
        };
        let own = self.mongod.hello_of(&self.names.host(self.ordinal)).await;
        let is_reachable_by_name =
            own.is_some_and(|own| own.process.is_some() && own.process == hello.process);
        Ok(MongodState::Outside(Outside {
            members,
            is_reachable_by_name,
        }))
    }

    /// A wanted peer that is in a set, if there is one.
    pub(super) async fn peer_in_set(&self, topology: &Topology) -> Option<Ordinal> {
        let asked = (0..topology.desired)
            .filter(|ordinal| *ordinal != self.ordinal)
            .map(|ordinal| async move {
                let hello = self.mongod.hello_of(&self.names.host(ordinal)).await?;
                hello.set.map(|_| ordinal)
            });
        futures::future::join_all(asked)
            .await
            .into_iter()
            .flatten()
            .next()
    }

    /// The feature compatibility version, if this is the primary and the admin user works.
    pub(super) async fn level(&self, mongod: &MongodState) -> Result<Option<Level>, MongodError> {
        match (mongod, &self.session) {
            (MongodState::Member(member), Some(session)) if member.admin.is_some() => {
                session.level().await.map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The server versions of the members that answer.
    pub(super) async fn servers(&self, mongod: &MongodState) -> BTreeMap<Ordinal, ServerVersion> {
        let members = match mongod {
            MongodState::Member(member) => member.members.as_slice(),
            MongodState::Unreachable | MongodState::Empty | MongodState::Outside(_) => &[],
        };
        let asked = members.iter().map(|ordinal| async move {
            let server = self.mongod.server_of(&self.names.host(*ordinal)).await?;
            Some((*ordinal, server))
        });
        let answers = futures::future::join_all(asked).await;
        answers.into_iter().flatten().collect()
    }

    /// Whether the admin user works, and what it reads of the members. The login is tried only if
    /// mongod has users: a missing user and a wrong password are the same error to the driver.
    async fn admin(&mut self) -> Result<Admin, MongodError> {
        if self.session.is_none() {
            if !self.mongod.has_users().await? {
                return Ok(Admin::Missing);
            }
            self.session = match self.mongod.log_in().await {
                Ok(session) => Some(session),
                Err(MongodError::LoginRefused) => return Ok(Admin::Refused),
                Err(error) => return Err(error),
            };
        }
        let peers = self.peers().await;
        if peers.is_err() {
            // Perhaps the password was changed: log in again.
            self.session = None;
        }
        Ok(Admin::Works(peers?))
    }

    async fn peers(&self) -> Result<BTreeMap<Ordinal, Peer>, MongodError> {
        let Some(session) = &self.session else {
            return Err(MongodError::LoginNeeded);
        };
        let config = session.config().await?;
        let status = session.status().await?;
        Ok(config.peers(&status, &self.names)?)
    }

    fn members(&self, hello: &Hello) -> Vec<Ordinal> {
        let hosts = hello.hosts.iter().chain(&hello.passives);
        self.names.ordinals(hosts.map(String::as_str))
    }
}
