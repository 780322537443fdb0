//! GET catalog beside a bare axum handler of the same bytes.

use std::{net::SocketAddr, time::Duration};

use crate::{
    args::Args,
    bare,
    load::{self, Load},
    platform::Platform,
    stack::Stack,
    table::{Pair, Table},
};

const CLIENTS: usize = 16;

pub(super) async fn measure(stack: &Stack, args: &Args, table: &mut Table) -> anyhow::Result<()> {
    let (bytes, _) = stack.platform.catalog_bytes().await?;
    let bare = bare::start(bytes.into()).await?;
    measure_at(&stack.gateways(), bare, &stack.platform, args, table).await?;
    super::start::usage(stack, table, "gateway", "under load").await
}

/// At gateways and a bare handler, wherever they run.
pub(crate) async fn measure_at(
    gateways: &[SocketAddr],
    bare: SocketAddr,
    platform: &Platform,
    args: &Args,
    table: &mut Table,
) -> anyhow::Result<()> {
    let time = Duration::from_secs(if args.quick { 2 } else { 5 });
    let (bytes, tag) = platform.catalog_bytes().await?;
    let size = bytes.len();
    let whole = platform.get("catalog", "");
    let condition = format!("if-none-match: {tag}\r\n");
    let same = platform.get("catalog", &condition);
    for (what, path, request, status) in [
        (
            format!("GET catalog, {size} bytes: a rate, more is better"),
            "/200",
            &whole,
            200,
        ),
        (
            "GET catalog, 304: a rate, more is better".to_owned(),
            "/304",
            &same,
            304,
        ),
    ] {
        let mut pairs = Vec::new();
        for _ in 0..args.rounds() {
            let plain = format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n");
            let baseline = load::run(&[bare], plain.as_bytes(), status, CLIENTS, time).await?;
            let ours = load::run(gateways, request, status, CLIENTS, time).await?;
            pairs.push(pair(&baseline, &ours));
        }
        table.compare(&what, "a second", "≥ 0.8x", &pairs);
    }
    Ok(())
}

fn pair(baseline: &Load, ours: &Load) -> Pair {
    Pair {
        baseline: baseline.rate(),
        ours: ours.rate(),
    }
}
