//! Polls and fetches of an instance that is finished.

use std::time::Duration;

use super::id;
use crate::{
    args::Args,
    load,
    plans::STUCK,
    stack::Stack,
    table::{Table, short},
};

const CLIENTS: usize = 16;

pub(super) async fn measure(stack: &Stack, args: &Args, table: &mut Table) -> anyhow::Result<()> {
    let time = Duration::from_secs(if args.quick { 2 } else { 5 });
    let platform = &stack.platform;
    let instance = id("reads");
    let created = platform.provision(&instance, 0).await?;
    platform.succeeded(&instance, &created.operation).await?;
    let stuck = id("stuck");
    let going = platform.provision(&stuck, STUCK).await?;
    let of = format!("service_instances/{instance}");
    let operation = &created.operation;
    for (what, path) in [
        (
            "last_operation, known id, ended",
            format!("{of}/last_operation?operation={operation}"),
        ),
        (
            "last_operation, known id, in progress",
            format!(
                "service_instances/{stuck}/last_operation?operation={}",
                going.operation
            ),
        ),
        (
            "last_operation without an id",
            format!("{of}/last_operation"),
        ),
        ("fetch an instance", of),
    ] {
        let request = platform.get(&path, "");
        let before = stack.cpu().await?;
        let load = load::run(&stack.gateways(), &request, 200, CLIENTS, time).await?;
        let used = stack.cpu().await?.saturating_sub(before).as_secs_f64() * 1e6
            / load::count(load.answers);
        table.note(
            what,
            format!(
                "{} a second, p50 {} ms, {} µs CPU of the broker each",
                short(load.rate()),
                short(load.median().as_secs_f64() * 1e3),
                short(used)
            ),
            "≤ 49 µs CPU for a poll",
        );
    }
    let removed = platform.deprovision(&stuck, STUCK).await?;
    platform.gone(&stuck, &removed.operation).await?;
    let removed = platform.deprovision(&instance, 0).await?;
    platform.gone(&instance, &removed.operation).await
}
