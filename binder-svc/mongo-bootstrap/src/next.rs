//! The decision: given what was observed, the one next thing to do.
//!
//! The order of the first steps matters: the set is initiated, then the topology is marked, then
//! the admin user is created. Nothing can be stored before there is a user, so a set that was
//! initiated but not marked holds no data, and an empty volume under a mark is a lost volume: that
//! member waits until the others add it, and never starts a second set of the same name.

mod compatibility;

use std::collections::BTreeMap;

use super::{
    member::Ordinal,
    observed::{Admin, MongodState, Observed, Outside, Peer, Standing, State},
    step::{Step, Wait},
    topology::{Report, Topology},
};

pub(super) use compatibility::asks_servers;

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
        MongodState::Unreachable => Step::Wait(Wait::Mongod),
        MongodState::Empty => begin(observed, topology),
        MongodState::Outside(here) => outside(observed.ordinal, topology, here),
        MongodState::Member(_) if !topology.bootstrapped => Step::Mark,
        MongodState::Member(member) if member.primary.is_none() => Step::Wait(Wait::NoPrimary),
        MongodState::Member(member) if member.primary != Some(observed.ordinal) => {
            Step::Wait(Wait::NotPrimary)
        }
        MongodState::Member(member) => match &member.admin {
            // It was primary a moment ago and is no longer.
            None => Step::Wait(Wait::NoPrimary),
            Some(Admin::Missing) => Step::CreateAdmin,
            Some(Admin::Refused) => Step::Wait(Wait::AdminRefused),
            Some(Admin::Works(peers)) => reshape(observed.ordinal, topology.desired, peers),
        },
    }
}

/// A mongod with an empty volume: may it initiate a set?
fn begin(observed: &Observed, topology: &Topology) -> Step {
    match (
        observed.ordinal,
        topology.bootstrapped,
        observed.peer_in_set,
    ) {
        (0, true, _) => Step::Wait(Wait::DataLost),
        (0, false, Some(peer)) => Step::Wait(Wait::PeerInSet(peer)),
        (0, false, None) => Step::Initiate,
        (_, _, _) => Step::Wait(Wait::Joining),
    }
}

/// A mongod that has data but is in no set. If it did not find its own name when it started, the
/// heartbeats of the others bring it back; alone, or cut off, it must be restarted (a forced
/// reconfiguration does not make it look again: tried with 6.0).
fn outside(me: Ordinal, topology: &Topology, outside: &Outside) -> Step {
    if !topology.bootstrapped && me == 0 {
        Step::Mark
    } else if !outside.members.contains(&me) {
        Step::Wait(Wait::Joining)
    } else if outside.is_reachable_by_name {
        Step::Wait(Wait::Restart)
    } else {
        Step::Wait(Wait::OwnName)
    }
}

/// The primary's work: one change of the configuration at a time. Members are removed before
/// others are added, so that an operation that does both never has more members than it needs.
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
            State::Primary | State::Other => Step::Wait(Wait::InitialSync(*joiner)),
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

/// What to report; none where another sidecar does. The primary's sidecar reports, and that of
/// ordinal 0 where there is no primary. A set that is not marked yet is not reported on.
fn report(
    observed: &Observed,
    topology: &Topology,
    membership: &Step,
    intent: &Step,
) -> Option<Report> {
    let (members, primary) = match &observed.mongod {
        // It knows nothing of the others: the last report stays.
        MongodState::Unreachable => return None,
        MongodState::Empty | MongodState::Outside(_) if others_have_a_primary(topology) => {
            return None;
        }
        MongodState::Empty | MongodState::Outside(_) => (Vec::new(), None),
        MongodState::Member(member) => (member.members.clone(), member.primary),
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
        _ => observed.last_error.clone(),
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

/// Whether the last report names a primary other than 0. That one's sidecar reports; a report by
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
