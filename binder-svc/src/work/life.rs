//! The steps that are the same whatever the binding's method: attempt, hold,
//! look-up, Secrets, and the method's own steps.

use std::sync::Arc;

use broker_proto::v1::InstancePhase;

use super::{
    Job, Lookup,
    method::{Goal, Place, Session, Site},
};
use crate::{
    context::Context,
    error::Error,
    login,
    request::Request,
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

    /// One step of the method towards a login that works.
    pub(super) async fn make(&mut self) -> Result<(), Error> {
        let request = Some(self.request().await?);
        self.advance(Goal::Made, request).await
    }

    /// One step of the method towards a login that does not work any more. What
    /// is to be deleted with it does not wait for it: the ledger, not the
    /// Secrets, says what is to be revoked.
    pub(super) async fn revoke(&mut self) -> Result<(), Error> {
        if !self.record.is_open(Kind::Unbind) || self.secrets_deleted {
            return self.advance(Goal::Revoked, None).await;
        }
        let context = Arc::clone(&self.context);
        let names = self.doomed_secrets();
        let deleted = delete(&context, &names);
        let (revoked, deleted) = futures::join!(self.advance(Goal::Revoked, None), deleted);
        self.secrets_deleted = deleted.is_ok();
        revoked
    }

    async fn advance(&mut self, goal: Goal, request: Option<Arc<Request>>) -> Result<(), Error> {
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
        delete(&self.context, &self.doomed_secrets()).await?;
        self.secrets_deleted = true;
        Ok(())
    }

    fn doomed_secrets(&self) -> Vec<String> {
        let logins = self.record.logins_to_revoke();
        let mut names: Vec<String> = logins.map(|login| login.secret.clone()).collect();
        if self.record.is_open(Kind::Unbind) || self.record.is_gone() {
            names.push(self.record.spec().request.clone());
        }
        names
    }
}

async fn delete(context: &Context, names: &[String]) -> Result<(), Error> {
    let deleted = names.iter().map(|name| context.store.delete_secret(name));
    futures::future::try_join_all(deleted).await.map(drop)
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
