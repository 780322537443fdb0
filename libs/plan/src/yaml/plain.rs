//! Plain scalars by the YAML 1.2 core schema, and the few that readers disagree about.

use serde_json::Number;

/// What a plain scalar means.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Plain {
    Null,
    Bool(bool),
    Number(Number),
    String,
}

/// Reads a plain scalar. The error says how to write it so that every reader agrees.
pub(crate) fn plain(text: &str) -> Result<Plain, String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Plain::Null),
        "true" | "True" | "TRUE" => return Ok(Plain::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Plain::Bool(false)),
        "y" | "Y" | "yes" | "Yes" | "YES" | "n" | "N" | "no" | "No" | "NO" | "on" | "On" | "ON"
        | "off" | "Off" | "OFF" => {
            return Err(format!(
                "{text} is a boolean to some YAML readers and a string to others: \
                 write \"{text}\", true or false"
            ));
        }
        "<<" => return Err("merge keys are not part of YAML 1.2: write the keys out".to_owned()),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if let Some(digits) = unsigned.strip_prefix("0x") {
        return radix(text, digits, 16);
    }
    if let Some(digits) = unsigned.strip_prefix("0o") {
        return radix(text, digits, 8);
    }
    if matches!(unsigned.to_ascii_lowercase().as_str(), ".inf" | ".nan") {
        return Err(format!("{text} cannot be written as JSON"));
    }
    let numeric = unsigned.starts_with(|c: char| c.is_ascii_digit());
    if numeric && unsigned.bytes().all(|b| b.is_ascii_digit() || b == b'_') {
        return integer(text, unsigned);
    }
    if is_float(unsigned) {
        let value: f64 = text
            .trim_end_matches('.')
            .parse()
            .map_err(|_| out_of_range(text))?;
        return Number::from_f64(value)
            .map(Plain::Number)
            .ok_or_else(|| out_of_range(text));
    }
    Ok(Plain::String)
}

fn integer(text: &str, digits: &str) -> Result<Plain, String> {
    if digits.contains('_') {
        return Err(format!(
            "{text} is a number to some YAML readers only: quote it"
        ));
    }
    if digits.len() > 1 && digits.starts_with('0') {
        return Err(format!(
            "{text} is octal to some YAML readers and decimal to others: \
             quote it, or write it without the leading zero or as 0o…"
        ));
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    if let Ok(n) = text.parse::<i64>() {
        return Ok(Plain::Number(n.into()));
    }
    text.parse::<u64>()
        .map(|n| Plain::Number(n.into()))
        .map_err(|_| out_of_range(text))
}

fn radix(text: &str, digits: &str, base: u32) -> Result<Plain, String> {
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(base)) {
        return Ok(Plain::String);
    }
    let n = i64::from_str_radix(digits, base).map_err(|_| out_of_range(text))?;
    Ok(Plain::Number(
        if text.starts_with('-') { -n } else { n }.into(),
    ))
}

/// `(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(unsigned: &str) -> bool {
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let mantissa_ok = match mantissa.split_once('.') {
        Some(("", fraction)) => digits(fraction),
        Some((whole, fraction)) => digits(whole) && (fraction.is_empty() || digits(fraction)),
        None => digits(mantissa),
    };
    let exponent_ok = exponent.is_none_or(|e| digits(e.strip_prefix(['-', '+']).unwrap_or(e)));
    mantissa_ok && exponent_ok
}

fn out_of_range(text: &str) -> String {
    format!("{text} is out of range for a number: quote it if it is text")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn number(text: &str) -> serde_json::Value {
        match plain(text) {
            Ok(Plain::Number(n)) => n.into(),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn the_core_schema_is_followed() {
        assert_eq!(plain("~"), Ok(Plain::Null));
        assert_eq!(plain("True"), Ok(Plain::Bool(true)));
        assert_eq!(number("0o17"), json!(15));
        assert_eq!(number("-0x1F"), json!(-31));
        assert_eq!(number("18446744073709551615"), json!(u64::MAX));
        assert_eq!(number("1.5e3"), json!(1500.0));
        assert_eq!(number(".5"), json!(0.5));
        assert_eq!(number("1."), json!(1.0));
        for text in ["8.0.1", "50Gi", "1e", "-", "2026-11-24", "0x", "a", "1:30"] {
            assert_eq!(plain(text), Ok(Plain::String), "{text}");
        }
    }

    #[test]
    fn what_readers_disagree_about_is_refused_with_advice() {
        for text in [
            "yes", "No", "on", "OFF", "y", "n", "012", "1_000", "<<", ".inf",
        ] {
            assert!(plain(text).is_err(), "{text}");
        }
        assert!(plain("99999999999999999999").is_err());
    }
}
