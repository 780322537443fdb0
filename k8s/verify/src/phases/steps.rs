//! At every step of every operation the one replica that does it is killed, or
//! paused until another one has finished its work.
//!
//! Which steps there are is learnt from a run without faults: debug builds
//! write the names of their crash points into a file (libs/service, failpoint).

use std::{fmt, path::Path};

use anyhow::{Context as _, ensure};
use rig::Replica;
use tokio::time::{Duration, Instant};

use super::ENOUGH;
use crate::{
    args::Args,
    check::{self, Late},
    life::Life,
    plans::Plan,
    table::{Open, Table},
    world::{BINDER, PROVISIONER, World},
};

const PHASE: &str = "steps";
const LIMIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

/// An operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Create,
    Update,
    Bind,
    Rotate,
    Unbind,
    Delete,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Bind => "bind",
            Self::Rotate => "rotate",
            Self::Unbind => "unbind",
            Self::Delete => "delete",
        })
    }
}

impl Verb {
    /// Brings an instance to where the operation can begin.
    async fn prepare(self, life: &mut Life<'_>) -> anyhow::Result<()> {
        match self {
            Self::Create => Ok(()),
            Self::Update | Self::Bind | Self::Delete => life.create().await,
            Self::Rotate | Self::Unbind => {
                life.create().await?;
                life.bind().await
            }
        }
    }

    async fn perform(self, life: &mut Life<'_>) -> anyhow::Result<()> {
        match self {
            Self::Create => life.create().await,
            Self::Update => life.update().await,
            Self::Bind => life.bind().await,
            Self::Rotate => life.rotate().await,
            Self::Unbind => life.unbind().await,
            Self::Delete => life.delete().await,
        }
    }
}

/// What happens at the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blow {
    Kill,
    Pause,
}

impl fmt::Display for Blow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "killed",
            Self::Pause => "paused",
        })
    }
}

const OPERATIONS: [(&str, &[Verb]); 2] = [
    (PROVISIONER, &[Verb::Create, Verb::Update, Verb::Delete]),
    (BINDER, &[Verb::Bind, Verb::Rotate, Verb::Unbind]),
];

pub(super) async fn run(world: &World, args: &Args, table: &Table) {
    for (service, verbs) in OPERATIONS {
        for verb in verbs {
            for blow in [Blow::Kill, Blow::Pause] {
                let row = format!("{service} {blow} at each step of {verb}");
                if args.wants(&row) {
                    operation(world, table, row, service, *verb, blow).await;
                }
            }
        }
    }
}

async fn operation(
    world: &World,
    table: &Table,
    row: String,
    service: &'static str,
    verb: Verb,
    blow: Blow,
) {
    let mut open = Open::begin(PHASE, row);
    let stage = Stage {
        world,
        service,
        verb,
    };
    let points = match stage.learn().await {
        Ok(points) => points,
        Err(error) => {
            open.add("without a fault", Err(error));
            Vec::new()
        }
    };
    let mut reached = 0;
    for point in &points {
        match stage.strike(point, blow).await {
            Ok(true) => {
                reached += 1;
                open.add(point, Ok(()));
            }
            Ok(false) => open.add(point, Ok(())),
            Err(error) => open.add(point, Err(error)),
        }
        if open.faults() >= ENOUGH {
            break;
        }
    }
    open.expect("everything comes back", world.whole().await);
    let left = check::nothing_left(world, Late::Secrets).await;
    open.expect("nothing is left", left);
    table.end(open, format!("{reached} {blow}"));
}

struct Stage<'a> {
    world: &'a World,
    service: &'static str,
    verb: Verb,
}

impl Stage<'_> {
    /// The steps of the operation, in the order in which they come.
    async fn learn(&self) -> anyhow::Result<Vec<String>> {
        let file = tempfile::NamedTempFile::new().context("make a file")?;
        let path = file.path().display().to_string();
        let doomed = self.alone(&[("BROKER_POINTS_FILE", &path)]).await?;
        let mut life = self.instance("learn").await?;
        let before = points(file.path())?.len();
        self.verb.perform(&mut life).await?;
        let mut found: Vec<String> = Vec::new();
        for point in points(file.path())?.split_off(before) {
            if !found.contains(&point) {
                found.push(point);
            }
        }
        ensure!(
            !found.is_empty(),
            "{} has reached no crash point: is it a debug build?",
            doomed.name()
        );
        self.end(life).await?;
        Ok(found)
    }

    /// The operation with the blow at that step; whether the step was reached.
    async fn strike(&self, point: &str, blow: Blow) -> anyhow::Result<bool> {
        self.alone(&[]).await?;
        let mut life = self.instance(point).await?;
        let variable = match blow {
            Blow::Kill => "BROKER_CRASH_AT",
            Blow::Pause => "BROKER_STOP_AT",
        };
        let doomed = self.alone(&[(variable, point)]).await?;
        let reached = match blow {
            Blow::Kill => {
                let before = doomed.id().await;
                self.verb.perform(&mut life).await?;
                doomed.id().await != before
            }
            Blow::Pause => self.pause(&doomed, &mut life).await?,
        };
        self.end(life).await?;
        Ok(reached)
    }

    /// Performs the operation; when the replica has stopped, another one takes
    /// over, and when that has ended it, the first one goes on.
    async fn pause(&self, doomed: &Replica, life: &mut Life<'_>) -> anyhow::Result<bool> {
        let heir = self.heir()?;
        let relief = async {
            let deadline = Instant::now() + LIMIT;
            while !doomed.is_paused().await {
                if Instant::now() > deadline {
                    return anyhow::Ok(false);
                }
                tokio::time::sleep(LOOK).await;
            }
            heir.start().await?;
            self.world.route_to(self.service, heir);
            Ok(true)
        };
        let performed = self.verb.perform(life);
        tokio::pin!(relief, performed);
        let reached = tokio::select! {
            reached = &mut relief => {
                let reached = reached?;
                performed.await?;
                reached
            }
            // It may stop at the last step, when all is done.
            ended = &mut performed => {
                ended?;
                doomed.is_paused().await
            }
        };
        doomed.resume().await;
        // What it had in hand it does now. It renews its lease only after that, or beside it.
        doomed.ready().await?;
        Ok(reached)
    }

    /// The first replica alone, started anew with these variables.
    async fn alone(&self, variables: &[(&str, &str)]) -> anyhow::Result<Replica> {
        let replicas = self.world.of(self.service);
        let (first, others) = replicas.split_first().context("no replica")?;
        for other in others {
            other.stop().await;
        }
        first.start_with(variables).await?;
        self.world.route_to(self.service, first);
        first.ready().await?;
        Ok((*first).clone())
    }

    fn heir(&self) -> anyhow::Result<&Replica> {
        self.world
            .of(self.service)
            .into_iter()
            .nth(1)
            .context("no second replica")
    }

    async fn instance(&self, of: &str) -> anyhow::Result<Life<'_>> {
        let id = format!(
            "{}-{}-{of}-{}",
            self.service,
            self.verb,
            cluster::names::random(5)
        );
        let mut life = Life::new(self.world, id, Plan::Polled);
        self.verb.prepare(&mut life).await.context("prepare")?;
        Ok(life)
    }

    async fn end(&self, mut life: Life<'_>) -> anyhow::Result<()> {
        match self.verb {
            Verb::Delete => Ok(()),
            Verb::Create | Verb::Update | Verb::Bind | Verb::Rotate | Verb::Unbind => {
                life.delete().await.context("afterwards")
            }
        }
    }
}

fn points(file: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(file).context("read the steps")?;
    Ok(text.lines().map(str::to_owned).collect())
}
