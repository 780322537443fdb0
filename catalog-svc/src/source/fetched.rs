//! `*.url` files: one address a line, `#sha256=` with its pin behind it. What
//! is fetched takes the file's place, as a template in which nothing is
//! replaced, so that it becomes part of the bundle.

use std::{collections::BTreeMap, sync::Arc};

use plan::{Fault, Tree, source::NOT_FETCHED};
use service::telemetry::chain;

use super::{
    assemble, fault,
    url::{self, Address, Fetcher},
};
use crate::store::ListKey;

/// Addresses of one file.
const MAX_LINES: usize = 64;

/// A `*.url` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct List {
    /// `<provider>/<plan>/<file>`.
    pub(crate) path: String,
    /// Identifies it with its text.
    pub(crate) key: ListKey,
    lines: Vec<Line>,
}

/// One line of a `*.url` file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    number: u32,
    url: String,
    pin: Option<String>,
}

/// The template that stands for a list, or why there is none.
pub(crate) type Text = Result<Arc<str>, Vec<Fault>>;

/// Trees in which fetched content stands for the `*.url` files.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) trees: Vec<Tree>,
    pub(crate) faults: Vec<Fault>,
}

impl List {
    fn parse(path: &str, content: &[u8]) -> Result<Self, Vec<Fault>> {
        Ok(Self {
            path: path.to_owned(),
            key: ListKey::of(path, content),
            lines: lines(path, content)?,
        })
    }

    /// Asks for everything that it names.
    pub(crate) async fn fetch(&self, fetcher: &Fetcher) -> Text {
        let addresses = self.lines.iter().map(Line::address).collect();
        text(&self.path, &self.lines, &fetcher.fetch(addresses).await)
    }

    /// The lines that a fetcher may not ask, with what to do.
    pub(crate) fn refused(&self, fetcher: &Fetcher) -> Vec<Fault> {
        let refused = self.lines.iter().filter_map(|line| {
            let refusal = fetcher.admits(&line.url).err()?;
            let message = format!("{}: {refusal}", line.shown());
            Some(at(&self.path, line.number, message))
        });
        refused.collect()
    }
}

impl Line {
    fn address(&self) -> Address {
        (self.url.clone(), self.pin.clone())
    }

    /// Without its query, which may hold a token.
    fn shown(&self) -> &str {
        let query = self.url.find('?');
        query.map_or(self.url.as_str(), |start| &self.url[..start])
    }
}

/// The lists that count, each once, without those that have a fault.
pub(crate) fn lists(trees: &[Tree]) -> Vec<List> {
    let files = files(trees).into_iter();
    files
        .filter_map(|(_, path, content)| List::parse(path, content).ok())
        .collect()
}

/// The trees with what `text` gives for each list in its place.
pub(crate) fn put_in(trees: &[Tree], mut text: impl FnMut(&List) -> Text) -> Fetched {
    let mut contents = BTreeMap::new();
    let mut faults = Vec::new();
    for (index, path, content) in files(trees) {
        match List::parse(path, content).and_then(|list| text(&list)) {
            Ok(text) => {
                contents.insert((index, path.to_owned()), text);
            }
            Err(mut found) => faults.append(&mut found),
        }
    }
    Fetched {
        trees: replaced(trees, &contents, &faults),
        faults,
    }
}

/// What stands for a list that nobody asks for.
pub(crate) fn not_fetched() -> Arc<str> {
    NOT_FETCHED.into()
}

/// The `*.url` files that count: a folder in a later tree replaces one of the
/// same name as a whole.
fn files(trees: &[Tree]) -> Vec<(usize, &str, &[u8])> {
    let mut last: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, tree) in trees.iter().enumerate() {
        last.extend(
            tree.iter()
                .filter_map(|(path, _)| Some((folder(path)?, index))),
        );
    }
    let files = trees.iter().enumerate();
    let files =
        files.flat_map(|(index, tree)| tree.iter().map(move |file| (index, file.0, file.1)));
    files
        .filter(|(index, path, _)| {
            is_list(path) && folder(path).and_then(|folder| last.get(folder)) == Some(index)
        })
        .collect()
}

/// `<provider>/<plan>` of a file in a plan folder.
fn folder(path: &str) -> Option<&str> {
    let provider = path.find('/')?;
    let plan = path[provider + 1..].find('/')?;
    Some(&path[..=provider + plan])
}

fn is_list(path: &str) -> bool {
    path.rsplit_once('.')
        .is_some_and(|(_, extension)| extension == "url")
}

/// The template that stands for a list.
fn text(
    path: &str,
    lines: &[Line],
    answers: &BTreeMap<Address, Result<Vec<u8>, url::Error>>,
) -> Text {
    let mut text = String::new();
    let mut faults = Vec::new();
    for line in lines {
        let content = match answers.get(&line.address()) {
            Some(Ok(content)) => verbatim(content),
            Some(Err(error)) => Err(chain(error)),
            None => Err("not fetched".to_owned()),
        };
        match content {
            Ok(content) => text.extend(["---\n", &content, "\n"]),
            Err(message) => {
                faults.push(at(
                    path,
                    line.number,
                    format!("{}: {message}", line.shown()),
                ));
            }
        }
    }
    if faults.is_empty() {
        Ok(text.into())
    } else {
        Err(faults)
    }
}

fn lines(path: &str, content: &[u8]) -> Result<Vec<Line>, Vec<Fault>> {
    let Ok(text) = std::str::from_utf8(content) else {
        return Err(vec![fault(path, "is not UTF-8".to_owned())]);
    };
    let mut lines = Vec::new();
    let mut faults = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match parse(number, line) {
            Ok(line) => lines.push(line),
            Err(message) => faults.push(at(path, number, message)),
        }
    }
    if lines.is_empty() && faults.is_empty() {
        faults.push(fault(path, "names no address".to_owned()));
    }
    if lines.len() > MAX_LINES {
        let message = format!(
            "names {} addresses, at most {MAX_LINES} are possible",
            lines.len()
        );
        faults.push(fault(path, message));
    }
    if faults.is_empty() {
        Ok(lines)
    } else {
        Err(faults)
    }
}

fn parse(number: u32, line: &str) -> Result<Line, String> {
    let (url, fragment) = match line.split_once('#') {
        Some((url, fragment)) => (url, Some(fragment)),
        None => (line, None),
    };
    if !url.starts_with("https://") || url.contains(char::is_whitespace) {
        return Err("an address begins with https:// and has no blanks".to_owned());
    }
    let pin = match fragment.map(|fragment| fragment.strip_prefix("sha256=")) {
        None => None,
        Some(Some(pin)) if pin.len() == 64 && pin.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Some(pin.to_owned())
        }
        Some(_) => return Err("after # comes sha256= and 64 hexadecimal digits".to_owned()),
    };
    Ok(Line {
        number,
        url: url.to_owned(),
        pin,
    })
}

fn at(path: &str, line: u32, message: String) -> Fault {
    Fault {
        line: Some(line),
        column: Some(1),
        ..fault(path, message)
    }
}

/// A text as a template that renders as that text.
fn verbatim(content: &[u8]) -> Result<String, String> {
    let text = std::str::from_utf8(content).map_err(|_| "the content is not UTF-8".to_owned())?;
    if !["{{", "{%", "{#"]
        .into_iter()
        .any(|start| text.contains(start))
    {
        return Ok(text.to_owned());
    }
    if text.contains("endraw") {
        return Err("the content has Jinja's endraw, which is not supported".to_owned());
    }
    Ok(format!("{{% raw %}}{text}{{% endraw %}}"))
}

/// The trees with `contents` in place of the lists.
fn replaced(
    trees: &[Tree],
    contents: &BTreeMap<(usize, String), Arc<str>>,
    faults: &[Fault],
) -> Vec<Tree> {
    let trees = trees.iter().enumerate();
    trees
        .map(|(index, tree)| {
            if !tree.iter().any(|(path, _)| is_list(path)) {
                return tree.clone();
            }
            let files = tree.iter().filter_map(|(path, content)| {
                if !is_list(path) {
                    return Some((path.to_owned(), content));
                }
                let content = contents.get(&(index, path.to_owned()))?;
                Some((format!("{path}.yaml"), content.as_bytes()))
            });
            assemble(files, faults)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_address_with_an_optional_pin() {
        let pin = "0123456789abcdef".repeat(4);
        let text = format!("# why\n\nhttps://a/b.yaml\nhttps://a/c.yaml#sha256={pin}\n");
        let lines = lines("p/q/1.url", text.as_bytes()).unwrap();
        let seen: Vec<_> = lines
            .iter()
            .map(|line| (line.number, line.url.as_str(), line.pin.as_deref()))
            .collect();
        assert_eq!(
            seen,
            [
                (3, "https://a/b.yaml", None),
                (4, "https://a/c.yaml", Some(pin.as_str()))
            ]
        );
    }

    #[test]
    fn a_wrong_line_is_a_fault_with_its_number() {
        for line in [
            "http://a/b",
            "https://a/b#sha256=12",
            "https://a/b#main",
            "https://a b",
        ] {
            let faults = lines("p/q/1.url", format!("\n{line}\n").as_bytes()).unwrap_err();
            assert_eq!(
                faults[0].to_string().split(' ').next(),
                Some("p/q/1.url:2:1:"),
                "{line}"
            );
        }
        assert!(lines("p/q/1.url", b"# nothing\n").is_err());
        let many = "https://a/b\n".repeat(MAX_LINES + 1);
        let faults = lines("p/q/1.url", many.as_bytes()).unwrap_err();
        assert!(faults[0].message.contains("65 addresses"), "{faults:?}");
    }

    #[test]
    fn what_looks_like_jinja_stays_as_it_is() {
        let text = |content: &str| verbatim(content.as_bytes());
        assert_eq!(text("a: 1").unwrap(), "a: 1");
        assert_eq!(
            text("a: '{{ b }}'").unwrap(),
            "{% raw %}a: '{{ b }}'{% endraw %}"
        );
        assert!(text("{{ a }}{% endraw %}{{ b }}").is_err());
        assert!(verbatim(&[0xff]).is_err());
    }

    #[test]
    fn a_list_in_a_folder_that_is_overridden_is_not_fetched() {
        let (mut shipped, mut site) = (Tree::new(), Tree::new());
        shipped.insert("p/q/1.url", "https://a/b");
        shipped.insert("p/r/1.url", "https://a/b");
        site.insert("p/q/1.yaml", "");
        let trees = [shipped, site];
        let paths: Vec<_> = lists(&trees).into_iter().map(|list| list.path).collect();
        assert_eq!(paths, ["p/r/1.url"]);
    }

    #[test]
    fn content_takes_the_place_of_its_list() {
        let mut tree = Tree::new();
        tree.insert("p/q/10-a.url", "https://a/b");
        tree.insert("p/q/plan.yaml", "");
        let fetched = put_in(&[tree], |_| Ok(not_fetched()));
        let paths: Vec<_> = fetched.trees[0].iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["p/q/10-a.url.yaml", "p/q/plan.yaml"]);
    }

    #[test]
    fn a_list_with_a_fault_takes_its_plan_away_and_no_other() {
        let mut tree = Tree::new();
        tree.insert("p/q/1.url", "ftp://a/b");
        tree.insert("p/q/plan.yaml", "");
        tree.insert("p/r/1.yaml", "");
        let fetched = put_in(&[tree], |_| Ok(not_fetched()));
        let paths: Vec<_> = fetched.trees[0].iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["p/r/1.yaml"]);
        assert_eq!(fetched.faults.len(), 1);
    }
}
