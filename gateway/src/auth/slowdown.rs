//! Wrong logins are answered late. Only the answer that refuses waits: a right login never does,
//! from wherever it comes. So this slows those who wait for their answers, a platform with an old
//! login in the first place; who hangs up early is held back by a long password alone.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Addresses share a place when there are more: then the wrong logins of one slow those of another.
const PLACES: usize = 1024;
/// So many wrong logins are answered at once: a platform whose login was just changed
/// must not look as if it hung.
const FREE: u32 = 5;
/// The first wait; it doubles with each wrong login.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(2);
/// Without a wrong login for so long the count begins anew.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// Counts wrong logins by the address that they come from, in a table that does not grow.
pub(crate) struct Slowdown {
    places: Box<[Mutex<Place>]>,
    // With a key of its own: nobody can choose whom to share a place with.
    hasher: RandomState,
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    wrong: u32,
    last: Option<Instant>,
}

impl Default for Slowdown {
    fn default() -> Self {
        Self {
            places: (0..PLACES).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl std::fmt::Debug for Slowdown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slowdown").finish_non_exhaustive()
    }
}

impl Slowdown {
    /// Notes a wrong login; gives the time to wait before it is refused.
    pub(crate) fn wrong(&self, from: IpAddr, now: Instant) -> Duration {
        let number = usize::try_from(self.hasher.hash_one(from)).unwrap_or(usize::MAX) % PLACES;
        let mut place = self.places[number]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_recent = place
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < FORGOTTEN);
        place.wrong = if is_recent {
            place.wrong.saturating_add(1)
        } else {
            1
        };
        place.last = Some(now);
        wait(place.wrong)
    }
}

/// The wait after so many wrong logins.
fn wait(wrong: u32) -> Duration {
    match wrong.checked_sub(FREE + 1) {
        None => Duration::ZERO,
        Some(more) => FIRST
            .saturating_mul(2_u32.saturating_pow(more))
            .min(LONGEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end_and_are_forgotten() {
        let slowdown = Slowdown::default();
        let (one, began) = (IpAddr::from([10, 0, 0, 1]), Instant::now());
        let waits: Vec<u128> = (0..12)
            .map(|_| slowdown.wrong(one, began).as_millis())
            .collect();
        let expected = [0, 0, 0, 0, 0, 100, 200, 400, 800, 1600, 2000, 2000];
        assert_eq!(waits, expected);
        let later = began + FORGOTTEN;
        assert_eq!(slowdown.wrong(one, later), Duration::ZERO);
        assert_eq!(wait(u32::MAX), LONGEST);
    }

    #[test]
    fn an_address_does_not_slow_most_others() {
        let slowdown = Slowdown::default();
        let now = Instant::now();
        for _ in 0..100 {
            slowdown.wrong(IpAddr::from([10, 0, 0, 1]), now);
        }
        let others = (0..200).map(|last| IpAddr::from([10, 0, 1, last]));
        let slowed = others.filter(|other| !slowdown.wrong(*other, now).is_zero());
        // By chance one in a thousand shares its place.
        assert!(slowed.count() < 10);
    }
}
