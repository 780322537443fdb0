//! Plans that a site delivers as ConfigMaps in the namespace of plans: the
//! label `mongodb-osb.io/plan` names `<provider>.<plan>`, or `<provider>` alone
//! for its service.yaml; the keys are file names.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

use anyhow::Context as _;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, ResourceExt as _,
    api::ListParams,
    runtime::{WatchStreamExt as _, watcher},
};
use plan::Fault;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Content, assemble, fault};
use crate::{
    events::{Origin, Origins},
    snapshot::PlanKey,
};

/// The label that makes a ConfigMap a plan.
pub(crate) const PLAN_LABEL: &str = "mongodb-osb.io/plan";
const SERVICE: &str = "service.yaml";
const LIST_DEADLINE: Duration = Duration::from_secs(10);

/// Keeps `sender` at the newest content until `shutdown`. Its first value
/// comes when all ConfigMaps have been listed once.
pub(crate) async fn watch(
    client: Client,
    namespace: String,
    sender: watch::Sender<Option<Content>>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let api: Api<ConfigMap> = Api::namespaced(client, &namespace);
    let mut events = std::pin::pin!(
        watcher(api, watcher::Config::default().labels(PLAN_LABEL)).default_backoff()
    );
    let mut known = Known::default();
    loop {
        let event = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            event = events.next() => event.context("the watch of ConfigMaps ended")?,
        };
        match event {
            Ok(event) => {
                if known.apply(event) {
                    let content = known.content();
                    sender.send_if_modified(|current| {
                        let changed = current.as_ref() != Some(&content);
                        *current = Some(content);
                        changed
                    });
                }
            }
            // The watcher tries again by itself; what is known stays.
            Err(error) => {
                tracing::warn!(error = %error, "cannot watch plans in ConfigMaps; trying again");
            }
        }
    }
}

/// The content of a moment; for commands.
pub(crate) async fn list(client: Client, namespace: &str) -> anyhow::Result<Content> {
    let api: Api<ConfigMap> = Api::namespaced(client, namespace);
    let parameters = ListParams::default().labels(PLAN_LABEL);
    let list = tokio::time::timeout(LIST_DEADLINE, api.list(&parameters)).await;
    let list = list.context("list plans in ConfigMaps")?;
    let list = list.context("list plans in ConfigMaps")?;
    let current = list.items.into_iter().map(|map| (map.name_any(), map));
    let known = Known {
        current: current.collect(),
        listing: BTreeMap::new(),
    };
    Ok(known.content())
}

/// The ConfigMaps by name.
#[derive(Debug, Default)]
struct Known {
    current: BTreeMap<String, ConfigMap>,
    /// What a list under way has brought so far.
    listing: BTreeMap<String, ConfigMap>,
}

impl Known {
    /// Whether the content may have changed.
    fn apply(&mut self, event: watcher::Event<ConfigMap>) -> bool {
        match event {
            watcher::Event::Apply(map) => {
                self.current.insert(map.name_any(), map);
                true
            }
            watcher::Event::Delete(map) => self.current.remove(&map.name_any()).is_some(),
            watcher::Event::Init => {
                self.listing.clear();
                false
            }
            watcher::Event::InitApply(map) => {
                self.listing.insert(map.name_any(), map);
                false
            }
            watcher::Event::InitDone => {
                self.current = std::mem::take(&mut self.listing);
                true
            }
        }
    }

    fn content(&self) -> Content {
        let mut reading = Reading::default();
        for (name, map) in &self.current {
            reading.add(name, map);
        }
        let files = reading.files.iter();
        let files = files.map(|(path, file)| (path.clone(), file.content));
        Content {
            trees: vec![assemble(files, &reading.faults)],
            origins: self.origins(),
            faults: reading.faults,
        }
    }

    /// The ConfigMaps of each plan, and those of each provider under an empty plan.
    fn origins(&self) -> Origins {
        let mut origins = Origins::new();
        for (name, map) in &self.current {
            let label = map.labels().get(PLAN_LABEL).map_or("", String::as_str);
            let (provider, plan) = label.split_once('.').unwrap_or((label, ""));
            let key = PlanKey {
                provider: provider.to_owned(),
                plan: plan.to_owned(),
            };
            origins.entry(key).or_default().push(Origin {
                name: name.clone(),
                uid: map.uid().unwrap_or_default(),
                resource_version: map.resource_version().unwrap_or_default(),
            });
        }
        origins
    }
}

/// A file, and the ConfigMap that brought it.
struct File<'a> {
    origin: &'a str,
    content: &'a [u8],
}

#[derive(Default)]
struct Reading<'a> {
    files: BTreeMap<String, File<'a>>,
    faults: Vec<Fault>,
}

impl<'a> Reading<'a> {
    fn add(&mut self, name: &'a str, map: &'a ConfigMap) {
        let label = map.labels().get(PLAN_LABEL).map_or("", String::as_str);
        let texts = map.data.iter().flatten();
        let texts = texts.map(|(key, text)| (key.as_str(), text.as_bytes()));
        let bytes = map.binary_data.iter().flatten();
        let bytes = bytes.map(|(key, bytes)| (key.as_str(), bytes.0.as_slice()));
        for (key, content) in texts.chain(bytes) {
            let Some(path) = path(label, key) else {
                let message = format!(
                    "ConfigMap {name} is labelled {label:?}; a plan's label is <provider>.<plan>, \
                     and <provider> alone carries service.yaml only"
                );
                self.faults.push(fault(&format!("{label}/{key}"), message));
                continue;
            };
            // A plan may be cut into several ConfigMaps, but which of two files
            // of one name is meant cannot be known.
            match self.files.entry(path) {
                Entry::Occupied(other) => {
                    let origin = other.get().origin;
                    let message = format!("ConfigMaps {origin} and {name} both bring this file");
                    self.faults.push(fault(other.key(), message));
                }
                Entry::Vacant(place) => {
                    place.insert(File {
                        origin: name,
                        content,
                    });
                }
            }
        }
    }
}

/// The key of a file of a plan's folder.
pub(crate) fn key(file: &str) -> String {
    file.replacen('/', ".", 1)
}

/// Where a key's content goes. A ConfigMap has no folders: `binding.<file>` and
/// `patches.<file>` mean `binding/<file>` and `patches/<file>`.
fn path(label: &str, key: &str) -> Option<String> {
    let Some((provider, plan)) = label.split_once('.') else {
        return (!label.is_empty() && key == SERVICE).then(|| format!("{label}/{key}"));
    };
    if key == SERVICE {
        return Some(format!("{provider}/{key}"));
    }
    let file = ["binding", "patches"]
        .into_iter()
        .find_map(|folder| {
            let file = key.strip_prefix(folder)?.strip_prefix('.')?;
            Some(format!("{folder}/{file}"))
        })
        .unwrap_or_else(|| key.to_owned());
    Some(format!("{provider}/{plan}/{file}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(name: &str, label: &str, files: &[&str]) -> ConfigMap {
        let data: BTreeMap<&str, &str> = files.iter().map(|file| (*file, "content")).collect();
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {PLAN_LABEL: label}},
            "data": data,
        }))
        .unwrap()
    }

    fn content(maps: Vec<ConfigMap>) -> (Vec<String>, Vec<Fault>) {
        let mut known = Known::default();
        for map in maps {
            assert!(known.apply(watcher::Event::Apply(map)));
        }
        let content = known.content();
        let paths = content.trees[0].iter().map(|(path, _)| path.to_owned());
        (paths.collect(), content.faults)
    }

    #[test]
    fn a_label_names_a_plan_or_a_provider() {
        let (paths, faults) = content(vec![
            map("a", "mongodb.tiny", &["plan.yaml", "10-x.yaml"]),
            map("b", "mongodb", &["service.yaml"]),
        ]);
        assert_eq!(
            paths,
            [
                "mongodb/service.yaml",
                "mongodb/tiny/10-x.yaml",
                "mongodb/tiny/plan.yaml"
            ]
        );
        assert!(faults.is_empty());
    }

    #[test]
    fn a_plan_may_be_cut_into_several_but_a_file_is_brought_once() {
        let (paths, faults) = content(vec![
            map("a", "mongodb.tiny", &["plan.yaml", "1.yaml"]),
            map("b", "mongodb.tiny", &["2.yaml", "1.yaml"]),
        ]);
        assert!(paths.is_empty(), "half a plan is none: {paths:?}");
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].plan.as_deref(), Some("tiny"));
        assert_eq!(faults[0].file.as_deref(), Some("mongodb/tiny/1.yaml"));
    }

    #[test]
    fn keys_stand_for_folders_where_a_plan_has_them() {
        assert_eq!(
            path("m.s", "binding.user.yaml").unwrap(),
            "m/s/binding/user.yaml"
        );
        assert_eq!(path("m.s", "bindings.yaml").unwrap(), "m/s/bindings.yaml");
        assert_eq!(path("m", "plan.yaml"), None);
    }

    #[test]
    fn a_list_replaces_what_was_known() {
        let mut known = Known::default();
        known.apply(watcher::Event::Apply(map("a", "p.q", &["1.yaml"])));
        assert!(!known.apply(watcher::Event::Init));
        assert!(!known.apply(watcher::Event::InitApply(map("b", "p.r", &["1.yaml"]))));
        assert_eq!(
            known.content().trees[0].iter().next().unwrap().0,
            "p/q/1.yaml"
        );
        assert!(known.apply(watcher::Event::InitDone));
        assert_eq!(
            known.content().trees[0].iter().next().unwrap().0,
            "p/r/1.yaml"
        );
    }
}
