//! Polls and fetches of an instance that is finished.

use std::time::Duration;

use super::id;
use crate::{
    args::Args,
    hop::Hop,
    load::{self, Load},
    plans::STUCK,
    stack::Stack,
    table::{Pair, Table},
    usage,
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
    let requests = [
        (
            "last_operation, its id given, ended",
            format!("{of}/last_operation?operation={operation}"),
        ),
        (
            "last_operation, its id given, in progress",
            format!(
                "service_instances/{stuck}/last_operation?operation={}",
                going.operation
            ),
        ),
        (
            "last_operation without an id",
            format!("{of}/last_operation"),
        ),
        ("fetch of an instance", of),
    ];
    let hop = Hop::start().await?;
    let mut pairs = vec![Vec::new(); requests.len()];
    for _ in 0..args.rounds() {
        let before = usage::of(hop.id()?)?.cpu;
        let plain = b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n";
        let load = load::run(&[hop.address], plain, 200, CLIENTS, time).await?;
        let baseline = each(usage::of(hop.id()?)?.cpu.saturating_sub(before), &load);
        for ((_, path), pairs) in requests.iter().zip(&mut pairs) {
            let request = platform.get(path, "");
            let before = stack.cpu().await?;
            let load = load::run(&stack.gateways(), &request, 200, CLIENTS, time).await?;
            let ours = each(stack.cpu().await?.saturating_sub(before), &load);
            pairs.push(Pair { baseline, ours });
        }
    }
    for ((what, _), pairs) in requests.iter().zip(&pairs) {
        let what =
            format!("{what}: processor time, beside an HTTP handler that asks a gRPC service");
        let aim = if what.starts_with("last") {
            "≤ 49 µs"
        } else {
            "–"
        };
        table.compare(&what, "µs", aim, pairs);
    }
    let removed = platform.deprovision(&stuck, STUCK).await?;
    platform.gone(&stuck, &removed.operation).await?;
    let removed = platform.deprovision(&instance, 0).await?;
    platform.gone(&instance, &removed.operation).await
}

/// Of a load's processor time, what one answer took, in microseconds.
fn each(used: Duration, load: &Load) -> f64 {
    used.as_secs_f64() * 1e6 / load::count(load.answers)
}
