//! A descriptor as read: typed values that remember the file, line and column they came from,
//! through `extends` too. Templates do not pass here.

mod de;

use std::collections::HashSet;

use serde_json::Number;
#[cfg(test)]
use serde_json::{Map, Value};

use crate::fault::{Pos, Problem};
use crate::source;
use crate::yaml::{self, Plain, Raw, RawKind, Style};

pub(crate) use de::{all_from_node, from_node, nearest, unknown};

/// A value with its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) pos: Pos,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Seq(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) pos: Pos,
}

impl Node {
    /// Reads a descriptor: one document, a map. An empty one has no keys.
    pub(crate) fn read(file: &str, bytes: &[u8]) -> Result<Self, Problem> {
        let mut node = Self::document(file, bytes)?;
        if matches!(node.kind, Kind::Null) {
            node.kind = Kind::Map(Vec::new());
        }
        Ok(node)
    }

    /// Reads one document: a map, or null where there is nothing in the file.
    pub(crate) fn document(file: &str, bytes: &[u8]) -> Result<Self, Problem> {
        let text = source::text(file, bytes)?;
        let documents = yaml::compose(text)
            .map_err(|e| Problem::at(&Pos::new(file, e.line, e.column), e.message))?;
        match documents.as_slice() {
            [] => Ok(Self {
                kind: Kind::Null,
                pos: Pos::file(file),
            }),
            [one] => {
                let node = convert(file, one)?;
                match node.kind {
                    Kind::Null | Kind::Map(_) => Ok(node),
                    _ => Err(Problem::at(&node.pos, "must be a map of keys and values")),
                }
            }
            [_, second, ..] => Err(Problem::at(
                &Pos::new(file, second.line, second.column),
                "must be a single document",
            )),
        }
    }

    /// Takes a key out of a map.
    pub(crate) fn remove(&mut self, key: &str) -> Option<Node> {
        let Kind::Map(entries) = &mut self.kind else {
            return None;
        };
        let at = entries.iter().position(|(k, _)| k.name == key)?;
        Some(entries.remove(at).1)
    }

    /// The text of a key at the top.
    pub(crate) fn scalar(&self, key: &str) -> Option<String> {
        let Kind::Map(entries) = &self.kind else {
            return None;
        };
        let value = entries.iter().find(|(k, _)| k.name == key);
        match &value?.1.kind {
            Kind::String(text) => Some(text.clone()),
            Kind::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// The same of a file with whatever faults: where it is no YAML, of the line that begins with
    /// the key.
    pub(crate) fn scalar_in(bytes: &[u8], key: &str) -> Option<String> {
        if let Ok(node) = Self::read("", bytes) {
            return node.scalar(key);
        }
        let text = String::from_utf8_lossy(bytes);
        let mut values = text.lines().filter_map(|line| {
            let rest = line.trim_start_matches('\u{FEFF}').strip_prefix(key)?;
            rest.strip_prefix(':')
        });
        let value = values.next()?;
        let value = value.split(" #").next().unwrap_or(value).trim();
        let value = value.trim_matches(['"', '\'']);
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// The place of the deepest part of a path that exists.
    pub(crate) fn place<S: AsRef<str>>(&self, path: impl IntoIterator<Item = S>) -> Pos {
        let mut node = self;
        let mut pos = &self.pos;
        for part in path {
            let part = part.as_ref();
            match &node.kind {
                Kind::Map(entries) => match entries.iter().find(|(k, _)| k.name == part) {
                    Some((key, value)) => (node, pos) = (value, &key.pos),
                    None => break,
                },
                Kind::Seq(items) => match part.parse::<usize>().ok().and_then(|i| items.get(i)) {
                    Some(item) => (node, pos) = (item, &item.pos),
                    None => break,
                },
                _ => break,
            }
        }
        pos.clone()
    }

    /// Takes out the smallest entry that a place is in. Whether there was one.
    fn leave_out(&mut self, pos: &Pos) -> bool {
        match &mut self.kind {
            Kind::Map(entries) => {
                let is_it = |(key, value): &(Key, Node)| key.pos == *pos || value.pos == *pos;
                if let Some(i) = entries.iter().position(is_it) {
                    entries.remove(i);
                    return true;
                }
                let within = entries
                    .iter_mut()
                    .position(|(_, value)| value.leave_out(pos));
                // An empty rest would be a fault that nobody wrote.
                if let Some(i) = within
                    && matches!(&entries[i].1.kind, Kind::Map(rest) if rest.is_empty())
                {
                    entries.remove(i);
                }
                within.is_some()
            }
            Kind::Seq(items) => {
                if let Some(i) = items.iter().position(|item| item.pos == *pos) {
                    items.remove(i);
                    return true;
                }
                items.iter_mut().any(|item| item.leave_out(pos))
            }
            _ => false,
        }
    }

    /// The plain JSON value.
    #[cfg(test)]
    pub(crate) fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(b) => Value::Bool(*b),
            Kind::Number(n) => Value::Number(n.clone()),
            Kind::String(s) => Value::String(s.clone()),
            Kind::Seq(items) => Value::Array(items.iter().map(Node::to_json).collect()),
            Kind::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(k, v)| (k.name.clone(), v.to_json()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    /// Lays `over` on `self`: maps merge deeply, everything else is replaced, `null` drops a key.
    /// Inside `values` a null stays, so that templates find it defined; in a manifest it drops
    /// the key.
    pub(crate) fn merge(self, over: Node) -> Node {
        merge(self, over, true)
    }
}

fn merge(base: Node, over: Node, top: bool) -> Node {
    merge_with(base, over, top, false)
}

fn merge_with(base: Node, over: Node, top: bool, keep_null: bool) -> Node {
    match (base.kind, over.kind) {
        (Kind::Map(mut entries), Kind::Map(overs)) => {
            for (key, value) in overs {
                let keep = keep_null || (top && key.name == "values");
                let at = entries.iter().position(|(k, _)| k.name == key.name);
                match at {
                    Some(i) if matches!(value.kind, Kind::Null) && !keep_null => {
                        entries.remove(i);
                    }
                    Some(i) => {
                        let (_, old) = entries.remove(i);
                        entries.insert(i, (key, merge_with(old, value, false, keep)));
                    }
                    None if matches!(value.kind, Kind::Null) && !keep_null => {}
                    None => entries.push((key, value)),
                }
            }
            Node {
                kind: Kind::Map(entries),
                pos: over.pos,
            }
        }
        (_, kind) => Node {
            kind,
            pos: over.pos,
        },
    }
}

fn convert(file: &str, raw: &Raw) -> Result<Node, Problem> {
    let pos = Pos::new(file, raw.line, raw.column);
    let kind = match &raw.kind {
        RawKind::Scalar {
            text,
            style: Style::Plain,
        } => match yaml::plain(text).map_err(|advice| Problem::at(&pos, advice))? {
            Plain::Null => Kind::Null,
            Plain::Bool(b) => Kind::Bool(b),
            Plain::Number(n) => Kind::Number(n),
            Plain::String => Kind::String(text.clone()),
        },
        RawKind::Scalar { text, .. } => Kind::String(text.clone()),
        RawKind::Seq(items) => Kind::Seq(
            items
                .iter()
                .map(|item| convert(file, item))
                .collect::<Result<_, _>>()?,
        ),
        RawKind::Map(entries) => {
            let mut out: Vec<(Key, Node)> = Vec::with_capacity(entries.len());
            let mut names = HashSet::with_capacity(entries.len());
            for (key, value) in entries {
                let at = Pos::new(file, key.line, key.column);
                let name = key_text(key).map_err(|message| Problem::at(&at, message))?;
                if !names.insert(name.clone()) {
                    return Err(Problem::at(&at, format!("duplicate key {name:?}")));
                }
                out.push((Key { name, pos: at }, convert(file, value)?));
            }
            Kind::Map(out)
        }
    };
    Ok(Node { kind, pos })
}

/// The text of a key; keys are strings, whatever they look like.
fn key_text(key: &Raw) -> Result<String, String> {
    match &key.kind {
        RawKind::Scalar {
            text,
            style: Style::Plain,
        } => match yaml::plain(text)? {
            Plain::Null => Err("a key cannot be null".to_owned()),
            _ => Ok(text.clone()),
        },
        RawKind::Scalar { text, .. } => Ok(text.clone()),
        _ => Err("a key must be a string".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Node {
        Node::read("p/plan.yaml", text.as_bytes()).unwrap()
    }

    #[test]
    fn maps_merge_lists_replace_and_null_drops() {
        let base = read("a: {b: 1, c: 2}\nl: [1, 2]\nd: 1\nvalues: {x: 1, z: 2}\n");
        let over = read("a: {c: 3}\nl: [3]\nd: null\nvalues: {x: null}\n");
        assert_eq!(
            base.merge(over).to_json(),
            json!({"a": {"b": 1, "c": 3}, "l": [3], "values": {"x": null, "z": 2}})
        );
    }

    #[test]
    fn a_place_survives_a_merge() {
        let base = Node::read("base", b"a:\n  b: 1\n").unwrap();
        let over = Node::read("over", b"a:\n\n  c: 1\n").unwrap();
        let merged = base.merge(over);
        assert_eq!(merged.place(["a", "b"]), Pos::new("base", 2, 3));
        assert_eq!(merged.place(["a", "c"]), Pos::new("over", 3, 3));
        assert_eq!(merged.place(["a", "zzz"]), Pos::new("over", 1, 1));
    }

    #[test]
    fn duplicate_keys_and_two_documents_are_refused() {
        assert!(
            Node::read("f", b"a: 1\na: 2\n")
                .unwrap_err()
                .message
                .contains("duplicate")
        );
        assert_eq!(
            Node::read("f", b"a: 1\n---\nb: 1\n")
                .unwrap_err()
                .pos
                .unwrap()
                .line,
            3
        );
        assert_eq!(read("").to_json(), json!({}));
    }
}
