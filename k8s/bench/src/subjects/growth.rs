//! The same with more and more records: what must not grow with their number.
//!
//! Most records are copies of one that was really made, written straight to the
//! API server: finished instances, as the services find them at their start.

use std::time::Duration;

use anyhow::Context as _;
use cluster::names::State;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, ResourceExt as _,
    api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
};
use rig::NAMESPACE;
use serde_json::json;

use super::{
    accept, at_once, id,
    instances::{provision, provision_all},
    reads, start,
};
use crate::{
    args::Args,
    stack::Stack,
    table::{Table, short},
};

/// Instances that are made as a platform makes them.
const REAL: usize = 10;
/// Instances that have their namespace.
const WITH_NAMESPACE: usize = 1000;
const AT_ONCE: usize = 16;

pub(super) async fn measure(stack: &Stack, args: &Args, table: &mut Table) -> anyhow::Result<()> {
    let sizes: &[usize] = if args.quick {
        &[10, 300]
    } else {
        &[10, 1000, 10_000]
    };
    let mut there = 0;
    for size in sizes {
        fill(stack, there, *size).await?;
        there = *size;
        let with = format!("with {size} records");
        table.under(&with);
        for service in ["provisioner-svc", "gateway"] {
            let took = stack.restart(service).await?;
            let took = format!("{} ms", short(took.as_secs_f64() * 1e3));
            table.note(&format!("{service}: start to ready"), took, "–");
        }
        accept::measure(stack, args, table).await?;
        reads::measure(stack, args, table).await?;
        // Not right after the start, when the first sweep may be under way.
        start::all_usage(stack, table, "after these").await?;
    }
    table.under("");
    Ok(())
}

fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(
        "mongodb-osb.io",
        "v1alpha1",
        "ServiceInstance",
    ))
}

/// Finished instances, which stay, until there are `size` in place of `there`.
pub(crate) async fn fill(stack: &Stack, there: usize, size: usize) -> anyhow::Result<()> {
    let platform = stack.platform.polling(Duration::from_millis(200));
    let real = size.min(REAL).saturating_sub(there);
    provision_all(&platform, real, AT_ONCE).await?;
    let first = there.max(REAL);
    if size <= first {
        return Ok(());
    }
    let resource = resource();
    let records: Api<DynamicObject> = Api::namespaced_with(
        stack.client(),
        &State::Instances.namespace(NAMESPACE),
        &resource,
    );
    let model = provision(&platform).await?;
    let model = records
        .get(&cluster::names::instance_record(&model))
        .await
        .context("read a record to copy")?;
    // The model is one of them.
    let copy = async |number| copy(stack, &records, &model, number < WITH_NAMESPACE).await;
    at_once(first + 1..size, AT_ONCE, copy).await?;
    Ok(())
}

/// A record like the model, of another instance.
async fn copy(
    stack: &Stack,
    records: &Api<DynamicObject>,
    model: &DynamicObject,
    with_namespace: bool,
) -> anyhow::Result<()> {
    let instance = id("copy");
    let name = cluster::names::instance_record(&instance);
    let incarnation = cluster::names::random(8);
    let mut record = DynamicObject::new(&name, &resource());
    record.metadata.labels.clone_from(&model.metadata.labels);
    let annotations = model.annotations().clone();
    record.metadata.annotations = Some(annotations);
    record
        .metadata
        .finalizers
        .clone_from(&model.metadata.finalizers);
    let mut spec = model.data["spec"].clone();
    spec["instanceId"] = json!(instance);
    spec["incarnation"] = json!(incarnation);
    if with_namespace {
        let namespace = format!("mdb-{}-{incarnation}", cluster::names::short(&name));
        spec["namespace"] = json!(namespace);
        let mut labels = cluster::names::instance_labels(&name, &incarnation);
        // Without it the sweep does not see the namespace, and calls it missing.
        labels.insert(cluster::names::BROKER.to_owned(), NAMESPACE.to_owned());
        let object: Namespace = serde_json::from_value(json!({
            "metadata": {"name": namespace, "labels": labels}
        }))?;
        let namespaces: Api<Namespace> = Api::all(stack.client());
        namespaces
            .create(&PostParams::default(), &object)
            .await
            .context("make a namespace")?;
    } else {
        // A guest in the model's: an instance at rest whose namespace is not
        // there is looked up and written by every sweep.
        spec["ownNamespace"] = json!(false);
    }
    record.data = json!({"spec": spec});
    let written = records
        .create(&PostParams::default(), &record)
        .await
        .context("write a record")?;
    let mut status = model.data["status"].clone();
    status["observedGeneration"] = json!(written.metadata.generation);
    let patch = Patch::Merge(json!({"status": status}));
    records
        .patch_status(&name, &PatchParams::default(), &patch)
        .await
        .context("write a status")?;
    Ok(())
}
