//! Why there is no answer.

use std::time::Duration;

/// Why an evaluation has no result. No text holds a value.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// More memory, or stack, than one may take.
    #[error("it took more than {0} MiB of memory, or is nested too deeply")]
    Memory(u64),
    /// More time than one may take.
    #[error("it took more than {} s", .0.as_secs())]
    Time(Duration),
    /// More than can be handed on.
    #[error("its result is larger than {} MiB", .0 >> 20)]
    Large(usize),
    /// A fault of the broker's own.
    #[error("it ended in an error of the broker's own")]
    Broken,
    /// The process was ended by somebody else, or there is none.
    #[error("the process for it is not available")]
    Unavailable(#[source] std::io::Error),
}

impl Error {
    /// Whether asking again later may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Memory(_) | Self::Time(_) | Self::Large(_) | Self::Broken => false,
        }
    }
}
