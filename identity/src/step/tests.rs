use std::time::Duration;

use super::*;

const LIVES: Lives = Lives {
    leaf: Duration::from_secs(30),
    leaf_renew_after: Duration::from_secs(20),
    authority: Duration::from_secs(100),
    authority_renew_after: Duration::from_secs(60),
    overlap: Duration::from_secs(5),
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn life(made: i64, lasts: i64) -> Life {
    Life {
        made: at(made),
        ends: at(made + lasts),
    }
}

fn leaf(caller: &'static str, made: i64) -> Leaf {
    Leaf {
        caller,
        life: Some(life(made, 30)),
        believes_all: true,
    }
}

/// An authority made at 0, and two leaves made at 50.
fn settled() -> Observed {
    Observed {
        authority: Some(Authority {
            current: life(0, 100),
            next: None,
            retired: None,
        }),
        leaves: vec![leaf("gateway", 50), leaf("binder-svc", 50)],
        complete: true,
    }
}

fn with_next(published: Option<i64>) -> Observed {
    let mut seen = settled();
    if let Some(authority) = &mut seen.authority {
        authority.next = Some(Next {
            published: published.map(at),
        });
    }
    seen
}

#[test]
fn without_an_authority_one_is_made_and_then_it_signs() {
    let mut seen = Observed::default();
    assert_eq!(next(&seen, &LIVES, at(0)), Step::MakeAuthority);
    seen = settled();
    seen.leaves[1].life = None;
    assert_eq!(next(&seen, &LIVES, at(51)), Step::Sign("binder-svc"));
}

#[test]
fn a_leaf_is_replaced_before_it_ends() {
    let mut seen = settled();
    assert_eq!(next(&seen, &LIVES, at(59)), Step::Wait(at(60)));
    seen.leaves[0] = leaf("gateway", 30);
    assert_eq!(next(&seen, &LIVES, at(49)), Step::Wait(at(50)));
    assert_eq!(next(&seen, &LIVES, at(50)), Step::Sign("gateway"));
}

#[test]
fn an_authority_is_believed_by_all_before_it_signs() {
    assert_eq!(next(&settled(), &LIVES, at(60)), Step::MakeNext);
    let mut seen = with_next(None);
    seen.leaves[0].believes_all = false;
    assert_eq!(next(&seen, &LIVES, at(60)), Step::Publish("gateway"));
    seen.leaves[0].believes_all = true;
    assert_eq!(next(&seen, &LIVES, at(60)), Step::NotePublished);
    // A Secret that is missing may be back without it.
    seen.complete = false;
    assert!(matches!(next(&seen, &LIVES, at(60)), Step::Wait(_)));
    assert_eq!(
        next(&with_next(Some(61)), &LIVES, at(65)),
        Step::Wait(at(66))
    );
    assert_eq!(next(&with_next(Some(61)), &LIVES, at(66)), Step::Promote);
}

#[test]
fn a_retired_authority_is_believed_until_its_last_leaf_has_ended() {
    let mut seen = settled();
    seen.authority = Some(Authority {
        current: life(60, 100),
        next: None,
        retired: Some(at(66)),
    });
    seen.leaves = vec![leaf("gateway", 80)];
    assert_eq!(next(&seen, &LIVES, at(95)), Step::Wait(at(96)));
    assert_eq!(next(&seen, &LIVES, at(96)), Step::Forget);
}

#[test]
fn after_a_long_absence_an_authority_that_has_ended_is_replaced_without_a_wait() {
    assert_eq!(next(&settled(), &LIVES, at(1000)), Step::MakeNext);
    assert_eq!(next(&with_next(None), &LIVES, at(1000)), Step::Promote);
    let mut seen = settled();
    if let Some(authority) = &mut seen.authority {
        authority.retired = Some(at(66));
    }
    assert_eq!(next(&seen, &LIVES, at(1000)), Step::MakeNext);
}
