//! What a person reads while the demo runs: each step, each HTTP call with its
//! answer and its time, and no password.

use std::{
    io::{self, Write as _},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;

use crate::redact;

/// How much of a body is shown: the catalog is long.
const SHOWN: usize = 1200;

/// One HTTP call.
#[derive(Debug)]
pub struct Call<'a> {
    /// HTTP method.
    pub method: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// The body that was sent.
    pub request: Option<&'a Value>,
    /// The status that came back.
    pub status: u16,
    /// The body that came back, if it was a JSON object.
    pub answer: Option<&'a Value>,
    /// How long it took.
    pub took: Duration,
}

/// Writes to standard output, and keeps what it wrote, so that a test can look
/// for secrets in it. Clones share both.
#[derive(Debug, Clone, Default)]
pub struct Transcript {
    written: Arc<Mutex<Written>>,
}

#[derive(Debug, Default)]
struct Written {
    text: String,
    /// The last GET and its answer: a poll that brings nothing new is one short line.
    last: Option<(String, String)>,
}

impl Transcript {
    /// A heading.
    pub fn step(&self, number: usize, of: usize, title: &str) {
        self.line(&format!("\n[{number}/{of}] {title}"));
    }

    /// One line about the step that is going on.
    pub fn note(&self, text: &str) {
        self.line(&format!("      {text}"));
    }

    /// One HTTP call.
    pub fn call(&self, call: &Call<'_>) {
        let request = call
            .request
            .map(|body| format!("  {}", shown(body)))
            .unwrap_or_default();
        let answer = call
            .answer
            .map_or_else(|| "(no JSON object)".to_owned(), shown);
        let sent = format!("{} {}{request}", call.method, call.path);
        let answered = format!("{} in {}", call.status, duration(call.took));
        if call.method == "GET" && self.is_as_before(&sent, &answer) {
            return self.line(&format!("   <- {answered}, as before"));
        }
        self.line(&format!("   -> {sent}"));
        self.line(&format!("   <- {answered}  {answer}"));
    }

    /// All that was written so far.
    pub fn text(&self) -> String {
        let written = self.written.lock();
        written
            .map(|written| written.text.clone())
            .unwrap_or_default()
    }

    /// One line as it is.
    pub fn line(&self, line: &str) {
        // A reader who has gone must not fail the demo.
        let _ = writeln!(io::stdout(), "{line}");
        if let Ok(mut written) = self.written.lock() {
            written.text.push_str(line);
            written.text.push('\n');
        }
    }

    fn is_as_before(&self, sent: &str, answer: &str) -> bool {
        let Ok(mut written) = self.written.lock() else {
            return false;
        };
        let this = (sent.to_owned(), answer.to_owned());
        written.last.replace(this.clone()) == Some(this)
    }
}

/// A duration for people.
pub fn duration(duration: Duration) -> String {
    match duration.as_millis() {
        millis if millis < 1000 => format!("{millis} ms"),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}

fn shown(body: &Value) -> String {
    let text = redact::json(body).to_string();
    let Some((end, _)) = text.char_indices().nth(SHOWN) else {
        return text;
    };
    format!(
        "{} … ({} characters more)",
        &text[..end],
        text[end..].chars().count()
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_call_shows_its_answer_and_its_time_but_no_password() {
        let transcript = Transcript::default();
        transcript.call(&Call {
            method: "PUT",
            path: "/v2/x",
            request: Some(&json!({"service_id": "s"})),
            status: 201,
            answer: Some(&json!({"credentials": {
                "username": "u", "password": "hunter2", "uri": "mongodb://u:hunter2@h:27017/d"
            }})),
            took: Duration::from_millis(12),
        });
        let text = transcript.text();
        assert!(
            text.contains("-> PUT /v2/x  {\"service_id\":\"s\"}"),
            "{text}"
        );
        assert!(text.contains("<- 201 in 12 ms"), "{text}");
        assert!(text.contains("mongodb://u:***@h:27017/d"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn a_poll_that_brings_nothing_new_is_one_short_line() {
        let transcript = Transcript::default();
        for state in ["in progress", "in progress", "succeeded"] {
            transcript.call(&Call {
                method: "GET",
                path: "/poll",
                request: None,
                status: 200,
                answer: Some(&json!({"state": state})),
                took: Duration::from_millis(3),
            });
        }
        let expected = "   -> GET /poll\n   <- 200 in 3 ms  {\"state\":\"in progress\"}\n   \
                        <- 200 in 3 ms, as before\n   -> GET /poll\n   \
                        <- 200 in 3 ms  {\"state\":\"succeeded\"}\n";
        assert_eq!(transcript.text(), expected);
    }

    #[test]
    fn a_long_body_is_cut_between_characters() {
        let text = shown(&json!({"text": "ü".repeat(SHOWN)}));
        assert!(text.contains("characters more"), "{text}");
    }
}
