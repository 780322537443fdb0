//! Kinds of others: what a cluster said that it serves, or CustomResourceDefinitions in files say,
//! beside the kinds that the broker knows by itself. Asking and reading files is the caller's.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::named;
use crate::descriptor::KindRef;
use crate::fields::{Shape, definition};

/// Who was asked for kinds that the broker does not know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Asked {
    #[default]
    Nobody,
    Files,
    Cluster,
}

/// A kind as it is served.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServedKind {
    /// The plural resource name.
    pub plural: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// What its objects may hold, where a definition was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fields: Option<Shape>,
}

impl ServedKind {
    /// A kind of which no more is known.
    pub fn new(plural: impl Into<String>, namespaced: bool) -> Self {
        Self {
            plural: plural.into(),
            namespaced,
            fields: None,
        }
    }
}

/// The kinds of some `apiVersion`s.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServedKinds {
    asked: Asked,
    /// `apiVersion` -> kind. One without kinds is not served; of one that is missing nothing is
    /// known.
    versions: BTreeMap<String, BTreeMap<String, ServedKind>>,
}

impl ServedKinds {
    /// What a cluster answered so far; nothing, before it did.
    pub fn of_cluster() -> Self {
        Self {
            asked: Asked::Cluster,
            ..Self::default()
        }
    }

    /// Adds what a cluster says of an `apiVersion`: its kinds, or none if it does not serve it. What
    /// a file said of them stays.
    pub fn add_answer(
        &mut self,
        api_version: &str,
        kinds: impl IntoIterator<Item = (String, ServedKind)>,
    ) {
        self.asked = Asked::Cluster;
        let known = self.versions.entry(api_version.to_owned()).or_default();
        for (kind, served) in kinds {
            known.entry(kind).or_insert(served);
        }
    }

    /// Adds the kind of a CustomResourceDefinition, in each version that it serves. Whether the
    /// document is one; what is wrong with it if it is one and cannot be read.
    pub fn add_definition(&mut self, document: &Value) -> Result<bool, String> {
        let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str);
        if text("/apiVersion") != Some("apiextensions.k8s.io/v1")
            || text("/kind") != Some("CustomResourceDefinition")
        {
            return Ok(false);
        }
        let needed = |pointer: &str| {
            let missing = || format!("a CustomResourceDefinition has no {}", dotted(pointer));
            text(pointer).ok_or_else(missing)
        };
        let group = needed("/spec/group")?;
        let kind = needed("/spec/names/kind")?;
        let plural = needed("/spec/names/plural")?;
        let namespaced = needed("/spec/scope")? == "Namespaced";
        if self.asked == Asked::Nobody {
            self.asked = Asked::Files;
        }
        let versions = document
            .pointer("/spec/versions")
            .and_then(Value::as_array)
            .ok_or("a CustomResourceDefinition has no spec.versions")?;
        for version in versions.iter().filter(|version| version["served"] == true) {
            let name = version["name"].as_str();
            let name = name.ok_or("a version of a CustomResourceDefinition has no name")?;
            let schema = version.pointer("/schema/openAPIV3Schema");
            let served = ServedKind {
                fields: schema.map(definition::shape),
                ..ServedKind::new(plural, namespaced)
            };
            let known = self.versions.entry(format!("{group}/{name}"));
            known.or_default().insert(kind.to_owned(), served);
        }
        Ok(true)
    }

    /// The kind, if it is among these.
    pub fn of(&self, kind: &KindRef) -> Option<&ServedKind> {
        self.versions.get(&kind.api_version())?.get(&kind.kind)
    }

    /// What is known of a plan with these texts: the versions that they name, and of the kinds that
    /// they name what their objects may hold.
    pub(crate) fn for_texts(&self, texts: &[String]) -> Self {
        let named: BTreeSet<String> = texts.iter().flat_map(|text| named::in_text(text)).collect();
        let trimmed = |(kind, served): (&String, &ServedKind)| {
            let is_named = texts.iter().any(|text| text.contains(kind.as_str()));
            let fields = served.fields.clone().filter(|_| is_named);
            let served = ServedKind {
                fields,
                ..ServedKind::new(&served.plural, served.namespaced)
            };
            (kind.clone(), served)
        };
        let versions = self.versions.iter();
        let versions = versions.filter(|(version, _)| named.contains(*version));
        Self {
            asked: self.asked,
            versions: versions
                .map(|(version, kinds)| (version.clone(), kinds.iter().map(trimmed).collect()))
                .collect(),
        }
    }

    /// Whether nobody was asked, and so nothing is known.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The fields of a kind, where its definition was read.
    pub(crate) fn fields(&self, kind: &KindRef) -> Option<&Shape> {
        self.of(kind)?.fields.as_ref()
    }

    /// The names of the kinds beside this one.
    pub(super) fn beside(&self, kind: &KindRef) -> impl Iterator<Item = &str> {
        let kinds = self.versions.get(&kind.api_version());
        kinds.into_iter().flatten().map(|(name, _)| name.as_str())
    }

    /// What an author, or whoever runs the cluster, does about a kind that nobody knows.
    pub(super) fn remedy(&self, kind: &KindRef) -> String {
        let version = kind.api_version();
        let list = format!(
            "list the kinds in plan.yaml, this one as {kind}=<plural>, which kubectl api-resources \
             shows"
        );
        match self.asked {
            // Of groups of Kubernetes' own the broker's table is all that counts.
            _ if !named::is_of_others(&version) => list,
            Asked::Nobody => format!(
                "{list}; or pass the file of its CustomResourceDefinition as --crds FILE, or let the \
                 cluster be asked by --cluster"
            ),
            Asked::Files => format!(
                "no CustomResourceDefinition in the files of --crds has it; pass its file, too, or \
                 {list}"
            ),
            Asked::Cluster if self.versions.contains_key(&version) => {
                "this cluster does not serve it; install the operator or the \
                 CustomResourceDefinitions that bring it"
                    .to_owned()
            }
            Asked::Cluster => format!(
                "the cluster has not said whether it serves {version}; it is asked again, unless the plan \
                 names more than {} of others; or {list}",
                named::MOST
            ),
        }
    }
}

fn dotted(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition(scope: &str) -> Value {
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgetry.example.com"},
            "spec": {
                "group": "example.com", "scope": scope,
                "names": {"kind": "Widget", "plural": "widgetry"},
                "versions": [
                    {"name": "v1", "served": true, "schema": {"openAPIV3Schema": {"type": "object"}}},
                    {"name": "v1alpha1", "served": false},
                ],
            },
        })
    }

    fn kind(text: &str) -> KindRef {
        text.parse().unwrap()
    }

    #[test]
    fn a_definition_says_plural_and_scope_of_the_versions_that_are_served() {
        let mut kinds = ServedKinds::default();
        assert_eq!(kinds.add_definition(&definition("Cluster")), Ok(true));
        let served = kinds.of(&kind("example.com/v1/Widget")).unwrap();
        assert_eq!(
            (served.plural.as_str(), served.namespaced),
            ("widgetry", false)
        );
        assert_eq!(kinds.of(&kind("example.com/v1alpha1/Widget")), None);
        assert_eq!(kinds.add_definition(&json!({"kind": "Secret"})), Ok(false));
        let mut broken = definition("Namespaced");
        broken["spec"]["names"] = json!({"kind": "Widget"});
        assert_eq!(
            kinds.add_definition(&broken),
            Err("a CustomResourceDefinition has no spec.names.plural".to_owned())
        );
    }

    #[test]
    fn what_a_file_says_stays_when_the_cluster_answers() {
        let mut kinds = ServedKinds::default();
        kinds.add_definition(&definition("Namespaced")).unwrap();
        let answer = [("Widget", "widgets"), ("Gadget", "gadgets")];
        let answer = answer.map(|(kind, plural)| (kind.to_owned(), ServedKind::new(plural, true)));
        kinds.add_answer("example.com/v1", answer);
        let widget = kinds.of(&kind("example.com/v1/Widget")).unwrap();
        assert_eq!(widget.plural, "widgetry");
        assert!(widget.fields.is_some());
        assert!(kinds.of(&kind("example.com/v1/Gadget")).is_some());
    }

    #[test]
    fn a_plan_gets_what_it_names() {
        let mut kinds = ServedKinds::of_cluster();
        for version in ["example.com/v1", "example.com/v2", "other.example/v1"] {
            kinds.add_answer(version, [("Widget".to_owned(), ServedKind::new("w", true))]);
        }
        let texts = ["apiVersion: example.com/v1\nkind: Widget\n".to_owned()];
        let own = kinds.for_texts(&texts);
        assert_eq!(own.versions.keys().collect::<Vec<_>>(), ["example.com/v1"]);
        assert!(!own.is_empty());
        // Nobody's answer is the same for all plans.
        assert!(ServedKinds::default().for_texts(&texts).is_empty());
    }

    #[test]
    fn the_remedy_is_of_whom_was_asked() {
        let widget = kind("example.com/v1/Widget");
        let mut kinds = ServedKinds::default();
        assert!(kinds.remedy(&widget).contains("--cluster"));
        kinds.add_definition(&definition("Namespaced")).unwrap();
        let other = kind("other.example/v1/Widget");
        assert!(kinds.remedy(&other).contains("files of --crds"));
        let mut kinds = ServedKinds::of_cluster();
        assert!(kinds.remedy(&widget).contains("has not said whether"));
        kinds.add_answer("example.com/v1", []);
        assert!(kinds.remedy(&widget).contains("does not serve it; install"));
        assert!(
            kinds
                .remedy(&kind("v1/Event"))
                .contains("v1/Event=<plural>")
        );
    }
}
