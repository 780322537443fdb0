//! The leases in the API server: renewing, listing, deleting. Each call has a
//! deadline, so that one that hangs does not cost the lease.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, Preconditions},
};

use super::candidacy::Seen;
use crate::{
    error::{Error, call_within, optional},
    names,
};

/// Label: the service whose replicas share work.
const SHARE: &str = "mongodb-osb.io/share";

/// Annotation: the other replicas that the holder of the lease knows of.
pub(super) const SEES: &str = "mongodb-osb.io/sees";

/// So many lifetimes after its last renewal a dead replica's lease is deleted:
/// pods get new names, so nobody else would.
const CLEAR_AFTER: u32 = 5;

/// The leases of one service, as one of its replicas writes and reads them.
#[derive(Debug, Clone)]
pub(super) struct Leases {
    pub(super) api: Api<Lease>,
    pub(super) service: String,
    pub(super) replica: String,
    /// Of one call.
    pub(super) deadline: Duration,
    /// Of a lease that is not renewed.
    pub(super) lifetime: Duration,
}

impl Leases {
    fn name(&self) -> String {
        format!("{}-{}", self.service, self.replica)
    }

    /// Renews this replica's lease, then lists all.
    pub(super) async fn renew_and_list(
        &self,
        named: &BTreeSet<String>,
    ) -> Result<Vec<Lease>, Error> {
        self.renew(named).await?;
        let params = ListParams::default().labels(&format!("{SHARE}={}", self.service));
        Ok(call_within(self.deadline, self.api.list(&params))
            .await?
            .items)
    }

    /// `named`: the other replicas that this one knows of.
    pub(super) async fn renew(&self, named: &BTreeSet<String>) -> Result<(), Error> {
        let named: Vec<&str> = named.iter().map(String::as_str).collect();
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.name()),
                annotations: Some([(SEES.to_owned(), named.join(","))].into()),
                labels: Some(BTreeMap::from([
                    (SHARE.to_owned(), self.service.clone()),
                    (names::MANAGED_BY.to_owned(), names::MANAGER.to_owned()),
                ])),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.replica.clone()),
                lease_duration_seconds: i32::try_from(self.lifetime.as_secs()).ok(),
                renew_time: Some(MicroTime(jiff::Timestamp::now())),
                ..LeaseSpec::default()
            }),
        };
        let params = PatchParams::apply(crate::FIELD_MANAGER).force();
        call_within(
            self.deadline,
            self.api.patch(&self.name(), &params, &Patch::Apply(&lease)),
        )
        .await
        .map(drop)
    }

    /// Deletes the leases of replicas that died long ago.
    pub(super) async fn clear_away(&self, seen: &HashMap<String, Seen>) {
        let limit = self.lifetime * CLEAR_AFTER;
        let dead = seen.iter().filter(|(_, seen)| seen.at.elapsed() > limit);
        for (replica, seen) in dead {
            let name = format!("{}-{replica}", self.service);
            // Not if it was renewed after all.
            let params = DeleteParams::default().preconditions(Preconditions {
                uid: None,
                resource_version: seen.version.clone(),
            });
            match call_within(self.deadline, self.api.delete(&name, &params)).await {
                Ok(_) | Err(Error::NotFound | Error::Conflict) => {}
                Err(error) => tracing::debug!(%error, name, "dead lease not cleared away"),
            }
        }
    }

    /// Deletes this replica's lease: the others take over at once.
    pub(super) async fn give_back(&self) -> Result<(), Error> {
        let params = DeleteParams::default();
        optional(call_within(self.deadline, self.api.delete(&self.name(), &params)).await).map(drop)
    }
}
