//! Pauses between tries: each about twice the one before, up to a limit, with
//! jitter, so that replicas that failed together do not try again together.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

/// The pauses of one loop. It never runs out: whoever retries decides when to
/// stop.
#[derive(Debug)]
pub struct Backoff {
    shape: ExponentialBuilder,
    longest: Duration,
    pauses: ExponentialBackoff,
}

impl Backoff {
    /// The first pause is between `first` and twice that; none is longer than
    /// `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        let shape = ExponentialBuilder::new()
            .with_min_delay(first)
            .with_max_delay(longest)
            .without_max_times()
            .with_jitter();
        Self {
            pauses: shape.build(),
            shape,
            longest,
        }
    }

    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let pause = self.pauses.next().unwrap_or(self.longest);
        // Jitter is added to the delay; beyond the limit it is taken off.
        match pause.checked_sub(self.longest) {
            Some(beyond) => self.longest.saturating_sub(beyond / 2),
            None => pause,
        }
    }

    /// A try succeeded: begins anew with the first pause.
    pub fn reset(&mut self) {
        self.pauses = self.shape.build();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(5);

    #[test]
    fn pauses_grow_to_their_limit_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::new(FIRST, LONGEST);
        for _ in 0..2 {
            let first = backoff.pause();
            assert!((FIRST..=2 * FIRST).contains(&first), "{first:?}");
            let late: Vec<Duration> = (0..100).map(|_| backoff.pause()).skip(10).collect();
            for pause in &late {
                assert!((LONGEST / 2..=LONGEST).contains(pause), "{pause:?}");
            }
            backoff.reset();
        }
    }

    #[test]
    fn no_two_loops_keep_in_step() {
        let pauses = || {
            let mut backoff = Backoff::new(FIRST, LONGEST);
            (0..8).map(|_| backoff.pause()).collect::<Vec<_>>()
        };
        assert_ne!(pauses(), pauses());
    }
}
