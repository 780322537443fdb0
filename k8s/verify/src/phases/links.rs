//! Each connection between two parts has each fault, on and off, while
//! lifecycles go through it.

use rand::{SeedableRng as _, rngs::StdRng};
use tokio::time::{Duration, sleep};

use crate::{
    args::Args,
    check::{self, Late},
    faults::Fault,
    life::Life,
    plans::Plan,
    table::{Open, Table},
    world::{Link, World},
};

const PHASE: &str = "links";
/// How long the fault is there, and then not.
const ON: Duration = Duration::from_secs(4);
const OFF: Duration = Duration::from_secs(2);
/// Lifecycles at a time, of each plan.
const LIVES: u64 = 2;

pub(super) async fn run(world: &World, args: &Args, table: &Table) {
    for (number, link) in world.links().into_iter().enumerate() {
        for fault in &link.faults {
            let row = format!("{}: {fault}", link.name);
            if args.wants(&row) {
                let seed = args.seed.wrapping_add(number as u64);
                connection(world, table, row, &link, *fault, seed).await;
            }
        }
    }
}

/// Which share of the chances has the fault: the harder it hits, the fewer.
fn share(link: &Link, fault: Fault) -> f64 {
    if link.at_start {
        // There are few chances.
        return 0.5;
    }
    match fault {
        Fault::Delay | Fault::Answer(_) => 0.25,
        Fault::LoseAnswer => 0.15,
        Fault::Drop | Fault::Reset => 0.05,
    }
}

/// A row without a fault shows nothing.
fn some(made: usize) -> anyhow::Result<()> {
    anyhow::ensure!(made > 0, "none was made");
    Ok(())
}

async fn connection(
    world: &World,
    table: &Table,
    row: String,
    link: &Link,
    fault: Fault,
    seed: u64,
) {
    let mut open = Open::begin(PHASE, row);
    let mut made = 0;
    let lives = async {
        let plans = Plan::ALL.into_iter();
        let all = plans.flat_map(|plan| (0..LIVES).map(move |number| (plan, number)));
        let running = all.map(async |(plan, number)| {
            let id = format!("link-{}", cluster::names::random(5));
            let mut random = StdRng::seed_from_u64(seed.wrapping_add(number));
            let mut life = Life::new(world, id.clone(), plan);
            let outcome = life.whole(&mut random).await;
            (format!("{id} ({})", plan.name()), outcome)
        });
        futures::future::join_all(running).await
    };
    tokio::pin!(lives);
    let ended = loop {
        link.dial.turn(fault, share(link, fault));
        if link.at_start {
            for replica in world.of(link.caller) {
                replica.kill().await;
            }
        }
        tokio::select! {
            ended = &mut lives => break ended,
            () = sleep(ON) => {}
        }
        made += link.dial.heal();
        tokio::select! {
            ended = &mut lives => break ended,
            () = sleep(OFF) => {}
        }
    };
    made += link.dial.heal();
    open.expect("there were faults", some(made));
    for (of, outcome) in ended {
        open.add(&of, outcome);
    }
    open.expect("everything comes back", world.whole().await);
    let left = check::nothing_left(world, Late::Secrets).await;
    open.expect("nothing is left", left);
    table.end(open, format!("{made} faults"));
}
