//! What is written beside the record that names it may come a moment after it.

use std::time::Duration;

use backoff::Backoff;
use tokio::time::Instant;

/// How long it is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// The first pause until it is looked for again.
const FIRST_LOOK: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Asks again as long as the answer is that it is missing, but not for long:
/// then that is the answer.
pub async fn awaited<T, E, F>(
    mut ask: impl FnMut() -> F,
    is_missing: impl Fn(&E) -> bool,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut pauses = Backoff::new(FIRST_LOOK, LONGEST_PAUSE);
    let until = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Err(error) if is_missing(&error) && Instant::now() < until => {
                tokio::time::sleep(pauses.pause()).await;
            }
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    enum Trouble {
        Missing,
        Other,
    }

    async fn ask(answers: &mut Vec<Result<u8, Trouble>>) -> Result<u8, Trouble> {
        let ask = || std::future::ready(answers.pop().unwrap_or(Err(Trouble::Missing)));
        awaited(ask, |trouble| *trouble == Trouble::Missing).await
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_missing_is_waited_for_and_nothing_else() {
        let mut late = vec![Ok(1), Err(Trouble::Missing), Err(Trouble::Missing)];
        assert_eq!(ask(&mut late).await, Ok(1));
        let mut broken = vec![Ok(1), Err(Trouble::Other)];
        assert_eq!(ask(&mut broken).await, Err(Trouble::Other));
        let begun = Instant::now();
        assert_eq!(ask(&mut Vec::new()).await, Err(Trouble::Missing));
        assert!(begun.elapsed() < 2 * PATIENCE);
    }
}
