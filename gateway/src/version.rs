//! `X-Broker-API-Version`: which minor revision of OSB 2 the platform speaks.

use axum::http::HeaderMap;

/// The header's name.
pub(crate) const HEADER: &str = "x-broker-api-version";

const MAJOR: u32 = 2;
/// The public conformance suites ask as 2.13 whatever they are told.
const OLDEST_MINOR: u32 = 13;

/// A version that we serve. Newer minors than ours are served too: minors
/// only add (OSB, Change Policy).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ApiVersion {
    minor: u32,
}

/// Why a request's version is not served; all of these are 412.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// The specification allows 400 here, all public suites demand 412.
    #[error("The header X-Broker-API-Version is required; send 2.17.")]
    Missing,
    /// Two headers, of which a platform and a proxy may mean different ones.
    #[error("The header X-Broker-API-Version must be sent once; send 2.17.")]
    Repeated,
    /// Not two integers.
    #[error("The header X-Broker-API-Version must be MAJOR.MINOR; send 2.17.")]
    Malformed,
    /// Another major, or too old.
    #[error("This broker serves the versions 2.13 to 2.17 and newer 2.x; send 2.17.")]
    Unsupported,
}

impl ApiVersion {
    /// Before catalog plans may say `plan_updateable`, and the like.
    pub(crate) const V2_13: Self = Self { minor: 13 };
    /// Brought `dashboard_url` in answers to updates.
    pub(crate) const V2_14: Self = Self { minor: 14 };
    /// Brought `endpoints`, `maintenance_info` and plan-level settings.
    pub(crate) const V2_15: Self = Self { minor: 15 };
    /// Brought `instance_usable`, `update_repeatable`, labels and `expires_at`.
    pub(crate) const V2_16: Self = Self { minor: 16 };
    /// Brought binding rotation, `renew_before` and attributes.
    pub(crate) const V2_17: Self = Self { minor: 17 };

    /// Reads a request's version.
    pub(crate) fn negotiate(headers: &HeaderMap) -> Result<Self, Fault> {
        let mut values = headers.get_all(HEADER).iter();
        let value = values.next().ok_or(Fault::Missing)?;
        if values.next().is_some() {
            return Err(Fault::Repeated);
        }
        let text = value.to_str().map_err(|_| Fault::Malformed)?.trim();
        if text.is_empty() {
            return Err(Fault::Missing);
        }
        let (major, minor) = text.split_once('.').ok_or(Fault::Malformed)?;
        match (number(major)?, number(minor)?) {
            (MAJOR, minor) if minor >= OLDEST_MINOR => Ok(Self { minor }),
            _ => Err(Fault::Unsupported),
        }
    }
}

/// An unsigned integer without the `+` that `parse` would take.
fn number(text: &str) -> Result<u32, Fault> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().map_err(|_| Fault::Malformed)
    } else {
        Err(Fault::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiate(text: &str) -> Result<ApiVersion, Fault> {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, text.parse().unwrap());
        ApiVersion::negotiate(&headers)
    }

    /// H-01, H-04.
    #[test]
    fn versions_compare_as_numbers_and_newer_minors_are_served() {
        assert_eq!(negotiate("2.13"), Ok(ApiVersion::V2_13));
        assert_eq!(negotiate(" 2.17 "), Ok(ApiVersion::V2_17));
        assert_eq!(negotiate("2.100"), Ok(ApiVersion { minor: 100 }));
        assert_eq!(negotiate("2.9"), Err(Fault::Unsupported));
        assert_eq!(negotiate("3.13"), Err(Fault::Unsupported));
        assert_eq!(negotiate("1.17"), Err(Fault::Unsupported));
    }

    #[test]
    fn a_version_is_sent_once() {
        let mut headers = HeaderMap::new();
        headers.append(HEADER, "2.17".parse().unwrap());
        headers.append(HEADER, "2.17".parse().unwrap());
        assert_eq!(ApiVersion::negotiate(&headers), Err(Fault::Repeated));
    }

    /// H-02, H-03.
    #[test]
    fn what_is_no_version_is_refused() {
        assert_eq!(
            ApiVersion::negotiate(&HeaderMap::new()),
            Err(Fault::Missing)
        );
        assert_eq!(negotiate(""), Err(Fault::Missing));
        for text in [
            "2",
            "2.",
            ".17",
            "2.17.0",
            "+2.17",
            "2.-17",
            "two",
            "2.99999999999",
        ] {
            assert_eq!(negotiate(text), Err(Fault::Malformed), "{text}");
        }
    }
}
