//! Which schemas leave no room for text that means something to whoever reads it.

use regex_syntax::hir::{Class, Hir, HirKind, Look};
use serde_json::Value;

/// Whether every text that a schema allows is one word: of letters, digits and what joins them.
pub(super) fn is_bounded(schema: &Value) -> bool {
    if schema.get("enum").is_some() {
        return true;
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
        return regex_syntax::parse(pattern).is_ok_and(|hir| is_anchored(&hir) && is_word(&hir));
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("number" | "integer" | "boolean" | "null") => true,
        Some("array") => schema.get("items").is_some_and(is_bounded),
        Some("object") => {
            schema.get("additionalProperties") == Some(&Value::Bool(false))
                && super::properties(schema).all(|(_, property)| is_bounded(property))
        }
        _ => false,
    }
}

/// Whether a pattern says all of the text, in each of its alternatives.
fn is_anchored(hir: &Hir) -> bool {
    let properties = hir.properties();
    properties.look_set_prefix().contains(Look::Start)
        && properties.look_set_suffix().contains(Look::End)
}

/// Whether a pattern matches only characters that mean nothing to a shell or a configuration file.
fn is_word(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Literal(literal) => {
            std::str::from_utf8(&literal.0).is_ok_and(|text| text.chars().all(joins_words))
        }
        HirKind::Class(Class::Unicode(class)) => class
            .iter()
            .all(|range| (range.start()..=range.end()).all(joins_words)),
        HirKind::Class(Class::Bytes(class)) => class
            .iter()
            .all(|range| (range.start()..=range.end()).all(|b| joins_words(char::from(b)))),
        HirKind::Repetition(repetition) => is_word(&repetition.sub),
        HirKind::Capture(capture) => is_word(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().all(is_word),
    }
}

fn joins_words(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_alphanumeric() || "-_.,:/@%+=".contains(c)
    } else {
        !c.is_whitespace() && !c.is_control()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pattern_bounds_text_if_it_says_all_of_it_and_no_syntax() {
        for (pattern, expected) in [
            ("^[a-z]+$", true),
            ("^(small|large)$", true),
            ("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", true),
            (r"^\d{1,3}(\.\d{1,3}){3}/\d+$", true),
            ("^[a-z]+@[a-z.]+$", true),
            ("[a-z]+", false),
            ("^a|b$", false),
            ("^.*$", false),
            ("^[^'\"]*$", false),
            ("^[a-z ]+$", false),
            ("^a$b", false),
            (r"^a\$", false),
            (r"^\S+$", false),
            (r"^\w+$", true),
            ("^(a|b", false),
            ("^$|^[a-z]+$", true),
        ] {
            assert_eq!(
                is_bounded(&json!({"pattern": pattern})),
                expected,
                "{pattern}"
            );
        }
    }

    #[test]
    fn types_bound_what_is_no_text() {
        assert!(is_bounded(
            &json!({"type": "array", "items": {"enum": ["a"]}})
        ));
        assert!(is_bounded(&json!({"type": "integer"})));
        assert!(!is_bounded(&json!({"type": "string"})));
        assert!(!is_bounded(&json!({"type": ["string", "number"]})));
        assert!(!is_bounded(
            &json!({"type": "object", "properties": {"a": {"type": "integer"}}})
        ));
    }
}
