//! Where the cases of plans are: `<provider>/<plan>/tests/<name>.yaml`, with the golden file of
//! each beside it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    slice,
};

use plan::{
    Fault, Tree,
    source::{TESTS, is_of_tests},
};

use super::{Roots, golden};
use crate::{
    snapshot::PlanKey,
    source::{self, fault},
};

/// The cases of one plan.
#[derive(Debug)]
pub(super) struct Folder {
    /// Where it is.
    path: PathBuf,
    /// The same from the root.
    name: String,
    /// What is in each case, by its name.
    pub(super) cases: BTreeMap<String, Vec<u8>>,
    /// What is in each golden file, by the name of its case.
    pub(super) golden: BTreeMap<String, Vec<u8>>,
}

/// All cases.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) folders: BTreeMap<PlanKey, Folder>,
    /// Files that cannot be read, and cases that nothing would ever look at.
    pub(super) faults: Vec<Fault>,
}

/// What a file in `tests/` is, with the name of its case.
#[derive(Debug, PartialEq, Eq)]
enum Role<'a> {
    Case(&'a str),
    Golden(&'a str),
    /// Documentation, or left there by an editor.
    PassedOver,
    Refused(&'static str),
}

/// Finds the cases of the plans in `trees`. Nothing is said of plans with a fault.
pub(super) fn find(roots: &Roots, trees: &[Tree], plan_faults: &[Fault]) -> Found {
    let (tests, faults) = roots.tests();
    let mut found = Found {
        faults,
        ..Found::default()
    };
    let owners = owners(trees);
    let mut homeless = BTreeSet::new();
    for (index, tree) in tests.iter().enumerate() {
        for (path, content) in tree.iter().filter(|(path, _)| is_of_tests(path)) {
            let Some((key, file)) = split(path) else {
                continue;
            };
            let owner = owners.get(&key).copied();
            if owner == Some(index) && !is_base(&key) {
                let root = &roots.folders[index];
                let folder = found.folders.entry(key).or_insert_with_key(|key| {
                    let name = format!("{key}/{TESTS}");
                    Folder::new(root.join(&name), name)
                });
                found.faults.extend(folder.add(path, file, content));
            } else if owner.is_none_or(|owner| owner <= index) {
                homeless.insert(key);
            }
            // A plan that a later root replaces is replaced with its cases.
        }
    }
    let is_told = |key: &PlanKey| plan_faults.iter().any(|fault| key.has(fault));
    homeless.retain(|key| is_base(key) || !is_told(key));
    found.faults.extend(homeless.iter().map(no_plan));
    found.faults.sort();
    found
}

/// The root whose folder of a plan or base counts.
fn owners(trees: &[Tree]) -> BTreeMap<PlanKey, usize> {
    let mut owners = BTreeMap::new();
    for (index, tree) in trees.iter().enumerate() {
        let folders = source::folders(slice::from_ref(tree)).into_iter();
        owners.extend(folders.map(|key| (key, index)));
    }
    owners
}

/// The plan, and the file's path in its folder `tests/`.
fn split(path: &str) -> Option<(PlanKey, &str)> {
    let mut parts = path.splitn(4, '/');
    let key = PlanKey::new(parts.next()?, parts.next()?)?;
    Some((key, parts.nth(1)?))
}

fn is_base(key: &PlanKey) -> bool {
    key.plan.starts_with('_')
}

fn no_plan(key: &PlanKey) -> Fault {
    let message = if is_base(key) {
        "a base cannot be ordered, and what extends it inherits no cases: put them into a plan"
    } else {
        "there is no plan beside these cases"
    };
    Fault {
        file: Some(format!("{key}/{TESTS}")),
        ..key.fault(message.to_owned())
    }
}

impl Folder {
    fn new(path: PathBuf, name: String) -> Self {
        Self {
            path,
            name,
            cases: BTreeMap::new(),
            golden: BTreeMap::new(),
        }
    }

    fn add(&mut self, path: &str, file: &str, content: &[u8]) -> Option<Fault> {
        match role(file) {
            Role::Case(name) => {
                self.cases.insert(name.to_owned(), content.to_vec());
            }
            Role::Golden(name) => {
                self.golden.insert(name.to_owned(), content.to_vec());
            }
            Role::PassedOver => {}
            Role::Refused(message) => return Some(fault(path, message.to_owned())),
        }
        None
    }

    /// The file of a case, from the root.
    pub(super) fn case(&self, name: &str) -> String {
        format!("{}/{name}.yaml", self.name)
    }

    /// The golden file of a case.
    pub(super) fn golden(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}{}", golden::ENDING))
    }
}

fn role(file: &str) -> Role<'_> {
    if file.contains('/') {
        return Role::Refused("cases are in tests/ itself, not in folders of it");
    }
    if file.strip_suffix(".yml").is_some() {
        return Role::Refused("would not be looked at: the name of a case ends with .yaml");
    }
    let golden = file.strip_suffix(golden::ENDING).map(Role::Golden);
    let case = || file.strip_suffix(".yaml").map(Role::Case);
    golden.or_else(case).unwrap_or(Role::PassedOver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_a_case_by_its_name() {
        for (file, expected) in [
            ("a.yaml", Role::Case("a")),
            ("a.b.yaml", Role::Case("a.b")),
            ("a.golden.yaml", Role::Golden("a")),
            ("README.md", Role::PassedOver),
            ("a.yaml~", Role::PassedOver),
        ] {
            assert_eq!(role(file), expected, "{file}");
        }
        for file in ["a.yml", "more/a.yaml"] {
            assert!(matches!(role(file), Role::Refused(_)), "{file}");
        }
    }
}
