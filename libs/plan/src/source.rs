//! The input: what was found in the roots, as data. Reading directories and ConfigMaps is the
//! caller's; here they have become one shape, `<provider>/<folder>/<file>` -> bytes.

use std::collections::{BTreeMap, BTreeSet};

use crate::fault::{Pos, Problem};
use crate::render::engine::line_column;

/// The text of a template that stands for what a `.url` file names, where nothing is fetched.
pub const NOT_FETCHED: &str = "# fetched when the plan is served\n";

/// The folder of a plan that has its cases.
pub const TESTS: &str = "tests";

/// The files of one root (the shipped templates, or the site's), by path below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    files: BTreeMap<String, Vec<u8>>,
}

impl Tree {
    /// An empty root.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file by its path below the root, with `/` between the parts. Hidden files and
    /// folders (a name that begins with `.`) are left out, as are the `..data` links of a
    /// mounted ConfigMap.
    pub fn insert(&mut self, path: &str, content: impl Into<Vec<u8>>) {
        if !path
            .split('/')
            .any(|part| part.is_empty() || part.starts_with('.'))
        {
            self.files.insert(path.to_owned(), content.into());
        }
    }

    /// Whether the root holds nothing.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// All files with their paths, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files
            .iter()
            .map(|(path, content)| (path.as_str(), content.as_slice()))
    }
}

/// Whether a path below a root is that of a file in `<provider>/<plan>/tests/`: cases of the plan, and
/// no part of it. Neither its check nor its digest knows them.
pub fn is_of_tests(path: &str) -> bool {
    let mut parts = path.splitn(4, '/').skip(2);
    parts.next() == Some(TESTS) && parts.next().is_some()
}

/// The text of a file, or where it is none and what it looks like.
pub(crate) fn text<'a>(file: &str, content: &'a [u8]) -> Result<&'a str, Problem> {
    std::str::from_utf8(content).map_err(|error| {
        let looks = match content {
            [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => "; it begins like UTF-16",
            _ => "",
        };
        let valid = content.get(..error.valid_up_to()).unwrap_or_default();
        let valid = String::from_utf8_lossy(valid);
        let (line, column) = line_column(&valid, valid.len());
        let message = format!("is not UTF-8 from here on{looks}: save it as UTF-8");
        Problem::at(&Pos::new(file, line, column), message)
    })
}

/// A folder of one plan or base: the files by their name below it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Folder<'a> {
    pub(crate) files: BTreeMap<&'a str, &'a [u8]>,
}

/// The roots laid over each other: a later root's folder replaces an earlier one of the same
/// name as a whole, its service.yaml likewise.
#[derive(Debug, Default)]
pub(crate) struct Overlay<'a> {
    pub(crate) services: BTreeMap<&'a str, &'a [u8]>,
    pub(crate) folders: BTreeMap<(&'a str, &'a str), Folder<'a>>,
    /// Paths that belong to nothing: a file beside the providers, a template beside the plans.
    pub(crate) stray: Vec<&'a str>,
}

impl<'a> Overlay<'a> {
    pub(crate) fn of(trees: &'a [Tree]) -> Self {
        let mut overlay = Self::default();
        for tree in trees {
            let mut replaced = BTreeSet::new();
            for (path, content) in tree.iter().filter(|(path, _)| !is_of_tests(path)) {
                let mut parts = path.splitn(3, '/');
                match (parts.next(), parts.next(), parts.next()) {
                    (Some(provider), Some(folder), Some(file)) => {
                        if replaced.insert((provider, folder)) {
                            overlay.folders.remove(&(provider, folder));
                        }
                        let folder = overlay.folders.entry((provider, folder)).or_default();
                        folder.files.insert(file, content);
                    }
                    (Some(provider), Some("service.yaml"), None) => {
                        overlay.services.insert(provider, content);
                    }
                    _ => overlay.stray.push(path),
                }
            }
        }
        overlay
    }

    /// Every provider that has a plan, a base or a service.yaml.
    pub(crate) fn providers(&self) -> BTreeSet<&'a str> {
        self.services
            .keys()
            .copied()
            .chain(self.folders.keys().map(|(p, _)| *p))
            .collect()
    }
}

/// What is wrong with the name of a provider's or a plan's folder: these become CLI-friendly catalog
/// names, parts of ids and label values.
pub(crate) fn folder_name_fault(name: &str) -> Option<String> {
    const MAX: usize = 63;
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.len() > MAX {
        return Some(format!(
            "the name of this folder has {} characters, at most {MAX} are possible",
            name.len()
        ));
    }
    if !name.bytes().all(legal) {
        return Some(format!(
            "the name {name:?} of this folder has something else than letters, digits, '-', '_' and '.'"
        ));
    }
    // A base begins with `_`. A label, which a ConfigMap's is, ends with a letter or digit.
    let first = name.strip_prefix('_').unwrap_or(name);
    let ends = first.starts_with(|c: char| c.is_ascii_alphanumeric())
        && first.ends_with(|c: char| c.is_ascii_alphanumeric());
    (!ends).then(|| {
        format!("the name {name:?} of this folder must begin and end with a letter or a digit")
    })
}

/// Compares file names as people count: `2-b` before `10-a`.
pub fn natural_order(left: &str, right: &str) -> std::cmp::Ordering {
    let (mut l, mut r) = (left, right);
    loop {
        let (ln, lt) = leading_digits(l);
        let (rn, rt) = leading_digits(r);
        if !ln.is_empty() && !rn.is_empty() {
            let (a, b) = (ln.trim_start_matches('0'), rn.trim_start_matches('0'));
            let order = a.len().cmp(&b.len()).then_with(|| a.cmp(b));
            if order.is_ne() {
                return order;
            }
            (l, r) = (lt, rt);
            continue;
        }
        match (l.chars().next(), r.chars().next()) {
            (Some(a), Some(b)) if a == b => {
                l = &l[a.len_utf8()..];
                r = &r[b.len_utf8()..];
            }
            (a, b) => return a.cmp(&b).then_with(|| left.cmp(right)),
        }
    }
}

fn leading_digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_ordered_as_people_count() {
        let mut names = vec![
            "10-b.yaml",
            "2-a.yaml",
            "1.yaml",
            "b.yaml",
            "a10.yaml",
            "a9.yaml",
        ];
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(
            names,
            [
                "1.yaml",
                "2-a.yaml",
                "10-b.yaml",
                "a9.yaml",
                "a10.yaml",
                "b.yaml"
            ]
        );
        assert_eq!(natural_order("01", "1"), std::cmp::Ordering::Less);
        assert_eq!(natural_order("1", "1"), std::cmp::Ordering::Equal);
    }

    #[test]
    fn hidden_files_are_ignored() {
        let mut tree = Tree::new();
        tree.insert("mongodb/small/.swp", "");
        tree.insert("mongodb/..data/plan.yaml", "");
        assert!(tree.is_empty());
    }

    #[test]
    fn only_a_folder_of_that_name_within_a_plan_has_cases() {
        for path in ["p/q/tests/a.yaml", "p/_q/tests/a/b.golden.yaml"] {
            assert!(is_of_tests(path), "{path}");
        }
        for path in [
            "tests/q/a.yaml",
            "p/tests/a.yaml",
            "p/q/tests",
            "p/q/tests.yaml",
            "p/q/binding/tests/a.yaml",
        ] {
            assert!(!is_of_tests(path), "{path}");
        }
    }

    #[test]
    fn a_folder_of_cases_alone_replaces_no_plan() {
        let (mut shipped, mut site) = (Tree::new(), Tree::new());
        shipped.insert("m/a/1.yaml", "shipped");
        site.insert("m/a/tests/1.yaml", "site");
        let trees = [shipped, site];
        let overlay = Overlay::of(&trees);
        assert_eq!(overlay.folders[&("m", "a")].files["1.yaml"], b"shipped");
        assert!(overlay.stray.is_empty());
    }

    #[test]
    fn a_site_folder_replaces_a_shipped_one_and_nothing_else() {
        let (mut shipped, mut site) = (Tree::new(), Tree::new());
        shipped.insert("m/a/1.yaml", "shipped");
        shipped.insert("m/a/2.yaml", "shipped");
        shipped.insert("m/b/1.yaml", "shipped");
        shipped.insert("m/service.yaml", "shipped");
        site.insert("m/a/1.yaml", "site");
        let trees = [shipped, site];
        let overlay = Overlay::of(&trees);
        assert_eq!(overlay.folders[&("m", "a")].files.len(), 1);
        assert_eq!(overlay.folders[&("m", "a")].files["1.yaml"], b"site");
        assert_eq!(overlay.folders[&("m", "b")].files["1.yaml"], b"shipped");
        assert_eq!(overlay.services["m"], b"shipped");
    }
}
