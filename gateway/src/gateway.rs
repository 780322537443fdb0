//! What every request needs: one value, shared by all handlers.

use std::{sync::Arc, time::Duration};

use broker_proto::v1::CatalogVerdict;
use tokio::sync::{Semaphore, watch};

use crate::{
    args::PollTerminal,
    auth::{Credentials, Slowdown},
    catalog::Catalog,
    error::Error,
    metrics::Metrics,
    peers::Peers,
};

/// The handlers' state.
pub(crate) type Shared = Arc<Gateway>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Gateway {
    /// Who may call.
    pub(crate) credentials: Credentials,
    /// The newest catalog; none until the first one was received from catalog-svc.
    pub(crate) catalog: watch::Receiver<Option<Arc<Catalog>>>,
    /// The broker's other services.
    pub(crate) peers: Peers,
    /// Counts and durations.
    pub(crate) metrics: Metrics,
    /// Holds back the answers to wrong logins.
    pub(crate) slowdown: Slowdown,
    /// One permit for each byte of a body that may be there at a time.
    pub(crate) body_bytes: Arc<Semaphore>,
    /// One permit for each request that may be served at a time.
    pub(crate) in_flight: Semaphore,
    /// Past this a request is answered 504, whatever it waits for.
    pub(crate) request_timeout: Duration,
    /// Largest request body in bytes.
    pub(crate) max_body: usize,
    /// What a poll of a finished deletion answers.
    pub(crate) poll_terminal: PollTerminal,
}

impl Gateway {
    /// The newest catalog.
    pub(crate) fn catalog(&self) -> Result<Arc<Catalog>, Error> {
        self.catalog.borrow().clone().ok_or(Error::NoCatalog)
    }

    /// What the newest catalog says of a plan.
    pub(crate) fn verdict(&self, service: &str, plan: &str) -> Result<CatalogVerdict, Error> {
        Ok(self.catalog()?.verdict(service, plan))
    }
}
