//! Versions of the server (major and minor), the feature compatibility version of a set, and the
//! command that raises it.

use std::{fmt, str::FromStr};

use mongodb::bson::{Document, doc};
use serde::{Deserialize, Serialize};

use super::answer::ShapeError;

/// From this server on the command must be confirmed; earlier ones do not know the field.
const CONFIRMED: ServerVersion = ServerVersion { major: 7, minor: 0 };

/// Major and minor of a server's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerVersion {
    major: u16,
    minor: u16,
}

/// A text that is not a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a server version, such as 8.0")]
pub struct VersionError(String);

impl FromStr for ServerVersion {
    type Err = VersionError;

    /// Reads `8.0`, and also `8.0.26-rc1`.
    fn from_str(text: &str) -> Result<Self, VersionError> {
        let mut numbers = text.split(['.', '-', '+']).map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => Ok(Self { major, minor }),
            _ => Err(VersionError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for ServerVersion {
    type Error = VersionError;

    fn try_from(text: String) -> Result<Self, VersionError> {
        text.parse()
    }
}

impl From<ServerVersion> for String {
    fn from(version: ServerVersion) -> Self {
        version.to_string()
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The feature compatibility version of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// The one that it has.
    pub version: ServerVersion,
    /// The highest that its data may have: a change may have begun and not ended.
    pub newest: ServerVersion,
}

impl Level {
    /// The command that reads it.
    pub(super) fn command() -> Document {
        doc! { "getParameter": 1, "featureCompatibilityVersion": 1 }
    }

    /// Reads the answer.
    pub fn read(answer: &Document) -> Result<Self, ShapeError> {
        let field = "featureCompatibilityVersion";
        let level = answer.get_document(field).map_err(|_| ShapeError(field))?;
        let version = |key| level.get_str(key).ok().and_then(|text| text.parse().ok());
        let now: ServerVersion = version("version").ok_or(ShapeError(field))?;
        let newest = ["targetVersion", "previousVersion"]
            .into_iter()
            .filter_map(version)
            .fold(now, Ord::max);
        Ok(Self {
            version: now,
            newest,
        })
    }
}

/// Reads the answer to `buildInfo`.
pub(super) fn of_build(answer: &Document) -> Result<ServerVersion, ShapeError> {
    let text = answer.get_str("version").ok();
    text.and_then(|text| text.parse().ok())
        .ok_or(ShapeError("version"))
}

/// The command that raises the feature compatibility version, for a primary of that version.
/// Sent again it changes nothing, or finishes what was interrupted.
pub fn raise(to: ServerVersion, server: ServerVersion) -> Document {
    let mut command = doc! { "setFeatureCompatibilityVersion": to.to_string() };
    if server >= CONFIRMED {
        command.insert("confirm", true);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> ServerVersion {
        text.parse().unwrap()
    }

    #[test]
    fn a_version_is_its_major_and_minor() {
        for (text, expected) in [
            ("8.0", "8.0"),
            ("6.0.5", "6.0"),
            ("8.2.0-rc3", "8.2"),
            ("10.0", "10.0"),
        ] {
            assert_eq!(version(text).to_string(), expected);
        }
        for text in ["", "8", "8.", "v8.0", "8.x", "-8.0"] {
            assert!(text.parse::<ServerVersion>().is_err(), "{text}");
        }
        assert!(version("10.0") > version("8.2"));
        assert!(version("8.2") > version("8.0"));
    }

    #[test]
    fn an_answer_without_a_version_is_an_error() {
        for answer in [
            doc! {},
            doc! { "featureCompatibilityVersion": "6.0" },
            doc! { "featureCompatibilityVersion": { "version": "six" } },
        ] {
            let shape = ShapeError("featureCompatibilityVersion");
            assert_eq!(Level::read(&answer), Err(shape));
        }
        assert_eq!(of_build(&doc! {}), Err(ShapeError("version")));
    }

    // No server newer than 6.0 runs where these tests do. The answers below are what the manuals
    // of 7.0 and 8.0 say; tests against a real 6.0 are in tests/sets.

    #[test]
    fn recorded_answers_of_7_0_and_8_0_to_get_parameter_and_build_info_are_read() {
        for (server, text) in [("7.0", "7.0.37"), ("8.0", "8.0.26")] {
            let build = doc! {
                "version": text, "gitVersion": "x", "versionArray": [8, 0, 12, 0], "bits": 64,
                "debug": false, "maxBsonObjectSize": 16_777_216, "ok": 1.0,
            };
            assert_eq!(of_build(&build), Ok(version(server)));
            let level = doc! {
                "featureCompatibilityVersion": { "version": server },
                "ok": 1.0,
                "$clusterTime": {}, "operationTime": {},
            };
            let expected = Level {
                version: version(server),
                newest: version(server),
            };
            assert_eq!(Level::read(&level), Ok(expected));
        }
    }

    #[test]
    fn recorded_answers_of_an_interrupted_change_between_7_0_and_8_0_count_as_the_newer() {
        for between in [
            doc! { "version": "7.0", "targetVersion": "8.0" },
            doc! { "version": "7.0", "targetVersion": "7.0", "previousVersion": "8.0" },
        ] {
            let answer = doc! { "featureCompatibilityVersion": between, "ok": 1.0 };
            let expected = Level {
                version: version("7.0"),
                newest: version("8.0"),
            };
            assert_eq!(Level::read(&answer), Ok(expected));
        }
    }

    #[test]
    fn recorded_confirmation_is_sent_from_7_0_on_and_not_to_6_0() {
        assert_eq!(
            raise(version("6.0"), version("6.0")),
            doc! { "setFeatureCompatibilityVersion": "6.0" }
        );
        for server in ["7.0", "8.0"] {
            assert_eq!(
                raise(version(server), version(server)),
                doc! { "setFeatureCompatibilityVersion": server, "confirm": true }
            );
        }
    }
}
