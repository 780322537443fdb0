//! Waiting for something to become true, never without a deadline.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    error::{Error, Result},
    process::Process,
};

/// How long between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Looks until `look` succeeds. Ends early if one of `processes` ends.
pub(crate) async fn until<T, E: std::fmt::Display>(
    what: &str,
    limit: Duration,
    processes: &[&Process],
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        // One look must not outlive the deadline either.
        let last = match tokio::time::timeout_at(deadline, look()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        for process in processes {
            process.check()?;
        }
        if Instant::now() >= deadline {
            let tail = processes
                .last()
                .map(|process| process.tail())
                .unwrap_or_default();
            return Err(Error::NotReady {
                what: what.to_owned(),
                limit,
                last,
                tail,
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
}
