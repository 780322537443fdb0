//! The steps that are the same whatever the binding's method: attempt, hold,
//! look-up, Secrets, and the method's own steps.

use broker_proto::v1::InstancePhase;

use super::{
    Job, Lookup,
    method::{Goal, Place, Session, Site},
};
use crate::{
    error::Error,
    login,
    resource::{Kind, Server},
};

impl Job {
    pub(super) async fn start_attempt(&mut self) -> Result<(), Error> {
        let mut record = self.record.clone();
        record.give_up_attempt();
        record.ledger.attempts += 1;
        record.ledger.attempt = Some(login::attempt(
            record.name(),
            record.ledger.attempts,
            &self.context.holder,
            &record.spec().instance_incarnation,
        ));
        self.write(record).await
    }

    pub(super) async fn hold(&mut self) -> Result<(), Error> {
        let spec = self.record.spec();
        let instances = &self.context.instances;
        match instances
            .hold(&spec.instance_id, &spec.instance_incarnation)
            .await
        {
            Ok(instance) => {
                self.lookup = Lookup::Held(instance);
                Ok(())
            }
            Err(Error::Refused(refusal)) => {
                self.refusal = Some(refusal);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn look_up_instance(&mut self) -> Result<(), Error> {
        let spec = self.record.spec();
        let found = self.context.instances.get(&spec.instance_id).await?;
        let Some(found) = found else {
            self.lookup = Lookup::Absent;
            return Ok(());
        };
        let same = found.incarnation == spec.instance_incarnation;
        self.lookup = match spec.server {
            Server::Own if same && !is_leaving(found.phase()) => Lookup::Found(found),
            // It is deleted, or has another life by now.
            Server::Own => Lookup::Leaving,
            // Its namespace, with the login that makes logins, is there until
            // the bindings have gone.
            Server::Shared if same && found.phase() != InstancePhase::Deleted => {
                Lookup::Found(found)
            }
            Server::Shared => Lookup::OutOfReach,
        };
        Ok(())
    }

    /// One step of the method towards a goal.
    pub(super) async fn advance(&mut self, goal: Goal) -> Result<(), Error> {
        let request = match goal {
            Goal::Made => Some(self.request().await?),
            Goal::Revoked => None,
        };
        let missing = || Error::NotLookedUp(self.record.spec().instance_id.clone());
        let instance = self.lookup.instance().ok_or_else(missing)?;
        let plan = self.context.bundles.get(&instance.bundle_digest).await?;
        let site = Site {
            place: Place {
                context: &self.context,
                instance,
                plan,
                session: Session::Kept,
            },
            record: &self.record,
            request,
            turn: &self.turn,
        };
        self.method.advance(goal, site).await
    }

    pub(super) async fn delete_secrets(&mut self) -> Result<(), Error> {
        let mut names: Vec<&str> = self
            .record
            .logins_to_revoke()
            .map(|login| login.secret.as_str())
            .collect();
        if self.record.is_open(Kind::Unbind) || self.record.is_gone() {
            names.push(&self.record.spec().request);
        }
        let deleted = names
            .into_iter()
            .map(|name| self.context.store.delete_secret(name));
        futures::future::try_join_all(deleted).await?;
        self.secrets_deleted = true;
        Ok(())
    }
}

fn is_leaving(phase: InstancePhase) -> bool {
    match phase {
        InstancePhase::Deprovisioning
        | InstancePhase::DeprovisionFailed
        | InstancePhase::Deleted => true,
        InstancePhase::Unspecified
        | InstancePhase::Provisioning
        | InstancePhase::Ready
        | InstancePhase::ProvisionFailed
        | InstancePhase::Updating
        | InstancePhase::UpdateFailed => false,
    }
}
