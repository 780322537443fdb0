//! Which `apiVersion`s of others a plan names, so that they can be asked for before anything of a
//! stranger's is evaluated. Nothing is parsed for it: what is named in a way that is not seen here
//! is a kind that has to be listed with its plural.

use std::collections::BTreeSet;

use super::is_group_of_kubernetes;
use crate::descriptor::KindRef;

/// The most that are asked for because of one plan.
pub(crate) const MOST: usize = 16;
/// As long as Kubernetes lets one be.
const LONGEST: usize = 253 + 1 + 63;

/// The `apiVersion`s in a template, and those of kinds in a plan.yaml.
pub(crate) fn in_text(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '/');
    let words = text.split(|c: char| !is_part(c));
    let mut found = BTreeSet::new();
    let mut before = "";
    for word in words.filter(|word| !word.is_empty()) {
        let version = if before == "apiVersion" {
            Some(word.to_owned())
        } else {
            let kind = word.parse::<KindRef>().ok();
            kind.map(|kind| kind.api_version())
        };
        found.extend(version.filter(|version| is_of_others(version)));
        before = word;
    }
    found
}

/// Whether an `apiVersion` is of a group that Kubernetes itself does not bring. It may become a
/// part of a path.
pub(crate) fn is_of_others(version: &str) -> bool {
    let Some((group, version)) = version.split_once('/') else {
        return false;
    };
    let is_label = |part: &str| {
        let is_legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !part.is_empty() && part.bytes().all(is_legal)
    };
    // A CustomResourceDefinition's group is a domain with a dot.
    group.contains('.')
        && group.len() + version.len() < LONGEST
        && group.split('.').all(is_label)
        && is_label(version)
        && !is_group_of_kubernetes(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        in_text(text).into_iter().collect()
    }

    #[test]
    fn versions_of_others_are_found_however_they_are_written() {
        for text in [
            "apiVersion: example.com/v1\nkind: Widget\n",
            "{\"apiVersion\":\"example.com/v1\", \"kind\": \"Widget\"}",
            "{% if x %}apiVersion:   'example.com/v1' # v2\n{% endif %}",
            "kinds: [v1/Secret, example.com/v1/Widget, apps/v1/Deployment]",
            "requires:\n- example.com/v1/Widget=widgets\n",
        ] {
            assert_eq!(found(text), ["example.com/v1"], "{text}");
        }
    }

    #[test]
    fn what_is_no_version_of_others_is_not_asked_for() {
        for text in [
            "apiVersion: v1\n---\napiVersion: apps/v1\n---\napiVersion: networking.k8s.io/v1\n",
            "apiVersion: {{ version }}\n",
            "apiVersion: ../v1\n---\napiVersion: a..b/v1\n---\napiVersion: a.b/v1/c\n",
            "image: registry.example.com/v1/mongo:7\nurl: https://example.com/v1/x\n",
        ] {
            assert_eq!(found(text), Vec::<String>::new(), "{text}");
        }
        assert_eq!(
            found("apiVersion: servicecatalog.k8s.io/v1beta1\n"),
            ["servicecatalog.k8s.io/v1beta1"]
        );
    }
}
