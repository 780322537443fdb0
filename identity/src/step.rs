//! What comes next, from what is stored and the time alone.

use jiff::{SignedDuration, Timestamp};

use crate::args::Lives;

/// All that is stored.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observed {
    /// None if there is none, or its Secret cannot be used.
    pub(crate) authority: Option<Authority>,
    /// Of each Secret that is there.
    pub(crate) leaves: Vec<Leaf>,
    /// Whether every Secret is there.
    pub(crate) complete: bool,
}

/// The stored authorities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authority {
    /// It signs.
    pub(crate) current: Life,
    /// It is believed already and signs later.
    pub(crate) next: Option<Next>,
    /// It has signed and is still believed: since when it signs no more.
    pub(crate) retired: Option<Timestamp>,
}

/// The authority to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Next {
    /// Since when every service can read it; none before.
    pub(crate) published: Option<Timestamp>,
}

/// From when until when something is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    /// When it was made.
    pub(crate) made: Timestamp,
    /// When it ends.
    pub(crate) ends: Timestamp,
}

/// A service's Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// Whose.
    pub(crate) caller: &'static str,
    /// None if there is none that could be used, or another authority signed it.
    pub(crate) life: Option<Life>,
    /// Whether its ca.crt has all authorities and no other.
    pub(crate) believes_all: bool,
}

/// One conditional write, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// The first authority.
    MakeAuthority,
    /// The one that comes after it.
    MakeNext,
    /// A new certificate, with all authorities.
    Sign(&'static str),
    /// The certificate stays, the authorities change.
    Publish(&'static str),
    /// Every service can read the next authority from now on.
    NotePublished,
    /// The next authority signs from now on.
    Promote,
    /// The retired authority is believed no more.
    Forget,
    /// Nothing, until something is due.
    Wait(Timestamp),
}

/// See the module.
pub(crate) fn next(seen: &Observed, lives: &Lives, now: Timestamp) -> Step {
    let Some(authority) = &seen.authority else {
        return Step::MakeAuthority;
    };
    let renewal = after(authority.current.made, lives.authority_renew_after);
    let has_ended = authority.current.ends <= now;
    // One at a time: three authorities at once would be two changes half done.
    let may_begin = authority.next.is_none() && (authority.retired.is_none() || has_ended);
    if may_begin && renewal <= now {
        return Step::MakeNext;
    }
    if has_ended && authority.next.is_some() {
        // What it has signed is of no use to anybody: nothing to wait for.
        return Step::Promote;
    }
    let due = |life: Life| after(life.made, lives.leaf_renew_after).min(life.ends);
    for leaf in &seen.leaves {
        match leaf.life {
            Some(life) if due(life) > now && leaf.believes_all => {}
            Some(life) if due(life) > now => return Step::Publish(leaf.caller),
            _ => return Step::Sign(leaf.caller),
        }
    }
    let mut events: Vec<Timestamp> = seen
        .leaves
        .iter()
        .filter_map(|leaf| leaf.life.map(due))
        .collect();
    if let Some(next) = &authority.next {
        match next.published {
            // A service that cannot read it must not meet a leaf of it.
            None if seen.complete => return Step::NotePublished,
            None => {}
            Some(published) => {
                let promotion = after(published, lives.overlap);
                if promotion <= now {
                    return Step::Promote;
                }
                events.push(promotion);
            }
        }
    }
    if let Some(retired) = authority.retired {
        // By then the last certificate that it has signed has ended.
        let end = after(retired, lives.leaf);
        if end <= now {
            return Step::Forget;
        }
        events.push(end);
    }
    if may_begin {
        events.push(renewal);
    }
    let never = after(now, lives.leaf);
    Step::Wait(events.into_iter().min().unwrap_or(never))
}

pub(crate) fn after(from: Timestamp, time: std::time::Duration) -> Timestamp {
    let time = SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
    from.saturating_add(time).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
