//! Volume claims of pods that left their database: which are deleted, and what an update waits
//! for. What the database reports comes from the plan's `claims`; here is what follows from it.
//!
//! Two moments. Before anything of an update is applied, so that no pod starts with the data of
//! one that left earlier, whatever became of the update that took it out. And after everything
//! was applied, for the pods that this update took out.

use std::collections::BTreeMap;
use std::ops::Range;

use plan::claims::Membership;
use serde_json::Value;

/// A volume claim of a StatefulSet's pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Its name: `<template>-<set>-<ordinal>`.
    pub(crate) name: String,
    /// What makes the deletion mean this claim and none of the same name.
    pub(crate) uid: String,
    /// The number of the pod that mounts it.
    pub(crate) ordinal: u32,
    /// It is being deleted; it goes once no pod uses it.
    pub(crate) is_terminating: bool,
}

/// When the question is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Before the update applies anything.
    BeforeApply,
    /// After it has applied everything.
    AfterApply,
}

/// What is known of a StatefulSet and its claims.
#[derive(Debug)]
pub(crate) struct View {
    /// When.
    pub(crate) moment: Moment,
    /// Numbers of the pods that the update asks for.
    pub(crate) wanted: Range<u32>,
    /// Numbers of the pods that there are; empty without a StatefulSet.
    pub(crate) running: Range<u32>,
    /// The claims.
    pub(crate) claims: Vec<Claim>,
    /// What the report says of each pod that runs or has a claim.
    pub(crate) memberships: BTreeMap<u32, Membership>,
}

/// What to do about the claims.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Stop the pods from this number on first: they use the claims.
    pub(crate) stop_from: Option<u32>,
    /// Delete these.
    pub(crate) delete: Vec<Claim>,
    /// Then go on only when this is no longer so.
    pub(crate) wait: Vec<String>,
}

/// Decides. `report` is the label of the object that reports, for messages.
pub(crate) fn decide(view: &View, report: &str) -> Decision {
    let mut decision = Decision::default();
    let left_from = left_from(view);
    let mut claims: Vec<_> = view.claims.iter().collect();
    claims.sort_by_key(|claim| (claim.ordinal, &claim.name));
    for claim in claims {
        let is_wanted = view.wanted.contains(&claim.ordinal);
        let matters = match view.moment {
            // A pod that starts again must not find it.
            Moment::BeforeApply => is_wanted,
            // What was applied is what is wanted: such a claim is in use, whatever the rule says.
            Moment::AfterApply if is_wanted => continue,
            Moment::AfterApply => true,
        };
        let deletable = left_from.is_some_and(|first| claim.ordinal >= first);
        match view.memberships.get(&claim.ordinal) {
            _ if deletable && !claim.is_terminating => decision.delete.push(claim.clone()),
            _ if deletable => {
                // Afterwards it is enough that the deletion cannot be taken back.
                if view.moment == Moment::BeforeApply && is_wanted {
                    decision.wait.push(format!(
                        "waiting for PersistentVolumeClaim/{} to go",
                        claim.name
                    ));
                }
            }
            Some(Membership::Faulty(error)) if matters => decision.wait.push(format!(
                "PersistentVolumeClaim/{} is kept: the plan's claims.{error}",
                claim.name
            )),
            Some(Membership::Unknown) if matters => decision.wait.push(format!(
                "{report} does not tell yet whether PersistentVolumeClaim/{} is of a member",
                claim.name
            )),
            Some(
                Membership::Member | Membership::Left | Membership::Unknown | Membership::Faulty(_),
            )
            | None => {}
        }
    }
    let first = decision.delete.iter().map(|claim| claim.ordinal).min();
    decision.stop_from = first.filter(|first| *first < view.running.end);
    decision
}

/// The lowest number from which on every pod has left: a StatefulSet can only stop its last pods.
fn left_from(view: &View) -> Option<u32> {
    view.memberships
        .iter()
        .rev()
        .take_while(|(_, membership)| **membership == Membership::Left)
        .map(|(ordinal, _)| *ordinal)
        .last()
}

/// The numbers of the pods of a StatefulSet, from its manifest or as it is.
pub(crate) fn ordinals(set: &Value) -> Range<u32> {
    let number = |pointer: &str| {
        let number = set.pointer(pointer).and_then(Value::as_u64);
        number.and_then(|number| u32::try_from(number).ok())
    };
    let start = number("/spec/ordinals/start").unwrap_or(0);
    start..start.saturating_add(number("/spec/replicas").unwrap_or(1))
}

/// The number of the pod of a StatefulSet that mounts a claim of this name, by the set's claim
/// templates. None if the claim is not one of the set's.
pub(crate) fn ordinal_of(claim: &str, set: &Value) -> Option<u32> {
    let name = set.pointer("/metadata/name")?.as_str()?;
    let templates = set.pointer("/spec/volumeClaimTemplates")?.as_array()?;
    templates.iter().find_map(|template| {
        let template = template.pointer("/metadata/name")?.as_str()?;
        let number = claim.strip_prefix(&format!("{template}-{name}-"))?;
        let ordinal: u32 = number.parse().ok()?;
        // As Kubernetes writes it: no sign, no leading zero.
        (ordinal.to_string() == number).then_some(ordinal)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MEMBER: Membership = Membership::Member;
    const LEFT: Membership = Membership::Left;
    const UNKNOWN: Membership = Membership::Unknown;

    fn claim(ordinal: u32) -> Claim {
        Claim {
            name: format!("data-mdb-{ordinal}"),
            uid: format!("uid-{ordinal}"),
            ordinal,
            is_terminating: false,
        }
    }

    /// Claims 0, 1 and 2 of pods that the report says this of.
    fn view(moment: Moment, wanted: u32, running: u32, said: [Membership; 3]) -> View {
        View {
            moment,
            wanted: 0..wanted,
            running: 0..running,
            claims: (0..3).map(claim).collect(),
            memberships: (0..3).zip(said).collect(),
        }
    }

    /// From where pods are stopped, the claims that go, and how many things are waited for.
    fn decided(view: &View) -> (Option<u32>, Vec<u32>, usize) {
        let decision = decide(view, "ConfigMap/mdb-topology");
        let deleted = decision.delete.iter().map(|claim| claim.ordinal);
        (decision.stop_from, deleted.collect(), decision.wait.len())
    }

    /// A history of the set: pods wanted and running, what the report says of each, and what follows.
    type History<'a> = (
        &'a str,
        (u32, u32),
        [Membership; 3],
        (Option<u32>, &'a [u32], usize),
    );

    fn check(moment: Moment, histories: &[History<'_>]) {
        for (history, (wanted, running), said, (stop_from, deleted, waits)) in histories {
            let view = view(moment, *wanted, *running, said.clone());
            let expected = (*stop_from, deleted.to_vec(), *waits);
            assert_eq!(decided(&view), expected, "{history}");
        }
    }

    #[test]
    fn before_an_update_members_keep_their_claims_and_what_left_earlier_goes() {
        let history = "an update of a healthy set";
        let healthy: History<'_> = (history, (3, 3), [MEMBER, MEMBER, MEMBER], (None, &[], 0));
        let history = "a shrink that was killed before its claims went, then a growth";
        let killed: History<'_> = (history, (3, 1), [MEMBER, LEFT, LEFT], (None, &[1, 2], 0));
        let history = "a shrink that failed before its pods were stopped, then a growth";
        let failed: History<'_> = (history, (3, 3), [MEMBER, LEFT, LEFT], (Some(1), &[1, 2], 0));
        let history = "a growth that failed with members joined, repeated";
        let joined: History<'_> = (history, (3, 3), [MEMBER, MEMBER, MEMBER], (None, &[], 0));
        let history = "a growth after a shrink, while there is no primary to ask";
        let unknown: History<'_> = (history, (3, 1), [MEMBER, UNKNOWN, UNKNOWN], (None, &[], 2));
        let history = "a shrink that is repeated before the members have left";
        let repeated: History<'_> = (history, (1, 3), [MEMBER, UNKNOWN, UNKNOWN], (None, &[], 0));
        let history = "an update after kubectl scale to 0";
        let scaled: History<'_> = (history, (3, 0), [MEMBER, MEMBER, MEMBER], (None, &[], 0));
        let history = "a rule by which a pod left that has a member above it";
        let below: History<'_> = (history, (1, 3), [MEMBER, LEFT, MEMBER], (None, &[], 0));
        let all = [
            healthy, killed, failed, joined, unknown, repeated, scaled, below,
        ];
        check(Moment::BeforeApply, &all);
    }

    #[test]
    fn after_an_update_only_claims_of_pods_that_it_does_not_want_go() {
        let history = "a shrink";
        let shrink: History<'_> = (history, (1, 1), [MEMBER, LEFT, LEFT], (None, &[1, 2], 0));
        let history = "a shrink whose end is not reported, since there is no primary";
        let unknown: History<'_> = (history, (1, 1), [MEMBER, UNKNOWN, UNKNOWN], (None, &[], 2));
        let history = "more pods than wanted, by kubectl scale";
        let scaled: History<'_> = (history, (1, 3), [MEMBER, LEFT, LEFT], (Some(1), &[1, 2], 0));
        let history = "a rule by which a pod left that was just started";
        let wrong: History<'_> = (history, (3, 3), [MEMBER, LEFT, LEFT], (None, &[], 0));
        check(Moment::AfterApply, &[shrink, unknown, scaled, wrong]);
    }

    #[test]
    fn an_old_claim_is_waited_for_where_its_pod_would_start_again() {
        let mut going = view(Moment::BeforeApply, 3, 1, [MEMBER, LEFT, LEFT]);
        for claim in &mut going.claims[1..] {
            claim.is_terminating = true;
        }
        assert_eq!(decided(&going), (None, vec![], 2));
        going.wanted = 0..1;
        assert_eq!(decided(&going), (None, vec![], 0));
        going.moment = Moment::AfterApply;
        assert_eq!(decided(&going), (None, vec![], 0));
    }

    #[test]
    fn a_pod_without_a_claim_counts_too() {
        // The claim of member 2 was deleted by hand and its pod still runs.
        let mut view = view(Moment::BeforeApply, 3, 3, [MEMBER, LEFT, MEMBER]);
        view.claims.pop();
        assert_eq!(decided(&view), (None, vec![], 0));
    }

    #[test]
    fn a_faulty_rule_deletes_nothing_and_is_named() {
        let faulty = Membership::Faulty("left cannot be evaluated: x".to_owned());
        let view = view(Moment::BeforeApply, 3, 3, [MEMBER, MEMBER, faulty]);
        assert_eq!(
            decide(&view, "ConfigMap/c"),
            Decision {
                wait: vec![
                    "PersistentVolumeClaim/data-mdb-2 is kept: the plan's claims.left cannot be \
                     evaluated: x"
                        .to_owned()
                ],
                ..Decision::default()
            }
        );
    }

    #[test]
    fn pods_and_claims_have_numbers() {
        let set = json!({
            "metadata": {"name": "mdb"},
            "spec": {
                "ordinals": {"start": 2}, "replicas": 3,
                "volumeClaimTemplates": [
                    {"metadata": {"name": "data"}}, {"metadata": {"name": "data-mdb-1"}},
                ],
            }
        });
        assert_eq!(ordinals(&set), 2..5);
        assert_eq!(ordinals(&json!({})), 0..1);
        for (name, expected) in [
            ("data-mdb-0", Some(0)),
            ("data-mdb-12", Some(12)),
            ("data-mdb-1-mdb-3", Some(3)),
            ("data-mdb-01", None),
            ("data-mdb-+1", None),
            ("data-mdb-x", None),
            ("data-mdb2-0", None),
            ("logs-mdb-0", None),
        ] {
            assert_eq!(ordinal_of(name, &set), expected, "{name}");
        }
    }
}
