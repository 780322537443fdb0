//! The decision: given what was observed, the one next thing to do.
//!
//! The order that everything rests on: the set is initiated, then the mark is written, then the
//! admin user is made. Nothing can be stored before there is a user, so a set that was initiated
//! but not marked holds no data, and an empty disk under a mark is a lost disk: that member waits
//! to be filled by the others, and never starts a second set of the same name.

mod compatibility;

use std::{collections::BTreeMap, fmt};

use super::{
    compatibility::{Compatibility, CompatibilityReport},
    member::Ordinal,
    topology::{Report, Topology},
    version::{Level, ServerVersion},
};

pub(super) use compatibility::asks_servers;

/// What was seen, by the sidecar of one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Whose sidecar this is.
    pub ordinal: Ordinal,
    /// What the ConfigMap says. Absent while it could not be read. One without a mark must be as
    /// fresh as the API server can give it.
    pub topology: Option<Topology>,
    /// What the ConfigMap with the wanted compatibility says. Absent while there is none.
    pub compatibility: Option<Compatibility>,
    /// What this pod's mongod says.
    pub mongod: Mongod,
    /// The versions of the set. Only asked for on the primary, as the admin user.
    pub features: Option<Features>,
    /// A peer that is in a replica set. Only asked for where it matters: on ordinal 0, where
    /// mongod has no configuration and the topology has no mark.
    pub peer_in_set: Option<Ordinal>,
    /// Why the last step failed, if it did.
    pub trouble: Option<String>,
}

/// The versions of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features {
    /// The feature compatibility version.
    pub level: Level,
    /// The members' servers. Only asked for where the level is below the wanted one; a member
    /// that does not answer is not among them.
    pub servers: BTreeMap<Ordinal, ServerVersion>,
}

/// What this pod's mongod says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mongod {
    /// Nothing: it starts, or it is down.
    Unreachable,
    /// It has no configuration and no users: its disk is empty.
    Empty,
    /// It has data, but is in no set.
    Outside(Outside),
    /// It is a member.
    Member(Member),
}

/// A mongod that was taken out of its set, or that did not find itself in its configuration when
/// it started, since its name did not lead to it then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outside {
    /// The members of the configuration it has; empty if the admin user could not read it.
    pub members: Vec<Ordinal>,
    /// Whether its name leads to it now.
    pub is_at_home: bool,
}

/// What a member says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The members of ours in the configuration it has.
    pub members: Vec<Ordinal>,
    /// The primary it knows.
    pub primary: Option<Ordinal>,
    /// Asked for on the primary only; nobody else acts on it.
    pub admin: Option<Admin>,
}

/// Whether the admin user can log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admin {
    /// There are no users at all: the localhost exception is open.
    Missing,
    /// There are users, but this one's password is not the one in the Secret.
    Refused,
    /// It can, and this is what it saw of the members of ours.
    Works(BTreeMap<Ordinal, Peer>),
}

/// A member as the primary sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Whether it has a vote. One without is joining.
    pub standing: Standing,
    /// What it does.
    pub state: State,
}

/// Whether a member votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It votes and can be primary.
    Voter,
    /// It does neither yet.
    Joining,
}

/// What a member does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is the primary.
    Primary,
    /// It has all data and follows.
    Secondary,
    /// Anything else: starting, copying, recovering, down.
    Other,
}

/// The next thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing, until something changes.
    Wait(Wait),
    /// Start the set, with this member alone.
    Initiate,
    /// Write on the ConfigMap that the set was initiated.
    Mark,
    /// Make the admin user through the localhost exception.
    CreateAdmin,
    /// Take a member out of the set.
    Remove(Ordinal),
    /// Let another member be primary.
    StepDown,
    /// Give a member that joined its vote.
    Promote(Ordinal),
    /// Take a member into the set, without a vote.
    Add(Ordinal),
    /// Write on the ConfigMap how things are.
    Report(Report),
    /// Raise the feature compatibility version.
    RaiseCompatibility {
        /// The version that is wanted.
        to: ServerVersion,
        /// That of the primary's server.
        server: ServerVersion,
    },
    /// Write on the ConfigMap with the wanted compatibility which one there is.
    ReportCompatibility(CompatibilityReport),
}

impl Step {
    /// A constant name, for logs and crash points.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Wait(_) => "wait",
            Self::Initiate => "initiate",
            Self::Mark => "mark",
            Self::CreateAdmin => "create-admin",
            Self::Remove(_) => "remove",
            Self::StepDown => "step-down",
            Self::Promote(_) => "promote",
            Self::Add(_) => "add",
            Self::Report(_) => "report",
            Self::RaiseCompatibility { .. } => "raise-compatibility",
            Self::ReportCompatibility(_) => "report-compatibility",
        }
    }
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// All is as wanted.
    Settled,
    /// The ConfigMap could not be read yet.
    Topology,
    /// mongod does not answer.
    Mongod,
    /// The primary has to take this member in.
    Admission,
    /// This member's disk is empty though the set was initiated.
    LostDisk,
    /// This member's name does not lead to its mongod.
    OwnName,
    /// Its name leads to it now, but it did not when mongod started.
    Restart,
    /// Another member is in a set already.
    PeerInSet(Ordinal),
    /// There is no primary.
    Primary,
    /// This member is not the primary, whose sidecar does the work.
    Elsewhere,
    /// The admin's password is not the one in the Secret.
    AdminRefused,
    /// A member copies the data.
    Joiner(Ordinal),
    /// No other member can be primary yet.
    Successor,
    /// A member is neither primary nor secondary.
    Ailing(Ordinal),
    /// A member's server does not know the wanted version.
    OldServer(Ordinal),
    /// The data is of a newer version than the wanted one.
    NewerData,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settled => f.write_str("all members are in"),
            Self::Topology => f.write_str("the topology could not be read yet"),
            Self::Mongod => f.write_str("mongod does not answer"),
            Self::Admission => f.write_str("waiting for the primary to take this member in"),
            Self::LostDisk => f.write_str(
                "member 0 has no data although the set was initiated before; it waits for another \
                 member that has, and never starts a second set",
            ),
            Self::OwnName => f.write_str("the member's name does not lead to it yet"),
            Self::Restart => f.write_str(
                "mongod did not find itself among the members when it started, and will when it \
                 is restarted",
            ),
            Self::PeerInSet(peer) => write!(f, "member {peer} is in a replica set already"),
            Self::Primary => f.write_str("there is no primary"),
            Self::Elsewhere => f.write_str("the primary's pod does the work"),
            Self::AdminRefused => f.write_str(
                "the admin user exists, but its password is not the one in the Secret; it is \
                 never reset",
            ),
            Self::Joiner(peer) => write!(f, "member {peer} copies the data"),
            Self::Successor => f.write_str("no member that stays can be primary yet"),
            Self::Ailing(peer) => write!(f, "member {peer} is neither primary nor secondary"),
            Self::OldServer(peer) => write!(f, "member {peer} does not run the new server yet"),
            Self::NewerData => f.write_str(
                "the data is of a newer version of the server than is asked for, and versions \
                 never go down",
            ),
        }
    }
}

/// Decides what to do next.
///
/// A report that is due comes first, so that whoever waits sees what happens even when a step
/// fails again and again. Without an API server there is no report, and no change of the
/// membership either.
pub fn next(observed: &Observed) -> Step {
    let Some(topology) = &observed.topology else {
        return Step::Wait(Wait::Topology);
    };
    let membership = intend(observed, topology);
    let intent = match membership {
        Step::Wait(Wait::Settled) => compatibility::intend(observed, topology),
        _ => membership.clone(),
    };
    match report(observed, topology, &membership, &intent) {
        Some(report) if topology.report.as_ref() != Some(&report) => return Step::Report(report),
        _ => {}
    }
    let last = observed.compatibility.as_ref().map(|c| c.report.as_ref());
    match compatibility::report(observed, &intent) {
        Some(report) if last != Some(Some(&report)) => Step::ReportCompatibility(report),
        _ => intent,
    }
}

/// What to do about the membership, apart from reporting.
fn intend(observed: &Observed, topology: &Topology) -> Step {
    match &observed.mongod {
        Mongod::Unreachable => Step::Wait(Wait::Mongod),
        Mongod::Empty => begin(observed, topology),
        Mongod::Outside(here) => outside(observed.ordinal, topology, here),
        Mongod::Member(_) if !topology.bootstrapped => Step::Mark,
        Mongod::Member(member) if member.primary.is_none() => Step::Wait(Wait::Primary),
        Mongod::Member(member) if member.primary != Some(observed.ordinal) => {
            Step::Wait(Wait::Elsewhere)
        }
        Mongod::Member(member) => match &member.admin {
            // The primary of a moment ago is none any more.
            None => Step::Wait(Wait::Primary),
            Some(Admin::Missing) => Step::CreateAdmin,
            Some(Admin::Refused) => Step::Wait(Wait::AdminRefused),
            Some(Admin::Works(peers)) => reshape(observed.ordinal, topology.desired, peers),
        },
    }
}

/// A mongod with an empty disk: may it start a set?
fn begin(observed: &Observed, topology: &Topology) -> Step {
    match (
        observed.ordinal,
        topology.bootstrapped,
        observed.peer_in_set,
    ) {
        (0, true, _) => Step::Wait(Wait::LostDisk),
        (0, false, Some(peer)) => Step::Wait(Wait::PeerInSet(peer)),
        (0, false, None) => Step::Initiate,
        (_, _, _) => Step::Wait(Wait::Admission),
    }
}

/// A mongod that has data but is in no set. If it did not find itself when it started, the
/// heartbeats of the others bring it back; alone, or cut off, it needs another start (a forced
/// reconfiguration does not make it look again: tried with 6.0).
fn outside(me: Ordinal, topology: &Topology, outside: &Outside) -> Step {
    if !topology.bootstrapped && me == 0 {
        Step::Mark
    } else if !outside.members.contains(&me) {
        Step::Wait(Wait::Admission)
    } else if outside.is_at_home {
        Step::Wait(Wait::Restart)
    } else {
        Step::Wait(Wait::OwnName)
    }
}

/// The primary's work: one change of the configuration at a time. Members go before others come,
/// so that an operation that does both never has more members than it needs.
fn reshape(me: Ordinal, desired: u32, peers: &BTreeMap<Ordinal, Peer>) -> Step {
    let excess = |ordinal: &Ordinal| *ordinal >= desired;
    if let Some(last) = peers
        .keys()
        .rev()
        .find(|ordinal| excess(ordinal) && **ordinal != me)
    {
        return Step::Remove(*last);
    }
    if let Some((joiner, peer)) = peers
        .iter()
        .find(|(_, peer)| peer.standing == Standing::Joining)
    {
        return match peer.state {
            State::Secondary => Step::Promote(*joiner),
            State::Primary | State::Other => Step::Wait(Wait::Joiner(*joiner)),
        };
    }
    if let Some(missing) = (0..desired).find(|ordinal| !peers.contains_key(ordinal)) {
        return Step::Add(missing);
    }
    if excess(&me) {
        let heir = peers.iter().any(|(ordinal, peer)| {
            !excess(ordinal) && peer.standing == Standing::Voter && peer.state == State::Secondary
        });
        return if heir {
            Step::StepDown
        } else {
            Step::Wait(Wait::Successor)
        };
    }
    Step::Wait(Wait::Settled)
}

/// What to report; none where somebody else does. The primary's sidecar reports, and that of
/// ordinal 0 where there is no primary. Nothing is reported of a set that is not marked: nobody
/// waits for it yet.
fn report(
    observed: &Observed,
    topology: &Topology,
    membership: &Step,
    intent: &Step,
) -> Option<Report> {
    let (members, primary) = match &observed.mongod {
        // It knows nothing of the others: what was said last stands.
        Mongod::Unreachable => return None,
        Mongod::Empty | Mongod::Outside(_) if others_have_a_primary(topology) => return None,
        Mongod::Empty | Mongod::Outside(_) => (Vec::new(), None),
        Mongod::Member(member) => (member.members.clone(), member.primary),
    };
    if !topology.bootstrapped || observed.ordinal != primary.unwrap_or(0) {
        return None;
    }
    let data_version = compatibility::data_version(observed, topology, intent);
    let message = match membership {
        Step::Wait(Wait::Settled) if topology.version.is_some_and(|v| Some(v) < data_version) => {
            Some(Wait::NewerData.to_string())
        }
        Step::Wait(Wait::Settled) => None,
        Step::Wait(wait) => Some(wait.to_string()),
        _ => observed.trouble.clone(),
    };
    Some(Report {
        desired: topology.desired,
        version: topology.version,
        data_version,
        excess: members
            .iter()
            .copied()
            .filter(|ordinal| *ordinal >= topology.desired)
            .collect(),
        members,
        primary_ordinal: primary,
        message,
    })
}

/// Whether another member than 0 was primary at last. Then its sidecar reports, and a word of
/// ordinal 0, which is out of the set, would only contradict it.
fn others_have_a_primary(topology: &Topology) -> bool {
    let last = topology
        .report
        .as_ref()
        .and_then(|report| report.primary_ordinal);
    last.is_some_and(|primary| primary != 0)
}

#[cfg(test)]
mod tests;
