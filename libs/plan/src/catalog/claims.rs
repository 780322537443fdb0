//! Who has which id or name, where each must have its own.
//!
//! Nobody takes another's by coming first: who states a value that another has without stating it
//! (the id made from its folder's name) is at fault alone, and of those who state the same all are.
//! Versions that were good before are served on, so that whoever had a value keeps it.

use std::collections::BTreeMap;

/// Claims by value.
#[derive(Debug, Clone, Default)]
pub(super) struct Claims(BTreeMap<String, Vec<Claim>>);

#[derive(Debug, Clone)]
struct Claim {
    owner: String,
    stated: bool,
}

impl Claims {
    /// `owner` has the value, in so many words or by its own name.
    pub(super) fn add(&mut self, value: &str, owner: &str, stated: bool) {
        let owner = owner.to_owned();
        let claims = self.0.entry(value.to_owned()).or_default();
        claims.push(Claim { owner, stated });
    }

    /// Another one that has the value, if that is the fault of `owner`.
    pub(super) fn rival(&self, value: &str, owner: &str) -> Option<&str> {
        let claims = self.0.get(value)?;
        let (own, others): (Vec<_>, Vec<_>) = claims.iter().partition(|it| it.owner == owner);
        let is_stated = own.iter().any(|claim| claim.stated);
        let rival = others.first().filter(|_| is_stated);
        rival.map(|claim| claim.owner.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_that_state_a_value_both_are_at_fault_and_one_that_does_not_never_is() {
        let mut claims = Claims::default();
        for (value, owner, stated) in [
            ("x", "a", true),
            ("x", "b", true),
            ("y", "c", true),
            ("y", "d", false),
            ("z", "e", true),
        ] {
            claims.add(value, owner, stated);
        }
        assert_eq!(claims.rival("x", "a"), Some("b"));
        assert_eq!(claims.rival("x", "b"), Some("a"));
        assert_eq!(claims.rival("y", "c"), Some("d"));
        assert_eq!(claims.rival("y", "d"), None);
        assert_eq!(claims.rival("z", "e"), None);
        assert_eq!(claims.rival("none", "e"), None);
    }
}
