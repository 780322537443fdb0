//! The rendered text as a tree, markers replaced: the only place where values and the author's
//! syntax meet.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::expansion::Field;
use super::slots::{OPEN, Part, Values};
use crate::yaml::{self, Plain, Raw, RawKind, Style};

/// More objects in one file than any plan has.
const MAX_DOCUMENTS: usize = 256;
/// The most that the objects of one file may take.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// A document with its place in the rendered text.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) value: Map<String, Value>,
    pub(crate) line: u32,
    pub(crate) column: u32,
    /// Where its keys are, and those of its metadata: `kind`, `metadata.name`; if that was asked for,
    /// all others below, too: `spec.ports.0.port`.
    pub(crate) keys: BTreeMap<String, (u32, u32)>,
}

impl Document {
    /// The place of a key, or of the nearest above it that is known, or of the document.
    pub(crate) fn key(&self, name: &str) -> (u32, u32) {
        let mut name = name;
        loop {
            if let Some(place) = self.keys.get(name) {
                return *place;
            }
            match name.rsplit_once('.') {
                Some((above, _)) => name = above,
                None => return (self.line, self.column),
            }
        }
    }
}

/// Which keys' places a document tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Places {
    /// Those at the top, and those of its metadata.
    Top,
    /// All.
    All,
}

fn places(entries: &[(Raw, Raw)], prefix: &str, which: Places) -> BTreeMap<String, (u32, u32)> {
    let mut all = BTreeMap::new();
    for (key, value) in entries {
        let Some(name) = scalar(key) else { continue };
        let path = format!("{prefix}{name}");
        if which == Places::All || path == "metadata" {
            all.extend(places_below(value, &path, which));
        }
        all.insert(path, (key.line, key.column));
    }
    all
}

fn places_below(value: &Raw, path: &str, which: Places) -> BTreeMap<String, (u32, u32)> {
    match &value.kind {
        RawKind::Scalar { .. } => BTreeMap::new(),
        RawKind::Map(inner) => places(inner, &format!("{path}."), which),
        RawKind::Seq(items) => {
            let mut all = BTreeMap::new();
            for (number, item) in items.iter().enumerate() {
                let path = format!("{path}.{number}");
                all.extend(places_below(item, &path, which));
                all.insert(path, (item.line, item.column));
            }
            all
        }
    }
}

/// Reads the text of a rendering.
pub(crate) fn read(
    text: &str,
    values: &Values<'_>,
    which: Places,
) -> Result<Vec<Document>, yaml::Error> {
    let raw = yaml::compose(text)?;
    if raw.len() > MAX_DOCUMENTS {
        return Err(whole(format!("more than {MAX_DOCUMENTS} documents")));
    }
    let tree = Tree {
        values,
        which,
        seen: RefCell::default(),
        bytes: RefCell::default(),
    };
    let mut documents = Vec::new();
    for document in &raw {
        documents.extend(tree.document(document)?);
    }
    tree.all_markers_accounted_for(text)?;
    Ok(documents)
}

struct Tree<'a> {
    values: &'a Values<'a>,
    which: Places,
    seen: RefCell<BTreeSet<usize>>,
    bytes: RefCell<usize>,
}

impl Tree<'_> {
    /// A document: a map in the author's own syntax, or nothing.
    fn document(&self, raw: &Raw) -> Result<Option<Document>, yaml::Error> {
        let entries = match &raw.kind {
            RawKind::Map(entries) => entries,
            RawKind::Scalar {
                text,
                style: Style::Plain,
            } if matches!(yaml::plain(text), Ok(Plain::Null)) => {
                return Ok(None);
            }
            _ => {
                return Err(at(
                    raw,
                    "a document must be a map of keys and values".to_owned(),
                ));
            }
        };
        for (key, value) in entries {
            let fixed = matches!(scalar(key), Some("apiVersion" | "kind"));
            if has_marker(key) || (fixed && has_marker(value)) {
                let message = "apiVersion, kind and the keys of an object's top level must be \
                               written out in the template";
                return Err(at(key, message.to_owned()));
            }
        }
        let value = self.map(entries, Field::Other)?;
        if value.is_empty() {
            return Ok(None);
        }
        Ok(Some(Document {
            value,
            line: raw.line,
            column: raw.column,
            keys: places(entries, "", self.which),
        }))
    }

    fn map(&self, entries: &[(Raw, Raw)], field: Field) -> Result<Map<String, Value>, yaml::Error> {
        let mut map = Map::new();
        let mut names = BTreeSet::new();
        for (key, value) in entries {
            let name = self.key(key)?;
            self.count(key, name.len())?;
            // Only keys of the template are shown: one that a value made may be secret.
            if !names.insert(name.clone()) {
                let shown = if has_marker(key) {
                    String::new()
                } else {
                    format!(" {name:?}")
                };
                return Err(at(key, format!("duplicate key{shown}")));
            }
            let value = self.value(value, field.key(&name))?;
            if !value.is_null() {
                map.insert(name, value);
            }
        }
        Ok(map)
    }

    fn value(&self, raw: &Raw, field: Field) -> Result<Value, yaml::Error> {
        match &raw.kind {
            RawKind::Map(entries) => self.map(entries, field).map(Value::Object),
            RawKind::Seq(items) => items
                .iter()
                .map(|item| self.value(item, field.item()))
                .collect::<Result<_, _>>()
                .map(Value::Array),
            RawKind::Scalar { text, style } => {
                let parts = self.parts(raw, text)?;
                let marked = parts.iter().any(|p| matches!(p, Part::Slot(_)));
                let value = match style {
                    Style::Plain if marked => {
                        self.values.typed_in(field, &parts).map(without_nulls)
                    }
                    Style::Plain => plain(text),
                    Style::Quoted | Style::Block => {
                        self.values.text_in(field, &parts).map(Value::String)
                    }
                };
                let value = value.map_err(|message| at(raw, message))?;
                self.count(raw, size(&value))?;
                Ok(value)
            }
        }
    }

    /// A key is a string, whatever it looks like.
    fn key(&self, raw: &Raw) -> Result<String, yaml::Error> {
        let RawKind::Scalar { text, style } = &raw.kind else {
            return Err(at(raw, "a key must be a string".to_owned()));
        };
        let parts = self.parts(raw, text)?;
        if *style == Style::Plain && !text.contains(OPEN) {
            match yaml::plain(text).map_err(|advice| at(raw, advice))? {
                Plain::Null => return Err(at(raw, "a key cannot be null".to_owned())),
                Plain::Bool(_) | Plain::Number(_) | Plain::String => return Ok(text.clone()),
            }
        }
        self.values.text(&parts).map_err(|message| at(raw, message))
    }

    fn parts<'t>(&self, raw: &Raw, text: &'t str) -> Result<Vec<Part<'t>>, yaml::Error> {
        let parts = self
            .values
            .parts(text)
            .map_err(|message| at(raw, message))?;
        let slots = parts.iter().filter_map(|part| match part {
            Part::Slot(slot) => Some(*slot),
            Part::Text(_) => None,
        });
        self.seen.borrow_mut().extend(slots);
        Ok(parts)
    }

    /// A value can be written more than once (a macro's output, an alias), so what counts is what
    /// comes out.
    fn count(&self, raw: &Raw, bytes: usize) -> Result<(), yaml::Error> {
        let mut total = self.bytes.borrow_mut();
        *total += bytes;
        if *total > MAX_BYTES {
            return Err(at(
                raw,
                format!("the objects are larger than {MAX_BYTES} bytes in all"),
            ));
        }
        Ok(())
    }

    /// A marker that is in no scalar must be in a comment; anywhere else (an anchor, a directive)
    /// it would be the value's text that makes syntax.
    fn all_markers_accounted_for(&self, text: &str) -> Result<(), yaml::Error> {
        let seen = self.seen.borrow();
        for (number, line) in text.lines().enumerate() {
            let Some(first) = line.find(OPEN) else {
                continue;
            };
            let parts = self.values.parts(line).unwrap_or_default();
            let lost = parts
                .iter()
                .any(|p| matches!(p, Part::Slot(slot) if !seen.contains(slot)));
            let before = &line[..first];
            let comment = before.trim_start().starts_with('#') || before.contains(" #");
            if lost && !comment {
                return Err(yaml::Error {
                    line: u32::try_from(number + 1).unwrap_or(u32::MAX),
                    column: u32::try_from(before.chars().count() + 1).unwrap_or(u32::MAX),
                    message: "a value cannot stand in an anchor, a tag or a directive".to_owned(),
                });
            }
        }
        Ok(())
    }
}

fn plain(text: &str) -> Result<Value, String> {
    Ok(match yaml::plain(text)? {
        Plain::Null => Value::Null,
        Plain::Bool(b) => Value::Bool(b),
        Plain::Number(n) => Value::Number(n),
        Plain::String => Value::String(text.to_owned()),
    })
}

/// A null drops its key, in an inserted object too.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key, without_nulls(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(|v| size(v) + 1).sum(),
        Value::Object(map) => map.iter().map(|(k, v)| k.len() + size(v) + 1).sum(),
        _ => 8,
    }
}

fn scalar(raw: &Raw) -> Option<&str> {
    match &raw.kind {
        RawKind::Scalar { text, .. } => Some(text),
        _ => None,
    }
}

fn has_marker(raw: &Raw) -> bool {
    scalar(raw).is_some_and(|text| text.contains(OPEN))
}

fn at(raw: &Raw, message: String) -> yaml::Error {
    yaml::Error {
        line: raw.line,
        column: raw.column,
        message,
    }
}

fn whole(message: String) -> yaml::Error {
    yaml::Error {
        line: 1,
        column: 1,
        message,
    }
}
