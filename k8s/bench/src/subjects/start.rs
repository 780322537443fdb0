//! How long the services need until they are ready, and what they have then.

use crate::{
    stack::{SERVICES, Stack},
    table::{Table, short},
};

pub(super) async fn measure(stack: &Stack, table: &mut Table) -> anyhow::Result<()> {
    for (service, took) in &stack.started {
        let took = format!("{} ms", short(took.as_secs_f64() * 1e3));
        table.note(&format!("{service}: start to ready"), took, "–");
    }
    all_usage(stack, table, "at rest").await
}

/// One row of each service.
pub(super) async fn all_usage(stack: &Stack, table: &mut Table, when: &str) -> anyhow::Result<()> {
    for service in SERVICES {
        usage(stack, table, service, when).await?;
    }
    Ok(())
}

/// One row of what a service has.
pub(super) async fn usage(
    stack: &Stack,
    table: &mut Table,
    service: &str,
    when: &str,
) -> anyhow::Result<()> {
    let usage = stack.usage(service).await?;
    let memory = format!(
        "{} MiB (peak {})",
        mebibytes(usage.memory)?,
        mebibytes(usage.peak)?
    );
    table.note(
        &format!("{service}: memory, files, threads {when}"),
        format!("{memory}, {}, {}", usage.files, usage.threads),
        if service == "gateway" {
            "≤ 16 MiB"
        } else {
            "–"
        },
    );
    Ok(())
}

/// So many bytes, in MiB.
fn mebibytes(bytes: u64) -> anyhow::Result<String> {
    let mebibytes = crate::load::count(usize::try_from(bytes)?) / f64::from(1 << 20);
    Ok(short(mebibytes))
}
