//! Values apart from text: each output of a template leaves a marker that only this rendering
//! can have made.

use std::sync::{Mutex, PoisonError};

use minijinja::value::{Value as Jinja, ValueKind};
use serde_json::{Map, Number, Value};

use super::expansion::Field;

/// Opens a marker. Templates and values that hold it are refused.
pub(crate) const OPEN: char = '\u{E000}';
/// Closes a marker.
pub(crate) const CLOSE: char = '\u{E001}';
/// The sixteen digits inside a marker. They are private-use characters too, so that a filter on a
/// macro's output (`upper`, `replace`, `indent`) leaves markers whole.
const DIGITS: u32 = 0xE010;
/// The most that all values of one file may take, in bytes of JSON.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Deeper than any value goes.
const MAX_DEPTH: usize = 64;

/// Pays for a part of a value with so many bytes of text, before anything is made of it; false if
/// nothing is left. A list may hold another one many times, and that a third one, so that what a
/// value takes when it is written has nothing to do with what it takes in memory.
pub(crate) type Pay<'a> = &'a mut dyn FnMut(usize) -> bool;

/// The parts that a single value may have where no rendering pays for it.
const MAX_PARTS: usize = 100_000;

/// Pays for one value that belongs to no rendering.
pub(crate) fn pay_once() -> impl FnMut(usize) -> bool {
    let (mut parts, mut bytes) = (0_usize, 0_usize);
    move |more| {
        parts += 1;
        bytes = bytes.saturating_add(more);
        parts <= MAX_PARTS && bytes <= MAX_BYTES
    }
}

/// The values of one rendering.
pub(crate) struct Slots {
    nonce: String,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    values: Vec<Value>,
    bytes: usize,
    /// What was wrong with a value; the engine's own error would not carry it unharmed.
    refusal: Option<Refusal>,
}

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It, or a part of it, is not defined.
    Undefined,
    Other(String),
}

impl From<String> for Refusal {
    fn from(message: String) -> Self {
        Self::Other(message)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Undefined => f.write_str("the value is undefined"),
            Self::Other(message) => f.write_str(message),
        }
    }
}

/// A scalar's text, taken apart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Part<'a> {
    Text(&'a str),
    Slot(usize),
}

impl Slots {
    pub(crate) fn new() -> Self {
        let random = uuid::Uuid::new_v4().as_u64_pair();
        let nonce = format!("{:016x}", random.0 ^ random.1)
            .chars()
            .map(digit)
            .collect();
        Self {
            nonce,
            kept: Mutex::default(),
        }
    }

    /// Keeps a value and gives the marker that stands for it.
    pub(crate) fn keep(&self, value: &Jinja, pay: Pay<'_>) -> Result<String, ()> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match to_json(value, pay) {
            Ok(value) => {
                kept.bytes += size(&value);
                if kept.bytes > MAX_BYTES {
                    let message = format!("the values are larger than {MAX_BYTES} bytes in all");
                    kept.refusal = Some(message.into());
                    return Err(());
                }
                kept.values.push(value);
                let slot: String = format!("{:x}", kept.values.len() - 1)
                    .chars()
                    .map(digit)
                    .collect();
                Ok(format!("{OPEN}{}{slot}{CLOSE}", self.nonce))
            }
            Err(refusal) => {
                kept.refusal = Some(refusal);
                Err(())
            }
        }
    }

    /// Why a value was refused, if one was.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .refusal
            .take()
    }

    /// Closes the collection.
    pub(crate) fn take(&self) -> Values<'_> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        Values {
            nonce: &self.nonce,
            values: std::mem::take(&mut kept.values),
        }
    }
}

/// The values of a finished rendering.
pub(crate) struct Values<'a> {
    nonce: &'a str,
    pub(crate) values: Vec<Value>,
}

impl Values<'_> {
    /// Takes a text apart. Marker characters that are no marker of this rendering are refused.
    pub(crate) fn parts<'t>(&self, text: &'t str) -> Result<Vec<Part<'t>>, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find([OPEN, CLOSE]) {
            if start > 0 {
                parts.push(Part::Text(&rest[..start]));
            }
            let (slot, after) = self.marker(&rest[start..]).ok_or_else(forged)?;
            parts.push(Part::Slot(slot));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest));
        }
        Ok(parts)
    }

    fn marker<'t>(&self, text: &'t str) -> Option<(usize, &'t str)> {
        let text = text.strip_prefix(OPEN)?.strip_prefix(self.nonce)?;
        let (slot, after) = text.split_once(CLOSE)?;
        let slot = slot.chars().try_fold(0_usize, |slot, c| {
            let value = u32::from(c)
                .checked_sub(DIGITS)
                .filter(|value| *value < 16)?;
            slot.checked_mul(16)?
                .checked_add(usize::try_from(value).ok()?)
        })?;
        (slot < self.values.len()).then_some((slot, after))
    }

    /// The text of a scalar in which values stand among other text.
    pub(crate) fn text(&self, parts: &[Part<'_>]) -> Result<String, String> {
        self.text_in(Field::Other, parts)
    }

    /// The same in a place that the kubelet may read variables in.
    pub(super) fn text_in(&self, field: Field, parts: &[Part<'_>]) -> Result<String, String> {
        let mut text = String::new();
        for part in parts {
            match part {
                Part::Text(piece) => text.push_str(piece),
                Part::Slot(slot) => match &self.values[*slot] {
                    Value::String(value) => field.append(&mut text, value),
                    Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
                    Value::Number(value) => text.push_str(&value.to_string()),
                    Value::Null => {
                        return Err(
                            "null cannot stand inside text: use | default(\"…\", true)".to_owned()
                        );
                    }
                    Value::Array(_) | Value::Object(_) => {
                        return Err(
                            "a list or an object cannot stand inside text: use | tojson".to_owned()
                        );
                    }
                },
            }
        }
        Ok(text)
    }

    /// A scalar: exactly one value as it is, everything else text.
    pub(crate) fn typed(&self, parts: &[Part<'_>]) -> Result<Value, String> {
        self.typed_in(Field::Other, parts)
    }

    /// The same in a place that the kubelet may read variables in.
    pub(super) fn typed_in(&self, field: Field, parts: &[Part<'_>]) -> Result<Value, String> {
        match parts {
            [Part::Slot(slot)] => Ok(field.whole(self.values[*slot].clone())),
            parts => self.text_in(field, parts).map(Value::String),
        }
    }
}

/// A hexadecimal digit as a private-use character.
pub(super) fn digit(hex: char) -> char {
    hex.to_digit(16)
        .and_then(|value| char::from_u32(DIGITS + value))
        .unwrap_or(hex)
}

fn forged() -> String {
    "characters U+E000 and U+E001 are reserved for the broker".to_owned()
}

/// Roughly the bytes of a value as JSON, without writing it.
pub(crate) fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|v| size(v) + 1).sum::<usize>(),
        Value::Object(map) => {
            2 + map
                .iter()
                .map(|(k, v)| k.len() + size(v) + 4)
                .sum::<usize>()
        }
        _ => 8,
    }
}

/// A template value as JSON. Undefined is refused at any depth, as is what JSON cannot say.
pub(crate) fn to_json(value: &Jinja, pay: Pay<'_>) -> Result<Value, Refusal> {
    part_to_json(value, MAX_DEPTH, pay)
}

fn part_to_json(value: &Jinja, depth: usize, pay: Pay<'_>) -> Result<Value, Refusal> {
    enter(value, depth, pay)?;
    match value.kind() {
        ValueKind::Undefined => Err(Refusal::Undefined),
        ValueKind::None => Ok(Value::Null),
        ValueKind::Bool => Ok(Value::Bool(value.is_true())),
        ValueKind::Number => Ok(Value::Number(number(value)?)),
        ValueKind::String => match value.as_str() {
            Some(text) if text.contains([OPEN, CLOSE]) => Err(forged_or_captured().into()),
            Some(text) => Ok(Value::String(text.to_owned())),
            None => Err("the value is no valid string".to_owned().into()),
        },
        ValueKind::Seq | ValueKind::Iterable => value
            .try_iter()
            .map_err(|_| unreadable())?
            .map(|item| part_to_json(&item, depth - 1, pay))
            .collect::<Result<_, _>>()
            .map(Value::Array),
        ValueKind::Map => {
            let mut map = Map::new();
            for key in value.try_iter().map_err(|_| unreadable())? {
                let item = value.get_item(&key).map_err(|_| unreadable())?;
                let name = match part_to_json(&key, depth - 1, pay)? {
                    Value::String(name) => name,
                    Value::Number(name) => name.to_string(),
                    _ => return Err("the keys of an object must be strings".to_owned().into()),
                };
                map.insert(name, part_to_json(&item, depth - 1, pay)?);
            }
            Ok(Value::Object(map))
        }
        kind => Err(format!("a value of type {kind} cannot be written").into()),
    }
}

/// Pays for a value as if it was written, whatever it holds, and makes nothing of it.
pub(crate) fn weigh(value: &Jinja, pay: Pay<'_>) -> Result<(), Refusal> {
    weigh_part(value, MAX_DEPTH, pay)
}

fn weigh_part(value: &Jinja, depth: usize, pay: Pay<'_>) -> Result<(), Refusal> {
    enter(value, depth, pay)?;
    let is_map = value.kind() == ValueKind::Map;
    if !is_map && !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return Ok(());
    }
    for item in value.try_iter().map_err(|_| unreadable())? {
        if is_map {
            let held = value.get_item(&item).map_err(|_| unreadable())?;
            weigh_part(&held, depth - 1, pay)?;
        }
        weigh_part(&item, depth - 1, pay)?;
    }
    Ok(())
}

fn enter(value: &Jinja, depth: usize, pay: Pay<'_>) -> Result<(), Refusal> {
    if depth == 0 {
        return Err(format!("a value is nested deeper than {MAX_DEPTH}").into());
    }
    if pay(value.as_str().map_or(0, str::len)) {
        Ok(())
    } else {
        Err("the values are too large: too many parts, or too much text"
            .to_owned()
            .into())
    }
}

fn unreadable() -> String {
    "the value cannot be read".to_owned()
}

fn forged_or_captured() -> String {
    "a value holds U+E000 or U+E001, or is the output of a macro that a filter has changed"
        .to_owned()
}

fn number(value: &Jinja) -> Result<Number, String> {
    if value.is_integer() {
        if let Ok(n) = i64::try_from(value.clone()) {
            return Ok(n.into());
        }
        if let Ok(n) = u64::try_from(value.clone()) {
            return Ok(n.into());
        }
        return Err("a number is out of range".to_owned());
    }
    f64::try_from(value.clone())
        .ok()
        .and_then(Number::from_f64)
        .ok_or_else(|| "a number is out of range".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::jinja;

    use super::*;

    #[test]
    fn a_marker_of_another_rendering_is_refused() {
        let (mine, other) = (Slots::new(), Slots::new());
        mine.keep(&Jinja::from("a"), &mut pay_once()).unwrap();
        let foreign = other.keep(&Jinja::from("b"), &mut pay_once()).unwrap();
        let values = mine.take();
        assert!(values.parts(&foreign).is_err());
        assert!(values.parts(&format!("x{CLOSE}")).is_err());
        assert!(
            values
                .parts(&format!("{OPEN}{}\u{E019}{CLOSE}", values.nonce))
                .is_err()
        );
    }

    #[test]
    fn exactly_one_value_keeps_its_type() {
        let slots = Slots::new();
        let marker = slots.keep(&Jinja::from(5), &mut pay_once()).unwrap();
        let values = slots.take();
        let parts = values.parts(&marker).unwrap();
        assert_eq!(values.typed(&parts), Ok(json!(5)));
        let text = format!("a{marker}");
        assert_eq!(values.typed(&values.parts(&text).unwrap()), Ok(json!("a5")));
    }

    #[test]
    fn numbers_survive() {
        for n in [
            json!(u64::MAX),
            json!(i64::MIN),
            json!(0.1),
            json!(5.0),
            json!(1e300),
        ] {
            assert_eq!(to_json(&jinja(&n), &mut pay_once()), Ok(n));
        }
        assert!(to_json(&Jinja::from(f64::NAN), &mut pay_once()).is_err());
    }

    #[test]
    fn a_value_with_marker_characters_is_refused() {
        let value = jinja(json!({"a": [format!("x{OPEN}")]}));
        assert!(to_json(&value, &mut pay_once()).is_err());
    }
}
