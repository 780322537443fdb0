//! One look at the sources: what is there, what is valid, what is wrong.

use plan::{Bundle, Catalog, Tree, catalog::Draft};

use super::{Discovery, Inputs, State, fetches::is_waiting};
use crate::{
    snapshot::{Found, PlanKey},
    source, wire,
};

/// Bytes of a bundle; a client takes 32 MiB in one message.
const MAX_BUNDLE: usize = 16 << 20;

impl Discovery {
    /// Reads the newest content of all sources and validates it.
    pub(super) async fn look(
        &mut self,
        inputs: &mut Inputs,
        state: &mut State,
    ) -> anyhow::Result<()> {
        let folders = inputs.folders.borrow_and_update().clone();
        let maps = inputs.maps.borrow_and_update().clone().unwrap_or_default();
        let trees: Vec<Tree> = folders.trees.into_iter().chain(maps.trees).collect();
        let fetched = self.fetches.put_in(&trees);
        let retry = !fetched.faults.is_empty();
        // Reading all of it takes too long for a thread that answers calls.
        let namespace = self.namespace.clone();
        let (trees, draft, named) = tokio::task::spawn_blocking(move || {
            let draft = Draft::of(Some(&namespace), &fetched.trees);
            let named = draft.api_versions();
            (fetched.trees, draft, named)
        })
        .await?;
        state.known = self.cluster.learn(named).await;
        let known = state.known.clone();
        let draft = tokio::task::spawn_blocking(move || draft.knowing(&known)).await?;
        let (checked, unchecked) = self.checks.of(&draft).await;
        let build = move || found(&trees, draft.finish(checked));
        let mut found = tokio::task::spawn_blocking(build).await?;
        found.origins = maps.origins;
        found.faults.extend(folders.faults);
        found.faults.extend(maps.faults);
        found.faults.extend(fetched.faults);
        found.add_faulty_folders();
        found.retry = retry;
        found.unchecked = unchecked;
        log_faults(state, &found);
        state.found = found;
        Ok(())
    }
}

fn found(trees: &[Tree], catalog: Catalog) -> Found {
    let mut found = Found {
        // Bases are no plans.
        folders: source::folders(trees)
            .into_iter()
            .filter(|folder| !folder.plan.starts_with('_'))
            .collect(),
        faults: catalog.faults.into_iter().collect(),
        warnings: catalog.warnings.into_iter().collect(),
        ..Found::default()
    };
    for bundle in catalog.plans {
        let key = PlanKey::of(&bundle);
        match sendable(&bundle) {
            Ok(()) => {
                found.bundles.insert(key, bundle);
            }
            Err(message) => {
                found.faults.insert(key.fault(message));
            }
        }
    }
    found
}

/// Whether a plan can travel to those who use it.
fn sendable(bundle: &Bundle) -> Result<(), String> {
    wire::plan(bundle)?;
    let size = bundle.to_bytes().len();
    if size > MAX_BUNDLE {
        return Err(format!(
            "the plan has {size} bytes; at most {MAX_BUNDLE} are possible"
        ));
    }
    Ok(())
}

/// Logs each warning once, and each fault once: when it appears, and that it is gone.
fn log_faults(state: &mut State, found: &Found) {
    for fault in found.faults.difference(&state.logged) {
        if is_waiting(fault) {
            tracing::info!(
                file = fault.file.as_deref().unwrap_or_default(),
                "a plan waits: {fault}"
            );
            continue;
        }
        tracing::error!(
            provider = fault.provider,
            plan = fault.plan.as_deref().unwrap_or_default(),
            file = fault.file.as_deref().unwrap_or_default(),
            line = fault.line.unwrap_or_default(),
            column = fault.column.unwrap_or_default(),
            "a plan has a fault: {fault}",
        );
    }
    for fault in state.logged.difference(&found.faults) {
        tracing::info!(
            provider = fault.provider,
            plan = fault.plan.as_deref().unwrap_or_default(),
            "a fault is resolved: {fault}",
        );
    }
    for warning in found.warnings.difference(&state.warned) {
        tracing::warn!(
            provider = warning.provider,
            plan = warning.plan.as_deref().unwrap_or_default(),
            "a plan has something that is probably not meant: {warning}",
        );
    }
    state.logged.clone_from(&found.faults);
    state.warned.clone_from(&found.warnings);
}
