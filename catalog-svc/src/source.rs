//! Where plans come from: folders of templates, and ConfigMaps in the broker's
//! namespace. Each source keeps its newest content in a channel; what the
//! content means is libs/plan's.

pub(crate) mod config_map;
pub(crate) mod directory;
pub(crate) mod fetched;
pub(crate) mod url;

use std::collections::BTreeSet;

use plan::{Fault, Tree};

use crate::{events::Origins, snapshot::PlanKey};

/// What a source holds at the moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Content {
    /// Roots in order; a plan in a later one overrides that in an earlier one.
    pub(crate) trees: Vec<Tree>,
    /// What could not be read, with the plan that is not served for it.
    pub(crate) faults: Vec<Fault>,
    /// The ConfigMaps that plans come from.
    pub(crate) origins: Origins,
}

/// Every folder of a plan or a base, whatever is in it.
pub(crate) fn folders(trees: &[Tree]) -> BTreeSet<PlanKey> {
    let paths = trees.iter().flat_map(Tree::iter);
    let keys = paths.filter_map(|(path, _)| {
        let mut parts = path.splitn(3, '/');
        let (provider, plan) = parts.next().zip(parts.next())?;
        parts.next()?;
        PlanKey::new(provider, plan)
    });
    keys.collect()
}

/// A fault at a file that could not be taken in; `path` is from the root.
pub(crate) fn fault(path: &str, message: String) -> Fault {
    let mut parts = path.splitn(3, '/');
    let provider = parts.next().unwrap_or_default().to_owned();
    let folder = parts.next();
    Fault {
        provider,
        // A file beside the plans (service.yaml) is the provider's.
        plan: parts.next().and(folder).map(str::to_owned),
        file: Some(path.to_owned()),
        line: None,
        column: None,
        message,
    }
}

/// A key that no descriptor knows; see [`assemble`].
const UNREADABLE: &str = "could-not-be-read: true\n";

/// The tree of the files that could be taken in, without the folders that a
/// fault is about: half a plan must never pass for a whole one.
///
/// A base or a service.yaml that could not be read stays as one that fails
/// validation, so that what stands on it fails as well, instead of standing on
/// that of the same name in an earlier root.
pub(crate) fn assemble<'a>(
    files: impl IntoIterator<Item = (String, &'a [u8])>,
    faults: &[Fault],
) -> Tree {
    let broken: BTreeSet<(&str, &str)> = faults
        .iter()
        .filter_map(|fault| Some((fault.provider.as_str(), fault.plan.as_deref()?)))
        .collect();
    let mut tree = Tree::new();
    for (path, content) in files {
        let mut parts = path.splitn(3, '/');
        let folder = parts.next().zip(parts.next());
        if !folder.is_some_and(|folder| broken.contains(&folder)) {
            tree.insert(&path, content);
        }
    }
    for (provider, folder) in broken {
        if folder.starts_with('_') {
            tree.insert(&format!("{provider}/{folder}/plan.yaml"), UNREADABLE);
        }
    }
    for fault in faults.iter().filter(|fault| fault.plan.is_none()) {
        if let Some(file) = fault
            .file
            .as_ref()
            .filter(|file| file.ends_with("/service.yaml"))
        {
            tree.insert(file, UNREADABLE);
        }
    }
    tree
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_plan_never_passes_for_a_whole_one() {
        let files = [
            ("p/a/1.yaml", "1"),
            ("p/a/2.yaml", "2"),
            ("p/_b/1.yaml", "1"),
            ("p/c/1.yaml", "1"),
            ("p/service.yaml", ""),
            ("o/d/1.yaml", "1"),
        ];
        let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes()));
        let faults = [
            fault("p/a/3.yaml", String::new()),
            fault("p/_b/2.yaml", String::new()),
            fault("o/service.yaml", String::new()),
        ];
        let tree = assemble(files, &faults);
        let paths: Vec<_> = tree.iter().map(|(path, _)| path).collect();
        assert_eq!(
            paths,
            [
                "o/d/1.yaml",
                "o/service.yaml",
                "p/_b/plan.yaml",
                "p/c/1.yaml",
                "p/service.yaml"
            ]
        );
    }

    #[test]
    fn a_fault_in_service_yaml_is_the_providers() {
        assert_eq!(fault("p/service.yaml", String::new()).plan, None);
        assert_eq!(
            fault("p/q/1.yaml", String::new()).plan.as_deref(),
            Some("q")
        );
    }
}
