//! Every text that says what is wrong with a plan: files in, faults out. `UPDATE_GOLDEN=1` writes what
//! is said now; read it before you commit it.
//!
//! A file of `tests/golden` has cases: `==== title`, then `---- path` and the file's content for each
//! file, then `---- faults` and a line for each fault and warning, or
//! none. `\u{FEFF}` and the like stand for the
//! character. In a case without `plan.yaml` the plan has none. The file `--crds` is a definition, in
//! JSON, and `--cluster` what a cluster says of each `apiVersion` that it was asked for, in JSON, too:
//! kinds with their plural and scope.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use plan::Fault;
use plan::kinds::{ServedKind, ServedKinds};
use serde_json::Value;

use crate::support::{shown, tree};

struct Case {
    title: String,
    files: Vec<(String, String)>,
    faults: String,
}

fn cases(text: &str) -> Vec<Case> {
    let sections = text.split("==== ").skip(1);
    sections
        .map(|section| {
            let mut parts = section.split("---- ");
            let title = parts.next().unwrap_or_default().trim().to_owned();
            let mut files: Vec<_> = parts
                .map(|part| {
                    let (path, content) = part.split_once('\n').unwrap_or((part, ""));
                    (path.trim().to_owned(), content.to_owned())
                })
                .collect();
            let (last, faults) = files.pop().unwrap_or_default();
            assert_eq!(last, "faults", "{title}: a case ends with its faults");
            Case {
                title,
                files,
                faults: faults.trim_end().to_owned(),
            }
        })
        .collect()
}

fn found(case: &Case) -> String {
    let files: Vec<_> = case
        .files
        .iter()
        .map(|(path, content)| (path.as_str(), unescaped(content)))
        .collect();
    let files: Vec<_> = files
        .iter()
        .map(|(path, content)| (*path, content.as_str()))
        .collect();
    let (asked, files): (Vec<_>, Vec<_>) = files
        .into_iter()
        .partition(|(path, _)| path.starts_with("--"));
    let catalog = plan::catalog::build_with(&served(&asked), &[tree(&files)]);
    let warnings = catalog.warnings.iter().map(|warning| Fault {
        message: format!("warning: {}", warning.message),
        ..warning.clone()
    });
    let warnings = warnings.map(|warning| warning.to_string());
    let faults = Some(shown(&catalog)).filter(|faults| !faults.is_empty());
    faults
        .into_iter()
        .chain(warnings)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Kinds of others.
fn served(asked: &[(&str, &str)]) -> ServedKinds {
    let mut served = ServedKinds::default();
    for (who, content) in asked {
        let content: Value = serde_json::from_str(content).unwrap();
        if *who == "--crds" {
            assert_eq!(served.add_definition(&content), Ok(true));
            continue;
        }
        for (version, kinds) in content.as_object().unwrap() {
            let kinds = kinds.as_object().unwrap().iter().map(|(kind, names)| {
                let plural = names[0].as_str().unwrap();
                (
                    kind.clone(),
                    ServedKind::new(plural, names[1] == "Namespaced"),
                )
            });
            served.add_answer(version, kinds);
        }
    }
    served
}

fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\u{") {
        let (digits, after) = after.split_once('}').unwrap();
        out.push_str(before);
        out.push(char::from_u32(u32::from_str_radix(digits, 16).unwrap()).unwrap());
        rest = after;
    }
    out + rest
}

fn golden() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let entries = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_fault_says_where_why_and_what_to_do() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut differences = String::new();
    for path in golden() {
        let text = std::fs::read_to_string(&path).unwrap();
        let cases = cases(&text);
        assert!(!cases.is_empty(), "{} has no case", path.display());
        let mut written = text[..text.find("==== ").unwrap()].to_owned();
        for case in &cases {
            let found = found(case);
            if found != case.faults {
                let title = &case.title;
                writeln!(
                    differences,
                    "{title}\n  is   {found}\n  was  {}",
                    case.faults
                )
                .unwrap();
            }
            writeln!(written, "==== {}", case.title).unwrap();
            for (file, content) in &case.files {
                write!(written, "---- {file}\n{content}").unwrap();
            }
            writeln!(written, "---- faults").unwrap();
            if !found.is_empty() {
                writeln!(written, "{found}").unwrap();
            }
        }
        if update {
            std::fs::write(&path, written).unwrap();
        }
    }
    assert!(update || differences.is_empty(), "{differences}");
}
