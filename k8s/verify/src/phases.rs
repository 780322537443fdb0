//! What is done to the broker, phase by phase.

mod kills;
mod links;
mod steps;

use crate::{
    args::{Args, Phase},
    table::Table,
    world::World,
};

/// After so many faults in a row of the table the rest of it tells nothing new.
const ENOUGH: usize = 5;

/// Runs one phase to its end.
pub(crate) async fn run(phase: Phase, world: &World, args: &Args, table: &Table) {
    match phase {
        Phase::Steps => steps::run(world, args, table).await,
        Phase::Links => links::run(world, args, table).await,
        Phase::Kills => kills::run(world, args, table).await,
    }
}
