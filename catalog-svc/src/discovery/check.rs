//! The checks of plans, each in a process with limits, and what they found.

use std::collections::HashMap;

use plan::{
    catalog::{Candidate, Checked, Draft},
    id::Digest,
};
use sandbox::Sandbox;
use service::telemetry::chain;

/// Checks plans, and remembers what it found of those that are still there.
#[derive(Debug)]
pub(crate) struct Checks {
    sandbox: Sandbox,
    known: HashMap<Digest, Checked>,
}

impl Checks {
    pub(crate) fn new(sandbox: Sandbox) -> Self {
        Self {
            sandbox,
            known: HashMap::new(),
        }
    }

    /// What is found of each plan, in order, and whether it is worth looking again: a check could
    /// not take place. A plan whose files, bases and offering are the same is not checked again.
    pub(crate) async fn of(&mut self, draft: &Draft) -> (Vec<Checked>, bool) {
        let mut before = std::mem::take(&mut self.known);
        let (mut all, mut retry) = (Vec::new(), false);
        for candidate in draft.candidates() {
            let digest = candidate.digest();
            let known = match before.remove(&digest) {
                Some(known) => Ok(known),
                None => self.sandbox.check(candidate).await,
            };
            match known {
                Ok(checked) => {
                    self.known.insert(digest, checked.clone());
                    all.push(checked);
                }
                Err(error) => {
                    all.push(not_checked(candidate, &error));
                    retry = true;
                }
            }
        }
        self.sandbox.rest();
        (all, retry)
    }
}

fn not_checked(candidate: &Candidate, error: &sandbox::Error) -> Checked {
    tracing::error!(
        provider = candidate.provider(),
        plan = candidate.name(),
        error = chain(error),
        "a plan cannot be checked; trying again"
    );
    candidate.not_checked(error)
}
