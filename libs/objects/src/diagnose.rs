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
    let mut reasons = pods_in_trouble(&pods.items);
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
    let shown = reasons.into_iter();
    Ok(shown
        .map(|reason| without_namespace(&reason, namespace))
        .collect())
}

/// A text of the cluster for a user, to whom the name of the namespace means
/// nothing.
pub fn without_namespace(text: &str, namespace: &str) -> String {
    text.replace(&format!("{namespace}/"), "")
        .replace(&format!("namespace \"{namespace}\""), "the namespace")
        .replace(&format!("namespace {namespace}"), "the namespace")
}

/// Why pods do not run: each reason once, with the pods that it holds for.
fn pods_in_trouble(pods: &[Pod]) -> Vec<String> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for pod in pods {
        let Some(reason) = pod_reason(pod) else {
            continue;
        };
        match found.iter_mut().find(|(told, _)| *told == reason) {
            Some((_, names)) => names.push(pod.name_any()),
            None => found.push((reason, vec![pod.name_any()])),
        }
    }
    let told = found.into_iter().map(|(reason, names)| {
        let pods = if names.len() == 1 { "pod" } else { "pods" };
        format!("{pods} {}: {reason}", names.join(", "))
    });
    told.collect()
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
                return Some(format!("{reason} (image {})", container.image));
            }
        }
    }
    let unscheduled = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
    let message = unscheduled.message.as_deref();
    Some(message.unwrap_or("not scheduled").to_owned())
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
        named("mdb-0", status)
    }

    fn named(name: &str, status: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": name}, "status": status})).unwrap()
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_named() {
        let pod = pod(&json!({"containerStatuses": [{
            "name": "mongod", "image": "nowhere/mongo:1", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ImagePullBackOff"}}
        }]}));
        assert_eq!(
            pods_in_trouble(&[pod])[0],
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
    fn what_holds_for_several_pods_is_told_once() {
        let unscheduled = json!({"conditions": [{
            "type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"
        }]});
        let pods = [
            named("mdb-0", &unscheduled),
            named("mdb-1", &json!({})),
            named("mdb-2", &unscheduled),
        ];
        assert_eq!(
            pods_in_trouble(&pods),
            ["pods mdb-0, mdb-2: 0/1 nodes are available"]
        );
        assert_eq!(
            pods_in_trouble(&pods[..1]),
            ["pod mdb-0: 0/1 nodes are available"]
        );
    }

    #[test]
    fn a_text_for_a_user_names_no_namespace() {
        for (text, told) in [
            (
                "statefulset mdb: error looking up service account mdb-x-y/default: not found",
                "statefulset mdb: error looking up service account default: not found",
            ),
            (
                "unable to create new content in namespace mdb-x-y",
                "unable to create new content in the namespace",
            ),
            (
                "cannot be had in namespace \"mdb-x-y\"",
                "cannot be had in the namespace",
            ),
        ] {
            assert_eq!(without_namespace(text, "mdb-x-y"), told);
        }
    }
}
