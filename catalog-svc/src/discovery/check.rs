//! The checks of plans, each in a process with limits, and what they found.

use std::{collections::HashMap, time::Duration};

use plan::{
    catalog::{Candidate, Checked, Draft},
    id::Digest,
};
use sandbox::Sandbox;
use service::telemetry::chain;
use tokio::time::Instant;

/// How long the checks of one look may take; the others follow with the next. Plans that take all
/// the time they get hold up nobody who was served before, and nobody else for longer than this.
const AT_A_TIME: Duration = Duration::from_secs(20);

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

    /// What is found of each plan, in order, and whether to look again soon: not all were checked.
    /// A plan whose files, bases and offering are the same is not checked again.
    pub(crate) async fn of(&mut self, draft: &Draft) -> (Vec<Checked>, bool) {
        let mut before = std::mem::take(&mut self.known);
        let (mut all, mut more) = (Vec::new(), false);
        let begun = Instant::now();
        for candidate in draft.candidates() {
            let digest = candidate.digest();
            let known = match before.remove(&digest) {
                Some(known) => Ok(known),
                None if begun.elapsed() > AT_A_TIME => {
                    all.push(candidate.not_checked(
                        "this plan is not checked yet: the checks of others take long; it follows",
                    ));
                    more = true;
                    continue;
                }
                None => self.sandbox.check(candidate).await,
            };
            match known {
                Ok(checked) => {
                    self.known.insert(digest, checked.clone());
                    all.push(checked);
                }
                Err(error) => {
                    all.push(not_checked(candidate, &error));
                    more = true;
                }
            }
        }
        self.sandbox.rest();
        (all, more)
    }
}

fn not_checked(candidate: &Candidate, error: &sandbox::Error) -> Checked {
    tracing::error!(
        provider = candidate.provider(),
        plan = candidate.name(),
        error = chain(error),
        "a plan cannot be checked; trying again"
    );
    candidate.not_checked(format!(
        "this plan is not checked yet: {error}; it is tried again"
    ))
}
