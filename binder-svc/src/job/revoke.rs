//! The steps that take logins back.

use super::Job;
use crate::{error::Error, ledger::State, resource::Kind};

impl Job {
    /// Drops what the ledger names and what the database knows to be of this
    /// binding, up to the newest attempt that must go. A later attempt, of a
    /// replica that took over meanwhile, is not ours to judge.
    pub(super) async fn drop_users(&mut self) -> Result<(), Error> {
        let target = self.target().await?;
        let kept = self.kept_attempt();
        let ledger = &self.record.ledger;
        let limit = kept.unwrap_or(ledger.attempts + 1);
        let incarnation = &self.record.spec().instance_incarnation;
        let given_up = ledger.attempt.as_ref().filter(|_| kept.is_none());
        let mut names: Vec<String> = ledger
            .owed
            .iter()
            .chain(given_up.map(|attempt| &attempt.login))
            // An earlier life of the instance took its users along.
            .filter(|login| login.instance_incarnation == *incarnation)
            .map(|login| login.user.clone())
            .collect();
        let found = self
            .shared
            .users
            .find_users(&target, Some(self.record.name()))
            .await?;
        names.extend(
            found
                .into_iter()
                .filter(|user| user.mark.attempt < limit)
                .map(|user| user.name),
        );
        names.sort_unstable();
        names.dedup();
        for name in names {
            self.shared.users.drop_user(&target, &name).await?;
        }
        self.seen.dropped = true;
        Ok(())
    }

    /// The attempt whose user must stay, if one must.
    pub(super) fn kept_attempt(&self) -> Option<u32> {
        let kept = match (self.record.running(), self.record.operation().kind) {
            (true, Kind::Bind) => true,
            (true, Kind::Unbind) => false,
            (false, _) => self.record.ledger.state == State::Ready,
        };
        self.record
            .ledger
            .attempt
            .as_ref()
            .filter(|_| kept)
            .map(|attempt| attempt.number)
    }

    pub(super) async fn delete_secrets(&mut self) -> Result<(), Error> {
        let unbinding = self.record.running();
        let ledger = &self.record.ledger;
        let given_up = ledger.attempt.as_ref().filter(|_| unbinding);
        let mut names: Vec<&str> = ledger
            .owed
            .iter()
            .chain(given_up.map(|attempt| &attempt.login))
            .map(|login| login.secret.as_str())
            .collect();
        if unbinding || self.record.is_gone() {
            names.push(&self.record.spec().request);
        }
        for name in names {
            self.shared.store.delete_secret(name).await?;
        }
        self.seen.secrets_deleted = true;
        Ok(())
    }
}
