//! Many lifecycles at once, while replicas of all services are killed and
//! paused at random.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{StreamExt as _, stream};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::time::{Duration, sleep};

use super::ENOUGH;
use crate::{
    args::Args,
    check::{self, Late},
    life::Life,
    plans::Plan,
    table::{Open, Table},
    world::World,
};

const PHASE: &str = "kills";
/// Lifecycles at a time.
const AT_ONCE: usize = 8;

pub(super) async fn run(world: &World, args: &Args, table: &Table) {
    let row = format!("{} lifecycles under random kills and pauses", args.lives);
    if !args.wants(&row) {
        return;
    }
    let mut open = Open::begin(PHASE, row);
    let seed = args.seed;
    let mut lives = stream::iter(0..args.lives)
        .map(async |number| {
            let plan = Plan::ALL[number % Plan::ALL.len()];
            let id = format!("kill-{number}-{}", cluster::names::random(5));
            let mut random = StdRng::seed_from_u64(seed.wrapping_add(number as u64));
            let mut life = Life::new(world, id.clone(), plan);
            let outcome = life.whole(&mut random).await;
            (format!("{id} ({})", plan.name()), outcome)
        })
        .buffer_unordered(AT_ONCE);
    let (kills, pauses) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let trouble = trouble(world, seed, &kills, &pauses);
    tokio::pin!(trouble);
    loop {
        tokio::select! {
            ended = lives.next() => match ended {
                Some((of, outcome)) => open.add(&of, outcome),
                None => break,
            },
            () = &mut trouble => {}
        }
        if open.faults() >= ENOUGH {
            break;
        }
    }
    drop(lives);
    open.expect("everything comes back", world.whole().await);
    // Lives that were broken off leave what they have.
    if open.faults() < ENOUGH {
        let left = check::nothing_left(world, Late::Nothing).await;
        open.expect("nothing is left", left);
    }
    let made = format!(
        "{} kills, {} pauses",
        kills.load(Ordering::Relaxed),
        pauses.load(Ordering::Relaxed)
    );
    table.end(open, made);
}

/// Kills and pauses for ever.
async fn trouble(world: &World, seed: u64, kills: &AtomicUsize, pauses: &AtomicUsize) {
    let mut random = StdRng::seed_from_u64(seed);
    let replicas = world.replicas();
    loop {
        sleep(Duration::from_millis(random.random_range(300..1500))).await;
        let replica = replicas[random.random_range(0..replicas.len())];
        if random.random_bool(0.6) {
            kills.fetch_add(1, Ordering::Relaxed);
            replica.kill().await;
        } else {
            pauses.fetch_add(1, Ordering::Relaxed);
            replica.pause().await;
            sleep(Duration::from_millis(random.random_range(500..6000))).await;
            replica.resume().await;
        }
    }
}
