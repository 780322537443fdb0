//! The steps that make a login.

use std::sync::Arc;

use broker_proto::v1::{Instance, InstancePhase};

use super::{Issue, Job};
use crate::{
    credentials::Issued,
    error::Error,
    ledger::Login,
    login,
    mongo::{Mark, NewUser, Target},
    request::Request,
    resource::Kind,
    step::Database,
};

impl Job {
    pub(super) async fn start_attempt(&mut self) -> Result<(), Error> {
        let mut record = self.record.clone();
        record.give_up_attempt();
        record.ledger.attempts += 1;
        record.ledger.attempt = Some(login::attempt(
            record.name(),
            record.ledger.attempts,
            &self.shared.holder,
            &record.spec().instance_incarnation,
        ));
        self.write(record).await
    }

    pub(super) async fn hold(&mut self) -> Result<(), Error> {
        let spec = self.record.spec();
        match self
            .shared
            .instances
            .hold(&spec.instance_id, &spec.instance_incarnation)
            .await
        {
            Ok(instance) => {
                self.instance = Some(instance);
                self.seen.held = true;
                self.seen.database = Database::Present;
            }
            Err(Error::Refused(refusal)) => {
                self.refusal = Some(refusal);
                self.seen.refused = true;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    pub(super) async fn look_up_instance(&mut self) -> Result<(), Error> {
        let spec = self.record.spec();
        let found = self.shared.instances.get(&spec.instance_id).await?;
        let of_ours = |instance: &Instance| instance.incarnation == spec.instance_incarnation;
        self.seen.database = match &found {
            Some(instance) if of_ours(instance) && !is_leaving(instance.phase()) => {
                Database::Present
            }
            // It is deleted, or has another life by now.
            Some(_) => Database::Leaving,
            None => Database::Absent,
        };
        self.instance = found.filter(|_| self.seen.database == Database::Present);
        Ok(())
    }

    pub(super) async fn target(&self) -> Result<Arc<Target>, Error> {
        let missing = || Error::Plan("the instance was not looked up".to_owned());
        let instance = self.instance.as_ref().ok_or_else(missing)?;
        let plan = self.shared.bundles.get(&instance.bundle_digest).await?;
        self.shared.databases.of(instance, &plan).await
    }

    pub(super) async fn request(&mut self) -> Result<Arc<Request>, Error> {
        if let Some(request) = &self.request {
            return Ok(Arc::clone(request));
        }
        let name = &self.record.spec().request;
        let request = Arc::new(self.shared.store.read_request(name).await?);
        self.request = Some(Arc::clone(&request));
        Ok(request)
    }

    pub(super) fn login(&self) -> Result<(Login, u32), Error> {
        let attempt = self.record.ledger.attempt.as_ref();
        attempt
            .map(|attempt| (attempt.login.clone(), attempt.number))
            .ok_or_else(|| Error::Plan("there is no attempt".to_owned()))
    }

    pub(super) async fn store_password(&mut self) -> Result<(), Error> {
        let target = self.target().await?;
        let request = self.request().await?;
        let (login, _) = self.login()?;
        let password = login::password();
        let issued = Issued::new(
            &target.database,
            &request.grant.database,
            &login.user,
            &password,
        );
        let issued = self
            .shared
            .store
            .write_login(&login.secret, &self.record, issued)
            .await?;
        self.issued = Some(Issue {
            user: login.user,
            issued: Arc::new(issued),
        });
        self.seen.stored = true;
        Ok(())
    }

    pub(super) async fn create_user(&mut self) -> Result<(), Error> {
        let target = self.target().await?;
        let request = self.request().await?;
        let (login, number) = self.login()?;
        let password = self.issued().and_then(|issued| issued.password());
        let password = password.ok_or_else(|| Error::Secret(login.secret.clone()))?;
        let user = NewUser {
            name: &login.user,
            password: &password,
            grant: &request.grant,
            mark: &Mark {
                instance: cluster::names::instance_record(&self.record.spec().instance_id),
                binding: self.record.name().to_owned(),
                incarnation: self.record.spec().incarnation.clone(),
                attempt: number,
            },
        };
        self.shared.users.create_user(&target, &user).await?;
        if !self.is_in_term() {
            self.confirm_user(&target, &login).await?;
        }
        self.seen.created = true;
        Ok(())
    }

    /// A replica that was paused may have made its user when its attempt had
    /// been given up, even revoked: then it goes again.
    async fn confirm_user(&self, target: &Target, login: &Login) -> Result<(), Error> {
        let current = self.shared.store.read(self.record.name()).await?;
        let wanted = current
            .filter(|record| !record.running() || record.operation().kind == Kind::Bind)
            .and_then(|record| record.ledger.attempt)
            .is_some_and(|attempt| attempt.login == *login);
        if wanted {
            return Ok(());
        }
        self.shared.users.drop_user(target, &login.user).await?;
        Err(Error::Cluster(cluster::Error::Conflict))
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
