//! Which faults there are, and the dial by which a proxy is told to make them.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::sync::watch;

/// What can happen to a connection or a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It takes longer.
    Delay,
    /// Nothing comes through any more, in either direction, without a word.
    Drop,
    /// The connection is reset; a request does not arrive.
    Reset,
    /// A request arrives and is carried out; its answer is lost.
    LoseAnswer,
    /// The server answers with this status and does nothing.
    Answer(u16),
}

impl Fault {
    /// Those that a connection can have.
    pub(crate) const OF_CONNECTIONS: [Self; 3] = [Self::Delay, Self::Drop, Self::Reset];
    /// Those that a request to the API server can have.
    pub(crate) const OF_REQUESTS: [Self; 7] = [
        Self::Delay,
        Self::Drop,
        Self::Reset,
        Self::LoseAnswer,
        Self::Answer(429),
        Self::Answer(500),
        Self::Answer(503),
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delay => f.write_str("delay"),
            Self::Drop => f.write_str("drop"),
            Self::Reset => f.write_str("reset"),
            Self::LoseAnswer => f.write_str("lose the answer"),
            Self::Answer(status) => write!(f, "answer {status}"),
        }
    }
}

/// Turned by the rig, read by one proxy. Clones share it.
#[derive(Clone)]
pub(crate) struct Dial {
    setting: Arc<Mutex<Setting>>,
    made: Arc<AtomicUsize>,
    /// Counts how often the faults ended: who is held up goes on then.
    healed: Arc<watch::Sender<u64>>,
}

struct Setting {
    fault: Option<(Fault, f64)>,
    random: StdRng,
}

impl Dial {
    /// At rest.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            setting: Arc::new(Mutex::new(Setting {
                fault: None,
                random: StdRng::seed_from_u64(seed),
            })),
            made: Arc::default(),
            healed: Arc::new(watch::channel(0).0),
        }
    }

    /// From now on this share of all chances gets the fault.
    pub(crate) fn turn(&self, fault: Fault, share: f64) {
        self.made.store(0, Ordering::Relaxed);
        self.setting().fault = Some((fault, share));
    }

    /// Ends the faults, also those that hold something up; how many there were.
    pub(crate) fn heal(&self) -> usize {
        self.setting().fault = None;
        self.healed.send_modify(|count| *count += 1);
        self.made.load(Ordering::Relaxed)
    }

    /// What happens now, at one chance.
    pub(crate) fn roll(&self) -> Option<Fault> {
        let mut setting = self.setting();
        let (fault, share) = setting.fault?;
        let hit = setting.random.random_bool(share);
        drop(setting);
        if hit {
            self.made.fetch_add(1, Ordering::Relaxed);
        }
        hit.then_some(fault)
    }

    /// How long a delay is.
    pub(crate) fn delay(&self) -> Duration {
        Duration::from_millis(self.setting().random.random_range(50..1500))
    }

    /// Waits until the faults that were made by now are healed.
    pub(crate) async fn healing(&self) {
        let mut healed = self.healed.subscribe();
        let _ = healed.changed().await;
    }

    fn setting(&self) -> MutexGuard<'_, Setting> {
        self.setting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
