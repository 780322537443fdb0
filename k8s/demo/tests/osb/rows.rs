//! gateway/OSB.md names a test for each row of the OSB checklist, and the
//! tests that it names exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// How many rows each section has.
const ROWS: [(&str, usize); 19] = [
    ("H", 11),
    ("A", 4),
    ("U", 3),
    ("C", 3),
    ("E", 14),
    ("CAT", 33),
    ("ASY", 9),
    ("PRO", 19),
    ("GI", 9),
    ("UPD", 21),
    ("DEP", 14),
    ("LOI", 14),
    ("BND", 25),
    ("GB", 6),
    ("UNB", 12),
    ("LOB", 10),
    ("ROT", 7),
    ("MI", 4),
    ("ORP", 6),
];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Names of all tests in the crates' Rust sources.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for crate_folder in [
        "gateway",
        "provisioner-svc",
        "binder-svc",
        "catalog-svc",
        "libs/plan",
        "k8s/demo",
    ] {
        for part in ["src", "tests"] {
            collect(&root().join(crate_folder).join(part), &mut found);
        }
    }
    found
}

fn collect(folder: &Path, found: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut marked = false;
            let names = text.lines().filter_map(|line| {
                let line = line.trim();
                let (is_test, name) = (marked, line.split_once("fn "));
                marked = match name {
                    Some(_) => false,
                    None => marked || line == "#[test]" || line.starts_with("#[tokio::test"),
                };
                let (_, rest) = name.filter(|_| is_test)?;
                Some(rest.split(['(', '<']).next()?.to_owned())
            });
            found.extend(names);
        }
    }
}

#[test]
fn every_row_has_a_test_that_exists_or_a_reason() {
    let text = fs::read_to_string(root().join("gateway/OSB.md")).unwrap();
    let tests = tests();
    let mut rows: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [id, shown_by] = cells[..] else {
            panic!("not two cells: {line}");
        };
        if id == "Row" || id.starts_with("--") {
            continue;
        }
        assert!(rows.insert(id, shown_by).is_none(), "{id} is there twice");
        if let Some(reason) = shown_by.strip_prefix("n/a: ") {
            assert!(reason.len() > 10, "{id} needs a reason");
            continue;
        }
        let names: Vec<&str> = shown_by.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{id} names no test");
        for name in names {
            assert!(tests.contains(name), "{id}: there is no test {name}");
        }
    }
    for (section, count) in ROWS {
        for number in 1..=count {
            let id = format!("{section}-{number:02}");
            assert!(rows.remove(id.as_str()).is_some(), "{id} is missing");
        }
    }
    assert!(rows.is_empty(), "unknown rows: {rows:?}");
}
