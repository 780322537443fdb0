//! The decision on the feature compatibility version, once the membership is as wanted.
//!
//! It is the one step of an upgrade that cannot be taken back: a server of the version before no
//! longer opens the data. So it is the last one, taken only when every member runs a server that
//! knows the new version, and it is never lowered. The topology's report says so before it is
//! done (written before done): that report is what keeps an older version from being applied,
//! whoever asks for it. The broker does not go back to the last revision by itself when an update
//! has failed; were it ever to, this report must stop it too.

use std::collections::BTreeMap;

use super::{Admin, Member, Mongod, Observed, Peer, Standing, State, Step, Wait};
use crate::bootstrap::{
    compatibility::CompatibilityReport, member::Ordinal, topology::Topology, version::ServerVersion,
};

/// Whether the members' servers need to be asked for their versions.
pub(crate) fn asks_servers(observed: &Observed) -> bool {
    matches!(
        decide(observed),
        Step::Wait(Wait::OldServer(_)) | Step::RaiseCompatibility { .. }
    )
}

/// What to do about the compatibility of a set whose membership is as wanted.
pub(super) fn intend(observed: &Observed, topology: &Topology) -> Step {
    match (&observed.compatibility, topology.version) {
        (Some(compatibility), Some(version)) if version < compatibility.wanted => {
            // The update to the version before was given up in favour of another, which is in
            // the topology already and comes to the compatibility last: no more raising.
            Step::Wait(Wait::Settled)
        }
        _ => decide(observed),
    }
}

fn decide(observed: &Observed) -> Step {
    let (Some(compatibility), Some(features), Some(peers)) =
        (&observed.compatibility, &observed.features, peers(observed))
    else {
        return Step::Wait(Wait::Settled);
    };
    let wanted = compatibility.wanted;
    if features.level.version > wanted {
        return Step::Wait(Wait::NewerData);
    }
    if features.level.version == wanted {
        return Step::Wait(Wait::Settled);
    }
    if let Some((ailing, _)) = peers.iter().find(|(_, peer)| !is_well(**peer)) {
        return Step::Wait(Wait::Ailing(*ailing));
    }
    let is_old = |ordinal: &&Ordinal| {
        let server = features.servers.get(ordinal);
        server.is_none_or(|server| *server < wanted)
    };
    match (
        peers.keys().find(is_old),
        features.servers.get(&observed.ordinal),
    ) {
        (Some(old), _) => Step::Wait(Wait::OldServer(*old)),
        (None, Some(server)) => Step::RaiseCompatibility {
            to: wanted,
            server: *server,
        },
        (None, None) => Step::Wait(Wait::OldServer(observed.ordinal)),
    }
}

/// What to report; none where the compatibility is not known.
pub(super) fn report(observed: &Observed, intent: &Step) -> Option<CompatibilityReport> {
    let compatibility = observed.compatibility.as_ref()?;
    let version = observed.features.as_ref()?.level.version;
    let message = match intent {
        _ if version == compatibility.wanted => None,
        Step::Wait(Wait::Settled) => Some("another version is asked for meanwhile".to_owned()),
        Step::Wait(wait) => Some(wait.to_string()),
        _ => observed.trouble.clone(),
    };
    Some(CompatibilityReport {
        desired: compatibility.wanted,
        version,
        message,
    })
}

/// The version that the data may be of: what was ever said stays true, and what is about to be
/// done counts as done.
pub(super) fn data_version(
    observed: &Observed,
    topology: &Topology,
    intent: &Step,
) -> Option<ServerVersion> {
    let said = topology
        .report
        .as_ref()
        .and_then(|report| report.data_version);
    let seen = observed
        .features
        .as_ref()
        .map(|features| features.level.newest);
    let begun = match intent {
        Step::RaiseCompatibility { to, .. } => Some(*to),
        _ => None,
    };
    said.max(seen).max(begun)
}

fn peers(observed: &Observed) -> Option<&BTreeMap<Ordinal, Peer>> {
    match &observed.mongod {
        Mongod::Member(Member {
            admin: Some(Admin::Works(peers)),
            ..
        }) => Some(peers),
        _ => None,
    }
}

fn is_well(peer: Peer) -> bool {
    peer.standing == Standing::Voter && matches!(peer.state, State::Primary | State::Secondary)
}

#[cfg(test)]
mod tests;
