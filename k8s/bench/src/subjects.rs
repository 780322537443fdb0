//! What is measured, subject by subject.

mod accept;
mod bindings;
mod catalog;
mod growth;
mod instances;
mod plans;
mod raw;
mod reads;
mod start;

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    args::{Args, Subject},
    stack::Stack,
    table::Table,
};

pub(crate) use self::{catalog::measure_at as catalog_at, growth::fill};

/// Measures one subject.
pub(crate) async fn measure(
    subject: Subject,
    stack: &Stack,
    args: &Args,
    table: &mut Table,
) -> anyhow::Result<()> {
    match subject {
        Subject::Start => start::measure(stack, table).await,
        Subject::Catalog => catalog::measure(stack, args, table).await,
        Subject::Accept => accept::measure(stack, args, table).await,
        Subject::Reads => reads::measure(stack, args, table).await,
        Subject::Instances => instances::measure(stack, args, table).await,
        Subject::Bindings => bindings::measure(stack, args, table).await,
        Subject::Plans => plans::measure(stack, args, table).await,
        Subject::End => start::all_usage(stack, table, "after all of it").await,
        Subject::Growth => growth::measure(stack, args, table).await,
    }
}

/// An id that no run used before.
fn id(of: &str) -> String {
    format!("{of}-{}", cluster::names::random(8))
}

/// Does it with each, so many at a time; what came of them, and how long all took.
async fn at_once<I, T, F>(
    items: I,
    clients: usize,
    each: impl Fn(I::Item) -> F,
) -> anyhow::Result<(Vec<T>, Duration)>
where
    I: IntoIterator,
    F: Future<Output = anyhow::Result<T>>,
{
    let began = Instant::now();
    let done = stream::iter(items)
        .map(each)
        .buffer_unordered(clients)
        .try_collect()
        .await?;
    Ok((done, began.elapsed()))
}
