//! Filters that authors expect and the engine does not bring.

use data_encoding::{BASE64, HEXLOWER};
use minijinja::value::{Value as Jinja, ValueKind};
use minijinja::{Environment, Error as JinjaError, ErrorKind, State};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

use super::engine::pay;

/// Adds them.
pub(super) fn add(env: &mut Environment<'static>) {
    env.add_filter("b64decode", b64decode);
    env.add_filter("b64encode", b64encode);
    env.add_filter("sha256", sha256);
    env.add_filter("truncate", truncate);
    env.add_filter("urlencode", urlencode);
}

/// What RFC 3986, section 2.3 calls unreserved; all else may end a part of a URL.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A text or a number as one part of a URL: a slash in it begins no other part.
fn urlencode(state: &State<'_, '_>, value: &Jinja) -> Result<String, JinjaError> {
    let text = text(state, "urlencode", value)?;
    Ok(utf8_percent_encode(&text, UNRESERVED).to_string())
}

/// A text as base64, as `data` of a Secret has it.
fn b64encode(state: &State<'_, '_>, value: &Jinja) -> Result<String, JinjaError> {
    Ok(BASE64.encode(text(state, "b64encode", value)?.as_bytes()))
}

/// The text that base64 holds.
fn b64decode(state: &State<'_, '_>, value: &Jinja) -> Result<String, JinjaError> {
    let encoded = text(state, "b64decode", value)?;
    let decoded = BASE64.decode(encoded.trim().as_bytes()).ok();
    decoded
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| invalid("b64decode takes base64 of a text"))
}

/// The SHA-256 of a text, in hexadecimal: for names that change with what they depend on.
fn sha256(state: &State<'_, '_>, value: &Jinja) -> Result<String, JinjaError> {
    let text = text(state, "sha256", value)?;
    Ok(HEXLOWER.encode(&Sha256::digest(text.as_bytes())))
}

/// Jinja's `truncate(length=255, killwords=false, end="...")`: the text if it is no longer, else its
/// beginning, up to a word's end if words are not cut, and `end`. Together no longer than `length`.
fn truncate(
    state: &State<'_, '_>,
    value: &Jinja,
    length: Option<usize>,
    killwords: Option<bool>,
    end: Option<&str>,
) -> Result<String, JinjaError> {
    let text = text(state, "truncate", value)?;
    let (length, end) = (length.unwrap_or(255), end.unwrap_or("..."));
    if text.chars().count() <= length {
        return Ok(text);
    }
    let room = length.checked_sub(end.chars().count());
    let room = room.ok_or_else(|| invalid("truncate needs a length that its end fits into"))?;
    let cut: String = text.chars().take(room).collect();
    let kept = match cut.rsplit_once(' ') {
        Some((words, _)) if !killwords.unwrap_or(false) => words,
        _ => &cut,
    };
    Ok(format!("{kept}{end}"))
}

fn text(state: &State<'_, '_>, filter: &str, value: &Jinja) -> Result<String, JinjaError> {
    let text = match (value.as_str(), value.kind()) {
        (Some(text), _) => text.to_owned(),
        (None, ValueKind::Number) => value.to_string(),
        (None, ValueKind::Undefined) => return Err(ErrorKind::UndefinedError.into()),
        (None, kind) => {
            return Err(invalid(&format!(
                "{filter} takes a text or a number, not a value of kind {kind}"
            )));
        }
    };
    if pay(state)(text.len()) {
        Ok(text)
    } else {
        Err(ErrorKind::OutOfFuel.into())
    }
}

fn invalid(message: &str) -> JinjaError {
    JinjaError::new(ErrorKind::InvalidOperation, message.to_owned())
}

#[cfg(test)]
mod tests {
    use minijinja::UndefinedBehavior;

    use super::super::engine::environment;

    fn value(expression: &str) -> Result<String, String> {
        let env = environment(UndefinedBehavior::Strict);
        let compiled = env.compile_expression(expression).unwrap();
        let value = compiled.eval(()).map_err(|error| error.to_string())?;
        Ok(value.to_string())
    }

    #[test]
    fn filters_give_what_jinja_gives() {
        for (expression, expected) in [
            ("'é' | b64encode", "w6k="),
            ("5 | b64encode", "NQ=="),
            ("'w6k=\n' | b64decode", "é"),
            (
                "'a' | sha256",
                "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
            ),
            ("'foo bar baz qux' | truncate(9)", "foo..."),
            ("'foo bar baz qux' | truncate(9, true)", "foo ba..."),
            ("'foo bar baz qux' | truncate(11)", "foo bar..."),
            ("'foo bar' | truncate(7)", "foo bar"),
            ("'foobar' | truncate(3, true, '')", "foo"),
            ("'a b/c' | urlencode", "a%20b%2Fc"),
        ] {
            assert_eq!(value(expression).as_deref(), Ok(expected), "{expression}");
        }
    }

    #[test]
    fn what_a_filter_cannot_take_is_refused() {
        for (expression, reason) in [
            ("'%' | b64decode", "b64decode takes base64 of a text"),
            ("'/w==' | b64decode", "b64decode takes base64 of a text"),
            ("[1] | sha256", "sha256 takes a text or a number"),
            (
                "'foobar' | truncate(2)",
                "truncate needs a length that its end fits into",
            ),
        ] {
            let refused = value(expression).unwrap_err();
            assert!(refused.contains(reason), "{expression}: {refused}");
        }
    }
}
