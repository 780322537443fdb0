//! What an object may not say, since it reaches beyond its instance: it would outlast the
//! instance, or take what belongs to others. Admission refuses some of it, too, where the objects
//! live in a namespace of the broker's; here it is found before anything is applied.

use serde_json::{Map, Value};

use super::Refusal;
use crate::descriptor::KindRef;

/// Priority classes of Kubernetes itself begin so.
const SYSTEM: &str = "system-";

/// Checks an object.
pub(super) fn check(kind: &KindRef, object: &Map<String, Value>) -> Result<(), Refusal> {
    metadata("metadata", "", object.get("metadata"))?;
    let Some(spec) = object.get("spec") else {
        return Ok(());
    };
    if (kind.group.as_str(), kind.kind.as_str()) == ("", "Service")
        && is_given(spec.get("externalIPs"))
    {
        let message = "spec.externalIPs takes over addresses of others: leave it out";
        return Err(("spec", message.to_owned()));
    }
    // Of another API such fields may mean anything.
    if !matches!(kind.group.as_str(), "" | "apps" | "batch") {
        return Ok(());
    }
    for place in ["template", "jobTemplate", "jobTemplate/spec/template"] {
        metadata("spec", place, spec.pointer(&format!("/{place}/metadata")))?;
    }
    let claims = spec.get("volumeClaimTemplates").and_then(Value::as_array);
    for claim in claims.into_iter().flatten() {
        metadata("spec", "volumeClaimTemplates", claim.get("metadata"))?;
    }
    pod_spec(kind, spec).map_or(Ok(()), pod)
}

/// Of the object, or of what is made from a template in it. `key` is the place to show.
fn metadata(key: &'static str, place: &str, metadata: Option<&Value>) -> Result<(), Refusal> {
    let of = match place {
        "" => "metadata".to_owned(),
        place => format!("spec.{}.metadata", place.replace('/', ".")),
    };
    let has = |key: &str| is_given(metadata.and_then(|metadata| metadata.get(key)));
    let place = |own: &'static str| if place.is_empty() { own } else { key };
    if has("finalizers") {
        let message = format!(
            "{of}.finalizers would keep what has them, and with it the instance, from being \
             deleted: leave it out; a controller that needs one adds it"
        );
        return Err((place("metadata.finalizers"), message));
    }
    if has("ownerReferences") {
        let message = format!(
            "{of}.ownerReferences would have Kubernetes delete the object when another one goes: \
             leave it out; the broker deletes what a plan makes"
        );
        return Err((place("metadata.ownerReferences"), message));
    }
    Ok(())
}

/// Where the kinds of Kubernetes that run pods describe them.
fn pod_spec<'a>(kind: &KindRef, spec: &'a Value) -> Option<&'a Value> {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Pod") => Some(spec),
        ("apps", _) | ("batch", "Job") | ("", "ReplicationController") => {
            spec.pointer("/template/spec")
        }
        ("batch", "CronJob") => spec.pointer("/jobTemplate/spec/template/spec"),
        _ => None,
    }
}

fn pod(pod: &Value) -> Result<(), Refusal> {
    if is_given(pod.get("nodeName")) {
        let message = "nodeName takes a node past the scheduler: use nodeSelector or affinity";
        return Err(("spec", message.to_owned()));
    }
    let class = pod.get("priorityClassName").and_then(Value::as_str);
    if let Some(class) = class.filter(|class| class.starts_with(SYSTEM)) {
        let message = format!(
            "priorityClassName {class} is for what the cluster itself runs, and drives pods of \
             others off their nodes: use a class of the site, or none"
        );
        return Err(("spec", message));
    }
    Ok(())
}

fn is_given(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(list)) => !list.is_empty(),
        Some(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(kind: &str, object: &Value) -> String {
        let kind: KindRef = kind.parse().unwrap();
        let checked = check(&kind, object.as_object().unwrap());
        checked
            .err()
            .map_or_else(String::new, |(_, message)| message)
    }

    #[test]
    fn what_reaches_beyond_the_instance_is_refused() {
        let node = json!({"spec": {"nodeName": "node-1"}});
        let critical = json!({"spec": {"priorityClassName": "system-node-critical"}});
        for pod in [&node, &critical] {
            let template = json!({"spec": {"template": pod}});
            let cron = json!({"spec": {"jobTemplate": template}});
            for (kind, object) in [
                ("v1/Pod", pod),
                ("apps/v1/StatefulSet", &template),
                ("apps/v1/Deployment", &template),
                ("batch/v1/Job", &template),
                ("batch/v1/CronJob", &cron),
            ] {
                assert!(!refusal(kind, object).is_empty(), "{kind}: {object}");
            }
        }
        let external = json!({"spec": {"externalIPs": ["192.0.2.1"]}});
        assert!(refusal("v1/Service", &external).contains("externalIPs"));
        for key in ["finalizers", "ownerReferences"] {
            let metadata = json!({"metadata": {key: ["x"]}});
            let pods = json!({"spec": {"template": metadata}});
            let jobs = json!({"spec": {"jobTemplate": pods}});
            let claims = json!({"spec": {"volumeClaimTemplates": [metadata]}});
            for (kind, object) in [
                ("example.com/v1/Any", &metadata),
                ("apps/v1/StatefulSet", &pods),
                ("batch/v1/CronJob", &jobs),
                ("apps/v1/StatefulSet", &claims),
            ] {
                assert!(refusal(kind, object).contains(key), "{object}");
            }
        }
    }

    #[test]
    fn what_says_so_of_itself_alone_is_not() {
        for (kind, object) in [
            ("v1/ConfigMap", json!({})),
            ("v1/ConfigMap", json!({"metadata": {"finalizers": []}})),
            ("v1/Service", json!({"spec": {"externalIPs": null}})),
            (
                "apps/v1/StatefulSet",
                json!({"spec": {"template": {"spec": {
                    "nodeName": "", "priorityClassName": "databases",
                }}}}),
            ),
            // Another API's, whose field may mean anything.
            (
                "example.com/v1/Service",
                json!({"spec": {"externalIPs": ["x"]}}),
            ),
        ] {
            assert_eq!(refusal(kind, &object), "", "{object}");
        }
    }
}
