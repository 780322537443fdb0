//! The catalog as the gateway holds it: rendered once per generation for
//! each class of API versions, and indexed for verdicts.

mod condition;
mod index;
mod render;
mod watch;

use std::time::{Duration, SystemTime};

use axum::{http::HeaderMap, response::Response};
use broker_proto::v1::{CatalogSnapshot, CatalogVerdict};

pub(crate) use self::watch::Follower;
use self::{index::Index, render::Rendered};
use crate::version::ApiVersion;

/// One generation of the catalog.
#[derive(Debug)]
pub(crate) struct Catalog {
    generation: String,
    index: Index,
    /// By rising version; the last that is not above a request's serves it.
    rendered: [(ApiVersion, Rendered); 3],
}

impl Catalog {
    /// Renders and indexes a snapshot.
    pub(crate) fn new(snapshot: &CatalogSnapshot) -> serde_json::Result<Self> {
        let modified = last_modified(snapshot);
        let render = |version| {
            Ok((
                version,
                Rendered::new(&snapshot.offerings, version, modified)?,
            ))
        };
        Ok(Self {
            generation: snapshot.generation.clone(),
            index: Index::new(&snapshot.offerings),
            rendered: [
                render(ApiVersion::V2_13)?,
                render(ApiVersion::V2_15)?,
                render(ApiVersion::V2_17)?,
            ],
        })
    }

    /// Tells contents apart.
    pub(crate) fn generation(&self) -> &str {
        &self.generation
    }

    /// What the catalog says of a plan in a service.
    pub(crate) fn verdict(&self, service: &str, plan: &str) -> CatalogVerdict {
        self.index.verdict(service, plan)
    }

    /// The answer to GET: 200, or 304 where the client has it already.
    pub(crate) fn respond(&self, headers: &HeaderMap, version: ApiVersion) -> Response {
        let [oldest, rest @ ..] = &self.rendered;
        rest.iter()
            .rev()
            .find(|(since, _)| *since <= version)
            .map_or(&oldest.1, |(_, rendered)| rendered)
            .respond(headers)
    }
}

/// When the content was first served, in whole seconds and not in the future,
/// as HTTP wants it; now if the service does not tell.
fn last_modified(snapshot: &CatalogSnapshot) -> SystemTime {
    let now = SystemTime::now();
    let told = snapshot
        .last_modified
        .and_then(|stamp| u64::try_from(stamp.seconds).ok())
        .and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))
        .unwrap_or(now)
        .min(now);
    let whole = told
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    SystemTime::UNIX_EPOCH + Duration::from_secs(whole)
}
