//! Every state of an upgrade and what follows from it.

use super::super::next;
use super::super::tests::{next_but_reports, peer, reported, set, topology};
use super::*;
use crate::{compatibility::Compatibility, observed::Features, version::Level};

fn version(text: &str) -> ServerVersion {
    text.parse().unwrap()
}

/// Three members whose servers are these, at a feature compatibility version, where another is
/// wanted; member 0 is the primary.
fn upgrade(servers: [&str; 3], level: &str, wanted: &str) -> Observed {
    let mut observed = set(0, 3, Some(0), &[0, 1, 2]);
    topology(&mut observed).version = Some(version(wanted));
    observed.compatibility = Some(Compatibility {
        wanted: version(wanted),
        report: None,
    });
    observed.features = Some(Features {
        level: Level {
            version: version(level),
            newest: version(level),
        },
        servers: (0..).zip(servers.map(version)).collect(),
    });
    observed
}

/// What is done and reported, step by step, until there is nothing to do.
fn course(mut observed: Observed) -> Vec<Step> {
    let mut steps = Vec::new();
    loop {
        let step = next(&observed);
        match &step {
            Step::Report(report) => topology(&mut observed).report = Some(report.clone()),
            Step::ReportCompatibility(report) => {
                observed.compatibility.as_mut().unwrap().report = Some(report.clone());
            }
            Step::RaiseCompatibility { to, .. } => {
                let level = &mut observed.features.as_mut().unwrap().level;
                (level.version, level.newest) = (*to, *to);
            }
            _ => return steps,
        }
        assert!(steps.len() < 10, "it never ends: {steps:?}");
        steps.push(step);
    }
}

fn raised(steps: &[Step]) -> Option<ServerVersion> {
    steps.iter().find_map(|step| match step {
        Step::RaiseCompatibility { to, .. } => Some(*to),
        _ => None,
    })
}

/// The last report.
fn last_report(steps: &[Step]) -> CompatibilityReport {
    let report = steps.iter().rev().find_map(|step| match step {
        Step::ReportCompatibility(report) => Some(report.clone()),
        _ => None,
    });
    report.unwrap()
}

#[test]
fn the_version_is_raised_when_all_members_run_the_new_server() {
    let steps = course(upgrade(["8.0"; 3], "7.0", "8.0"));
    let report = last_report(&steps);
    assert_eq!(raised(&steps), Some(version("8.0")));
    assert_eq!((report.version, report.message), (version("8.0"), None));
    assert_eq!(report.desired, version("8.0"));
}

#[test]
fn it_is_said_on_the_topology_before_it_is_done() {
    let steps = course(upgrade(["8.0"; 3], "7.0", "8.0"));
    let Step::Report(first) = &steps[0] else {
        panic!("no report first: {steps:?}")
    };
    assert_eq!(first.data_version, Some(version("8.0")));
    assert_eq!(first.version, Some(version("8.0")));
    let place = steps
        .iter()
        .position(|step| matches!(step, Step::RaiseCompatibility { .. }));
    assert!(place > Some(0));
}

#[test]
fn one_member_with_the_old_server_keeps_it_from_being_raised() {
    for old in 0..3 {
        let mut servers = ["8.0"; 3];
        servers[old] = "7.0";
        let steps = course(upgrade(servers, "7.0", "8.0"));
        assert_eq!(raised(&steps), None);
        let report = last_report(&steps);
        assert_eq!(report.version, version("7.0"));
        let message = format!("member {old} does not run the new server version yet");
        assert_eq!(report.message, Some(message));
    }
}

#[test]
fn a_member_that_does_not_tell_its_version_or_is_not_well_keeps_it_too() {
    for silent in 0..3 {
        let mut observed = upgrade(["8.0"; 3], "7.0", "8.0");
        observed.features.as_mut().unwrap().servers.remove(&silent);
        assert_eq!(raised(&course(observed)), None);
    }
    let mut observed = upgrade(["8.0"; 3], "7.0", "8.0");
    peer(&mut observed, 2).state = State::Other;
    assert!(!asks_servers(&observed), "one that is down has none");
    let steps = course(observed);
    assert_eq!(raised(&steps), None);
    assert!(
        last_report(&steps)
            .message
            .unwrap()
            .contains("member 2 is neither")
    );
}

#[test]
fn members_come_and_go_first() {
    let mut observed = upgrade(["8.0"; 3], "7.0", "8.0");
    topology(&mut observed).desired = 1;
    topology(&mut observed).report = Some(reported(&observed));
    let step = next(&observed);
    assert!(matches!(step, Step::ReportCompatibility(_)), "{step:?}");
    observed.compatibility.as_mut().unwrap().report = match step {
        Step::ReportCompatibility(report) => Some(report),
        _ => None,
    };
    assert_eq!(next(&observed), Step::Remove(2));
}

#[test]
fn only_a_primary_that_sees_the_set_raises_or_reports() {
    for (me, primary) in [(1, Some(0)), (0, Some(1)), (0, None)] {
        let mut observed = upgrade(["8.0"; 3], "7.0", "8.0");
        let other = set(me, 3, primary, &[0, 1, 2]);
        (observed.ordinal, observed.mongod, observed.features) = (me, other.mongod, None);
        let steps = course(observed);
        assert_eq!(raised(&steps), None);
        let reports = |step: &Step| matches!(step, Step::ReportCompatibility(_));
        assert!(!steps.iter().any(reports), "{steps:?}");
    }
}

#[test]
fn what_is_there_already_is_reported_and_no_server_is_asked() {
    let observed = upgrade(["8.0"; 3], "8.0", "8.0");
    assert!(!asks_servers(&observed));
    let steps = course(observed);
    assert_eq!(raised(&steps), None);
    assert_eq!(last_report(&steps).version, version("8.0"));
}

#[test]
fn without_a_wish_nothing_is_done_or_reported_but_the_datas_version_is_known() {
    let mut observed = upgrade(["8.0"; 3], "7.0", "8.0");
    observed.compatibility = None;
    assert!(!asks_servers(&observed));
    assert_eq!(reported(&observed).data_version, Some(version("7.0")));
    assert_eq!(next_but_reports(&observed), Step::Wait(Wait::Settled));
}

#[test]
fn servers_are_asked_only_where_the_version_is_to_be_raised() {
    let mut observed = upgrade(["8.0"; 3], "7.0", "8.0");
    observed.features.as_mut().unwrap().servers.clear();
    assert!(asks_servers(&observed));
}

#[test]
fn an_update_that_was_given_up_is_not_finished_behind_the_back_of_the_next() {
    let mut observed = upgrade(["8.0"; 3], "7.0", "8.0");
    topology(&mut observed).version = Some(version("7.0"));
    let steps = course(observed);
    assert_eq!(raised(&steps), None);
    let Step::Report(report) = &steps[0] else {
        panic!("no report: {steps:?}")
    };
    // Still 7.0, so the way back is open.
    assert_eq!(report.version, Some(version("7.0")));
    assert_eq!(report.data_version, Some(version("7.0")));
    assert_eq!(report.message, None);
}

#[test]
fn the_version_before_is_refused_once_the_data_may_be_newer() {
    let mut observed = upgrade(["8.0"; 3], "8.0", "8.0");
    topology(&mut observed).version = Some(version("7.0"));
    let report = reported(&observed);
    assert_eq!(report.data_version, Some(version("8.0")));
    assert!(report.message.unwrap().contains("never go down"));

    // Also where it was only announced, or interrupted, and where it can no longer be read.
    let mut announced = upgrade(["8.0"; 3], "7.0", "8.0");
    let said = reported(&announced);
    topology(&mut announced).report = Some(said);
    topology(&mut announced).version = Some(version("7.0"));
    assert_eq!(reported(&announced).data_version, Some(version("8.0")));
    announced.features = None;
    assert_eq!(reported(&announced).data_version, Some(version("8.0")));
    let mut interrupted = upgrade(["8.0"; 3], "7.0", "7.0");
    interrupted.features.as_mut().unwrap().level.newest = version("8.0");
    assert_eq!(reported(&interrupted).data_version, Some(version("8.0")));
}

/// All states of three members' servers, of the level and of the wish.
#[test]
fn a_version_never_goes_down_and_never_past_a_members_server() {
    let all = ["5.0", "6.0", "7.0", "8.0"];
    for number in 0..all.len().pow(5) {
        let digit = |place: u32| all[number / all.len().pow(place) % all.len()];
        let observed = upgrade([digit(0), digit(1), digit(2)], digit(3), digit(4));
        let features = observed.features.clone().unwrap();
        if let Some(to) = raised(&course(observed)) {
            assert!(to > features.level.version);
            assert_eq!(to, version(digit(4)));
            assert!(features.servers.values().all(|server| *server >= to));
        }
    }
}

#[test]
fn a_raise_that_fails_is_reported_once_and_tried_again() {
    let mut observed = upgrade(["8.0"; 3], "7.0", "8.0");
    observed.last_error = Some("mongod refuses".to_owned());
    topology(&mut observed).report = Some(reported(&observed));
    let Step::ReportCompatibility(report) = next(&observed) else {
        panic!("no report")
    };
    assert_eq!(report.message, observed.last_error);
    observed.compatibility.as_mut().unwrap().report = Some(report);
    let step = next(&observed);
    assert!(matches!(step, Step::RaiseCompatibility { .. }), "{step:?}");
}
