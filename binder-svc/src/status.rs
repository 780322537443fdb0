//! The status that people read, worked out from the record.

use jiff::Timestamp;

use crate::{
    ledger::Record,
    resource::{Condition, Phase, ServiceBindingStatus},
};

const READY: &str = "Ready";

/// The status of a record. `trouble` says what stands in the way of a running operation.
pub fn of(record: &Record, trouble: Option<&str>, now: Timestamp) -> ServiceBindingStatus {
    let phase = record.phase();
    let generation = record.object().metadata.generation;
    let status = if phase == Phase::Ready {
        "True"
    } else {
        "False"
    };
    let unchanged_since = record
        .object()
        .status
        .iter()
        .flat_map(|old| &old.conditions)
        .find(|old| old.kind == READY && old.status == status)
        .map(|old| old.last_transition_time);
    let condition = Condition {
        kind: READY.to_owned(),
        status: status.to_owned(),
        reason: reason(phase).to_owned(),
        message: trouble.map_or_else(|| message(record, phase), str::to_owned),
        last_transition_time: unchanged_since.unwrap_or(now),
        observed_generation: generation,
    };
    ServiceBindingStatus {
        phase: Some(phase),
        observed_generation: generation,
        conditions: vec![condition],
    }
}

/// What stood in the way of the running operation when somebody last tried, as
/// the status has it.
pub fn trouble(record: &Record) -> Option<&str> {
    let status = record.object().status.as_ref()?;
    let ready = status.conditions.iter().find(|one| one.kind == READY)?;
    let current = ready.observed_generation == record.object().metadata.generation
        && status.phase == Some(record.phase());
    Some(ready.message.as_str()).filter(|text| current && *text != message(record, record.phase()))
}

/// The phase as one word.
pub fn reason(phase: Phase) -> &'static str {
    match phase {
        Phase::Binding => "Binding",
        Phase::Ready => "Ready",
        Phase::Failed => "Failed",
        Phase::Unbinding => "Unbinding",
        Phase::RevocationPending => "RevocationPending",
        Phase::Deleted => "Deleted",
    }
}

fn message(record: &Record, phase: Phase) -> String {
    match phase {
        Phase::Binding => "The login is being made.".to_owned(),
        Phase::Ready => "The login works.".to_owned(),
        Phase::Unbinding => "The login is being revoked.".to_owned(),
        Phase::RevocationPending => {
            "The database did not answer; the login's user is yet to be dropped.".to_owned()
        }
        Phase::Deleted => "The login is gone.".to_owned(),
        Phase::Failed => record
            .ledger
            .history
            .newest()
            .map(|ended| ended.description.clone())
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn ready_is_true_only_of_a_ready_binding_and_keeps_the_time_of_its_change() {
        let first = of(&testing::ready(), None, testing::at(1));
        assert_eq!(first.conditions[0].status, "True");
        let mut object = testing::ready().into_object();
        object.status = Some(first);
        let again = of(&Record::read(object).unwrap(), None, testing::at(9));
        assert_eq!(again.conditions[0].last_transition_time, testing::at(1));
        let mut object = testing::binding_in_progress("me/1").into_object();
        assert_eq!(trouble(&Record::read(object.clone()).unwrap()), None);
        let record = Record::read(object.clone()).unwrap();
        object.status = Some(of(&record, None, testing::at(1)));
        assert_eq!(trouble(&Record::read(object.clone()).unwrap()), None);
        object.status = Some(of(&record, Some("no answer"), testing::at(1)));
        assert_eq!(
            trouble(&Record::read(object.clone()).unwrap()),
            Some("no answer")
        );
        object.metadata.generation = Some(2);
        let later = Record::read(object).unwrap();
        assert_eq!(trouble(&later), None, "that was another operation's");
        let failed = of(&testing::failed(), None, testing::at(1));
        assert_eq!(failed.conditions[0].status, "False");
        assert_eq!(failed.conditions[0].message, "no luck");
    }
}
