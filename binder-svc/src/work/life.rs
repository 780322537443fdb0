//! The steps that are the same whatever the binding's method: attempt, hold,
//! look-up, Secrets, and the method's own steps.

use std::{pin::pin, sync::Arc};

use broker_proto::v1::{Instance, InstancePhase};
use futures::future::{Either, select};

use super::{
    Job, Lookup,
    method::{Goal, Place, Session, Site},
};
use crate::{
    context::Context,
    error::Error,
    login,
    metrics::Outcome,
    request::Request,
    resource::{Kind, Server},
    step::Step,
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
        let context = Arc::clone(&self.context);
        let spec = self.record.spec();
        let (instance, incarnation) = (spec.instance_id.clone(), spec.instance_incarnation.clone());
        let (held, made) = {
            let held = pin!(context.instances.hold(&instance, &incarnation));
            let made = pin!(self.make_unheld());
            match select(held, made).await {
                Either::Left((Ok(held), made)) => (Ok(held), made.await),
                // What was begun is owed, as if its answer had been lost.
                Either::Left((Err(error), _)) => (Err(error), Ok(())),
                Either::Right((made, held)) => (held.await, made),
            }
        };
        match held {
            Ok(instance) => {
                self.lookup = Lookup::Held(Arc::new(instance));
                // The next step's.
                self.early_fault = made.err();
                Ok(())
            }
            Err(Error::Refused(refusal)) => {
                self.refusal = Some(refusal);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Makes what is handed out while the hold is asked for, on the instance
    /// as the request saw it. If the hold is refused, what was made is owed: a
    /// server of the instance's own takes it along as a rule, else a later look
    /// revokes it. A server that outlives the instance is not touched before
    /// the hold.
    async fn make_unheld(&mut self) -> Result<(), Error> {
        let own = self.record.spec().server == Server::Own;
        let Some(instance) = self.instance_seen.take().filter(|_| own) else {
            return Ok(());
        };
        while let Some(name) = self.method.next(Goal::Made) {
            service::failpoint::approach(name);
            let request = self.request.clone();
            self.advance_at(&instance, Goal::Made, request).await?;
            let metrics = &self.context.metrics;
            metrics.step(Step::Make(name), Outcome::Succeeded);
            service::failpoint::reach(name);
        }
        Ok(())
    }

    pub(super) async fn look_up_instance(&mut self) -> Result<(), Error> {
        let seen = self.instance_seen.take();
        let spec = self.record.spec();
        let found = match seen {
            Some(seen) => Some(seen),
            None => self.context.instances.get(&spec.instance_id).await?,
        };
        let Some(found) = found else {
            self.lookup = Lookup::Absent;
            return Ok(());
        };
        let same = found.incarnation == spec.instance_incarnation;
        self.lookup = match spec.server {
            Server::Own if same && !is_leaving(found.phase()) => Lookup::Found(Arc::new(found)),
            // It is deleted, or has another life by now.
            Server::Own => Lookup::Leaving,
            // Its namespace, with the login that makes logins, is there until
            // the bindings have gone.
            Server::Shared if same && found.phase() != InstancePhase::Deleted => {
                Lookup::Found(Arc::new(found))
            }
            Server::Shared => Lookup::OutOfReach,
        };
        Ok(())
    }

    /// One step of the method towards a login that works.
    pub(super) async fn make(&mut self) -> Result<(), Error> {
        if let Some(error) = self.early_fault.take() {
            return Err(error);
        }
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
        let instance = Arc::clone(self.lookup.instance().ok_or_else(missing)?);
        self.advance_at(&instance, goal, request).await
    }

    async fn advance_at(
        &mut self,
        instance: &Instance,
        goal: Goal,
        request: Option<Arc<Request>>,
    ) -> Result<(), Error> {
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
