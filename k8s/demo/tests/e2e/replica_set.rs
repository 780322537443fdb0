//! One replica set through everything that it must survive, while two apps write: the one with a
//! login from when it had one member, the other with one from when it had three. After each fault
//! it must be whole again, and all that was acknowledged must be found.

#[path = "replica_set/fault.rs"]
mod fault;
#[path = "replica_set/view.rs"]
mod view;

use anyhow::{Context as _, ensure};
use demo::{
    app::Outcome,
    app_pod::{Apps, Writer},
    members::Members,
    scenario::{PLAN, gone, parameters, succeed},
    transcript::duration,
};
use serde_json::json;
use testbed::Cluster;
use tokio::time::Instant;

use crate::fixture::{self, Fixture};
use fault::Fault;
use view::{Wanted, settled};

const INSTANCE: &str = "e2e-replica-set";
/// So many more writes show that an app goes on.
const ENOUGH: u64 = 20;

/// The set, and what goes on around it.
struct Trial<'a> {
    fixture: &'a Fixture,
    cluster: Cluster,
    instance: String,
    members: Members,
    apps: Apps,
    /// One for each live binding.
    writers: Vec<(&'static str, Writer)>,
    set: Option<String>,
}

/// A line of the table.
struct Row {
    fault: Fault,
    outcome: Result<String, String>,
}

/// The whole case.
pub(crate) async fn survives(fixture: &Fixture) -> anyhow::Result<()> {
    let mut trial = Trial::begin(fixture).await?;
    let mut rows = Vec::new();
    for fault in Fault::ALL {
        println!("fault: {}", fault.words().0);
        let outcome = trial.undergo(fault).await;
        let failed = outcome.is_err();
        rows.push(Row {
            fault,
            outcome: outcome.map_err(|error| format!("{error:#}")),
        });
        if failed {
            // What comes after would only tell of this one.
            break;
        }
        if fault == Fault::Grow {
            trial.bind("three-app").await?;
        }
    }
    print(&rows);
    if let Some(Err(error)) = rows.last().map(|row| &row.outcome) {
        anyhow::bail!("{error}");
    }
    trial.end().await
}

impl<'a> Trial<'a> {
    async fn begin(fixture: &'a Fixture) -> anyhow::Result<Self> {
        let client = &fixture.stage.place.client;
        let offer = fixture.offer(PLAN).await?;
        let answer = fixture
            .osb
            .provision(INSTANCE, &offer, &parameters())
            .await?
            .expect(&[202])?;
        succeed(&fixture.osb, INSTANCE, answer.operation()).await?;
        let mut trial = Self {
            fixture,
            cluster: Cluster::find(&fixture::NAME.parse()?)
                .await?
                .context("the cluster is gone")?,
            instance: INSTANCE.to_owned(),
            members: Members::of_instance(client, INSTANCE).await?,
            apps: fixture.stage.apps().await?,
            writers: Vec::new(),
            set: None,
        };
        trial.bind("one-app").await?;
        let view = settled(&trial.members, trial.wanted(1)).await?;
        trial.set = view.set().map(str::to_owned);
        Ok(trial)
    }

    /// One more login, and an app that writes with it.
    async fn bind(&mut self, app: &'static str) -> anyhow::Result<()> {
        let offer = self.fixture.offer(PLAN).await?;
        let answer = self
            .fixture
            .osb
            .bind(
                &self.instance,
                &binding(app),
                &self.current(offer).await?,
                &json!({}),
            )
            .await?
            .expect(&[201])?;
        let uri = answer.body["credentials"]["uri"]
            .as_str()
            .context("the binding has no uri")?;
        self.apps.give(app, uri).await?;
        let writer = self.apps.start_writer(app).await?;
        self.writers.push((app, writer));
        Ok(())
    }

    /// A plan's offer, with the plan that the instance has now.
    async fn current(&self, offer: demo::osb::Offer) -> anyhow::Result<demo::osb::Offer> {
        let shown = self
            .fixture
            .osb
            .instance(&self.instance)
            .await?
            .expect(&[200])?;
        let plan = shown.text("plan_id").context("the instance has no plan")?;
        Ok(demo::osb::Offer {
            plan_id: plan.to_owned(),
            ..offer
        })
    }

    /// Lets it happen, waits until all is well, and says how it was for the apps.
    async fn undergo(&self, fault: Fault) -> anyhow::Result<String> {
        let mut seen = Vec::new();
        for (_, writer) in &self.writers {
            seen.push(writer.counts().await?.len());
        }
        let began = Instant::now();
        fault.happen(self).await?;
        settled(&self.members, self.wanted(fault.members())).await?;
        let took = began.elapsed();
        let mut words = vec![format!("whole after {}", duration(took))];
        for ((app, writer), seen) in self.writers.iter().zip(seen) {
            // Counted from now on, so that the app is known to go on after the fault.
            let now = writer.counts().await?.len();
            writer
                .progress(now, ENOUGH)
                .await
                .with_context(|| format!("after that, {app}"))?;
            let progress = writer.progress(seen, ENOUGH).await?;
            words.push(format!(
                "{app}: {} acknowledged, {} lost, {} errors, longest wait {}",
                progress.acknowledged,
                progress.lost,
                progress.errors,
                duration(progress.longest)
            ));
        }
        Ok(words.join("; "))
    }

    fn wanted(&self, members: usize) -> Wanted<'_> {
        Wanted {
            members,
            bindings: self.writers.len(),
            set: self.set.as_deref(),
        }
    }

    /// One login goes, and the other does not; then all goes.
    async fn end(mut self) -> anyhow::Result<()> {
        let osb = &self.fixture.osb;
        let offer = self.fixture.offer(PLAN).await?;
        let (app, writer) = self.writers.remove(0);
        writer.stop().await?;
        osb.unbind(&self.instance, &binding(app), &offer)
            .await?
            .expect(&[200])?;
        let run = self.apps.run(app, app).await?;
        ensure!(run.outcome == Outcome::LoginRefused, "{app}: {run:?}");
        settled(&self.members, self.wanted(1)).await?;
        for (_, writer) in &self.writers {
            writer
                .progress(writer.counts().await?.len(), ENOUGH)
                .await?;
        }
        let answer = osb
            .deprovision(&self.instance, &offer)
            .await?
            .expect(&[202])?;
        succeed(osb, &self.instance, answer.operation()).await?;
        for (_, writer) in self.writers {
            writer.stop().await?;
        }
        gone(&self.fixture.stage.place.client, &self.instance).await
    }
}

fn binding(app: &str) -> String {
    format!("{INSTANCE}-{app}")
}

fn print(rows: &[Row]) {
    println!("\n| fault | moment | outcome |\n|---|---|---|");
    for row in rows {
        let (fault, moment) = row.fault.words();
        let outcome = match &row.outcome {
            Ok(outcome) => outcome.clone(),
            Err(error) => format!("FAILED: {error}"),
        };
        println!("| {fault} | {moment} | {outcome} |");
    }
    println!();
}
