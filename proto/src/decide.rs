//! OSB's decisions that every service makes alike: each once, pure, with the
//! error that a client gets.

use crate::{
    Error, ErrorCode,
    v1::{CatalogVerdict, catalog_verdict::Outcome},
};

/// Whether the client can poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `accepts_incomplete=true`.
    AcceptsIncomplete,
    /// Absent or anything else: the answer must be final.
    MustBeDone,
}

impl From<bool> for Mode {
    /// From OSB's `accepts_incomplete`.
    fn from(accepts_incomplete: bool) -> Self {
        if accepts_incomplete {
            Self::AcceptsIncomplete
        } else {
            Self::MustBeDone
        }
    }
}

/// How the operations of a plan end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// Within the request.
    Synchronous,
    /// After it: the client polls.
    Asynchronous,
}

impl From<bool> for Completion {
    /// From "only asynchronously".
    fn from(asynchronous: bool) -> Self {
        if asynchronous {
            Self::Asynchronous
        } else {
            Self::Synchronous
        }
    }
}

/// The ids of the request are in the catalog.
///
/// # Errors
/// `UnknownService` or `UnknownPlan` (400).
pub fn known(verdict: &CatalogVerdict) -> Result<(), Error> {
    match verdict.outcome() {
        Outcome::Found => Ok(()),
        Outcome::UnknownPlan => Err(Error::new(
            ErrorCode::UnknownPlan,
            "plan_id is not a plan of this service in the catalog.",
        )),
        Outcome::UnknownService | Outcome::Unspecified => Err(Error::new(
            ErrorCode::UnknownService,
            "service_id is not a service in the catalog.",
        )),
    }
}

/// A plan that works asynchronously needs a client that polls.
///
/// # Errors
/// `AsyncRequired` (422).
pub fn require_async(completion: Completion, mode: Mode) -> Result<(), Error> {
    match (completion, mode) {
        (Completion::Asynchronous, Mode::MustBeDone) => Err(Error::new(
            ErrorCode::AsyncRequired,
            "This plan works asynchronously only; send accepts_incomplete=true.",
        )),
        (Completion::Asynchronous, Mode::AcceptsIncomplete) | (Completion::Synchronous, _) => {
            Ok(())
        }
    }
}

/// Another operation is in the way: `ConcurrencyError` (422).
pub fn busy(message: impl Into<String>) -> Error {
    Error::new(ErrorCode::ConcurrencyError, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_catalog_has_is_known() {
        for (outcome, expected) in [
            (Outcome::Found, None),
            (Outcome::UnknownPlan, Some(ErrorCode::UnknownPlan)),
            (Outcome::UnknownService, Some(ErrorCode::UnknownService)),
            (Outcome::Unspecified, Some(ErrorCode::UnknownService)),
        ] {
            let verdict = CatalogVerdict {
                outcome: outcome.into(),
                ..CatalogVerdict::default()
            };
            assert_eq!(known(&verdict).err().map(|error| error.code), expected);
        }
    }

    #[test]
    fn who_cannot_poll_is_refused_by_an_asynchronous_plan_alone() {
        for (asynchronous, accepts_incomplete, allowed) in [
            (true, false, false),
            (true, true, true),
            (false, false, true),
            (false, true, true),
        ] {
            let answer = require_async(asynchronous.into(), accepts_incomplete.into());
            let refused = answer.err().map(|error| error.code);
            assert_eq!(refused, (!allowed).then_some(ErrorCode::AsyncRequired));
        }
    }
}
