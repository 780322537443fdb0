//! The barrier behind a file: waits until its objects are ready, then evaluates
//! the outputs.

use std::time::Duration;

use cluster::{diagnose, watch::Watch};
use jiff::Timestamp;
use kube::{ResourceExt as _, core::GroupVersionKind};
use plan::ready::Readiness;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{AppliedObject, Done, Failure, Halt, Job, refuse};
use crate::step::FileState;

/// Between looks at what no watch tells (pods, volume claims, events).
const DIAGNOSE_EVERY: Duration = Duration::from_secs(5);
/// Waiting objects that a poll names.
const NAMED: usize = 3;

impl Job<'_> {
    /// Waits at the barrier behind a file: watches its objects until all are
    /// ready, then evaluates the outputs.
    pub(super) async fn wait_for(&mut self, index: usize) -> Done {
        let mut watch: Option<Watch> = None;
        let begun = Instant::now();
        let mut diagnosed: Option<Instant> = None;
        let mut hints: Vec<String> = Vec::new();
        loop {
            let waiting = self.judge(index)?;
            if waiting.is_empty() {
                break;
            }
            if self.is_overdue() {
                self.observed.overdue = true;
                return Err(Halt::Wait(sentence(&waiting, &hints)));
            }
            if self.is_stale()? {
                return Err(Halt::Stale);
            }
            let now = Instant::now();
            if now - begun > DIAGNOSE_EVERY && diagnosed.is_none_or(|at| now - at > DIAGNOSE_EVERY)
            {
                diagnosed = Some(now);
                let (client, selector) = (self.context.client(), self.record.selector());
                let applied = self.applied.get(&index).into_iter().flatten();
                let awaited: Vec<String> = applied.filter_map(|object| object.live.uid()).collect();
                let found =
                    diagnose::diagnose(&client, self.namespace(), &selector, &awaited).await;
                hints = found.unwrap_or_default();
            }
            self.say(sentence(&waiting, &hints)).await;
            let watch = match &mut watch {
                Some(watch) => watch,
                None => watch.insert(self.watch(index).await?),
            };
            tokio::select! {
                () = watch.changed(Duration::from_secs(2)) => {}
                () = self.signals.wake.notified() => {}
            }
            for object in self.applied.get_mut(&index).into_iter().flatten() {
                if let Some(live) = watch.get(&object.gvk, &object.live.name_any()) {
                    object.live = live.clone();
                }
            }
        }
        self.evaluate_outputs(index)?;
        self.observed.files[index] = FileState::Ready;
        Ok(())
    }

    async fn watch(&self, index: usize) -> Result<Watch, Halt> {
        let mut wanted: Vec<GroupVersionKind> = Vec::new();
        for object in self.applied.get(&index).into_iter().flatten() {
            if object.gvk.kind != "Secret" && !wanted.contains(&object.gvk) {
                wanted.push(object.gvk.clone());
            }
        }
        let opened = Watch::open(
            self.kinds(),
            &wanted,
            self.namespace(),
            &self.record.selector(),
        )
        .await;
        self.permit(opened)
    }

    /// What is not ready yet, in words; an object that has failed is a failure.
    fn judge(&self, index: usize) -> Result<Vec<String>, Halt> {
        let variables = self.variables()?;
        let inputs = self.inputs()?;
        let now = Timestamp::now();
        let mut waiting = Vec::new();
        for object in self.applied.get(&index).into_iter().flatten() {
            let live = live_json(object);
            match inputs
                .loaded
                .readiness(&live, &object.manifest, &variables, now)
            {
                Readiness::Ready => {}
                Readiness::Waiting(message) => waiting.push(message),
                Readiness::Failed(message) => {
                    return Err(Halt::Fail(Failure {
                        message,
                        repeatable: true,
                    }));
                }
            }
        }
        Ok(waiting)
    }

    fn evaluate_outputs(&mut self, index: usize) -> Result<(), Halt> {
        let objects: Vec<Value> = self.applied.values().flatten().map(live_json).collect();
        let variables = self.variables()?;
        let inputs = self.inputs()?;
        let outputs = inputs
            .loaded
            .outputs(&variables, &objects)
            .map_err(|error| refuse(format!("The plan's outputs cannot be evaluated: {error}")))?;
        let missing = inputs.loaded.missing_outputs(&outputs).join(", ");
        if index + 1 == self.observed.files.len() && !missing.is_empty() {
            return Err(Halt::Wait(format!("waiting for the outputs {missing}")));
        }
        self.outputs = outputs;
        Ok(())
    }
}

fn live_json(object: &AppliedObject) -> Value {
    let mut live = serde_json::to_value(&object.live).unwrap_or_default();
    // Lists and watches leave these out.
    live["apiVersion"] = json!(object.gvk.api_version());
    live["kind"] = json!(object.gvk.kind);
    live
}

fn sentence(waiting: &[String], hints: &[String]) -> String {
    let shown: Vec<&str> = waiting
        .iter()
        .chain(hints)
        .take(NAMED + hints.len())
        .map(String::as_str)
        .collect();
    shown.join("; ")
}
