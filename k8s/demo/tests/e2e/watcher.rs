//! Gathers, all the while, the secrets that come and go, and the logs of pods
//! that come and go.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use demo::secrets;
use tokio::{
    sync::Mutex,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

const LOOK_EVERY: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Gathered {
    secrets: BTreeSet<String>,
    logs: BTreeMap<String, String>,
}

/// Ends when dropped.
pub(crate) struct Watcher {
    client: kube::Client,
    gathered: Arc<Mutex<Gathered>>,
    task: JoinHandle<()>,
}

impl Watcher {
    pub(crate) fn start(client: kube::Client) -> Self {
        let gathered = Arc::new(Mutex::new(Gathered::default()));
        let task = tokio::spawn(watch(client.clone(), Arc::clone(&gathered)));
        Self {
            client,
            gathered,
            task,
        }
    }

    /// How many secrets were seen, and how many logs; and where a secret is in
    /// one of the logs or in `more`.
    pub(crate) async fn search(&self, more: &str) -> anyhow::Result<(usize, usize, Vec<String>)> {
        let mut gathered = self.gathered.lock().await;
        look(&self.client, &mut gathered).await?;
        let logs = gathered
            .logs
            .iter()
            .map(|(name, log)| (name.as_str(), log.as_str()));
        let found = logs
            .chain([("the transcript", more)])
            .filter(|(_, log)| gathered.secrets.iter().any(|secret| log.contains(secret)))
            .map(|(name, _)| name.to_owned())
            .collect();
        Ok((gathered.secrets.len(), gathered.logs.len(), found))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(client: kube::Client, gathered: Arc<Mutex<Gathered>>) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // A pod that went while it was looked at is met again, or its last look counts.
        let _ = look(&client, &mut *gathered.lock().await).await;
    }
}

async fn look(client: &kube::Client, gathered: &mut Gathered) -> anyhow::Result<()> {
    let namespaces = secrets::namespaces(client).await?;
    for namespace in &namespaces {
        secrets::collect(client, namespace, &mut gathered.secrets).await?;
        secrets::collect_logs(client, namespace, &mut gathered.logs).await?;
    }
    Ok(())
}
