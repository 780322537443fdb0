//! Looking: what mongod and its peers say, as the data that [`next`](super::next) decides on.

use std::collections::BTreeMap;

use super::{
    member::{MemberNames, Ordinal},
    mongod::{AdminSession, Hello, Mongod, MongodError, Role},
    next::{Admin, Member, Mongod as Seen, Outside, Peer},
    topology::Topology,
    version::{Level, ServerVersion},
};

/// Looks at the mongod of one member.
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

    /// The login as admin, if there is one.
    pub(super) fn session(&self) -> Option<&AdminSession> {
        self.session.as_ref()
    }

    /// What this pod's mongod says. A mongod that does not answer is a finding, not an error.
    pub(super) async fn look(&mut self) -> Result<Seen, MongodError> {
        let hello = match self.mongod.hello().await {
            Ok(hello) => hello,
            Err(MongodError::Unreachable(_)) => {
                self.session = None;
                return Ok(Seen::Unreachable);
            }
            Err(error) => return Err(error),
        };
        if hello.set.is_none() {
            self.session = None;
            return self.outside(&hello).await;
        }
        // The answer's own word on who is primary may be a moment older than its role.
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
        Ok(Seen::Member(Member {
            members: self.members(&hello),
            primary,
            admin,
        }))
    }

    /// A mongod that is in no set: has it data?
    async fn outside(&mut self, hello: &Hello) -> Result<Seen, MongodError> {
        if !self.mongod.has_users().await? {
            return Ok(Seen::Empty);
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
        let is_at_home =
            own.is_some_and(|own| own.process.is_some() && own.process == hello.process);
        Ok(Seen::Outside(Outside {
            members,
            is_at_home,
        }))
    }

    /// Of the peers that are wanted, one that is in a set.
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

    /// The feature compatibility version; only of a primary whose admin user works.
    pub(super) async fn level(&self, seen: &Seen) -> Result<Option<Level>, MongodError> {
        match (seen, &self.session) {
            (Seen::Member(member), Some(session)) if member.admin.is_some() => {
                session.level().await.map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The versions of the members' servers, of those that answer.
    pub(super) async fn servers(&self, seen: &Seen) -> BTreeMap<Ordinal, ServerVersion> {
        let members = match seen {
            Seen::Member(member) => member.members.as_slice(),
            Seen::Unreachable | Seen::Empty | Seen::Outside(_) => &[],
        };
        let asked = members.iter().map(|ordinal| async move {
            let server = self.mongod.server_of(&self.names.host(*ordinal)).await?;
            Some((*ordinal, server))
        });
        let answers = futures::future::join_all(asked).await;
        answers.into_iter().flatten().collect()
    }

    /// Whether the admin user works, and what it sees. The login is tried only once mongod says
    /// that it has users, so that a missing user is told from a wrong password.
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
            // Perhaps the password was changed; log in anew.
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
