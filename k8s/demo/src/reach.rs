//! Which addresses can be connected to from where the process runs: in a pod, that is what
//! NetworkPolicies decide.

use std::{fmt::Write as _, process::ExitCode, time::Duration};

use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

/// A connection that nothing forbids takes less, on a busy machine as well.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(500);

/// What came of trying to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Somebody accepted.
    Open,
    /// Nobody did: refused, unreachable or no answer.
    Closed,
}

/// What is expected of one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// As `host:port`.
    pub address: String,
    /// What shall come of it.
    pub answer: Answer,
}

/// What is expected of these addresses.
pub fn expected(open: Vec<String>, closed: Vec<String>) -> Vec<Expected> {
    let all = |addresses: Vec<String>, answer| {
        addresses
            .into_iter()
            .map(move |address| Expected { address, answer })
    };
    all(open, Answer::Open)
        .chain(all(closed, Answer::Closed))
        .collect()
}

/// Tries all of them until one pass finds everything as expected, and prints the last pass. A
/// network plugin learns of pods and policies a moment after they are made.
pub async fn run(expected: &[Expected], limit: Duration) -> ExitCode {
    let found = settle(expected, limit).await;
    print!("{}", table(expected, &found));
    if are_as_expected(expected, &found) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn settle(expected: &[Expected], limit: Duration) -> Vec<Answer> {
    let deadline = Instant::now() + limit;
    loop {
        let found = pass(expected).await;
        if are_as_expected(expected, &found) || Instant::now() > deadline {
            return found;
        }
        sleep(PAUSE).await;
    }
}

fn are_as_expected(expected: &[Expected], found: &[Answer]) -> bool {
    expected
        .iter()
        .map(|one| one.answer)
        .eq(found.iter().copied())
}

/// Tries all of them once, side by side.
async fn pass(expected: &[Expected]) -> Vec<Answer> {
    let tries: Vec<_> = expected
        .iter()
        .map(|one| tokio::spawn(connect(one.address.clone())))
        .collect();
    let mut found = Vec::with_capacity(tries.len());
    for one in tries {
        found.push(one.await.unwrap_or(Answer::Closed));
    }
    found
}

async fn connect(address: String) -> Answer {
    match timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Answer::Open,
        Ok(Err(_)) | Err(_) => Answer::Closed,
    }
}

fn table(expected: &[Expected], found: &[Answer]) -> String {
    let mut text = String::new();
    for (one, found) in expected.iter().zip(found) {
        let verdict = if one.answer == *found { "" } else { ", WRONG" };
        let _ = writeln!(text, "{} is {found:?}{verdict}", one.address);
    }
    text
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn expected(address: &str, answer: Answer) -> Expected {
        Expected {
            address: address.to_owned(),
            answer,
        }
    }

    #[tokio::test]
    async fn each_address_is_told_as_it_is() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap().to_string();
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = gone.local_addr().unwrap().to_string();
        drop(gone);
        let right = [
            expected(&open, Answer::Open),
            expected(&closed, Answer::Closed),
        ];
        let found = settle(&right, Duration::ZERO).await;
        assert_eq!(found, [Answer::Open, Answer::Closed]);
        assert!(are_as_expected(&right, &found));
        let wrong = [
            expected(&open, Answer::Closed),
            expected(&closed, Answer::Closed),
        ];
        let found = settle(&wrong, Duration::ZERO).await;
        assert!(!are_as_expected(&wrong, &found));
        let text = table(&wrong, &found);
        assert_eq!(text, format!("{open} is Open, WRONG\n{closed} is Closed\n"));
    }

    #[tokio::test]
    async fn what_is_not_yet_as_expected_is_tried_again() {
        let place = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = place.local_addr().unwrap();
        drop(place);
        let later = tokio::spawn(async move {
            sleep(PAUSE).await;
            let listener = TcpListener::bind(address).await.unwrap();
            listener.accept().await.unwrap();
        });
        let expected = [expected(&address.to_string(), Answer::Open)];
        let found = settle(&expected, Duration::from_secs(60)).await;
        assert_eq!(found, [Answer::Open]);
        later.await.unwrap();
    }
}
