//! A bundle: a validated plan, immutable and addressed by its content. Everything that is needed
//! to serve an instance of it for years, whatever becomes of the folder.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::canonical;
use crate::descriptor::{
    Bootstrap, Deadline, KindRef, Method, Namespace, Plan, PodSecurity, Provision, Requires, Scope,
    Server, Service,
};
use crate::id::{Digest, OfferingId, PlanId};
use crate::schema::{self, Operation, Resolved, Schemas, Violation};

/// The layout of [`Content`]. A change that an older broker would misread takes a new number.
const FORMAT: u32 = 1;

/// Seconds by which a platform polls longer than an operation takes. Cloud Foundry polls once a
/// minute and gives up as soon as the next poll would come too late.
const POLLING_MARGIN: u64 = 180;

/// A plan as it is stored, served and pinned.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Packed", into = "Packed")]
pub struct Bundle {
    digest: Digest,
    bytes: Vec<u8>,
    content: Content,
    version: semver::Version,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Content {
    pub(crate) format: u32,
    pub(crate) provider: String,
    pub(crate) plan: String,
    pub(crate) offering_id: OfferingId,
    pub(crate) plan_id: PlanId,
    pub(crate) service: Service,
    pub(crate) descriptor: Plan,
    pub(crate) kinds: Vec<KindRef>,
    pub(crate) schemas: Schemas,
    /// Templates by file name, those of bindings as `binding/<name>`.
    pub(crate) files: BTreeMap<String, String>,
}

/// A bundle on its way between processes; its digest is checked where it arrives.
#[derive(Serialize, Deserialize)]
struct Packed {
    digest: Digest,
    content: String,
}

impl TryFrom<Packed> for Bundle {
    type Error = Error;

    fn try_from(packed: Packed) -> Result<Self, Error> {
        Self::from_bytes(packed.content.as_bytes(), &packed.digest)
    }
}

impl From<Bundle> for Packed {
    fn from(bundle: Bundle) -> Self {
        Self {
            content: String::from_utf8_lossy(&bundle.bytes).into_owned(),
            digest: bundle.digest,
        }
    }
}

/// Bytes that are no bundle, or not the one that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The content does not have the digest.
    #[error("bundle {expected} has the digest {found}")]
    Digest {
        /// What was asked for.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// Not the JSON of a bundle.
    #[error("bundle cannot be read")]
    Json(#[source] serde_json::Error),
    /// Written by a newer broker.
    #[error("bundle has the format {0}, this broker knows {FORMAT}")]
    Format(u32),
    /// Its templates no longer compile.
    #[error("bundle cannot be loaded: {0}")]
    Load(String),
}

impl Bundle {
    pub(crate) fn new(mut content: Content) -> Self {
        content.format = FORMAT;
        content.descriptor.extends = None;
        let bytes = canonical::bytes(&content);
        Self::of(Digest::of(&bytes), bytes, content)
    }

    fn of(digest: Digest, bytes: Vec<u8>, content: Content) -> Self {
        let stated = content.descriptor.version.clone();
        Self {
            version: stated.unwrap_or_else(|| unstated(&digest)),
            digest,
            bytes,
            content,
        }
    }

    /// The bundle as canonical JSON: the bytes that the digest is of.
    pub fn to_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads a bundle and checks that it is the one that was asked for.
    pub fn from_bytes(bytes: &[u8], expected: &Digest) -> Result<Self, Error> {
        let found = Digest::of(bytes);
        if found != *expected {
            return Err(Error::Digest {
                expected: expected.clone(),
                found,
            });
        }
        let value: Value = serde_json::from_slice(bytes).map_err(Error::Json)?;
        match value.get("format").and_then(Value::as_u64) {
            Some(format) if format != u64::from(FORMAT) => {
                return Err(Error::Format(u32::try_from(format).unwrap_or(u32::MAX)));
            }
            _ => {}
        }
        let content = serde_json::from_value(value).map_err(Error::Json)?;
        Ok(Self::of(found, bytes.to_vec(), content))
    }

    /// The content address.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The provider folder.
    pub fn provider(&self) -> &str {
        &self.content.provider
    }

    /// The plan folder, which is the plan's name in the catalog.
    pub fn name(&self) -> &str {
        &self.content.plan
    }

    /// The offering's id.
    pub fn offering_id(&self) -> &OfferingId {
        &self.content.offering_id
    }

    /// The plan's id.
    pub fn plan_id(&self) -> &PlanId {
        &self.content.plan_id
    }

    /// The offering, as it was when the bundle was made.
    pub fn service(&self) -> &Service {
        &self.content.service
    }

    /// The descriptor, `extends` resolved.
    pub fn descriptor(&self) -> &Plan {
        &self.content.descriptor
    }

    /// The schemas that the catalog shows and requests are judged by.
    pub fn schemas(&self) -> &Schemas {
        &self.content.schemas
    }

    /// All kinds that the plan may apply, written out or inferred.
    pub fn kinds(&self) -> &[KindRef] {
        &self.content.kinds
    }

    /// Template files by name (`binding/<name>` for those of bindings).
    pub fn files(&self) -> &BTreeMap<String, String> {
        &self.content.files
    }

    /// The text for the catalog.
    pub fn description(&self) -> String {
        match &self.content.descriptor.description {
            Some(text) => text.clone(),
            None => format!("Plan {} of {}", self.name(), self.content.provider),
        }
    }

    /// Whether it costs nothing.
    pub fn is_free(&self) -> bool {
        self.content.descriptor.free.unwrap_or(true)
    }

    /// Whether it can be bound.
    pub fn is_bindable(&self) -> bool {
        let has_method = self.method() != Method::None;
        let said = self
            .content
            .descriptor
            .bindable
            .or(self.content.service.bindable);
        has_method && said.unwrap_or(true)
    }

    /// How logins are made.
    pub fn method(&self) -> Method {
        self.content
            .descriptor
            .binding
            .as_ref()
            .map_or(Method::None, |binding| binding.method)
    }

    /// Whether the database outlives its instance.
    pub fn binding_server(&self) -> Server {
        let binding = self.content.descriptor.binding.as_ref();
        binding.map_or(Server::Own, |binding| binding.server)
    }

    /// The catalog's `binding_rotatable`.
    pub fn is_binding_rotatable(&self) -> bool {
        self.is_bindable()
            && self
                .content
                .descriptor
                .binding
                .as_ref()
                .is_some_and(|b| b.rotatable)
    }

    /// Whether only an application can be bound.
    pub fn binding_requires_app(&self) -> bool {
        self.content
            .descriptor
            .binding
            .as_ref()
            .is_some_and(|b| b.requires_app)
    }

    /// How long a binding lasts; `None`: until it is deleted.
    pub fn binding_expires_in(&self) -> Option<std::time::Duration> {
        let binding = self.content.descriptor.binding.as_ref()?;
        binding.expires_in.map(Into::into)
    }

    /// How long before its end a binding should be renewed.
    pub fn binding_renew_before(&self) -> Option<std::time::Duration> {
        let binding = self.content.descriptor.binding.as_ref()?;
        binding.renew_before.map(Into::into)
    }

    /// Whether a bind is answered with 202.
    pub fn binds_asynchronously(&self) -> bool {
        self.content
            .descriptor
            .binding
            .as_ref()
            .is_some_and(|b| b.asynchronous || b.method == Method::Resources)
    }

    /// Whether a provision must be polled.
    pub fn provisions_asynchronously(&self) -> bool {
        self.content.descriptor.provision == Provision::Async
    }

    /// Whether an instance may change to another plan.
    pub fn is_updateable(&self) -> bool {
        !self.content.descriptor.updates_to.is_empty()
    }

    /// Whether an instance may change to the plan of this name.
    pub fn may_update_to(&self, plan: &str) -> bool {
        self.content
            .descriptor
            .updates_to
            .iter()
            .any(|name| name == plan)
    }

    /// The catalog's `maintenance_info.version`. That of a plan which states none
    /// is `0.0.0+` with the first 12 digits of the digest: another one for each
    /// content, so that instances can have it.
    pub fn version(&self) -> &semver::Version {
        &self.version
    }

    /// Whether the plan states its version.
    pub fn has_stated_version(&self) -> bool {
        self.content.descriptor.version.is_some()
    }

    /// When an operation on an instance has failed.
    pub fn deadline(&self) -> &Deadline {
        &self.content.descriptor.deadline
    }

    /// The catalog's `maximum_polling_duration`, in seconds: longer than an operation takes, since
    /// a platform stops polling before it is over and would miss the reason of a failure.
    pub fn maximum_polling_duration(&self) -> u32 {
        let seconds = self
            .deadline()
            .total
            .as_secs()
            .saturating_add(POLLING_MARGIN);
        u32::try_from(seconds).unwrap_or(u32::MAX)
    }

    /// How long data outlives a deprovision.
    pub fn retain(&self) -> std::time::Duration {
        self.content.descriptor.deletion.retain.into()
    }

    /// Where the objects of an instance live.
    pub fn namespace(&self) -> &Namespace {
        &self.content.descriptor.namespace
    }

    /// The level of Pod Security of an instance's own namespace.
    pub fn pod_security(&self) -> PodSecurity {
        self.content.descriptor.pod_security
    }

    /// Whether objects stay inside the namespace.
    pub fn scope(&self) -> Scope {
        self.content.descriptor.scope
    }

    /// The ServiceAccount that gets the ClusterRole of mongo-bootstrap.
    pub fn bootstrap(&self) -> Option<&Bootstrap> {
        self.content.descriptor.bootstrap.as_ref()
    }

    /// The catalog's `metadata` of the plan, with bullets, costs and the name for people.
    pub fn metadata(&self) -> Map<String, Value> {
        let plan = &self.content.descriptor;
        let mut metadata = plan.metadata.clone();
        if let Some(name) = plan.display_name.as_ref().or(plan.name.as_ref()) {
            metadata.insert("displayName".to_owned(), json!(name));
        }
        if let Some(author) = &plan.author {
            metadata.insert("author".to_owned(), json!(author));
        }
        if !plan.bullets.is_empty() {
            metadata.insert("bullets".to_owned(), json!(plan.bullets));
        }
        if !plan.costs.is_empty() {
            metadata.insert("costs".to_owned(), json!(plan.costs));
        }
        metadata
    }

    /// Judges the parameters of a new instance and completes them.
    pub fn create_parameters(&self, sent: &Map<String, Value>) -> Result<Resolved, Vec<Violation>> {
        schema::create(self.schemas().of(Operation::Create), sent)
    }

    /// Judges the patch of an update and works out the new parameters. `self` is the
    /// bundle that the instance will have, `before` what its last revision recorded.
    pub fn update_parameters(
        &self,
        before: &Resolved,
        patch: &Map<String, Value>,
    ) -> Result<Resolved, Vec<Violation>> {
        schema::update(self.schemas(), before, patch)
    }

    /// Judges the parameters of a binding and completes them.
    pub fn bind_parameters(&self, sent: &Map<String, Value>) -> Result<Resolved, Vec<Violation>> {
        schema::create(self.schemas().of(Operation::Bind), sent)
    }
}

/// The version of a content that states none.
fn unstated(digest: &Digest) -> semver::Version {
    const DIGITS: usize = 12;
    let (start, _) = digest.as_str().split_at(DIGITS);
    // Hexadecimal digits are build metadata.
    let build = semver::BuildMetadata::new(start).unwrap_or_default();
    semver::Version {
        build,
        ..semver::Version::new(0, 0, 0)
    }
}

/// Name and digest; the content would fill a log.
impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Bundle({}/{} {})",
            self.provider(),
            self.name(),
            self.digest
        )
    }
}

/// The offering as the catalog shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "these are the fields of OSB's object"
)]
pub struct Offering {
    /// The provider folder.
    pub provider: String,
    /// Its id.
    pub id: OfferingId,
    /// Its name.
    pub name: String,
    /// What it is, in a sentence.
    pub description: String,
    /// Whether plans can be bound that do not say otherwise.
    pub bindable: bool,
    /// Whether plans can be changed that do not say otherwise. Each plan says, so this is false.
    pub plan_updateable: bool,
    /// What applications look for.
    pub tags: Vec<String>,
    /// Permissions that the platform must give.
    pub requires: Vec<Requires>,
    /// Whether instances can be fetched.
    pub instances_retrievable: bool,
    /// Whether bindings can be fetched.
    pub bindings_retrievable: bool,
    /// Whether a PATCH may carry nothing but a context.
    pub allow_context_updates: bool,
    /// Anything the platform may show.
    pub metadata: Map<String, Value>,
    /// Cloud Foundry's single sign-on to a dashboard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dashboard_client: Option<crate::descriptor::DashboardClient>,
}

impl Offering {
    /// The offering of a provider folder; `bindable` if a plan of it is.
    pub fn new(provider: &str, service: &Service, any_bindable: bool) -> Self {
        let mut metadata = service.metadata.clone();
        if let Some(name) = &service.display_name {
            metadata.insert("displayName".to_owned(), json!(name));
        }
        Self {
            provider: provider.to_owned(),
            id: service
                .id
                .clone()
                .unwrap_or_else(|| OfferingId::derive(provider)),
            name: service.name.clone().unwrap_or_else(|| provider.to_owned()),
            description: service
                .description
                .clone()
                .unwrap_or_else(|| format!("Services of {provider}")),
            bindable: service.bindable.unwrap_or(any_bindable),
            plan_updateable: false,
            tags: service.tags.clone(),
            requires: service.requires.clone(),
            instances_retrievable: service.instances_retrievable,
            bindings_retrievable: service.bindings_retrievable,
            allow_context_updates: service.allow_context_updates,
            metadata,
            dashboard_client: service.dashboard_client.clone(),
        }
    }
}
