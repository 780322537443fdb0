//! Bind, rotate and unbind beside createUser and dropUser.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};

use super::{
    accept::{PACE, median},
    id,
};
use crate::{
    args::Args,
    stack::Stack,
    table::{Pair, Table},
};

/// Binds at a time in each database.
const AT_ONCE: usize = 4;
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
    let each = if args.quick { 8 } else { 24 };
    let all = || (0..each).flat_map(|_| 0..instances.len());
    let mut pairs = Vec::new();
    for _ in 0..args.rounds() {
        let began = Instant::now();
        let users: Vec<(usize, String)> = stream::iter(all())
            .map(async |number| {
                let user = id("raw");
                stack.databases[number].create_user(&user).await?;
                anyhow::Ok((number, user))
            })
            .buffer_unordered(AT_ONCE * instances.len())
            .try_collect()
            .await?;
        let baseline = began.elapsed();
        for (number, user) in users {
            stack.databases[number].drop_user(&user).await?;
        }
        let began = Instant::now();
        let bindings: Vec<(usize, String)> = stream::iter(all())
            .map(async |number| {
                let binding = id("binding");
                let platform = &stack.platform;
                platform
                    .bind(&instances[number], &binding, number, None)
                    .await?;
                anyhow::Ok((number, binding))
            })
            .buffer_unordered(AT_ONCE * instances.len())
            .try_collect()
            .await?;
        pairs.push(Pair::of_times(baseline, began.elapsed()));
        for (number, binding) in bindings {
            let platform = &stack.platform;
            platform
                .unbind(&instances[number], &binding, number)
                .await?;
        }
    }
    let what = format!(
        "{} binds, {AT_ONCE} at a time in each of {} databases",
        each * instances.len(),
        instances.len()
    );
    table.compare(&what, "ms", "≤ 1.6x", &pairs);
    Ok(())
}
