//! The services that the binder asks: the provisioner for instances, the
//! catalog for their bundles.

use std::time::Duration;

use broker_proto::{
    Error as ProtoError, ErrorCode,
    client::{Event, Target, Tls, Transport, follow},
    v1::{
        GetInstanceRequest, HoldRequest, Instance, InstanceState, ReleaseHoldRequest,
        WatchInstancesRequest, provisioner_client::ProvisionerClient,
    },
};
use bundles::Bundles;
use futures::Stream;
use service::context;

use crate::error::Error;

/// Of one call.
const DEADLINE: Duration = Duration::from_secs(5);

/// The provisioner, as far as the binder knows it.
#[derive(Debug, Clone)]
pub struct Instances {
    client: ProvisionerClient<Transport>,
}

impl Instances {
    /// At `address` (host:port).
    pub fn connect(address: &str, tls: Option<Tls>) -> anyhow::Result<Self> {
        let target = Target::new(address, DEADLINE, context::inject).with_tls(tls);
        Ok(Self {
            client: target.provisioner()?,
        })
    }

    /// The instance, in whatever phase; none if it is not known.
    pub async fn get(&self, instance_id: &str) -> Result<Option<Instance>, Error> {
        let request = GetInstanceRequest {
            instance_id: instance_id.to_owned(),
        };
        match self.client.clone().get_instance(request).await {
            Ok(answer) => Ok(Some(answer.into_inner())),
            Err(status) => match ProtoError::from_status(&status) {
                error if matches!(error.code, ErrorCode::NotFound | ErrorCode::Gone) => Ok(None),
                error => Err(Error::Upstream(error)),
            },
        }
    }

    /// Keeps the instance from being deleted. [`Error::Refused`] if it does
    /// not take bindings any more.
    pub async fn hold(&self, instance_id: &str, incarnation: &str) -> Result<Instance, Error> {
        let request = HoldRequest {
            instance_id: instance_id.to_owned(),
            incarnation: incarnation.to_owned(),
        };
        match self.client.clone().hold(request).await {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => match ProtoError::from_status(&status) {
                error if is_refusal(error.code) => Err(Error::Refused(error)),
                error => Err(Error::Upstream(error)),
            },
        }
    }

    /// No binding is left.
    pub async fn release(&self, instance_id: &str, incarnation: &str) -> Result<(), Error> {
        let request = ReleaseHoldRequest {
            instance_id: instance_id.to_owned(),
            incarnation: incarnation.to_owned(),
        };
        match self.client.clone().release_hold(request).await {
            Ok(_) => Ok(()),
            Err(status) => match ProtoError::from_status(&status) {
                // Gone meanwhile, or another life of it: nothing to release.
                error if is_refusal(error.code) => Ok(()),
                error => Err(Error::Upstream(error)),
            },
        }
    }

    /// Every instance's state, then each change, for ever.
    pub fn follow(&self) -> impl Stream<Item = Event<InstanceState>> {
        let client = self.client.clone();
        follow("instances", move || {
            let mut client = client.clone();
            async move { client.watch_instances(WatchInstancesRequest {}).await }
        })
    }
}

fn is_refusal(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::ConcurrencyError | ErrorCode::NotFound | ErrorCode::Gone | ErrorCode::Conflict
    )
}

/// Bundles from the catalog at `address` (host:port).
pub fn bundles(address: &str, tls: Option<Tls>) -> anyhow::Result<Bundles> {
    let target = Target::new(address, DEADLINE, context::inject).with_tls(tls);
    Ok(Bundles::new(target.catalog()?))
}
