//! What can be done next, and what can be waited for.

use std::fmt;

use super::{
    compatibility::CompatibilityReport, member::Ordinal, topology::Report, version::ServerVersion,
};

/// The next thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing, until something changes.
    Wait(Wait),
    /// Initiate the replica set, with this member alone.
    Initiate,
    /// Mark the topology: the set was initiated.
    Mark,
    /// Create the admin user through the localhost exception.
    CreateAdmin,
    /// Remove a member from the set.
    Remove(Ordinal),
    /// Step down, so that another member is elected primary.
    StepDown,
    /// Give a member its vote, now that it has the data.
    Promote(Ordinal),
    /// Add a member to the set, without a vote.
    Add(Ordinal),
    /// Write the report on the topology.
    Report(Report),
    /// Raise the feature compatibility version.
    RaiseCompatibility {
        /// The wanted version.
        to: ServerVersion,
        /// The version of the primary's server.
        server: ServerVersion,
    },
    /// Write the report on the feature compatibility version.
    ReportCompatibility(CompatibilityReport),
}

impl Step {
    /// A constant name, for logs and crash points.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Wait(_) => "Wait",
            Self::Initiate => "Initiate",
            Self::Mark => "Mark",
            Self::CreateAdmin => "CreateAdmin",
            Self::Remove(_) => "Remove",
            Self::StepDown => "StepDown",
            Self::Promote(_) => "Promote",
            Self::Add(_) => "Add",
            Self::Report(_) => "Report",
            Self::RaiseCompatibility { .. } => "RaiseCompatibility",
            Self::ReportCompatibility(_) => "ReportCompatibility",
        }
    }
}

/// What is waited for. Reports carry its text, and users read it when they poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Everything is as wanted.
    Settled,
    /// The topology could not be read yet.
    Topology,
    /// mongod does not answer.
    Mongod,
    /// The primary has to add this member.
    Joining,
    /// This member's volume is empty though the set was initiated.
    DataLost,
    /// This member's name does not resolve to its mongod.
    OwnName,
    /// Its name resolves to it now, but did not when mongod started.
    Restart,
    /// Another member is in a set already.
    PeerInSet(Ordinal),
    /// There is no primary.
    NoPrimary,
    /// This member is not the primary; the primary's sidecar does the work.
    NotPrimary,
    /// The admin's password is not the one in the Secret.
    AdminRefused,
    /// A member copies the data.
    InitialSync(Ordinal),
    /// No remaining member can be elected primary yet.
    Successor,
    /// A member is neither primary nor secondary.
    Unhealthy(Ordinal),
    /// A member's server does not know the wanted version.
    OldServer(Ordinal),
    /// The data has a newer version than the wanted one.
    NewerData,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settled => f.write_str("all members are in the replica set"),
            Self::Topology => f.write_str("the ConfigMap with the topology was not read yet"),
            Self::Mongod => f.write_str("mongod does not answer"),
            Self::Joining => f.write_str("waiting for the primary to add this member"),
            Self::DataLost => f.write_str(
                "member 0 has no data although the replica set was initiated before; it waits for \
                 a member that has the data and never starts a second set",
            ),
            Self::OwnName => f.write_str("the member's host name does not resolve to it yet"),
            Self::Restart => f.write_str(
                "mongod did not find its own name in the replica set configuration when it \
                 started, and is restarted",
            ),
            Self::PeerInSet(peer) => write!(f, "member {peer} is in a replica set already"),
            Self::NoPrimary => f.write_str("there is no primary"),
            Self::NotPrimary => f.write_str("the primary's pod does the work"),
            Self::AdminRefused => f.write_str(
                "the admin user's password is not the one in the Secret; it is never reset",
            ),
            Self::InitialSync(peer) => write!(f, "member {peer} copies the data"),
            Self::Successor => f.write_str("no remaining member can be elected primary yet"),
            Self::Unhealthy(peer) => write!(f, "member {peer} is neither primary nor secondary"),
            Self::OldServer(peer) => {
                write!(f, "member {peer} does not run the new server version yet")
            }
            Self::NewerData => f.write_str(
                "the data already has a newer feature compatibility version than the one asked \
                 for, and versions never go down",
            ),
        }
    }
}
