//! Events on the ConfigMaps that bring plans: whoever applied one looks there
//! first. Losing one is no failure: `ListPlans` and the log say the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use broker_proto::v1::{PlanFault, PlanReport};
use cluster::operation::bounded;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use plan::id::Digest;
use service::telemetry::chain;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{discovery::fetches::says_waiting, published::Published, snapshot::PlanKey};

const CONTROLLER: &str = "mongodb-osb.io/catalog-svc";
const DEADLINE: Duration = Duration::from_secs(10);
/// Faults in one event; the others are in the log.
const AT_ONCE: usize = 5;

/// A ConfigMap that brings a plan, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) resource_version: String,
}

/// The ConfigMaps of each plan that has any.
pub(crate) type Origins = BTreeMap<PlanKey, Vec<Origin>>;

/// What is to be told about a ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Note {
    on: Origin,
    kind: &'static str,
    reason: &'static str,
    text: String,
}

/// What there is to tell about the plans that come from ConfigMaps.
pub(crate) fn notes(reports: &[PlanReport], origins: &Origins) -> Vec<Note> {
    let mut notes = Vec::new();
    for report in reports {
        let key = PlanKey {
            provider: report.provider.clone(),
            plan: report.plan.clone(),
        };
        let told = told(report);
        for on in origins.get(&key).into_iter().flatten() {
            let of_one = told.iter().map(|(kind, reason, text)| Note {
                on: on.clone(),
                kind,
                reason,
                text: bounded(text),
            });
            notes.extend(of_one);
        }
    }
    notes
}

fn told(report: &PlanReport) -> Vec<(&'static str, &'static str, String)> {
    let mut told = Vec::new();
    if !report.faults.is_empty() && report.faults.iter().all(|it| says_waiting(&it.message)) {
        told.push(("Normal", "PlanWaits", listed(&report.faults)));
    } else if !report.faults.is_empty() {
        let stays = if report.last_good {
            " The last good version of the plan stays in the catalog."
        } else {
            " The plan is not in the catalog."
        };
        told.push(("Warning", "PlanFault", listed(&report.faults) + stays));
    }
    if !report.warnings.is_empty() {
        told.push(("Warning", "PlanWarning", listed(&report.warnings)));
    }
    if !report.not_orderable_reason.is_empty() {
        let reason = report.not_orderable_reason.clone();
        told.push(("Warning", "PlanNotOrderable", reason));
    } else if report.faults.is_empty() && !report.served_digest.is_empty() {
        let text = format!(
            "The plan is in the catalog; its content has sha256 {}.",
            report.served_digest
        );
        told.push(("Normal", "PlanServed", text));
    }
    told
}

fn listed(faults: &[PlanFault]) -> String {
    let shown = faults.iter().take(AT_ONCE).map(|fault| {
        let place = match (fault.file.as_str(), fault.line) {
            ("", _) => String::new(),
            (file, 0) => format!("{file}: "),
            (file, line) => format!("{file}:{line}:{}: ", fault.column),
        };
        format!("{place}{}.", fault.message)
    });
    let mut text = shown.collect::<Vec<_>>().join(" ");
    if faults.len() > AT_ONCE {
        let _ = write!(text, " And {} more.", faults.len() - AT_ONCE);
    }
    text
}

impl Note {
    /// The same for all replicas and after each restart, so that each thing is told once for each
    /// version of a ConfigMap.
    fn name(&self) -> String {
        let Origin {
            name,
            uid,
            resource_version,
        } = &self.on;
        let parts = [uid, resource_version, self.reason, &self.text];
        let digest = Digest::of(parts.join("\n").as_bytes());
        // A name has at most 253 characters.
        let name: String = name.chars().take(200).collect();
        let name = name.trim_end_matches(['-', '.']);
        let (start, _) = digest.as_str().split_at(16);
        format!("{name}.{start}")
    }

    fn event(&self, namespace: &str) -> Event {
        Event {
            metadata: ObjectMeta {
                name: Some(self.name()),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(Timestamp::now())),
            action: Some("Read".to_owned()),
            reason: Some(self.reason.to_owned()),
            type_: Some(self.kind.to_owned()),
            note: Some(self.text.clone()),
            reporting_controller: Some(CONTROLLER.to_owned()),
            // Any replica: all say the same.
            reporting_instance: Some("catalog-svc".to_owned()),
            regarding: Some(ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("ConfigMap".to_owned()),
                name: Some(self.on.name.clone()),
                namespace: Some(namespace.to_owned()),
                uid: Some(self.on.uid.clone()),
                resource_version: Some(self.on.resource_version.clone()),
                ..ObjectReference::default()
            }),
            ..Event::default()
        }
    }
}

/// Tells what changes in the catalog, until `shutdown`.
pub(crate) async fn follow(
    client: Client,
    namespace: String,
    mut published: watch::Receiver<Option<Arc<Published>>>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let api: Api<Event> = Api::namespaced(client, &namespace);
    let mut told = BTreeSet::new();
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            changed = published.changed() => if changed.is_err() {
                // The catalog's own task ended; what that means is said there.
                shutdown.cancelled().await;
                return Ok(());
            },
        }
        let now = published.borrow_and_update().clone();
        let notes: BTreeSet<Note> = now.iter().flat_map(|now| now.notes.clone()).collect();
        told.retain(|note| notes.contains(note));
        for note in notes {
            if told.contains(&note) {
                continue;
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                is_told = tell(&api, &note, &namespace) => if is_told {
                    told.insert(note);
                },
            }
        }
    }
}

/// Whether it is known by now.
async fn tell(api: &Api<Event>, note: &Note, namespace: &str) -> bool {
    let (parameters, event) = (PostParams::default(), note.event(namespace));
    let created = api.create(&parameters, &event);
    match tokio::time::timeout(DEADLINE, created).await {
        Ok(Ok(_)) => true,
        // Another replica did.
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => true,
        Ok(Err(error)) => {
            tracing::debug!(error = chain(&error), "event not published");
            false
        }
        Err(_) => {
            tracing::debug!("event not published in time");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(name: &str) -> Origin {
        Origin {
            name: name.to_owned(),
            uid: "1".to_owned(),
            resource_version: "1".to_owned(),
        }
    }

    fn report() -> PlanReport {
        PlanReport {
            provider: "p".to_owned(),
            plan: "a".to_owned(),
            ..PlanReport::default()
        }
    }

    fn told_of(report: PlanReport) -> Vec<(&'static str, String)> {
        let key = PlanKey::new("p", "a").unwrap();
        let origins = Origins::from([(key, vec![origin("map")])]);
        let notes = notes(&[report], &origins);
        notes
            .into_iter()
            .map(|note| (note.reason, note.text))
            .collect()
    }

    #[test]
    fn a_fault_is_told_with_its_place_and_what_becomes_of_the_plan() {
        let fault = PlanFault {
            file: "p/a/1.yaml".to_owned(),
            line: 3,
            column: 5,
            message: "no".to_owned(),
        };
        let told = told_of(PlanReport {
            faults: vec![fault.clone()],
            ..report()
        });
        let text = "p/a/1.yaml:3:5: no. The plan is not in the catalog.";
        assert_eq!(told, [("PlanFault", text.to_owned())]);
        let told = told_of(PlanReport {
            faults: vec![fault; 7],
            last_good: true,
            served_digest: "x".to_owned(),
            ..report()
        });
        assert!(told[0].1.contains("And 2 more. The last good version"));
        assert_eq!(told.len(), 1);
    }

    #[test]
    fn what_only_waits_is_no_fault() {
        let mut fault = PlanFault {
            message: crate::discovery::fetches::WAITS.to_owned(),
            ..PlanFault::default()
        };
        let told = |faults: Vec<PlanFault>| told_of(PlanReport { faults, ..report() })[0].0;
        assert_eq!(told(vec![fault.clone()]), "PlanWaits");
        let waits = fault.clone();
        fault.message = "no".to_owned();
        assert_eq!(told(vec![waits, fault]), "PlanFault");
    }

    #[test]
    fn a_plan_that_is_served_says_so_unless_it_cannot_be_ordered() {
        let served = PlanReport {
            served_digest: "x".to_owned(),
            ..report()
        };
        assert_eq!(told_of(served.clone())[0].0, "PlanServed");
        let told = told_of(PlanReport {
            not_orderable_reason: "Why.".to_owned(),
            ..served
        });
        assert_eq!(told, [("PlanNotOrderable", "Why.".to_owned())]);
    }

    #[test]
    fn plans_of_folders_have_nowhere_to_be_told() {
        let notes = notes(
            &[PlanReport {
                served_digest: "x".to_owned(),
                ..report()
            }],
            &Origins::new(),
        );
        assert_eq!(notes, []);
    }

    #[test]
    fn each_version_of_a_config_map_has_events_of_its_own() {
        let note = |version: &str| Note {
            on: Origin {
                resource_version: version.to_owned(),
                ..origin(&"m".repeat(253))
            },
            kind: "Warning",
            reason: "PlanFault",
            text: "x".to_owned(),
        };
        assert_eq!(note("1").name(), note("1").name());
        assert_ne!(note("1").name(), note("2").name());
        assert!(note("1").name().len() <= 253);
    }
}
