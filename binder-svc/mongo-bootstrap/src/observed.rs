//! What was observed of a member, its set and the ConfigMaps: the data that [`next`](crate::next)
//! decides on.

use std::collections::BTreeMap;

use super::{
    compatibility::Compatibility,
    member::Ordinal,
    topology::Topology,
    version::{Level, ServerVersion},
};

/// What the sidecar of one member has observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The ordinal of this pod.
    pub ordinal: Ordinal,
    /// The topology. Absent while it could not be read. One without the mark `bootstrapped` must
    /// be read from the API server, never from a cache.
    pub topology: Option<Topology>,
    /// The wanted feature compatibility version. Absent while there is no such ConfigMap.
    pub compatibility: Option<Compatibility>,
    /// The state of this pod's mongod.
    pub mongod: MongodState,
    /// The versions of the set. Only the primary's sidecar asks, logged in as the admin user.
    pub features: Option<Features>,
    /// A peer that is in a replica set. Only asked where it matters: on ordinal 0, where mongod
    /// has no configuration and the topology is not marked as bootstrapped.
    pub peer_in_set: Option<Ordinal>,
    /// Why the last step failed, if it did.
    pub last_error: Option<String>,
}

/// The versions of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features {
    /// The feature compatibility version.
    pub level: Level,
    /// The server versions of the members. Only asked where the level is below the wanted one; a
    /// member that does not answer is missing.
    pub servers: BTreeMap<Ordinal, ServerVersion>,
}

/// The state of this pod's mongod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MongodState {
    /// It does not answer: it starts, or it is down.
    Unreachable,
    /// It has no configuration and no users: its volume is empty.
    Empty,
    /// It has data, but is in no set.
    Outside(Outside),
    /// It is a member.
    Member(Member),
}

/// A mongod that was removed from its set, or that did not find its own name in its configuration
/// when it started, since the name did not resolve to it at that time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outside {
    /// The members of the configuration it has; empty if the admin user could not read it.
    pub members: Vec<Ordinal>,
    /// Whether its name resolves to it now.
    pub is_reachable_by_name: bool,
}

/// A mongod that is a member of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The members in its configuration, as far as they have names of this set's pods.
    pub members: Vec<Ordinal>,
    /// The primary it knows.
    pub primary: Option<Ordinal>,
    /// Whether the admin user works. Only asked on the primary, which alone acts on it.
    pub admin: Option<Admin>,
}

/// Whether the admin user can log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admin {
    /// There are no users at all: the localhost exception is open.
    Missing,
    /// There are users, but the admin's password is not the one in the Secret.
    Refused,
    /// It can, and reads this of the members.
    Works(BTreeMap<Ordinal, Peer>),
}

/// A member as the primary sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Whether it votes.
    pub standing: Standing,
    /// Its replication state.
    pub state: State,
}

/// Whether a member votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It votes and can be elected primary.
    Voter,
    /// It was added without a vote, until it has the data.
    Joining,
}

/// The replication state of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// PRIMARY.
    Primary,
    /// SECONDARY: it has all data and follows.
    Secondary,
    /// Any other: starting, copying the data, recovering, down.
    Other,
}
