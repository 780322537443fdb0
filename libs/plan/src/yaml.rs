//! YAML text to an untyped tree that still knows scalar styles and places.
//!
//! Both readers stand on it: descriptors (`node`) and rendered templates (`render`). Bounded in
//! nodes and depth, aliases included, so that a bomb of anchors costs nothing.

mod plain;

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

pub(crate) use plain::{Plain, plain};

/// More nodes than any manifest has.
const MAX_NODES: usize = 100_000;
/// Deeper than any manifest goes.
const MAX_DEPTH: usize = 128;

/// A node as written. Lines and columns count from 1.
#[derive(Debug, Clone)]
pub(crate) struct Raw {
    pub(crate) kind: RawKind,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

#[derive(Debug, Clone)]
pub(crate) enum RawKind {
    Scalar { text: String, style: Style },
    Seq(Vec<Raw>),
    Map(Vec<(Raw, Raw)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    /// Quoted, or tagged `!!str`.
    Quoted,
    Block,
}

/// Why a text is no YAML for us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Error {
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) message: String,
}

/// Reads all documents of a text. Empty documents come out as a plain empty scalar.
pub(crate) fn compose(text: &str) -> Result<Vec<Raw>, Error> {
    let mut composer = Composer::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|e| Error {
            line: number(e.marker().line()),
            column: number(e.marker().col() + 1),
            message: e.info().to_owned(),
        })?;
        composer.on_event(event, span)?;
    }
    Ok(composer.documents)
}

enum Frame {
    Seq {
        raw: Vec<Raw>,
        at: (u32, u32),
        anchor: usize,
    },
    Map {
        raw: Vec<(Raw, Raw)>,
        key: Option<Raw>,
        at: (u32, u32),
        anchor: usize,
    },
}

#[derive(Default)]
struct Composer {
    stack: Vec<Frame>,
    anchors: BTreeMap<usize, (Raw, usize)>,
    documents: Vec<Raw>,
    nodes: usize,
}

impl Composer {
    fn on_event(&mut self, event: Event<'_>, span: Span) -> Result<(), Error> {
        let at = (number(span.start.line()), number(span.start.col() + 1));
        let fail = |message: String| Error {
            line: at.0,
            column: at.1,
            message,
        };
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let string = string_tag(tag.as_deref()).map_err(fail)?;
                let style = match style {
                    ScalarStyle::Plain if string => Style::Quoted,
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
                    ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
                };
                let kind = RawKind::Scalar {
                    text: text.into_owned(),
                    style,
                };
                self.node(
                    Raw {
                        kind,
                        line: at.0,
                        column: at.1,
                    },
                    anchor,
                    1,
                )
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_tag(tag.as_deref()).map_err(fail)?;
                self.push(Frame::Seq {
                    raw: Vec::new(),
                    at,
                    anchor,
                })
            }
            Event::MappingStart(anchor, tag) => {
                refuse_tag(tag.as_deref()).map_err(fail)?;
                self.push(Frame::Map {
                    raw: Vec::new(),
                    key: None,
                    at,
                    anchor,
                })
            }
            Event::SequenceEnd | Event::MappingEnd => self.pop(),
            Event::Alias(anchor) => {
                let (raw, size) = self
                    .anchors
                    .get(&anchor)
                    .cloned()
                    .ok_or_else(|| fail(self.unknown_alias(anchor).to_owned()))?;
                self.node(raw, 0, size)
            }
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    /// Why an alias has no value. The parser knows its anchor, or would have refused it.
    fn unknown_alias(&self, alias: usize) -> &'static str {
        let is_open = |frame: &Frame| {
            let (Frame::Seq { anchor, .. } | Frame::Map { anchor, .. }) = frame;
            *anchor == alias
        };
        if self.stack.iter().any(is_open) {
            "an alias cannot stand inside of its own anchor"
        } else {
            "the anchor of this alias is in another document: an anchor is known in its own only"
        }
    }

    fn push(&mut self, frame: Frame) -> Result<(), Error> {
        let (Frame::Seq { at, .. } | Frame::Map { at, .. }) = &frame;
        if self.stack.len() >= MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH}");
            return Err(Error {
                line: at.0,
                column: at.1,
                message,
            });
        }
        self.stack.push(frame);
        Ok(())
    }

    fn pop(&mut self) -> Result<(), Error> {
        match self.stack.pop() {
            Some(Frame::Seq { raw, at, anchor }) => self.collection(
                Raw {
                    kind: RawKind::Seq(raw),
                    line: at.0,
                    column: at.1,
                },
                anchor,
            ),
            Some(Frame::Map {
                raw, at, anchor, ..
            }) => self.collection(
                Raw {
                    kind: RawKind::Map(raw),
                    line: at.0,
                    column: at.1,
                },
                anchor,
            ),
            None => Ok(()),
        }
    }

    /// A finished collection: its members are counted already.
    fn collection(&mut self, raw: Raw, anchor: usize) -> Result<(), Error> {
        if anchor > 0 {
            self.anchors.insert(anchor, (raw.clone(), size_of(&raw)));
        }
        self.node(raw, 0, 1)
    }

    fn node(&mut self, raw: Raw, anchor: usize, size: usize) -> Result<(), Error> {
        self.nodes += size;
        if self.nodes > MAX_NODES {
            let message = format!("more than {MAX_NODES} nodes");
            return Err(Error {
                line: raw.line,
                column: raw.column,
                message,
            });
        }
        if anchor > 0 {
            self.anchors.insert(anchor, (raw.clone(), size));
        }
        match self.stack.last_mut() {
            None => self.documents.push(raw),
            Some(Frame::Seq { raw: items, .. }) => items.push(raw),
            Some(Frame::Map {
                raw: entries, key, ..
            }) => match key.take() {
                None => *key = Some(raw),
                Some(name) => entries.push((name, raw)),
            },
        }
        Ok(())
    }
}

fn size_of(raw: &Raw) -> usize {
    1 + match &raw.kind {
        RawKind::Scalar { .. } => 0,
        RawKind::Seq(items) => items.iter().map(size_of).sum(),
        RawKind::Map(entries) => entries.iter().map(|(k, v)| size_of(k) + size_of(v)).sum(),
    }
}

/// Whether the tag asks for a string; any other tag is refused: kubectl's reader drops them.
fn string_tag(tag: Option<&Tag>) -> Result<bool, String> {
    match tag {
        None => Ok(false),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Ok(true),
        Some(_) => Err("tags other than !!str are not supported".to_owned()),
    }
}

fn refuse_tag(tag: Option<&Tag>) -> Result<(), String> {
    match tag {
        None => Ok(()),
        Some(_) => Err("tags on maps and lists are not supported".to_owned()),
    }
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_and_places_are_kept() {
        let docs = compose("a: b\nc: \"d\"\ne: |\n  f\n").unwrap();
        let RawKind::Map(entries) = &docs[0].kind else {
            panic!("no map")
        };
        let styles: Vec<_> = entries
            .iter()
            .map(|(_, v)| match &v.kind {
                RawKind::Scalar { style, .. } => (*style, v.line, v.column),
                _ => panic!("no scalar"),
            })
            .collect();
        assert_eq!(styles[0], (Style::Plain, 1, 4));
        assert_eq!(styles[1], (Style::Quoted, 2, 4));
        assert_eq!(styles[2].0, Style::Block);
    }

    #[test]
    fn an_alias_that_leads_nowhere_says_why() {
        let message = |text: &str| compose(text).unwrap_err().message;
        assert!(message("a: &x {b: *x}\n").contains("inside of its own anchor"));
        assert!(message("a: &x 1\n---\nb: *x\n").contains("in another document"));
        assert!(message("a: *x\n").contains("unknown anchor"));
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for i in 1..8 {
            let row = vec![format!("*a{}", i - 1); 10].join(",");
            text = format!("{text}a{i}: &a{i} [{row}]\n");
        }
        assert!(compose(&text).unwrap_err().message.contains("nodes"));
    }

    #[test]
    fn depth_is_bounded() {
        let text = "[".repeat(200) + &"]".repeat(200);
        assert!(compose(&text).is_err());
    }

    #[test]
    fn an_error_names_its_line() {
        assert_eq!(compose("a: b\nc: [\n").unwrap_err().line, 3);
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in "[-a:{}\\[\\], \n\t\"'|>&*!%#?~\\u{85}\\u{FEFF}0-9]{0,40}") {
            let _ = compose(&text);
        }
    }

    #[test]
    fn tags_are_refused_but_str() {
        assert!(compose("a: !!int 1").is_err());
        assert!(compose("a: !!str 012").is_ok());
        assert!(compose("a: !!map {b: c}").is_err());
    }
}
