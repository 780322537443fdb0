//! The decision on the feature compatibility version, once the membership is as wanted.
//!
//! It is the one step of an upgrade that cannot be taken back: a server of the version before no
//! longer opens the data. So it comes last, once every member runs a server that knows the new
//! version, and it is never lowered. The report on the topology announces it before it is done:
//! that report keeps an older version from being applied, whoever asks for it.

use std::collections::BTreeMap;

use crate::{
    compatibility::CompatibilityReport,
    member::Ordinal,
    observed::{Admin, Member, MongodState, Observed, Peer, Standing, State},
    step::{Step, Wait},
    topology::Topology,
    version::ServerVersion,
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
            // A newer update asks for an older version: the topology, applied first, has it
            // already, and this ConfigMap follows last. Raise no further meanwhile.
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
    if let Some((unhealthy, _)) = peers.iter().find(|(_, peer)| !is_healthy(**peer)) {
        return Step::Wait(Wait::Unhealthy(*unhealthy));
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
        Step::Wait(Wait::Settled) => Some("a newer update asks for another version".to_owned()),
        Step::Wait(wait) => Some(wait.to_string()),
        _ => observed.last_error.clone(),
    };
    Some(CompatibilityReport {
        desired: compatibility.wanted,
        version,
        message,
    })
}

/// The version that the data may have: the highest that was ever reported or seen, and one that is
/// about to be set counts as set.
pub(super) fn data_version(
    observed: &Observed,
    topology: &Topology,
    intent: &Step,
) -> Option<ServerVersion> {
    let reported = topology
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
    reported.max(seen).max(begun)
}

fn peers(observed: &Observed) -> Option<&BTreeMap<Ordinal, Peer>> {
    match &observed.mongod {
        MongodState::Member(Member {
            admin: Some(Admin::Works(peers)),
            ..
        }) => Some(peers),
        _ => None,
    }
}

fn is_healthy(peer: Peer) -> bool {
    peer.standing == Standing::Voter && matches!(peer.state, State::Primary | State::Secondary)
}

#[cfg(test)]
mod tests;
