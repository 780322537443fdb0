//! A local image registry, which stands in for a user's own.

use std::{fs, time::Duration};

use serde_json::json;
use tokio::net::TcpStream;

use super::{control, layout::Layout};
use crate::{
    binaries::Binary,
    error::{At as _, Result},
    port::Port,
    wait,
};

const READY_LIMIT: Duration = Duration::from_secs(30);

/// Starts it; returns its `host:port`.
pub(super) async fn start(layout: &Layout) -> Result<String> {
    let port = Port::reserve()?;
    let address = format!("127.0.0.1:{}", port.number());
    let config = json!({
        "version": "0.1",
        "log": { "level": "warn", "accesslog": { "disabled": true } },
        "storage": {
            "filesystem": { "rootdirectory": layout.file("registry") },
            "delete": { "enabled": true },
        },
        "http": { "addr": address },
    });
    let path = layout.file("registry.yaml");
    fs::write(&path, serde_json::to_string_pretty(&config)?).at("write", &path)?;
    let args = vec!["serve".to_owned(), path.display().to_string()];
    let process = control::launch(layout, Binary::Registry, args).await?;
    wait::until("the registry", READY_LIMIT, &[&process], async || {
        TcpStream::connect(&address).await
    })
    .await?;
    Ok(format!("localhost:{}", port.number()))
}
