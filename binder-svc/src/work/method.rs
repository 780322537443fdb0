//! What a binding method is: how the thing that a bind hands out is made, and
//! how it is revoked. The binding's life around that (record, hold, attempt,
//! outcome) is the same for all and knows none of them.

use std::sync::Arc;

use ::work::Turn;
use broker_proto::v1::Instance;
use futures::future::BoxFuture;
use plan::Loaded;

use super::database::Database;
use crate::{
    context::Context, credentials::Issued, error::Error, ledger::Record, mongo::Found,
    request::Request, resource::Method as Name,
};

/// What a method is to bring about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// What the record's attempt hands out is there.
    Made,
    /// What the record owes is gone; with an unbind, all that it ever made.
    Revoked,
}

/// An instance as a method reaches it.
#[derive(Debug, Clone)]
pub(crate) struct Place<'a> {
    pub(crate) context: &'a Context,
    pub(crate) instance: &'a Instance,
    /// The instance's pinned plan.
    pub(crate) plan: Arc<Loaded>,
    pub(crate) session: Session,
}

/// How long connections to the instance are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Session {
    /// For the next binding of it, too.
    Kept,
    /// Until [`Method::close`].
    Once,
}

/// What a step of a method works on.
#[derive(Debug)]
pub(crate) struct Site<'a> {
    pub(crate) place: Place<'a>,
    pub(crate) record: &'a Record,
    /// What was asked for; there for [`Goal::Made`] only.
    pub(crate) request: Option<Arc<Request>>,
    pub(crate) turn: &'a Turn,
}

/// Credentials that were stored for an attempt.
#[derive(Debug, Clone)]
pub(crate) struct Issue {
    /// The attempt's login.
    pub(crate) user: String,
    /// What is handed out.
    pub(crate) issued: Arc<Issued>,
}

/// One method, at work on one record. It holds what it observed, and nothing
/// that another process could not observe again.
pub(crate) trait Method: Send + Sync {
    /// The name of the next step towards a goal, decided by what was observed
    /// alone; `None` once the goal is reached.
    fn next(&self, goal: Goal) -> Option<&'static str>;

    /// Does that step. Each is harmless when repeated, by whomever.
    fn advance<'a>(&'a mut self, goal: Goal, site: Site<'a>) -> BoxFuture<'a, Result<(), Error>>;

    /// What was observed belongs to an older version of the record.
    fn restart(&mut self);

    /// The credentials, if they are at hand.
    fn issue(&self) -> Option<&Issue>;

    /// All that the method made for bindings of the instance and that is
    /// there now, for the sweep.
    fn find<'a>(&'a self, place: &'a Place<'a>) -> BoxFuture<'a, Result<Vec<Found>, Error>>;

    /// Takes back one thing by its name; one that is gone is fine.
    fn revoke<'a>(
        &'a self,
        place: &'a Place<'a>,
        name: &'a str,
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// Ends a [`Session::Once`].
    fn close<'a>(&'a self, place: &'a Place<'a>) -> BoxFuture<'a, ()>;
}

/// The method of that name. The one place that knows them all.
pub(crate) fn of(name: Name) -> Box<dyn Method> {
    match name {
        Name::Database => Box::<Database>::default(),
    }
}
