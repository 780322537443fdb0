//! Storage of StatefulSets: what an update asks for against what there is.
//!
//! Volume claim templates are immutable, and volumes only grow: growth is a
//! step of its own, and asking for less means keeping what there is.

use serde_json::{Value, json};

const STORAGE: &str = "/spec/resources/requests/storage";

/// A claim template that shall grow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Growth {
    /// The StatefulSet.
    pub(crate) set: String,
    /// The claim template; claims are called `<template>-<set>-<ordinal>`.
    pub(crate) template: String,
    /// As the manifest says it.
    pub(crate) storage: String,
    /// As it is now.
    pub(crate) live: String,
    /// The class of the claims, if the live template names one.
    pub(crate) class: Option<String>,
}

/// Bytes of a Kubernetes quantity, if it is one of at least 0; rounded up, as
/// the API server does.
pub(crate) fn bytes(quantity: &str) -> Option<u128> {
    let unsigned = quantity.strip_prefix('+').unwrap_or(quantity);
    let end = unsigned
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || fraction.len() > 18 {
        return None;
    }
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let (times, parts) = unit(suffix)?;
    Some(
        digits
            .checked_mul(times)?
            .div_ceil(scale.checked_mul(parts)?),
    )
}

/// What the suffix of a quantity multiplies by, and divides by.
fn unit(suffix: &str) -> Option<(u128, u128)> {
    let power = |exponent: u32| 10_u128.checked_pow(exponent);
    let times = match suffix {
        "n" => return Some((1, power(9)?)),
        "u" => return Some((1, power(6)?)),
        "m" => return Some((1, power(3)?)),
        "" => 1,
        "k" => power(3)?,
        "M" => power(6)?,
        "G" => power(9)?,
        "T" => power(12)?,
        "P" => power(15)?,
        "E" => power(18)?,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        "Ei" => 1 << 60,
        // A decimal exponent: 1e9, 5E-3.
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = power(exponent.unsigned_abs())?;
            return Some(if exponent < 0 { (1, power) } else { (power, 1) });
        }
    };
    Some((times, 1))
}

/// Fits a StatefulSet's manifest to the live one: where the manifest asks for
/// less than there is, it gets what there is. Returns what shall grow.
pub(crate) fn fit(manifest: &mut Value, live: &Value) -> Vec<Growth> {
    let set = text(manifest, "/metadata/name").unwrap_or_default();
    let lives = live
        .pointer("/spec/volumeClaimTemplates")
        .and_then(Value::as_array);
    let wanted = manifest
        .pointer_mut("/spec/volumeClaimTemplates")
        .and_then(Value::as_array_mut);
    let (Some(wanted), Some(lives)) = (wanted, lives) else {
        return Vec::new();
    };
    let mut growths = Vec::new();
    for template in wanted {
        let Some(name) = text(template, "/metadata/name") else {
            continue;
        };
        let same = |live: &&Value| text(live, "/metadata/name").as_deref() == Some(&name);
        let Some(live) = lives.iter().find(same) else {
            continue;
        };
        let (Some(asked), Some(has)) = (text(template, STORAGE), text(live, STORAGE)) else {
            continue;
        };
        let (Some(asked_bytes), Some(has_bytes)) = (bytes(&asked), bytes(&has)) else {
            continue;
        };
        if asked_bytes > has_bytes {
            growths.push(Growth {
                set: set.clone(),
                template: name,
                storage: asked,
                live: has,
                class: text(live, "/spec/storageClassName"),
            });
        } else if let Some(slot) = template.pointer_mut(STORAGE) {
            // Also where only the spelling differs: 1024Mi is 1Gi.
            *slot = json!(has);
        }
    }
    growths
}

/// The manifest without that growth, to compare the rest of it.
pub(crate) fn without_growth(manifest: &mut Value, growth: &Growth) {
    let templates = manifest
        .pointer_mut("/spec/volumeClaimTemplates")
        .and_then(Value::as_array_mut);
    for template in templates.into_iter().flatten() {
        if text(template, "/metadata/name").as_deref() == Some(&growth.template)
            && let Some(slot) = template.pointer_mut(STORAGE)
        {
            *slot = json!(growth.live);
        }
    }
}

/// Whether a claim is one of those that a growth is about.
pub(crate) fn is_of(claim: &str, growth: &Growth) -> bool {
    claim
        .strip_prefix(&format!("{}-{}-", growth.template, growth.set))
        .is_some_and(|ordinal| {
            !ordinal.is_empty() && ordinal.bytes().all(|byte| byte.is_ascii_digit())
        })
}

fn text(value: &Value, pointer: &str) -> Option<String> {
    match value.pointer(pointer)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(storage: &str) -> Value {
        json!({
            "kind": "StatefulSet",
            "metadata": {"name": "mdb"},
            "spec": {"volumeClaimTemplates": [{
                "metadata": {"name": "data"},
                "spec": {"storageClassName": "fast", "resources": {"requests": {"storage": storage}}}
            }]}
        })
    }

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        for (text, expected) in [
            ("1Gi", Some(1 << 30)),
            ("1024Mi", Some(1 << 30)),
            ("1.5Gi", Some(3 << 29)),
            ("10G", Some(10_000_000_000)),
            ("128", Some(128)),
            ("0.1", Some(1)),
            (".5Ki", Some(512)),
            ("1.", Some(1)),
            ("+1k", Some(1000)),
            ("1e9", Some(1_000_000_000)),
            ("1E3", Some(1000)),
            ("1E", Some(1_000_000_000_000_000_000)),
            ("2500e-3", Some(3)),
            ("1500m", Some(2)),
            ("2000000u", Some(2)),
            ("1n", Some(1)),
            (".", None),
            ("1e", None),
            ("1e99", None),
            ("1.2.3", None),
            ("1ki", None),
            ("", None),
            ("Gi", None),
            ("1.x", None),
            ("-1Gi", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn storage_only_grows() {
        let mut more = set("2Gi");
        let growth = fit(&mut more, &set("1Gi"));
        assert_eq!(growth.len(), 1);
        assert_eq!(
            (growth[0].storage.as_str(), growth[0].class.as_deref()),
            ("2Gi", Some("fast"))
        );
        assert_eq!(more, set("2Gi"));
        without_growth(&mut more, &growth[0]);
        assert_eq!(more, set("1Gi"));

        let mut less = set("512Mi");
        assert!(fit(&mut less, &set("1Gi")).is_empty());
        assert_eq!(less, set("1Gi"), "what there is stays");

        let mut same = set("1024Mi");
        assert!(fit(&mut same, &set("1Gi")).is_empty());
        assert_eq!(same, set("1Gi"), "another spelling is no change");
    }

    #[test]
    fn claims_belong_to_a_template_of_a_set_by_name() {
        let growth = Growth {
            set: "mdb".into(),
            template: "data".into(),
            storage: "2Gi".into(),
            live: "1Gi".into(),
            class: None,
        };
        assert!(is_of("data-mdb-0", &growth));
        assert!(!is_of("data-mdb-x", &growth));
        assert!(!is_of("data-mdb2-0", &growth));
        assert!(!is_of("logs-mdb-0", &growth));
    }
}
