//! Why workloads are not ready: reasons from pods, volume claims and events,
//! as text for a poll.

use cluster::error::{Error, call};
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use kube::{Api, Client, ResourceExt as _, api::ListParams};

/// How many reasons are worth showing at once.
const SHOWN: usize = 3;

/// Event reason of the controllers of workloads: a pod was refused, for example
/// by Pod Security or a quota. There is no pod then that could say so.
const FAILED_CREATE: &str = "FailedCreate";

/// Short sentences about what is in trouble: pods and volume claims with these
/// labels, and the workloads with the UIDs `awaited` whose pods are refused.
/// Empty where nothing is known to be wrong.
pub async fn diagnose(
    client: &Client,
    namespace: &str,
    selector: &str,
    awaited: &[String],
) -> Result<Vec<String>, Error> {
    let params = ListParams::default().labels(selector);
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let (pods, claims) = tokio::try_join!(call(pods.list(&params)), call(claims.list(&params)))?;
    let mut reasons: Vec<String> = pods.items.iter().filter_map(pod_reason).collect();
    for claim in claims.items.iter().filter(|claim| pending(claim)) {
        let event = latest_event(
            client,
            namespace,
            "PersistentVolumeClaim",
            &claim.name_any(),
        )
        .await?;
        reasons.push(claim_reason(claim, event.as_ref()));
    }
    if reasons.is_empty() {
        let events: Api<Event> = Api::namespaced(client.clone(), namespace);
        let refused = ListParams::default().fields(&format!("reason={FAILED_CREATE}"));
        reasons.extend(refusals(call(events.list(&refused)).await?.items, awaited));
    }
    reasons.truncate(SHOWN);
    Ok(reasons)
}

/// Why the pods of the workloads with these UIDs are refused, each reason once,
/// the latest first.
fn refusals(mut events: Vec<Event>, awaited: &[String]) -> Vec<String> {
    events.retain(|event| {
        let uid = event.involved_object.uid.as_ref();
        uid.is_some_and(|uid| awaited.contains(uid))
    });
    events.sort_by_key(|event| std::cmp::Reverse(at(event)));
    let mut reasons = Vec::new();
    for event in events {
        let of = event.involved_object;
        let kind = of.kind.unwrap_or_default().to_lowercase();
        let name = of.name.unwrap_or_default();
        let reason = event
            .message
            .map(|message| format!("{kind} {name}: {message}"));
        reasons.extend(reason.filter(|reason| !reasons.contains(reason)));
    }
    reasons
}

fn pod_reason(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let name = pod.name_any();
    let containers = status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses)
        .flatten();
    for container in containers {
        let waiting = container
            .state
            .as_ref()
            .and_then(|state| state.waiting.as_ref());
        let reason = waiting.and_then(|waiting| waiting.reason.as_deref());
        match reason {
            None | Some("PodInitializing" | "ContainerCreating") => {}
            Some(reason) => {
                return Some(format!("pod {name}: {reason} (image {})", container.image));
            }
        }
    }
    let unscheduled = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
    let message = unscheduled.message.as_deref().unwrap_or("not scheduled");
    Some(format!("pod {name}: {message}"))
}

fn pending(claim: &PersistentVolumeClaim) -> bool {
    claim
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        == Some("Pending")
}

fn claim_reason(claim: &PersistentVolumeClaim, event: Option<&Event>) -> String {
    let name = claim.name_any();
    match event.and_then(|event| event.message.as_deref()) {
        Some(message) => format!("volume claim {name}: {message}"),
        None => format!("volume claim {name}: Pending"),
    }
}

async fn latest_event(
    client: &Client,
    namespace: &str,
    kind: &str,
    name: &str,
) -> Result<Option<Event>, Error> {
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let fields = format!("involvedObject.kind={kind},involvedObject.name={name}");
    let list = call(api.list(&ListParams::default().fields(&fields))).await?;
    Ok(list.items.into_iter().max_by_key(at))
}

fn at(event: &Event) -> Option<jiff::Timestamp> {
    event.last_timestamp.as_ref().map(|time| time.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "mdb-0"}, "status": status})).unwrap()
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_named() {
        let pod = pod(&json!({"containerStatuses": [{
            "name": "mongod", "image": "nowhere/mongo:1", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ImagePullBackOff"}}
        }]}));
        assert_eq!(
            pod_reason(&pod).unwrap(),
            "pod mdb-0: ImagePullBackOff (image nowhere/mongo:1)"
        );
    }

    #[test]
    fn a_pod_that_starts_normally_is_no_news() {
        let starting = pod(&json!({"containerStatuses": [{
            "name": "mongod", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ContainerCreating"}}
        }]}));
        assert_eq!(pod_reason(&starting), None);
        assert_eq!(pod_reason(&pod(&json!({}))), None);
    }

    #[test]
    fn refused_pods_of_what_is_awaited_are_told_once_the_latest_first() {
        let event = |uid: &str, minute: i64, message: &str| -> Event {
            serde_json::from_value(json!({
                "metadata": {}, "message": message,
                "involvedObject": {"kind": "StatefulSet", "name": "mdb", "uid": uid},
                "lastTimestamp": jiff::Timestamp::from_second(minute * 60).unwrap().to_string(),
            }))
            .unwrap()
        };
        let events = vec![
            event("ours", 1, "quota"),
            event("ours", 3, "privileged"),
            event("theirs", 4, "theirs"),
            event("ours", 2, "privileged"),
        ];
        assert_eq!(
            refusals(events, &["ours".to_owned()]),
            ["statefulset mdb: privileged", "statefulset mdb: quota"]
        );
    }

    #[test]
    fn a_pod_that_fits_nowhere_says_so() {
        let pod = pod(&json!({"conditions": [{
            "type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"
        }]}));
        assert_eq!(
            pod_reason(&pod).unwrap(),
            "pod mdb-0: 0/1 nodes are available"
        );
    }
}
