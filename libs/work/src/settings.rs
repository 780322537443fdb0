//! How much at once, and how long between tries.

use std::time::Duration;

use clap::Args;

/// Arguments of a service that works on records.
#[derive(Debug, Clone, Args)]
pub struct WorkArgs {
    /// How many records are worked on at the same time. Records that only wait
    /// (for an object to become ready, or between two tries) do not count.
    #[arg(long, env = "BROKER_WORK_AT_ONCE", default_value = "64", value_parser = clap::value_parser!(u16).range(1..))]
    pub work_at_once: u16,
}

impl WorkArgs {
    /// The settings of a pool that looks at all records every `tick`.
    pub fn settings(&self, tick: Duration) -> Settings {
        Settings {
            at_once: usize::from(self.work_at_once),
            tick,
            ..Settings::default()
        }
    }
}

/// Of a pool.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Records that are worked on at the same time, at least 1.
    pub at_once: usize,
    /// Between looks at all records, for what only time brings about and for
    /// whatever a watch did not tell.
    pub tick: Duration,
    /// The first and the longest pause after a step that failed.
    pub retry: (Duration, Duration),
    /// The first and the longest pause after a panic.
    pub panic: (Duration, Duration),
    /// How long steps under way may take when the process ends.
    pub last_step: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            at_once: 64,
            tick: Duration::from_secs(60),
            retry: (Duration::from_millis(200), Duration::from_secs(10)),
            panic: (Duration::from_secs(2), Duration::from_secs(300)),
            last_step: Duration::from_secs(5),
        }
    }
}
