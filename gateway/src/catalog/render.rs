//! OSB's catalog in bytes, with everything that a request for it needs.

use std::{fmt::Write as _, time::SystemTime};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use broker_proto::{
    json::from_struct,
    v1::{Offering, Plan},
};
use headers::{ETag, HeaderMapExt as _, LastModified};
use prost_types::Struct;
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::condition::is_unmodified;
use crate::{json::MEDIA_TYPE, version::ApiVersion};

/// The bytes for one class of API versions. The tag is made of them, so it is
/// the same on every replica of the gateway.
#[derive(Debug)]
pub(super) struct Rendered {
    body: Bytes,
    etag: ETag,
    modified: SystemTime,
    /// Those of every answer, 304 included.
    headers: HeaderMap,
}

impl Rendered {
    pub(super) fn new(
        offerings: &[Offering],
        version: ApiVersion,
        modified: SystemTime,
    ) -> serde_json::Result<Self> {
        let services = offerings
            .iter()
            .map(|offering| ServiceBody::new(offering, version))
            .collect();
        let body = Bytes::from(serde_json::to_vec(&CatalogBody { services })?);
        let mut etag = String::from("\"");
        for byte in Sha256::digest(&body).iter().take(16) {
            // Writing to a String cannot fail.
            let _ = write!(etag, "{byte:02x}");
        }
        etag.push('"');
        let etag: ETag = etag.parse().map_err(serde::ser::Error::custom)?;
        let mut headers = HeaderMap::new();
        headers.typed_insert(etag.clone());
        headers.typed_insert(LastModified::from(modified));
        // A cache may keep it but must ask: a plan may be gone.
        headers.insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static("private, no-cache"),
        );
        headers.insert(
            header::VARY,
            HeaderValue::from_static("X-Broker-API-Version"),
        );
        Ok(Self {
            body,
            etag,
            modified,
            headers,
        })
    }

    pub(super) fn respond(&self, headers: &HeaderMap) -> Response {
        if is_unmodified(headers, &self.etag, self.modified) {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.headers_mut() = self.headers.clone();
            response
        } else {
            let mut response = Response::new(Body::from(self.body.clone()));
            *response.headers_mut() = self.headers.clone();
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, MEDIA_TYPE);
            response
        }
    }
}

#[derive(Debug, Serialize)]
struct CatalogBody<'a> {
    services: Vec<ServiceBody<'a>>,
}

#[derive(Debug, Serialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the shape of OSB's Service Offering Object"
)]
struct ServiceBody<'a> {
    id: &'a str,
    name: &'a str,
    description: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tags: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    requires: &'a [String],
    bindable: bool,
    #[serde(skip_serializing_if = "is_false")]
    instances_retrievable: bool,
    #[serde(skip_serializing_if = "is_false")]
    bindings_retrievable: bool,
    #[serde(skip_serializing_if = "is_false")]
    allow_context_updates: bool,
    plan_updateable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dashboard_client: Option<Map<String, Value>>,
    plans: Vec<PlanBody<'a>>,
}

#[derive(Debug, Serialize)]
struct PlanBody<'a> {
    id: &'a str,
    name: &'a str,
    description: &'a str,
    free: bool,
    bindable: bool,
    #[serde(skip_serializing_if = "is_false")]
    binding_rotatable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan_updateable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maximum_polling_duration: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maintenance_info: Option<MaintenanceInfoBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schemas: Option<Map<String, Value>>,
}

#[derive(Debug, Serialize)]
struct MaintenanceInfoBody<'a> {
    version: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
}

impl<'a> ServiceBody<'a> {
    fn new(offering: &'a Offering, version: ApiVersion) -> Self {
        Self {
            id: &offering.id,
            name: &offering.name,
            description: &offering.description,
            tags: &offering.tags,
            requires: &offering.requires,
            bindable: offering.bindable,
            instances_retrievable: offering.instances_retrievable,
            bindings_retrievable: offering.bindings_retrievable,
            allow_context_updates: offering.allow_context_updates,
            // Platforms before 2.15 know it of offerings only: some plan can change.
            plan_updateable: offering.plan_updateable
                || (version < ApiVersion::V2_15
                    && offering
                        .plans
                        .iter()
                        .any(|plan| plan.plan_updateable == Some(true))),
            metadata: object(offering.metadata.as_ref()),
            dashboard_client: object(offering.dashboard_client.as_ref()),
            plans: offering
                .plans
                .iter()
                .map(|plan| PlanBody::new(plan, version))
                .collect(),
        }
    }
}

impl<'a> PlanBody<'a> {
    fn new(plan: &'a Plan, version: ApiVersion) -> Self {
        let since_2_15 = version >= ApiVersion::V2_15;
        Self {
            id: &plan.id,
            name: &plan.name,
            description: &plan.description,
            free: plan.free,
            bindable: plan.bindable,
            binding_rotatable: plan.binding_rotatable && version >= ApiVersion::V2_17,
            plan_updateable: plan.plan_updateable.filter(|_| since_2_15),
            maximum_polling_duration: Some(plan.maximum_polling_duration)
                .filter(|seconds| since_2_15 && *seconds > 0),
            maintenance_info: (since_2_15 && !plan.maintenance_version.is_empty()).then_some(
                MaintenanceInfoBody {
                    version: &plan.maintenance_version,
                    description: &plan.maintenance_description,
                },
            ),
            metadata: object(plan.metadata.as_ref()),
            schemas: object(plan.schemas.as_ref()),
        }
    }
}

fn object(message: Option<&Struct>) -> Option<Map<String, Value>> {
    message.cloned().map(from_struct)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature of serde's skip_serializing_if"
)]
fn is_false(flag: &bool) -> bool {
    !flag
}
