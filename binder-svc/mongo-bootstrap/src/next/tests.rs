//! Every state and what follows from it.

use super::*;
use crate::observed::Member;

/// The sidecar of ordinal 0 beside a fresh mongod, with one member wanted.
pub(super) fn fresh() -> Observed {
    Observed {
        ordinal: 0,
        topology: Some(Topology {
            desired: 1,
            version: None,
            bootstrapped: false,
            report: None,
        }),
        compatibility: None,
        features: None,
        mongod: MongodState::Empty,
        peer_in_set: None,
        last_error: None,
    }
}

/// A set that was initiated, seen by one of its members.
pub(super) fn set(
    me: Ordinal,
    desired: u32,
    primary: Option<Ordinal>,
    members: &[Ordinal],
) -> Observed {
    let peers = members
        .iter()
        .map(|ordinal| (*ordinal, voter(*ordinal, primary)))
        .collect();
    Observed {
        ordinal: me,
        topology: Some(Topology {
            desired,
            version: None,
            bootstrapped: true,
            report: None,
        }),
        compatibility: None,
        features: None,
        mongod: MongodState::Member(Member {
            members: members.to_vec(),
            primary,
            admin: (primary == Some(me)).then_some(Admin::Works(peers)),
        }),
        peer_in_set: None,
        last_error: None,
    }
}

fn voter(ordinal: Ordinal, primary: Option<Ordinal>) -> Peer {
    let state = if primary == Some(ordinal) {
        State::Primary
    } else {
        State::Secondary
    };
    Peer {
        standing: Standing::Voter,
        state,
    }
}

pub(super) fn topology(observed: &mut Observed) -> &mut Topology {
    observed.topology.as_mut().unwrap()
}

pub(super) fn member(observed: &mut Observed) -> &mut Member {
    match &mut observed.mongod {
        MongodState::Member(member) => member,
        other => panic!("{other:?} is no member"),
    }
}

pub(super) fn peer(observed: &mut Observed, ordinal: Ordinal) -> &mut Peer {
    match &mut member(observed).admin {
        Some(Admin::Works(peers)) => peers.get_mut(&ordinal).unwrap(),
        other => panic!("{other:?} does not work"),
    }
}

/// The step after all reports have been written.
pub(super) fn next_but_reports(observed: &Observed) -> Step {
    let mut observed = observed.clone();
    if let Step::Report(report) = next(&observed) {
        topology(&mut observed).report = Some(report);
    }
    let step = next(&observed);
    assert!(
        !matches!(step, Step::Report(_)),
        "a written report is written again: {step:?}"
    );
    step
}

pub(super) fn reported(observed: &Observed) -> Report {
    match next(observed) {
        Step::Report(report) => report,
        other => panic!("no report but {other:?}"),
    }
}

#[test]
fn nothing_is_done_before_the_topology_is_known() {
    for mongod in [
        MongodState::Unreachable,
        MongodState::Empty,
        set(0, 1, Some(0), &[0]).mongod,
    ] {
        let observed = Observed {
            topology: None,
            mongod,
            ..fresh()
        };
        assert_eq!(next(&observed), Step::Wait(Wait::Topology));
    }
}

#[test]
fn a_mongod_that_does_not_answer_is_waited_for_and_nothing_is_said_of_it() {
    let observed = Observed {
        mongod: MongodState::Unreachable,
        ..fresh()
    };
    assert_eq!(next(&observed), Step::Wait(Wait::Mongod));
}

#[test]
fn ordinal_0_initiates_a_set_that_never_was() {
    assert_eq!(next_but_reports(&fresh()), Step::Initiate);
}

#[test]
fn no_other_ordinal_initiates() {
    for bootstrapped in [false, true] {
        let mut observed = Observed {
            ordinal: 1,
            ..fresh()
        };
        topology(&mut observed).bootstrapped = bootstrapped;
        assert_eq!(next(&observed), Step::Wait(Wait::Joining));
    }
}

#[test]
fn a_lost_disk_never_starts_a_second_set() {
    let mut observed = fresh();
    topology(&mut observed).bootstrapped = true;
    assert_eq!(next_but_reports(&observed), Step::Wait(Wait::DataLost));
    let report = reported(&observed);
    assert_eq!((report.members, report.primary_ordinal), (vec![], None));
    assert!(
        report
            .message
            .unwrap()
            .contains("never starts a second set")
    );
}

#[test]
fn a_lost_disk_of_ordinal_0_does_not_contradict_the_primary() {
    let mut observed = fresh();
    *topology(&mut observed) = Topology {
        desired: 3,
        version: None,
        bootstrapped: true,
        report: Some(reported(&set(1, 3, Some(1), &[0, 1, 2]))),
    };
    assert_eq!(next(&observed), Step::Wait(Wait::DataLost));
}

/// A mongod with data on ordinal 0, out of its marked set.
fn outside(members: &[Ordinal], is_reachable_by_name: bool) -> Observed {
    let mut observed = Observed {
        mongod: MongodState::Outside(Outside {
            members: members.to_vec(),
            is_reachable_by_name,
        }),
        ..fresh()
    };
    topology(&mut observed).bootstrapped = true;
    observed
}

#[test]
fn a_member_that_did_not_find_itself_needs_another_start_once_its_name_leads_to_it() {
    for members in [&[0][..], &[0, 1, 2]] {
        let observed = outside(members, false);
        assert_eq!(next_but_reports(&observed), Step::Wait(Wait::OwnName));
        assert!(reported(&observed).message.unwrap().contains("name"));
        let observed = outside(members, true);
        assert_eq!(next_but_reports(&observed), Step::Wait(Wait::Restart));
    }
}

#[test]
fn data_without_a_mark_means_that_the_mark_was_lost() {
    let mut observed = outside(&[0], false);
    topology(&mut observed).bootstrapped = false;
    assert_eq!(next(&observed), Step::Mark);
}

#[test]
fn a_member_that_was_taken_out_waits_to_be_taken_in() {
    for members in [&[][..], &[1, 2]] {
        let step = next_but_reports(&outside(members, true));
        assert_eq!(step, Step::Wait(Wait::Joining));
    }
}

#[test]
fn nothing_is_reported_before_the_mark() {
    assert_eq!(next(&fresh()), Step::Initiate);
}

#[test]
fn a_peer_that_is_in_a_set_forbids_to_initiate() {
    let observed = Observed {
        peer_in_set: Some(2),
        ..fresh()
    };
    assert_eq!(next_but_reports(&observed), Step::Wait(Wait::PeerInSet(2)));
}

#[test]
fn an_initiated_set_is_marked_before_anything_else() {
    // Also while it has no primary yet, and also before the admin user.
    for primary in [None, Some(0)] {
        let mut observed = set(0, 1, primary, &[0]);
        topology(&mut observed).bootstrapped = false;
        member(&mut observed).admin = primary.map(|_| Admin::Missing);
        assert_eq!(next_but_reports(&observed), Step::Mark);
    }
}

#[test]
fn a_mark_that_was_lost_is_written_again_by_any_member() {
    let mut observed = set(2, 3, Some(0), &[0, 1, 2]);
    topology(&mut observed).bootstrapped = false;
    assert_eq!(next(&observed), Step::Mark);
}

#[test]
fn the_admin_user_is_made_once_there_are_mark_and_primary() {
    let mut observed = set(0, 1, Some(0), &[0]);
    member(&mut observed).admin = Some(Admin::Missing);
    assert_eq!(next_but_reports(&observed), Step::CreateAdmin);

    let observed = set(0, 1, None, &[0]);
    assert_eq!(next_but_reports(&observed), Step::Wait(Wait::NoPrimary));
}

#[test]
fn an_admin_with_another_password_is_reported_and_never_reset() {
    let mut observed = set(0, 1, Some(0), &[0]);
    member(&mut observed).admin = Some(Admin::Refused);
    assert_eq!(next_but_reports(&observed), Step::Wait(Wait::AdminRefused));
    assert!(
        reported(&observed)
            .message
            .unwrap()
            .contains("not the one in the Secret")
    );
}

#[test]
fn a_settled_set_is_reported_once() {
    let observed = set(0, 1, Some(0), &[0]);
    let expected = Report {
        desired: 1,
        version: None,
        data_version: None,
        members: vec![0],
        excess: vec![],
        primary_ordinal: Some(0),
        message: None,
    };
    assert_eq!(reported(&observed), expected);
    assert_eq!(next_but_reports(&observed), Step::Wait(Wait::Settled));
}

#[test]
fn a_new_number_is_echoed_before_it_is_worked_on() {
    let mut observed = set(0, 3, Some(0), &[0]);
    let old = Report {
        desired: 1,
        ..reported(&observed)
    };
    topology(&mut observed).report = Some(old);
    assert_eq!(reported(&observed).desired, 3);
    assert_eq!(next_but_reports(&observed), Step::Add(1));
}

#[test]
fn members_join_one_at_a_time_and_vote_once_they_have_the_data() {
    let mut observed = set(0, 3, Some(0), &[0, 1]);
    *peer(&mut observed, 1) = Peer {
        standing: Standing::Joining,
        state: State::Other,
    };
    assert_eq!(
        next_but_reports(&observed),
        Step::Wait(Wait::InitialSync(1))
    );
    peer(&mut observed, 1).state = State::Secondary;
    assert_eq!(next_but_reports(&observed), Step::Promote(1));
    peer(&mut observed, 1).standing = Standing::Voter;
    assert_eq!(next_but_reports(&observed), Step::Add(2));
}

#[test]
fn a_gap_in_the_middle_is_filled() {
    assert_eq!(next_but_reports(&set(2, 3, Some(2), &[0, 2])), Step::Add(1));
}

#[test]
fn excess_members_go_from_the_last() {
    assert_eq!(
        next_but_reports(&set(0, 1, Some(0), &[0, 1, 2])),
        Step::Remove(2)
    );
    assert_eq!(
        next_but_reports(&set(0, 1, Some(0), &[0, 1])),
        Step::Remove(1)
    );
    assert_eq!(reported(&set(0, 1, Some(0), &[0, 1, 2])).excess, [1, 2]);
}

#[test]
fn an_excess_joiner_goes_without_ever_getting_a_vote() {
    let mut observed = set(0, 1, Some(0), &[0, 1]);
    *peer(&mut observed, 1) = Peer {
        standing: Standing::Joining,
        state: State::Secondary,
    };
    assert_eq!(next_but_reports(&observed), Step::Remove(1));
}

#[test]
fn an_excess_primary_removes_the_others_then_steps_down() {
    assert_eq!(
        next_but_reports(&set(1, 1, Some(1), &[0, 1, 2])),
        Step::Remove(2)
    );
    assert_eq!(
        next_but_reports(&set(1, 1, Some(1), &[0, 1])),
        Step::StepDown
    );
    assert_eq!(
        next_but_reports(&set(0, 1, Some(0), &[0, 1])),
        Step::Remove(1)
    );
}

#[test]
fn an_excess_primary_stays_until_another_can_take_over() {
    let mut observed = set(1, 1, Some(1), &[0, 1]);
    peer(&mut observed, 0).state = State::Other;
    assert_eq!(next_but_reports(&observed), Step::Wait(Wait::Successor));
    // Not even there: it is taken in first.
    assert_eq!(next_but_reports(&set(1, 1, Some(1), &[1])), Step::Add(0));
}

#[test]
fn only_the_primary_works_and_reports() {
    assert_eq!(
        next(&set(1, 1, Some(0), &[0, 1, 2])),
        Step::Wait(Wait::NotPrimary)
    );
    assert_eq!(
        next(&set(0, 1, Some(2), &[0, 1, 2])),
        Step::Wait(Wait::NotPrimary)
    );
}

#[test]
fn without_a_primary_ordinal_0_reports() {
    let observed = set(0, 3, None, &[0, 1, 2]);
    let report = reported(&observed);
    assert_eq!(
        (report.members, report.primary_ordinal),
        (vec![0, 1, 2], None)
    );
    assert_eq!(report.message.as_deref(), Some("there is no primary"));
    assert_eq!(next_but_reports(&observed), Step::Wait(Wait::NoPrimary));
    assert_eq!(
        next(&set(1, 3, None, &[0, 1, 2])),
        Step::Wait(Wait::NoPrimary)
    );
}

#[test]
fn a_primary_that_lost_its_office_while_it_was_asked_waits() {
    let mut observed = set(0, 1, Some(0), &[0]);
    member(&mut observed).admin = None;
    assert_eq!(next_but_reports(&observed), Step::Wait(Wait::NoPrimary));
}

#[test]
fn a_step_that_fails_is_reported_once_and_tried_again() {
    let mut observed = set(0, 1, Some(0), &[0, 1]);
    observed.last_error = Some("remove member 1: no majority".to_owned());
    assert_eq!(reported(&observed).message, observed.last_error);
    assert_eq!(next_but_reports(&observed), Step::Remove(1));
}
