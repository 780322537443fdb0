//! The broker's whole job, as steps: what a platform and its apps do in the
//! life of one instance. Every step checks what it should have brought about.

mod check;
mod growth;

pub use check::{finish, gone, succeed};
pub use growth::Growth;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::{
    app_pod::Apps,
    osb::{Client, Offer},
    transcript::{Transcript, duration},
};

/// The offering that is ordered.
pub const SERVICE: &str = "mongodb";
/// The plan that is ordered.
pub const PLAN: &str = "small";
/// The plan that the instance of the second act grows to.
pub const LARGER_PLAN: &str = "medium";
/// How long an operation may take, the plan's own deadline aside.
pub const OPERATION_LIMIT: Duration = Duration::from_secs(600);

const FIRST: &str = "first-app";
const SECOND: &str = "second-app";

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// `GET /v2/catalog` has the plan.
    Catalog,
    /// `PUT` an instance: accepted.
    Provision,
    /// Poll until it is there.
    AwaitProvision,
    /// A login for the first app.
    BindFirst,
    /// The first app writes and reads a document.
    FirstWorks,
    /// A login of its own for the second app.
    BindSecond,
    /// So does the second, in the same database.
    SecondWorks,
    /// `PATCH` a parameter: accepted, polled, shown by `GET`.
    Update,
    /// The first app's login is revoked.
    UnbindFirst,
    /// The database refuses it now.
    FirstRefused,
    /// And only it.
    SecondStillWorks,
    /// A pod of a tenant gets no connection to the broker's services.
    TenantRefused,
    /// `DELETE` the instance, the second binding with it, polled to the end.
    Deprovision,
    /// Only the record is left.
    NothingLeft,
}

impl Step {
    /// In their order.
    pub const ALL: [Self; 14] = [
        Self::Catalog,
        Self::Provision,
        Self::AwaitProvision,
        Self::BindFirst,
        Self::FirstWorks,
        Self::BindSecond,
        Self::SecondWorks,
        Self::Update,
        Self::UnbindFirst,
        Self::FirstRefused,
        Self::SecondStillWorks,
        Self::TenantRefused,
        Self::Deprovision,
        Self::NothingLeft,
    ];

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Catalog => "read the catalog",
            Self::Provision => "provision mongodb/small",
            Self::AwaitProvision => "poll until it succeeded",
            Self::BindFirst => "bind the first app",
            Self::FirstWorks => "the first app writes and reads a document with the URI it got",
            Self::BindSecond => "bind the second app",
            Self::SecondWorks => "the second app does the same with a login of its own",
            Self::Update => "update a parameter",
            Self::UnbindFirst => "unbind the first app",
            Self::FirstRefused => "the first login is refused now",
            Self::SecondStillWorks => "the second still works",
            Self::TenantRefused => "a tenant's pod is refused by the broker's services",
            Self::Deprovision => "deprovision, the second binding with it",
            Self::NothingLeft => "nothing is left but the record",
        }
    }
}

/// What the scenario works with and on.
pub struct Scenario {
    /// The broker.
    pub osb: Client,
    /// The apps.
    pub apps: Apps,
    /// The cluster, to look behind the broker's words.
    pub cluster: kube::Client,
    /// What a person reads.
    pub transcript: Transcript,
    /// Instance id; bindings are named after it.
    pub instance: String,
    offer: Option<Offer>,
    provisioning: Option<String>,
}

impl Scenario {
    /// A scenario on an instance of this id.
    pub fn new(
        osb: Client,
        apps: Apps,
        cluster: kube::Client,
        transcript: Transcript,
        instance: impl Into<String>,
    ) -> Self {
        let instance = instance.into();
        Self {
            osb,
            apps,
            cluster,
            transcript,
            instance,
            offer: None,
            provisioning: None,
        }
    }

    /// All steps in their order; the first that fails ends it.
    pub async fn run(&mut self) -> anyhow::Result<()> {
        for step in Step::ALL {
            self.step(step).await?;
        }
        Ok(())
    }

    /// One step.
    pub async fn step(&mut self, step: Step) -> anyhow::Result<()> {
        let number = Step::ALL
            .iter()
            .position(|other| *other == step)
            .unwrap_or_default()
            + 1;
        self.transcript.step(number, Step::ALL.len(), step.title());
        let began = Instant::now();
        self.perform(step)
            .await
            .with_context(|| format!("step {number}, {}", step.title()))?;
        self.transcript
            .note(&format!("ok, {}", duration(began.elapsed())));
        Ok(())
    }

    async fn perform(&mut self, step: Step) -> anyhow::Result<()> {
        match step {
            Step::Catalog => self.catalog().await,
            Step::Provision => self.provision().await,
            Step::AwaitProvision => self.await_provision().await,
            Step::BindFirst => self.bind(FIRST).await,
            Step::BindSecond => self.bind(SECOND).await,
            Step::FirstWorks => self.app_works(FIRST).await,
            Step::SecondWorks | Step::SecondStillWorks => self.app_works(SECOND).await,
            Step::Update => self.update().await,
            Step::UnbindFirst => self.unbind(FIRST).await,
            Step::FirstRefused => self.app_is_refused(FIRST).await,
            Step::TenantRefused => self.tenant_is_refused().await,
            Step::Deprovision => self.deprovision().await,
            Step::NothingLeft => self.nothing_is_left().await,
        }
    }

    fn offer(&self) -> anyhow::Result<&Offer> {
        self.offer.as_ref().context("the catalog was not read")
    }

    fn binding(&self, app: &str) -> String {
        format!("{}-{app}", self.instance)
    }
}

/// What is asked for at first: the apps' namespace is let in.
pub fn parameters() -> Value {
    json!({"allowed_namespaces": [crate::app_pod::NAMESPACE]})
}
