//! Names and labels. OSB ids may hold any characters and any length, so they
//! are hashed; what is random is the incarnation.

use std::collections::BTreeMap;

use data_encoding::BASE32_NOPAD;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// API group of the broker's own kinds.
pub const GROUP: &str = "mongodb-osb.io";
/// Version of the broker's own kinds.
pub const VERSION: &str = "v1alpha1";

/// Label: the record that an object belongs to.
pub const INSTANCE: &str = "mongodb-osb.io/instance";
/// Label: which life of that record.
pub const INCARNATION: &str = "mongodb-osb.io/incarnation";
/// Label: the record of the binding that an object belongs to.
pub const BINDING: &str = "mongodb-osb.io/binding";
/// Label: what a Secret of the broker is for.
pub const PURPOSE: &str = "mongodb-osb.io/purpose";
/// Label on instances' own namespaces: the namespace of the broker that made
/// it, so that several brokers in a cluster leave each other's alone.
pub const BROKER: &str = "mongodb-osb.io/broker";
/// Label on instances' own namespaces: the folder of the plan's provider.
pub const PROVIDER: &str = "mongodb-osb.io/provider";
/// Label on instances' own namespaces: the plan's folder.
pub const PLAN_NAME: &str = "mongodb-osb.io/plan-name";
/// Label on a namespace of somebody else: the namespace of the broker that may
/// put instances into it. Without it none may.
pub const ACCEPTS_INSTANCES_OF: &str = "mongodb-osb.io/accepts-instances-of";
/// Label on a Secret of an operator that plans may read; its value is the
/// provider, or `<provider>.<plan>`, that may.
pub const PLAN_INPUT: &str = "mongodb-osb.io/plan-input";
/// Annotation on a record: `kubectl delete` of it deletes the data as well, if
/// the value is the record's incarnation.
pub const CONFIRM_DELETION: &str = "mongodb-osb.io/confirm-deletion";
/// Label with the value `true` on what carries our labels but has no record:
/// it is reported and never deleted.
pub const ORPHANED: &str = "mongodb-osb.io/orphaned";
/// Annotation: since when [`ORPHANED`] is set.
pub const ORPHANED_AT: &str = "mongodb-osb.io/orphaned-at";
/// Label with the value [`MANAGER`] on everything that the broker makes.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY`].
pub const MANAGER: &str = "mongodb-osb";

/// Bytes of sha256 that a name keeps: 160 bits, 32 characters.
const DIGEST_BYTES: usize = 20;
/// Characters of a record's name that go into derived names.
const SHORT: usize = 16;

/// The name of an instance's record.
pub fn instance_record(instance_id: &str) -> String {
    encode(Sha256::digest(instance_id))
}

/// The name of a binding's record. The lengths keep ("ab", "c") and
/// ("a", "bc") apart.
pub fn binding_record(instance_id: &str, binding_id: &str) -> String {
    let mut hash = Sha256::new();
    for id in [instance_id, binding_id] {
        hash.update((id.len() as u64).to_be_bytes());
        hash.update(id);
    }
    encode(hash.finalize())
}

/// What the broker keeps in a namespace of its own, each for the accounts that
/// work with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Records of instances, revisions, the databases' CA.
    Instances,
    /// Records of bindings and their logins.
    Bindings,
    /// Bundles of the catalog.
    Bundles,
    /// The site's plans and the Secrets that plans read; people write them.
    Plans,
}

impl State {
    /// All there is.
    pub const ALL: [Self; 4] = [Self::Instances, Self::Bindings, Self::Bundles, Self::Plans];

    /// Its namespace: the one that a setting names, else that of [`Self::namespace`].
    pub fn named_or_default(self, named: Option<&String>, broker: &str) -> String {
        named.map_or_else(|| self.namespace(broker), Clone::clone)
    }

    /// Its namespace where no setting names another: the broker's own with a
    /// suffix, for example `mongodb-osb-instances`.
    pub fn namespace(self, broker: &str) -> String {
        let suffix = match self {
            Self::Instances => "instances",
            Self::Bindings => "bindings",
            Self::Bundles => "bundles",
            Self::Plans => "plans",
        };
        format!("{broker}-{suffix}")
    }
}

/// Whether a text can be a namespace's name: an RFC 1123 label. Anything else
/// must not get into the path of a call to the API server.
pub fn is_dns_label(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// A platform's context that names something else than a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "context.namespace must be the name of a namespace: at most 63 lower-case letters, digits and hyphens."
)]
pub struct NoNamespace;

/// The namespace that a platform's context names, if it names one.
///
/// # Errors
/// [`NoNamespace`] if what it names can be none.
pub fn context_namespace(context: &Map<String, Value>) -> Result<Option<&str>, NoNamespace> {
    match context.get("namespace") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) if name.is_empty() => Ok(None),
        Some(Value::String(name)) if is_dns_label(name) => Ok(Some(name)),
        Some(_) => Err(NoNamespace),
    }
}

/// The name under which templates know an instance: an RFC 1035 label, which begins with a letter.
/// Before Kubernetes 1.36 a Service must have such a name.
pub fn object(record: &str) -> String {
    let name = short(record);
    match name.strip_prefix(|c: char| c.is_ascii_digit()) {
        Some(rest) => format!("m{rest}"),
        None => name.to_owned(),
    }
}

/// The beginning of a record's name, which derived names have.
pub fn short(record: &str) -> &str {
    record.get(..SHORT).unwrap_or(record)
}

/// The namespace of one incarnation of an instance.
pub fn namespace(record: &str, incarnation: &str) -> String {
    format!("mdb-{}-{incarnation}", short(record))
}

/// A new incarnation: 40 random bits as 8 characters.
pub fn incarnation() -> String {
    random(5)
}

/// `bytes` random bytes as lower-case base32: DNS-safe, URL-safe.
pub fn random(bytes: usize) -> String {
    let raw: Vec<u8> = std::iter::repeat_with(rand::random::<u8>)
        .take(bytes)
        .collect();
    BASE32_NOPAD.encode(&raw).to_ascii_lowercase()
}

/// The labels of everything that belongs to one incarnation of an instance.
pub fn instance_labels(record: &str, incarnation: &str) -> BTreeMap<String, String> {
    [
        (INSTANCE, record),
        (INCARNATION, incarnation),
        (MANAGED_BY, MANAGER),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}

/// The selector for [`instance_labels`].
pub fn instance_selector(record: &str, incarnation: &str) -> String {
    format!("{INSTANCE}={record},{INCARNATION}={incarnation}")
}

/// A digest of content, in a form that names, labels and annotations can hold.
pub fn digest(content: impl AsRef<[u8]>) -> String {
    encode(Sha256::digest(content))
}

fn encode(digest: impl AsRef<[u8]>) -> String {
    let bytes = digest.as_ref();
    BASE32_NOPAD
        .encode(bytes.get(..DIGEST_BYTES).unwrap_or(bytes))
        .to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_valid_labels_whatever_the_id() {
        let long = "ü".repeat(5000);
        for id in ["", "a", "A/b c%2F", long.as_str()] {
            let name = instance_record(id);
            assert_eq!(name.len(), 32);
            assert!(
                name.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            );
            assert!(namespace(&name, &incarnation()).len() <= 63);
        }
    }

    #[test]
    fn names_of_objects_begin_with_a_letter() {
        for i in 0..200 {
            let record = instance_record(&i.to_string());
            let name = object(&record);
            assert!(name.starts_with(|c: char| c.is_ascii_lowercase()), "{name}");
            assert_eq!(name[1..], short(&record)[1..]);
        }
    }

    #[test]
    fn names_are_a_function_of_the_id_and_differ_between_ids() {
        // Fixed: records of earlier releases must be found again.
        assert_eq!(instance_record("i-1"), instance_record("i-1"));
        assert_eq!(instance_record("abc"), "xj4bnp4pahh6uqkbidpf3lrceoyagynd");
        assert_ne!(instance_record("a"), instance_record("A"));
        assert_ne!(binding_record("ab", "c"), binding_record("a", "bc"));
    }

    #[test]
    fn a_namespace_is_a_label_and_no_path() {
        let longest = "a".repeat(63);
        for good in ["a", "team-1", "0", longest.as_str()] {
            assert!(is_dns_label(good), "{good}");
        }
        let long = "a".repeat(64);
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a.b",
            "../../x",
            "mongodb-osb/secrets/gateway-credentials?",
            "a b",
            "a\0",
            "\u{fc}",
            long.as_str(),
        ] {
            assert!(!is_dns_label(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_platform_names_a_namespace_or_none_but_never_a_path() {
        let named = |value: Value| {
            let context = Map::from_iter([("namespace".to_owned(), value)]);
            context_namespace(&context).map(|name| name.map(str::to_owned))
        };
        assert_eq!(named(json!("team-a")), Ok(Some("team-a".to_owned())));
        for none in [json!(null), json!("")] {
            assert_eq!(named(none), Ok(None));
        }
        for bad in [
            json!("../../x"),
            json!("a/secrets/b?"),
            json!(7),
            json!(["a"]),
        ] {
            assert_eq!(named(bad.clone()), Err(NoNamespace), "{bad}");
        }
        assert_eq!(context_namespace(&Map::new()), Ok(None));
    }

    #[test]
    fn incarnations_differ() {
        assert_ne!(incarnation(), incarnation());
        assert_eq!(incarnation().len(), 8);
    }
}
