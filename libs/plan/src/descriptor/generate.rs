//! Values that are made once per instance and kept in a Secret.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Text;

/// What to make. Templates see it as `generated.<name>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Generate {
    /// A password of URL-safe letters and digits: `generated.<name>` is a string.
    Password {
        /// Number of characters, 16 to 128.
        #[serde(default = "password_length")]
        length: u32,
    },
    /// Random bytes in base64, as mongod wants a keyfile: `generated.<name>` is a string.
    Key {
        /// Number of random bytes, 6 to 756 (mongod reads at most 1024 characters of base64).
        #[serde(default = "key_bytes")]
        bytes: u32,
    },
    /// A TLS key pair, signed by the broker's CA and valid as long as that:
    /// `generated.<name>.certificate`, `.key`, `.ca` (PEM).
    Certificate {
        /// The DNS names (or IP addresses) that it is valid for.
        sans: Vec<Text>,
    },
}

fn password_length() -> u32 {
    32
}

fn key_bytes() -> u32 {
    756
}

/// A span of time as plans write it: `7d`, `12h`, `90m`, `30s`, or a plain number of seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "String")]
pub struct Duration(u64);

/// A text that is no span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time span such as 7d, 12h, 90m or 30s")]
pub struct DurationError(String);

impl Duration {
    /// A span of some seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs)
    }

    /// The seconds.
    pub const fn as_secs(self) -> u64 {
        self.0
    }
}

impl From<Duration> for std::time::Duration {
    fn from(span: Duration) -> Self {
        Self::from_secs(span.0)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Seconds(u64),
    Text(String),
}

impl TryFrom<Written> for Duration {
    type Error = DurationError;

    fn try_from(written: Written) -> Result<Self, DurationError> {
        match written {
            Written::Seconds(secs) => Ok(Self(secs)),
            Written::Text(text) => text.parse(),
        }
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let fail = || DurationError(text.to_owned());
        let end = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (count, unit) = text.split_at(end);
        let unit = match unit {
            "" | "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return Err(fail()),
        };
        let count: u64 = count.parse().map_err(|_| fail())?;
        count.checked_mul(unit).map(Self).ok_or_else(fail)
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0s"),
            n if n % 86_400 == 0 => write!(f, "{}d", n / 86_400),
            n if n % 3600 == 0 => write!(f, "{}h", n / 3600),
            n if n % 60 == 0 => write!(f, "{}m", n / 60),
            n => write!(f, "{n}s"),
        }
    }
}

impl From<Duration> for String {
    fn from(span: Duration) -> Self {
        span.to_string()
    }
}

#[cfg(test)]
impl schemars::JsonSchema for Duration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": ["string", "integer"],
            "description": "7d, 12h, 90m, 30s, or seconds",
            "pattern": "^[0-9]+[smhd]?$",
            "minimum": 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written_alike() {
        for (text, secs) in [("7d", 604_800), ("12h", 43_200), ("90m", 5400), ("30s", 30)] {
            let span: Duration = text.parse().unwrap();
            assert_eq!((span.as_secs(), span.to_string()), (secs, text.to_owned()));
        }
        assert_eq!("5".parse::<Duration>().unwrap().as_secs(), 5);
        for text in ["", "d", "1w", "-1d", "1.5h", "99999999999999999999d"] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }
}
