//! Conditional GET (RFC 9110, section 13): may the answer be 304?

use std::time::SystemTime;

use axum::http::{HeaderMap, header};

/// Whether the client already has what carries `etag`. `If-None-Match` decides
/// alone where it is sent, by weak comparison; else `If-Modified-Since`.
pub(super) fn is_unmodified(headers: &HeaderMap, etag: &str, modified: SystemTime) -> bool {
    if headers.contains_key(header::IF_NONE_MATCH) {
        return headers
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|list| matches(list, etag));
    }
    headers
        .get(header::IF_MODIFIED_SINCE)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| httpdate::parse_http_date(text).ok())
        .is_some_and(|since| modified <= since)
}

/// Whether a list of entity tags holds `etag` (quotes included), or is `*`.
fn matches(list: &str, etag: &str) -> bool {
    if list.trim() == "*" {
        return true;
    }
    let mut rest = list;
    // A tag may hold commas, so the quotes are followed, not the commas.
    while let Some(start) = rest.find('"') {
        let Some(length) = rest[start + 1..].find('"') else {
            return false;
        };
        let end = start + length + 2;
        if &rest[start..end] == etag {
            return true;
        }
        rest = &rest[end..];
    }
    false
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ETAG: &str = r#""abc""#;

    fn unmodified(headers: &[(header::HeaderName, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value.parse().unwrap());
        }
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        is_unmodified(&map, ETAG, modified)
    }

    /// CAT-05 and trap 19.
    #[test]
    fn tags_are_compared_weakly_in_lists_and_over_several_headers() {
        for value in [ETAG, r#"W/"abc""#, r#""x,y", W/"abc" , "z""#, "*", " * "] {
            assert!(unmodified(&[(header::IF_NONE_MATCH, value)]), "{value}");
        }
        assert!(unmodified(&[
            (header::IF_NONE_MATCH, r#""x""#),
            (header::IF_NONE_MATCH, ETAG)
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
