//! Bind, rotate and unbind beside createUser and dropUser.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};

use super::{
    accept::{PACE, median},
    at_once, id,
};
use crate::{
    args::Args,
    stack::Stack,
    table::{Pair, Table},
};

/// Binds at a time in each database.
const AT_ONCE: usize = 4;
/// For the statuses and events of a crowd to be written.
const SETTLED: Duration = Duration::from_secs(1);
/// Writes that an unbind may cost beside dropUser.
const WRITES: usize = 4;

pub(super) async fn measure(stack: &Stack, args: &Args, table: &mut Table) -> anyhow::Result<()> {
    let mut instances = Vec::new();
    for number in 0..stack.databases.len() {
        let instance = id("bound");
        let created = stack.platform.provision(&instance, number).await?;
        stack
            .platform
            .succeeded(&instance, &created.operation)
            .await?;
        instances.push(instance);
    }
    alone(stack, args, table, &instances[0]).await?;
    for databases in [1, instances.len()] {
        crowd(stack, args, table, &instances[..databases]).await?;
    }
    super::start::usage(stack, table, "binder-svc", "after them").await?;
    for (number, instance) in instances.iter().enumerate() {
        let removed = stack.platform.deprovision(instance, number).await?;
        stack.platform.gone(instance, &removed.operation).await?;
    }
    Ok(())
}

/// One after the other, in one database, each alone: not beside the status and
/// the event of the one before.
async fn alone(
    stack: &Stack,
    args: &Args,
    table: &mut Table,
    instance: &str,
) -> anyhow::Result<()> {
    let count = if args.quick { 10 } else { 30 };
    let database = &stack.databases[0];
    let (mut binds, mut rotates, mut unbinds) = (vec![], vec![], vec![]);
    for _ in 0..args.rounds() {
        let (mut made, mut dropped) = (vec![], vec![]);
        let (mut bound, mut rotated, mut unbound) = (vec![], vec![], vec![]);
        let platform = &stack.platform;
        let rest = || tokio::time::sleep(PACE);
        for _ in 0..count {
            let user = id("raw");
            let (first, second) = (id("binding"), id("successor"));
            made.push(database.create_user(&user).await?);
            rest().await;
            bound.push(platform.bind(instance, &first, 0, None).await?);
            rest().await;
            rotated.push(platform.bind(instance, &second, 0, Some(&first)).await?);
            rest().await;
            dropped.push(database.drop_user(&user).await? + writes(stack).await?);
            rest().await;
            unbound.push(platform.unbind(instance, &first, 0).await?);
            platform.unbind(instance, &second, 0).await?;
            rest().await;
        }
        let create = median(made);
        binds.push(Pair::of_times(create, median(bound)));
        rotates.push(Pair::of_times(create, median(rotated)));
        unbinds.push(Pair::of_times(median(dropped), median(unbound)));
    }
    table.compare("bind, beside createUser", "ms", "≤ 1.6x", &binds);
    table.compare("rotate, beside createUser", "ms", "–", &rotates);
    let what = format!("unbind, beside dropUser and {WRITES} writes");
    table.compare(&what, "ms", "≤ 1x", &unbinds);
    Ok(())
}

/// How long raw writes take, one after the other.
async fn writes(stack: &Stack) -> anyhow::Result<Duration> {
    let api: Api<ConfigMap> = Api::namespaced(stack.client(), "default");
    let began = Instant::now();
    for _ in 0..WRITES {
        let object = ConfigMap {
            metadata: ObjectMeta {
                name: Some(id("raw")),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        };
        api.create(&PostParams::default(), &object).await?;
    }
    Ok(began.elapsed())
}

/// Many at once, in one database or in several.
async fn crowd(
    stack: &Stack,
    args: &Args,
    table: &mut Table,
    instances: &[String],
) -> anyhow::Result<()> {
    let platform = &stack.platform;
    let each = if args.quick { 8 } else { 24 };
    let all = || (0..each).flat_map(|_| 0..instances.len());
    let clients = AT_ONCE * instances.len();
    let (mut binds, mut rotates, mut unbinds) = (vec![], vec![], vec![]);
    for _ in 0..args.rounds() {
        // Each phase alone: not beside the statuses and events of the one before.
        let rest = || tokio::time::sleep(SETTLED);
        rest().await;
        let create = async |number: usize| {
            let user = id("raw");
            stack.databases[number].create_user(&user).await?;
            anyhow::Ok((number, user))
        };
        let (users, created) = at_once(all(), clients, create).await?;
        let remove = async |(number, user): (usize, String)| {
            stack.databases[number].drop_user(&user).await?;
            anyhow::Ok(())
        };
        rest().await;
        let (_, dropped) = at_once(users, clients, remove).await?;

        rest().await;
        let bind = async |number: usize| {
            let binding = id("binding");
            let bound = platform.bind(&instances[number], &binding, number, None);
            bound.await?;
            anyhow::Ok((number, binding))
        };
        let (bindings, bound) = at_once(all(), clients, bind).await?;
        binds.push(Pair::of_times(created, bound));
        let rotate = async |(number, binding): &(usize, String)| {
            let successor = id("successor");
            let instance = &instances[*number];
            let rotated = platform.bind(instance, &successor, *number, Some(binding));
            rotated.await?;
            anyhow::Ok((*number, successor))
        };
        rest().await;
        let (successors, rotated) = at_once(&bindings, clients, rotate).await?;
        rotates.push(Pair::of_times(created, rotated));
        let unbind = async |(number, binding): (usize, String)| {
            let unbound = platform.unbind(&instances[number], &binding, number);
            unbound.await?;
            anyhow::Ok(())
        };
        rest().await;
        let (_, unbound) = at_once(bindings, clients, unbind).await?;
        unbinds.push(Pair::of_times(dropped, unbound));
        at_once(successors, clients, unbind).await?;
    }
    let count = each * instances.len();
    let of = |what: &str, beside: &str| {
        let databases = match instances.len() {
            1 => "one database".to_owned(),
            several => format!("each of {several} databases"),
        };
        format!("{count} {what}, {AT_ONCE} at a time in {databases}, beside {beside}")
    };
    table.compare(&of("binds", "createUser"), "ms", "≤ 1.6x", &binds);
    table.compare(&of("rotations", "createUser"), "ms", "–", &rotates);
    table.compare(&of("unbinds", "dropUser alone"), "ms", "–", &unbinds);
    Ok(())
}
