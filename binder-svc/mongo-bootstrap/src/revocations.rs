//! The ConfigMap `mdb-revocations`: the logins that the binder wants revoked and gets no connection
//! for. See [`mongo::revocation`].

use std::collections::BTreeMap;

use mongo::revocation::{ANSWERS, Answers, Request};

/// The content of the ConfigMap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revocations {
    /// Requests by binding record. One that cannot be read counts as none.
    pub requests: BTreeMap<String, Request>,
    /// What was answered. Answers that cannot be read count as none.
    pub answers: Answers,
}

/// What to do about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// Drop the users of this binding record's request, and answer.
    Drop(String, Request),
    /// Take away answers to requests that are gone: these stay.
    Tidy(Answers),
    /// Nothing.
    Nothing,
}

impl Revocations {
    /// Reads a ConfigMap's data and annotations.
    pub fn read(data: &BTreeMap<String, String>, annotations: &BTreeMap<String, String>) -> Self {
        let read = |(record, text): (&String, &String)| {
            let request = serde_json::from_str(text).ok()?;
            Some((record.clone(), request))
        };
        let answers = annotations.get(ANSWERS);
        Self {
            requests: data.iter().filter_map(read).collect(),
            answers: answers
                .and_then(|text| serde_json::from_str(text).ok())
                .unwrap_or_default(),
        }
    }

    /// What the primary's mongo-bootstrap does next.
    pub fn due(&self) -> Due {
        let is_answered = |(record, request): &(&String, &Request)| {
            let answer = self.answers.get(*record);
            answer.is_some_and(|answer| answer.id == request.id)
        };
        if let Some((record, request)) = self.requests.iter().find(|asked| !is_answered(asked)) {
            return Due::Drop(record.clone(), request.clone());
        }
        let mut kept = self.answers.clone();
        kept.retain(|record, _| self.requests.contains_key(record));
        if kept == self.answers {
            Due::Nothing
        } else {
            Due::Tidy(kept)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(requests: &[(&str, &str)], answers: &str) -> Revocations {
        let data = requests
            .iter()
            .map(|(record, text)| ((*record).to_owned(), (*text).to_owned()))
            .collect();
        Revocations::read(&data, &[(ANSWERS.to_owned(), answers.to_owned())].into())
    }

    const REQUEST: &str = r#"{"id":"2","users":["b-1"],"below":2}"#;

    #[test]
    fn a_request_is_due_until_it_and_no_older_one_is_answered() {
        for answers in ["{}", "{", r#"{"b":{"id":"1"}}"#, r#"{"c":{"id":"2"}}"#] {
            let due = read(&[("b", REQUEST)], answers).due();
            assert!(
                matches!(due, Due::Drop(record, _) if record == "b"),
                "{answers}"
            );
        }
        let answered = read(&[("b", REQUEST)], r#"{"b":{"id":"2"}}"#);
        assert_eq!(answered.due(), Due::Nothing);
    }

    #[test]
    fn answers_go_with_their_requests_and_what_cannot_be_read_is_none() {
        let gone = read(&[], r#"{"b":{"id":"2"}}"#);
        assert_eq!(gone.due(), Due::Tidy(Answers::new()));
        for broken in ["", "{}", "[]", r#"{"id":"2","users":"b-1","below":2}"#] {
            assert_eq!(read(&[("b", broken)], "{}").due(), Due::Nothing, "{broken}");
        }
    }
}
