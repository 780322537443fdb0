//! Whether the rules of a role cover others.

use k8s_openapi::api::rbac::v1::PolicyRule;
use plan::rbac::Rule;

/// What of `needed` the rules of a role do not give, as `resource.group (verbs)`.
pub(crate) fn lacking(given: &[PolicyRule], needed: &[Rule]) -> Vec<String> {
    let mut lacking = Vec::new();
    for rule in needed {
        for group in &rule.api_groups {
            for resource in &rule.resources {
                let verbs = rule.verbs.iter().map(String::as_str);
                let verbs: Vec<_> = verbs
                    .filter(|verb| !gives(given, group, resource, verb))
                    .collect();
                if verbs.is_empty() {
                    continue;
                }
                let dot = if group.is_empty() { "" } else { "." };
                lacking.push(format!("{resource}{dot}{group} ({})", verbs.join(", ")));
            }
        }
    }
    lacking
}

fn gives(given: &[PolicyRule], group: &str, resource: &str, verb: &str) -> bool {
    let has = |list: Option<&[String]>, wanted: &str| {
        list.is_some_and(|list| list.iter().any(|entry| entry == wanted || entry == "*"))
    };
    given.iter().any(|rule| {
        // A right to objects of certain names is no right to the kind.
        rule.resource_names.as_ref().is_none_or(Vec::is_empty)
            && has(rule.api_groups.as_deref(), group)
            && has(rule.resources.as_deref(), resource)
            && has(Some(&rule.verbs), verb)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    fn given(groups: &[&str], resources: &[&str], verbs: &[&str]) -> PolicyRule {
        PolicyRule {
            api_groups: Some(texts(groups)),
            resources: Some(texts(resources)),
            verbs: texts(verbs),
            ..PolicyRule::default()
        }
    }

    fn needed() -> Vec<Rule> {
        vec![Rule {
            api_groups: texts(&["apps"]),
            resources: texts(&["statefulsets"]),
            verbs: texts(&["get", "patch"]),
        }]
    }

    #[test]
    fn rules_add_up() {
        let rules = [
            given(&["apps"], &["statefulsets", "deployments"], &["get"]),
            given(&["", "apps"], &["statefulsets"], &["patch"]),
        ];
        assert!(lacking(&rules, &needed()).is_empty());
        assert_eq!(
            lacking(&rules[..1], &needed()),
            ["statefulsets.apps (patch)"]
        );
        assert!(lacking(&[given(&["*"], &["*"], &["*"])], &needed()).is_empty());
    }

    #[test]
    fn a_right_to_some_names_is_no_right_to_the_kind() {
        let rule = PolicyRule {
            resource_names: Some(texts(&["one"])),
            ..given(&["apps"], &["statefulsets"], &["get", "patch"])
        };
        assert_eq!(
            lacking(&[rule], &needed()),
            ["statefulsets.apps (get, patch)"]
        );
    }
}
