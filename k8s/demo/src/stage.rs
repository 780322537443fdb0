//! A broker that is up, and everything to work with it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::{
    app_pod::Apps,
    args::World,
    deploy::{self, deploy},
    forward::Forward,
    images::{self, Image, Tag},
    occupancy, osb,
    place::{Choice, Place},
    scenario::{Growth, Scenario},
    transcript::Transcript,
};

/// Port of the gateway's Service.
const GATEWAY_PORT: u16 = 80;

/// A deployed broker.
pub struct Stage {
    /// The cluster.
    pub place: Place,
    /// The images that it runs.
    pub images: Vec<Image>,
    /// What a person reads.
    pub transcript: Transcript,
    work: PathBuf,
}

impl Stage {
    /// Brings up the cluster. A user's cluster that has a broker already, which
    /// the demo did not deploy, is refused.
    pub async fn open(world: &World, transcript: &Transcript) -> anyhow::Result<Place> {
        transcript.line("bringing up the cluster");
        let choice = world.choice();
        let place = Place::open(&choice).await.context("bring up the cluster")?;
        match choice {
            Choice::Testbed(_) => {}
            Choice::Context { name, .. } => occupancy::find(&place.client)
                .await?
                .refuse_deployment(&name)?,
        }
        Ok(place)
    }

    /// Brings up the cluster and the broker on it. Repeatable.
    pub async fn up(world: &World, transcript: Transcript) -> anyhow::Result<Self> {
        let place = Self::open(world, &transcript).await?;
        Self::deploy(place, world, transcript).await
    }

    /// Makes the images and brings them to the cluster, and deploys the broker.
    /// Repeatable.
    pub async fn deploy(
        place: Place,
        world: &World,
        transcript: Transcript,
    ) -> anyhow::Result<Self> {
        let stage = Self::make(place, world, transcript).await?;
        stage.transcript.line("bringing the images to the cluster");
        stage.place.deliver(&stage.images).await?;
        stage.transcript.line("deploying the broker");
        let deployed = deploy(&stage.place, &world.root, &stage.images, &stage.work).await;
        if deployed.is_err() {
            crate::diagnose::print(&stage.place).await;
        }
        deployed.context("deploy the broker")?;
        Ok(stage)
    }

    /// A broker that was brought up before.
    pub async fn join(world: &World, transcript: Transcript) -> anyhow::Result<Self> {
        let place = Place::open(&world.choice())
            .await
            .context("reach the cluster")?;
        Self::make(place, world, transcript).await
    }

    async fn make(place: Place, world: &World, transcript: Transcript) -> anyhow::Result<Self> {
        let work = world
            .images
            .parent()
            .unwrap_or_else(|| Path::new("."))
            .join("demo");
        let images = images::build(
            &world.root,
            &world.images,
            &place.prefix(),
            &Tag::Content,
            &work.join("images"),
        )
        .await
        .context("make the images")?;
        Ok(Self {
            place,
            images,
            transcript,
            work,
        })
    }

    /// A client of the broker, and what keeps its connection open.
    pub async fn osb(&self) -> anyhow::Result<(osb::Client, Forward)> {
        self.osb_through("service/gateway", GATEWAY_PORT).await
    }

    /// The same through one pod.
    pub async fn osb_through(
        &self,
        target: &str,
        port: u16,
    ) -> anyhow::Result<(osb::Client, Forward)> {
        let login = deploy::login(&self.place.client).await?;
        let forward = Forward::start(&self.place.kubectl, target, port).await?;
        Ok((
            osb::Client::new(forward.url(), login, self.transcript.clone()),
            forward,
        ))
    }

    /// Apps in the cluster.
    pub async fn apps(&self) -> anyhow::Result<Apps> {
        let image = self
            .images
            .iter()
            .find(|image| image.name == "demo")
            .context("no image of the app")?;
        Apps::prepare(self.place.client.clone(), image.reference()).await
    }

    /// The scenario, on an instance that nobody had before.
    pub async fn scenario(&self) -> anyhow::Result<(Scenario, Forward)> {
        let (osb, forward) = self.osb().await?;
        let instance = format!("demo-{}", cluster::names::random(5));
        let scenario = Scenario::new(
            osb,
            self.apps().await?,
            self.place.client.clone(),
            self.transcript.clone(),
            instance,
        );
        Ok((scenario, forward))
    }

    /// The second act, likewise.
    pub async fn growth(&self) -> anyhow::Result<(Growth, Forward)> {
        let (osb, forward) = self.osb().await?;
        let growth = Growth {
            osb,
            apps: self.apps().await?,
            cluster: self.place.client.clone(),
            transcript: self.transcript.clone(),
            instance: format!("demo-{}", cluster::names::random(5)),
        };
        Ok((growth, forward))
    }
}
