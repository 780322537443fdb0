//! What a person wants to see when something did not work.

use std::time::Duration;

use crate::{deploy::NAMESPACE, place::Place};

const LIMIT: Duration = Duration::from_secs(30);

/// Prints pods, events, records and the ends of the broker's logs. Never fails:
/// it is called when something else did.
pub async fn print(place: &Place) {
    let looks: [&[&str]; 5] = [
        &["get", "pods", "--all-namespaces", "--output=wide"],
        &[
            "get",
            "serviceinstances,servicebindings",
            "--all-namespaces",
        ],
        &[
            "get",
            "events",
            "--all-namespaces",
            "--sort-by=.lastTimestamp",
        ],
        &["describe", "pods", "--namespace", NAMESPACE],
        &[
            "logs",
            "--namespace",
            NAMESPACE,
            "--selector=app.kubernetes.io/part-of=mongodb-osb",
            "--prefix",
            "--tail=40",
            "--max-log-requests=20",
        ],
    ];
    for look in looks {
        eprintln!("\n--- kubectl {}", look.join(" "));
        match place.kubectl.output(look, LIMIT).await {
            Ok(text) => eprintln!("{}", end(&text)),
            Err(error) => eprintln!("{error:#}"),
        }
    }
}

/// Events and descriptions may be long: the newest lines matter.
fn end(text: &str) -> String {
    const LINES: usize = 120;
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
