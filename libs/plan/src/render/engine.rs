//! The template engine, set up so that everything a value can become is a slot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use minijinja::filters as builtin;
use minijinja::syntax::SyntaxConfig;
use minijinja::tests;
use minijinja::value::{Rest, Value as Jinja};
use minijinja::{
    AutoEscape, Environment, Error as JinjaError, ErrorKind, OutputSpan, OutputSpanKind, State,
    UndefinedBehavior,
};
use serde_json::Value;

use super::ast::{self, Names, Place, Refused};
use super::explain::{self, describe, explain};
use super::filters;
use super::names::unknown_in_template;
use super::slots::{CLOSE, OPEN, Refusal, Slots, to_json, weigh};
use super::tree::{self, Document, Places};
use super::{Detail, Error, jinja};
use crate::fault::{Pos, Problem};
use crate::yaml;

/// Instructions of one rendering; the largest shipped template takes a hundredth of it.
const FUEL: u64 = 2_000_000;
/// Macro calls within macro calls.
const RECURSION: usize = 64;
/// The rendered text, before values are put in.
const MAX_TEXT: usize = 2 * 1024 * 1024;

/// The compiled templates of a plan.
pub(crate) struct Engine {
    env: Environment<'static>,
}

impl Engine {
    /// Compiles templates. `folder` is what problems call the place they are in.
    pub(crate) fn new<'a>(
        folder: &str,
        templates: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Vec<Problem>> {
        let mut env = environment(UndefinedBehavior::Strict);
        let mut problems = Vec::new();
        for (name, source) in templates {
            let file = format!("{folder}/{name}");
            if let Some(place) = source.find([OPEN, CLOSE]) {
                let (line, column) = line_column(source, place);
                let message = "characters U+E000 and U+E001 are reserved for the broker";
                problems.push(Problem::at(&Pos::new(&file, line, column), message));
                continue;
            }
            let mut refused = Refused(Vec::new());
            ast::visit(source, name, env.syntax(), &mut refused);
            problems.extend(refused.0.iter().map(|(place, message)| {
                Problem::at(&Pos::new(&file, place.line, place.column), *message)
            }));
            let unknown = unknown_in_template(source, &env);
            problems.extend(unknown.into_iter().map(|(place, message)| {
                Problem::at(&Pos::new(&file, place.line, place.column), message)
            }));
            if let Err(error) = env.add_template_owned(name.to_owned(), source.to_owned()) {
                let (line, column, message) = explain::syntax(&error, source);
                problems.push(Problem::at(&Pos::new(&file, line, column), message));
            }
        }
        if problems.is_empty() {
            Ok(Self { env })
        } else {
            Err(problems)
        }
    }

    /// The names that a template uses and does not declare itself, with their first place.
    pub(crate) fn undeclared(&self, name: &str) -> BTreeMap<String, Place> {
        let Ok(template) = self.env.get_template(name) else {
            return BTreeMap::new();
        };
        let undeclared = template.undeclared_variables(false);
        let globals: BTreeSet<_> = self
            .env
            .globals()
            .map(|(name, _)| name.to_owned())
            .collect();
        let mut names = Names::default();
        ast::visit(template.source(), name, self.env.syntax(), &mut names);
        let mut places = names.places;
        places.retain(|name, _| undeclared.contains(name) && !globals.contains(name));
        places
    }

    /// Renders one file to its documents; their places are in the template.
    pub(crate) fn render(
        &self,
        name: &str,
        context: &BTreeMap<String, Jinja>,
        detail: Detail,
    ) -> Result<Vec<Document>, Error> {
        let fail = |line: u32, column: u32, message: String| Error {
            file: name.to_owned(),
            line,
            column,
            message,
        };
        let (env, slots) = with_slots(&self.env, Undefined::Refused);
        let template = env
            .get_template(name)
            .map_err(|e| fail(0, 1, describe(&e)))?;
        let source = template.source();
        let rendered = template.render_with_spans(jinja(context));
        let (text, spans) = rendered.map_err(|error| {
            let line = error
                .line()
                .and_then(|l| u32::try_from(l).ok())
                .unwrap_or(0);
            let column = error
                .range()
                .map_or(1, |range| line_column(source, range.start).1);
            let message = match slots.refusal() {
                Some(Refusal::Other(message)) => message,
                refusal => explain::undefined(&error, &env, source, context, detail)
                    .or_else(|| refusal.map(|refusal| refusal.to_string()))
                    .unwrap_or_else(|| explain(&error, detail)),
            };
            fail(line, column, message)
        })?;
        if text.len() > MAX_TEXT {
            return Err(fail(
                0,
                1,
                format!("the rendered text is larger than {MAX_TEXT} bytes"),
            ));
        }
        let map = SourceMap {
            text: &text,
            source,
            spans: &spans,
        };
        let which = match detail {
            Detail::Full => Places::All,
            Detail::Safe => Places::Top,
        };
        let mut documents = tree::read(&text, &slots.take(), which).map_err(|e: yaml::Error| {
            let (line, column) = map.place(e.line, e.column);
            fail(line, column, e.message)
        })?;
        for document in &mut documents {
            (document.line, document.column) = map.place(document.line, document.column);
            for place in document.keys.values_mut() {
                *place = map.place(place.0, place.1);
            }
        }
        Ok(documents)
    }
}

/// How templates are written: Jinja's way, and nothing of a file's text is dropped.
pub(crate) fn syntax_config() -> SyntaxConfig {
    let built = SyntaxConfig::builder().keep_trailing_newline(true).build();
    built.unwrap_or_default()
}

/// The environment of templates and, more lenient, of expressions.
pub(crate) fn environment(undefined: UndefinedBehavior) -> Environment<'static> {
    let mut env = Environment::new();
    env.set_undefined_behavior(undefined);
    env.set_auto_escape_callback(|_| AutoEscape::Custom("yaml".into()));
    // Debug mode would put the values of variables into errors.
    env.set_debug(false);
    env.set_fuel(Some(FUEL));
    env.set_recursion_limit(RECURSION);
    env.set_syntax(syntax_config());
    for filter in ["safe", "escape", "e", "pprint"] {
        env.remove_filter(filter);
    }
    for test in ["safe", "escaped"] {
        env.remove_test(test);
    }
    env.remove_global("debug");
    env.add_filter("tojson", tojson);
    filters::add(&mut env);
    weigh_before_writing(&mut env);
    weigh_before_comparing(&mut env);
    env
}

/// The engine's filters that make text of a value, whatever it is. They count it when it is made,
/// which is too late for a list that holds another one many times, and so on.
fn weigh_before_writing(env: &mut Environment<'static>) {
    let writing = [
        ("capitalize", Jinja::from_function(builtin::capitalize)),
        ("format", Jinja::from_function(builtin::format)),
        ("indent", Jinja::from_function(builtin::indent)),
        ("join", Jinja::from_function(builtin::join)),
        ("lines", Jinja::from_function(builtin::lines)),
        ("lower", Jinja::from_function(builtin::lower)),
        ("replace", Jinja::from_function(builtin::replace)),
        ("split", Jinja::from_function(builtin::split)),
        ("string", Jinja::from_function(builtin::string)),
        ("title", Jinja::from_function(builtin::title)),
        ("trim", Jinja::from_function(builtin::trim)),
        ("upper", Jinja::from_function(builtin::upper)),
    ];
    for (name, filter) in writing {
        let weighed = move |state: &mut State<'_, '_>, args: Rest<Jinja>| {
            weigh_all(state, &args)?;
            // A width is written once a line.
            let lines = args
                .first()
                .and_then(Jinja::as_str)
                .map_or(1, |text| text.lines().count());
            for width in args.iter().filter_map(Jinja::as_i64) {
                let bytes = usize::try_from(width).unwrap_or(0).saturating_mul(lines);
                if !pay(state)(bytes) {
                    return Err(JinjaError::from(ErrorKind::OutOfFuel));
                }
            }
            filter.call(state, &args)
        };
        env.add_filter(name, weighed);
    }
}

/// The engine's filters and tests that compare values. They count the items of a list, but not what
/// is in those.
fn weigh_before_comparing(env: &mut Environment<'static>) {
    let filters = [
        ("dictsort", Jinja::from_function(builtin::dictsort)),
        ("groupby", Jinja::from_function(builtin::groupby)),
        ("max", Jinja::from_function(builtin::max)),
        ("min", Jinja::from_function(builtin::min)),
        ("sort", Jinja::from_function(builtin::sort)),
        ("unique", Jinja::from_function(builtin::unique)),
    ];
    for (name, filter) in filters {
        env.add_filter(name, move |state: &mut State<'_, '_>, args: Rest<Jinja>| {
            weigh_all(state, &args)?;
            filter.call(state, &args)
        });
    }
    let tests: [(&[&str], Jinja); 7] = [
        (&["eq", "equalto", "=="], Jinja::from_function(tests::is_eq)),
        (&["ne", "!="], Jinja::from_function(tests::is_ne)),
        (&["lt", "lessthan", "<"], Jinja::from_function(tests::is_lt)),
        (&["le", "<="], Jinja::from_function(tests::is_le)),
        (
            &["gt", "greaterthan", ">"],
            Jinja::from_function(tests::is_gt),
        ),
        (&["ge", ">="], Jinja::from_function(tests::is_ge)),
        (&["in"], Jinja::from_function(tests::is_in)),
    ];
    for (names, test) in tests {
        for name in names {
            let test = test.clone();
            env.add_test(
                *name,
                move |state: &mut State<'_, '_>, args: Rest<Jinja>| {
                    weigh_all(state, &args)?;
                    test.call(state, &args).map(|answer| answer.is_true())
                },
            );
        }
    }
}

/// Pays for all that arguments hold.
fn weigh_all(state: &State<'_, '_>, args: &[Jinja]) -> Result<(), JinjaError> {
    for value in args.iter().filter(|value| value.as_object().is_some()) {
        weigh(value, &mut pay(state)).map_err(|refusal| refused(&refusal))?;
    }
    Ok(())
}

/// JSON as an ordinary string; unlike the engine's own it fails on undefined.
fn tojson(state: &State<'_, '_>, value: &Jinja) -> Result<String, JinjaError> {
    to_json(value, &mut pay(state))
        .map(|value| value.to_string())
        .map_err(|refusal| refused(&refusal))
}

/// Pays with the fuel of a rendering: the engine itself takes one for 64 bytes.
pub(crate) fn pay(state: &State<'_, '_>) -> impl FnMut(usize) -> bool {
    |bytes| state.consume_fuel(1 + bytes as u64 / 64).is_ok()
}

fn refused(refusal: &Refusal) -> JinjaError {
    JinjaError::new(ErrorKind::UndefinedError, refusal.to_string())
}

/// What happens to an undefined value that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Undefined {
    Refused,
    /// A status leaves out what is 0.
    Zero,
}

/// An environment for one rendering, and where its values go.
pub(crate) fn with_slots(
    env: &Environment<'static>,
    undefined: Undefined,
) -> (Environment<'static>, Arc<Slots>) {
    let slots = Arc::new(Slots::new());
    let mut env = env.clone();
    let keeper = Arc::clone(&slots);
    env.set_formatter(move |out, state: &mut State<'_, '_>, value| {
        // A safe string is the text of a macro: the author's syntax and markers.
        if value.is_safe() {
            return out
                .write_str(value.as_str().unwrap_or_default())
                .map_err(JinjaError::from);
        }
        let marker = match undefined {
            Undefined::Zero if value.is_undefined() => {
                keeper.keep(&Jinja::from(0), &mut pay(state))
            }
            _ => keeper.keep(value, &mut pay(state)),
        };
        match marker {
            Ok(marker) => out.write_str(&marker).map_err(JinjaError::from),
            Err(()) => Err(JinjaError::new(
                ErrorKind::BadSerialization,
                "value refused",
            )),
        }
    });
    (env, slots)
}

/// Renders a [`crate::descriptor::Text`]: typed if it is exactly one value.
pub(crate) fn text(
    env: &Environment<'static>,
    source: &str,
    context: &BTreeMap<String, Jinja>,
    undefined: Undefined,
) -> Result<Value, TextError> {
    let (env, slots) = with_slots(env, undefined);
    if source.contains([OPEN, CLOSE]) {
        return Err(TextError::Other(
            "characters U+E000 and U+E001 are reserved for the broker".into(),
        ));
    }
    let rendered = env.render_str(source, jinja(context)).map_err(|error| {
        let named = || {
            let found = explain::undefined(&error, &env, source, context, Detail::Safe);
            found.unwrap_or_else(|| format!("{source} has no value"))
        };
        match (error.kind(), slots.refusal()) {
            (ErrorKind::UndefinedError, _) | (_, Some(Refusal::Undefined)) => {
                TextError::Undefined(named())
            }
            (_, Some(Refusal::Other(message))) => TextError::Other(message),
            (_, None) => TextError::Other(explain(&error, Detail::Safe)),
        }
    })?;
    let values = slots.take();
    let parts = values.parts(&rendered).map_err(TextError::Other)?;
    values.typed(&parts).map_err(TextError::Other)
}

/// Why a text has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TextError {
    /// Something it needs is not known (yet).
    Undefined(String),
    Other(String),
}

/// Leads from the rendered text back to the template.
struct SourceMap<'a> {
    text: &'a str,
    source: &'a str,
    spans: &'a [OutputSpan],
}

impl SourceMap<'_> {
    fn place(&self, line: u32, column: u32) -> (u32, u32) {
        let offset = offset_of(self.text, line, column);
        let after = self
            .spans
            .partition_point(|span| span.output_range().start <= offset);
        let Some(span) = after.checked_sub(1).and_then(|i| self.spans.get(i)) else {
            return (1, 1);
        };
        let start = span.source_range().start;
        let source = match span.kind() {
            OutputSpanKind::Raw => start + (offset - span.output_range().start),
            _ => start,
        };
        line_column(self.source, source.min(self.source.len()))
    }
}

/// The offset of a line and column (from 1).
pub(crate) fn offset_of(text: &str, line: u32, column: u32) -> usize {
    let line = usize::try_from(line).unwrap_or(1).saturating_sub(1);
    let column = usize::try_from(column).unwrap_or(1).saturating_sub(1);
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let within: usize = text[start..].chars().take(column).map(char::len_utf8).sum();
    start + within
}

/// Line and column (from 1) of an offset.
pub(crate) fn line_column(text: &str, offset: usize) -> (u32, u32) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    (
        u32::try_from(line).unwrap_or(u32::MAX),
        u32::try_from(column).unwrap_or(u32::MAX),
    )
}
