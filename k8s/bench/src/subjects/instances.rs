//! Instances beside raw server-side apply of the same objects.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    accept::{PACE, median},
    at_once, id, raw, start,
};
use crate::{
    args::Args,
    load::count,
    plans,
    platform::Platform,
    stack::Stack,
    table::{Pair, Table, short},
};

/// Between two polls of one deprovision among many. They take many seconds together, and polls of
/// all of them every 100 ms would take a part of the machine that the deletion without a broker has
/// for itself.
const REMOVAL_POLL: Duration = Duration::from_millis(500);
/// The crowd at whose end it is asked what the services have.
const USAGE_AT: usize = 16;

pub(super) async fn measure(stack: &Stack, args: &Args, table: &mut Table) -> anyhow::Result<()> {
    one(stack, args, table).await?;
    requests(stack, table).await?;
    let clients: &[usize] = if args.quick { &[16] } else { &[1, 16, 100] };
    for clients in clients {
        crowd(stack, args, table, *clients).await?;
    }
    fair(stack, args, table).await?;
    start::usage(stack, table, "provisioner-svc", "after them").await
}

/// One after the other, alone.
async fn one(stack: &Stack, args: &Args, table: &mut Table) -> anyhow::Result<()> {
    let mut pairs = Vec::new();
    for _ in 0..args.rounds() {
        let (mut baseline, mut ours) = (Vec::new(), Vec::new());
        let (mut namespaces, mut instances) = (Vec::new(), Vec::new());
        for _ in 0..10 {
            let began = Instant::now();
            namespaces.push(raw::apply(&stack.client()).await?);
            baseline.push(began.elapsed());
            // Alone: not beside what controllers do in the namespace before.
            tokio::time::sleep(PACE).await;
            let began = Instant::now();
            instances.push(provision(&stack.platform).await?);
            ours.push(began.elapsed());
            tokio::time::sleep(PACE).await;
        }
        pairs.push(Pair::of_times(median(baseline), median(ours)));
        raw::delete_all(&stack.client(), &namespaces, 16).await?;
        deprovision_all(&stack.platform, &instances, 16).await?;
    }
    let what = "one instance, PUT to succeeded, polled every 5 ms, beside apply of its objects";
    table.compare(what, "ms", "≤ 2.5x", &pairs);
    Ok(())
}

/// What the API server is asked for one life of an instance.
async fn requests(stack: &Stack, table: &mut Table) -> anyhow::Result<()> {
    let platform = stack.platform.polling(Duration::from_secs(1));
    let before = stack.api_requests().await?;
    let instance = provision(&platform).await?;
    let made = stack.api_requests().await?;
    let what = "API requests of a provision, controllers' included";
    table.detail(what, &difference(&before, &made));
    let updated = platform.update(&instance, 0, "changed").await?;
    platform.succeeded(&instance, &updated.operation).await?;
    let after = stack.api_requests().await?;
    let what = "API requests of the first update, of one object";
    table.detail(what, &difference(&made, &after));
    deprovision_all(&platform, &[instance], 1).await?;
    let gone = stack.api_requests().await?;
    let what = "API requests of a deprovision, controllers' included";
    table.detail(what, &difference(&after, &gone));
    Ok(())
}

/// What was asked in between, the most frequent first.
fn difference(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> (u64, String) {
    let mut parts: Vec<(u64, &str)> = after
        .iter()
        .map(|(part, count)| {
            let before = before.get(part).copied().unwrap_or_default();
            (count.saturating_sub(before), part.as_str())
        })
        .filter(|(count, _)| *count > 0)
        .collect();
    parts.sort_by(|left, right| right.cmp(left));
    let sum: u64 = parts.iter().map(|(count, _)| count).sum();
    let parts: Vec<String> = parts
        .iter()
        .map(|(count, part)| format!("{count} {part}"))
        .collect();
    (sum, parts.join(", "))
}

/// Many at once: made, changed, removed.
async fn crowd(
    stack: &Stack,
    args: &Args,
    table: &mut Table,
    clients: usize,
) -> anyhow::Result<()> {
    let size = args.crowd();
    let platform = stack.platform.polling(Duration::from_millis(100));
    let (mut made, mut server, mut changed, mut removed) = (vec![], vec![], vec![], vec![]);
    for _ in 0..args.rounds() {
        let cpu = stack.api_server_cpu()?;
        let (namespaces, baseline) = raw::apply_all(&stack.client(), size, clients).await?;
        raw::settled(&stack.client()).await?;
        let baseline_cpu = stack.api_server_cpu()?.saturating_sub(cpu);

        let cpu = stack.api_server_cpu()?;
        let began = Instant::now();
        let instances = provision_all(&platform, size, clients).await?;
        made.push(Pair::of_times(baseline, began.elapsed()));
        if clients == USAGE_AT && made.len() == usize::from(args.rounds()) {
            start::all_usage(stack, table, &format!("with {size} instances more")).await?;
        }
        raw::settled(&stack.client()).await?;
        server.push(Pair::of_times(
            baseline_cpu,
            stack.api_server_cpu()?.saturating_sub(cpu),
        ));

        let client = stack.client();
        let apply = async |name: &String| raw::apply_into(&client, name, "changed").await;
        let (_, baseline) = at_once(&namespaces, clients, apply).await?;
        let update = async |instance: &String| update(&platform, instance).await;
        let (_, took) = at_once(&instances, clients, update).await?;
        changed.push(Pair::of_times(baseline, took));

        let baseline = raw::delete_all(&stack.client(), &namespaces, clients).await?;
        let began = Instant::now();
        deprovision_all(&platform.polling(REMOVAL_POLL), &instances, clients).await?;
        removed.push(Pair::of_times(baseline, began.elapsed()));
    }
    let polled = |what: &str, every: &str| {
        format!("{size} {what}; {clients} at a time, polled every {every}")
    };
    let of = |what: &str| polled(what, "100 ms");
    table.compare(
        &of("instances, beside apply of their objects"),
        "ms",
        "≤ 2x",
        &made,
    );
    let what = of("instances, beside apply: the API server's processor time");
    table.compare(&what, "ms", "–", &server);
    table.compare(
        &of("updates, beside apply of the changed objects"),
        "ms",
        "–",
        &changed,
    );
    let what = polled(
        "deprovisions, beside deletion of as many namespaces",
        "500 ms",
    );
    table.compare(&what, "ms", "≤ 1.1x", &removed);
    let rate = made.iter().map(|pair| count(size) * 1e3 / pair.ours);
    let best = rate.fold(0.0, f64::max);
    table.note(
        &of("instances: best rate"),
        format!("{} a second", short(best)),
        "–",
    );
    Ok(())
}

/// Many at once, beside one that never becomes ready, which must not delay the
/// others. Rounds take turns in which comes first.
async fn fair(stack: &Stack, args: &Args, table: &mut Table) -> anyhow::Result<()> {
    const CLIENTS: usize = 16;
    let size = args.crowd();
    let platform = stack.platform.polling(Duration::from_millis(100));
    let crowd = async || {
        let began = Instant::now();
        let instances = provision_all(&platform, size, CLIENTS).await?;
        anyhow::Ok((began.elapsed(), instances))
    };
    let mut pairs = Vec::new();
    for round in 0..args.rounds() {
        let (mut alone, mut beside) = (Duration::ZERO, Duration::ZERO);
        for with_stuck in [round % 2 == 1, round % 2 == 0] {
            let stuck = id("stuck");
            if with_stuck {
                platform.provision(&stuck, plans::STUCK).await?;
            }
            raw::settled(&stack.client()).await?;
            let (took, instances) = crowd().await?;
            deprovision_all(&platform, &instances, CLIENTS).await?;
            if with_stuck {
                beside = took;
                let removed = platform.deprovision(&stuck, plans::STUCK).await?;
                platform.gone(&stuck, &removed.operation).await?;
            } else {
                alone = took;
            }
        }
        pairs.push(Pair::of_times(alone, beside));
    }
    let what =
        format!("{size} instances while one more never becomes ready, beside {size} without it");
    table.compare(&what, "ms", "1x", &pairs);
    Ok(())
}

pub(super) async fn provision(platform: &Platform) -> anyhow::Result<String> {
    let instance = id("instance");
    let accepted = platform.provision(&instance, 0).await?;
    platform.succeeded(&instance, &accepted.operation).await?;
    Ok(instance)
}

/// So many, by so many clients, each of which waits for its own.
pub(super) async fn provision_all(
    platform: &Platform,
    size: usize,
    clients: usize,
) -> anyhow::Result<Vec<String>> {
    let made = at_once(0..size, clients, async |_| provision(platform).await).await;
    made.map(|(instances, _)| instances)
}

async fn update(platform: &Platform, instance: &str) -> anyhow::Result<()> {
    let accepted = platform.update(instance, 0, "changed").await?;
    platform.succeeded(instance, &accepted.operation).await
}

pub(super) async fn deprovision_all<'a>(
    platform: &Platform,
    instances: &'a [String],
    clients: usize,
) -> anyhow::Result<()> {
    // As the raw baseline: all are asked for, then all are waited for.
    let ask = async |instance: &'a String| {
        let accepted = platform.deprovision(instance, 0).await?;
        anyhow::Ok((instance, accepted))
    };
    let (accepted, _) = at_once(instances, clients, ask).await?;
    let polls = accepted
        .iter()
        .map(|(instance, accepted)| platform.gone(instance, &accepted.operation));
    futures::future::try_join_all(polls).await.map(drop)
}
