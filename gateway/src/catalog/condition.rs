//! Conditional GET (RFC 9110, section 13): may the answer be 304?

use std::time::SystemTime;

use axum::http::{HeaderMap, header};
use headers::{ETag, HeaderMapExt as _, IfModifiedSince, IfNoneMatch};

/// Whether the client already has what carries `etag`. `If-None-Match` decides
/// alone where it is sent, by weak comparison; else `If-Modified-Since`. What
/// does not parse is no condition that holds.
pub(super) fn is_unmodified(headers: &HeaderMap, etag: &ETag, modified: SystemTime) -> bool {
    if headers.contains_key(header::IF_NONE_MATCH) {
        return headers
            .typed_get::<IfNoneMatch>()
            .is_some_and(|condition| !condition.precondition_passes(etag));
    }
    headers
        .typed_get::<IfModifiedSince>()
        .is_some_and(|condition| !condition.is_modified(modified))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use headers::HeaderName;

    use super::*;

    const TAG: &str = r#""abc""#;

    fn unmodified(headers: &[(HeaderName, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value.parse().unwrap());
        }
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        is_unmodified(&map, &TAG.parse().unwrap(), modified)
    }

    /// CAT-05 and trap 19.
    #[test]
    fn tags_are_compared_weakly_in_lists_and_over_several_headers() {
        for value in [TAG, r#"W/"abc""#, r#""x,y", W/"abc" , "z""#, "*"] {
            assert!(unmodified(&[(header::IF_NONE_MATCH, value)]), "{value}");
        }
        assert!(unmodified(&[
            (header::IF_NONE_MATCH, r#""x""#),
            (header::IF_NONE_MATCH, TAG)
        ]));
        for value in ["", "abc", r#""abcd""#, r#""ab", "c""#, r#""abc"#] {
            assert!(!unmodified(&[(header::IF_NONE_MATCH, value)]), "{value}");
        }
    }

    #[test]
    fn a_date_counts_only_without_a_tag() {
        let same = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert!(unmodified(&[(header::IF_MODIFIED_SINCE, same)]));
        assert!(unmodified(&[(
            header::IF_MODIFIED_SINCE,
            "Sunday, 06-Nov-94 08:49:38 GMT"
        )]));
        let earlier = "Sun, 06 Nov 1994 08:49:36 GMT";
        assert!(!unmodified(&[(header::IF_MODIFIED_SINCE, earlier)]));
        assert!(!unmodified(&[(header::IF_MODIFIED_SINCE, "yesterday")]));
        assert!(!unmodified(&[
            (header::IF_MODIFIED_SINCE, same),
            (header::IF_NONE_MATCH, r#""x""#)
        ]));
        assert!(!unmodified(&[]));
    }
}
