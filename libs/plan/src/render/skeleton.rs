//! A template's own text read as YAML, all branches at once and nothing evaluated: which kinds it
//! spells out, and where in an object each `{{ … }}` stands.

use std::ops::Range;

use minijinja::machinery::{self, Token};

use super::engine::{line_column, offset_of, syntax_config};
use super::slots::{CLOSE, OPEN, digit};
use crate::descriptor::KindRef;
use crate::yaml::{self, Raw, RawKind, Style};

/// A template without its template syntax.
#[derive(Debug)]
pub(crate) struct Skeleton<'s> {
    source: &'s str,
    marked: Marked,
    documents: Vec<Raw>,
}

/// A kind with its line and column in the template, from 1.
pub(crate) type Found = (KindRef, (u32, u32));

/// Where an output stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position<'a> {
    /// The keys from the top of the document, without the indices of lists.
    pub(crate) keys: Vec<&'a str>,
    /// The text of the scalar that it is in, with a mark for each output.
    pub(crate) text: &'a str,
    pub(crate) style: Style,
    /// Where it is in a command line: what is run and its arguments.
    pub(crate) arguments: Option<Arguments<'a>>,
    /// The kind of the object.
    pub(crate) kind: Option<&'a str>,
}

/// The items of `command` and of `args` beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arguments<'a> {
    /// Their texts in order; `None` for what is no text.
    pub(crate) items: Vec<Option<&'a str>>,
    /// The item that the output is in; `None` where `command` or `args` is no list.
    pub(crate) own: Option<usize>,
    /// Whether the first item is the program: there is a `command`.
    pub(crate) names_program: bool,
}

impl<'s> Skeleton<'s> {
    /// Reads a template. `None` where its branches together are no YAML.
    pub(crate) fn of(source: &'s str) -> Option<Self> {
        let marked = marked(source)?;
        let documents = yaml::compose(&marked.text).ok()?;
        Some(Self {
            source,
            marked,
            documents,
        })
    }

    /// The kinds at the top of documents. A second pair in one document is an alternative:
    /// `{% if %} … {% else %}`.
    pub(crate) fn kinds(&self) -> Vec<Found> {
        let mut kinds = Vec::new();
        for document in &self.documents {
            let RawKind::Map(entries) = &document.kind else {
                continue;
            };
            let (mut api_version, mut kind) = (None, None);
            for (key, value) in entries {
                match (scalar(key), scalar(value)) {
                    (Some("apiVersion"), Some(text)) => {
                        if api_version.is_some() {
                            kind = None;
                        }
                        api_version = Some(text);
                    }
                    (Some("kind"), Some(text)) => kind = Some((text, value)),
                    _ => continue,
                }
                if let (Some(api_version), Some((kind, raw))) = (api_version, kind)
                    && let Ok(kind) = format!("{api_version}/{kind}").parse::<KindRef>()
                {
                    kinds.push((kind, self.place(raw)));
                }
            }
        }
        kinds
    }

    /// Where the output with this offset stands. `None` where it is in no scalar: in a comment.
    pub(crate) fn position(&self, offset: usize) -> Option<Position<'_>> {
        let mut outputs = self.marked.outputs.iter();
        let number = outputs.position(|output| output.contains(&offset))?;
        let wanted = mark(number);
        let mut keys = Vec::new();
        self.documents.iter().find_map(|document| {
            let found = find(document, &wanted, &mut keys, None)?;
            let kind = match &document.kind {
                RawKind::Map(entries) => items(entries, "kind").into_iter().flatten().next(),
                _ => None,
            };
            Some(Position { kind, ..found })
        })
    }

    /// Line and column in the template.
    fn place(&self, raw: &Raw) -> (u32, u32) {
        let offset = offset_of(&self.marked.text, raw.line, raw.column);
        let pieces = &self.marked.pieces;
        let after = pieces.partition_point(|piece| piece.text <= offset);
        let piece = after.checked_sub(1).and_then(|i| pieces.get(i));
        let source = piece.map_or(0, |piece| piece.source + offset - piece.text);
        line_column(self.source, source.min(self.source.len()))
    }
}

/// Whether a text is one output and nothing else.
pub(crate) fn is_output(text: &str) -> bool {
    text.starts_with(OPEN) && without_outputs(text).is_empty()
}

/// The author's own text of a scalar.
pub(crate) fn without_outputs(text: &str) -> String {
    let mut own = String::new();
    let mut rest = text;
    while let Some((before, output)) = rest.split_once(OPEN) {
        own.push_str(before);
        rest = output.split_once(CLOSE).map_or("", |(_, after)| after);
    }
    own + rest
}

/// What stands for an output.
fn mark(number: usize) -> String {
    let digits: String = format!("{number:x}").chars().map(digit).collect();
    format!("{OPEN}{digits}{CLOSE}")
}

/// The text without statements and comments, and a mark for each output.
#[derive(Debug, Default)]
struct Marked {
    text: String,
    /// The outputs by their number: offsets in the template, in bytes.
    outputs: Vec<Range<usize>>,
    pieces: Vec<Piece>,
}

/// Where a piece of the text is in the template: offsets in bytes.
#[derive(Debug)]
struct Piece {
    text: usize,
    source: usize,
}

fn marked(source: &str) -> Option<Marked> {
    if source.contains([OPEN, CLOSE]) {
        return None;
    }
    let (mut marked, mut start) = (Marked::default(), 0);
    for token in machinery::tokenize(source, false, syntax_config()) {
        let (token, span) = token.ok()?;
        let mut piece = |source: usize, text: &str| {
            let piece = Piece {
                text: marked.text.len(),
                source,
            };
            marked.pieces.push(piece);
            marked.text.push_str(text);
        };
        match token {
            Token::TemplateData(data) => piece(span.start_offset as usize, data),
            Token::VariableStart => start = span.start_offset as usize,
            Token::VariableEnd => {
                piece(start, &mark(marked.outputs.len()));
                marked.outputs.push(start..span.end_offset as usize);
            }
            _ => {}
        }
    }
    Some(marked)
}

fn find<'a>(
    raw: &'a Raw,
    wanted: &str,
    keys: &mut Vec<&'a str>,
    arguments: Option<&Arguments<'a>>,
) -> Option<Position<'a>> {
    match &raw.kind {
        RawKind::Scalar { text, style } => text.contains(wanted).then(|| Position {
            keys: keys.clone(),
            text,
            style: *style,
            arguments: arguments.cloned(),
            kind: None,
        }),
        RawKind::Seq(items) => items.iter().enumerate().find_map(|(i, item)| {
            let own = arguments.map(|all| Arguments {
                own: all.own.map(|first| first + i),
                ..all.clone()
            });
            find(item, wanted, keys, own.as_ref())
        }),
        RawKind::Map(entries) => entries.iter().find_map(|(key, value)| {
            // A key that a value makes stands for itself.
            if let Some(found) = find(key, wanted, keys, None) {
                return Some(found);
            }
            let name = scalar(key).unwrap_or_default();
            keys.push(name);
            let own = command_line(entries, name, value);
            let found = find(value, wanted, keys, own.as_ref().or(arguments));
            keys.pop();
            found
        }),
    }
}

/// The command line that a key `command` or `args` is a part of.
fn command_line<'a>(entries: &'a [(Raw, Raw)], name: &str, value: &Raw) -> Option<Arguments<'a>> {
    if !matches!(name, "command" | "args") {
        return None;
    }
    let command = items(entries, "command");
    let before = if name == "args" { command.len() } else { 0 };
    let names_program = !command.is_empty();
    let is_list = matches!(value.kind, RawKind::Seq(_));
    Some(Arguments {
        items: [command, items(entries, "args")].concat(),
        own: is_list.then_some(before),
        names_program,
    })
}

/// The items of a list, or the single text that stands instead of it.
fn items<'a>(entries: &'a [(Raw, Raw)], wanted: &str) -> Vec<Option<&'a str>> {
    let mut all = Vec::new();
    for (_, value) in entries
        .iter()
        .filter(|(key, _)| scalar(key) == Some(wanted))
    {
        match &value.kind {
            RawKind::Seq(items) => all.extend(items.iter().map(scalar)),
            _ => all.push(scalar(value)),
        }
    }
    all
}

fn scalar(raw: &Raw) -> Option<&str> {
    match &raw.kind {
        RawKind::Scalar { text, .. } => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(source: &str) -> Vec<String> {
        let skeleton = Skeleton::of(source).expect("YAML");
        let kinds = skeleton.kinds();
        kinds.iter().map(|(kind, _)| kind.to_string()).collect()
    }

    #[test]
    fn a_kind_has_its_place_in_the_template() {
        let source = "{% set a =\n 1 -%}\n\n{# x\n #}\nkind: Secret\napiVersion: \"v1\"\na: {{ a\n }}\n\
                      ---\n{apiVersion: v1, kind: Service}\n";
        let skeleton = Skeleton::of(source).unwrap();
        let places: Vec<_> = skeleton.kinds().iter().map(|(_, place)| *place).collect();
        assert_eq!(places, [(6, 7), (11, 24)]);
    }

    #[test]
    fn kinds_are_read_however_they_are_written() {
        for source in [
            "apiVersion: v1\nkind: Secret\n",
            "\u{FEFF}apiVersion: v1\nkind: Secret\n",
            "{\"apiVersion\": \"v1\", \"kind\": \"Secret\", \"metadata\": {\"name\": \"{{ name }}\"}}",
            "{apiVersion: v1, kind: Secret, data: {a: \"{{ a }}\"}}\n",
            "{% set a = 1 %}apiVersion: v1 # {{ a }}\n\"kind\": 'Secret'\n",
            "{% raw %}apiVersion: v1\nkind: Secret\nx: \"{{ $y }}\"\n{% endraw %}",
            "{# a: b #}\nkind: Secret\napiVersion: v1\nspec: {kind: Nested, apiVersion: v2}\n",
        ] {
            assert_eq!(kinds(source), ["v1/Secret"], "{source}");
        }
    }

    #[test]
    fn alternatives_and_documents_have_kinds_of_their_own() {
        let source = "{% if a %}\napiVersion: v1\nkind: Secret\n{% else %}\napiVersion: apps/v1\n\
                      kind: Deployment\n{% endif %}\n---\nkind: Service\napiVersion: v1\n";
        assert_eq!(
            kinds(source),
            ["v1/Secret", "apps/v1/Deployment", "v1/Service"]
        );
    }

    #[test]
    fn an_output_has_a_place_in_the_object() {
        let source = "a:\n  b: [\"x{{ c }}\"]\n  d: |\n    é {{ e | f }}\n  # {{ g }}\n";
        let skeleton = Skeleton::of(source).unwrap();
        let at = |text: &str| skeleton.position(source.find(text).unwrap());
        let c = at("c }}").unwrap();
        assert_eq!(
            (c.keys, c.style, c.arguments),
            (vec!["a", "b"], Style::Quoted, None)
        );
        assert_eq!(without_outputs(c.text), "x");
        let e = at("e | f").unwrap();
        assert_eq!((e.keys, e.style), (vec!["a", "d"], Style::Block));
        assert_eq!(at("g }}"), None);
    }

    #[test]
    fn a_command_line_is_command_and_args() {
        let source = "command: [sh, -c]\nargs:\n  - run \"$1\"\n  - --\n  - {{ a }}\n";
        let skeleton = Skeleton::of(source).unwrap();
        let found = skeleton.position(source.find("a }}").unwrap()).unwrap();
        let arguments = found.arguments.unwrap();
        assert_eq!(arguments.own, Some(4));
        assert!(arguments.names_program && is_output(found.text));
        let items: Vec<_> = arguments.items[..4].iter().map(|i| i.unwrap()).collect();
        assert_eq!(items, ["sh", "-c", "run \"$1\"", "--"]);
    }

    #[test]
    fn branches_that_are_no_yaml_together_have_no_skeleton() {
        assert!(Skeleton::of("a:\n{% if b %}\n  - c\n{% else %}\n  d: e\n{% endif %}\n").is_none());
        assert!(Skeleton::of("a: {{ $b }}").is_none());
    }

    proptest::proptest! {
        #[test]
        fn no_template_breaks_the_reader(source in "[-a:{}%# \n\"é|]{0,40}") {
            let outputs = Skeleton::of(&source).map_or(0, |skeleton| skeleton.marked.outputs.len());
            proptest::prop_assert!(outputs <= source.matches("{{").count());
        }
    }
}
