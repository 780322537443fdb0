//! The barrier behind a file: waits until its objects are ready, then evaluates
//! the outputs.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use objects::{
    barrier::{Barrier, Written, gone_unwatched},
    diagnose,
};
use plan::ready::Readiness;
use serde_json::Value;
use tokio::time::Instant;

use super::{Done, Failure, Halt, Job, halt::ended, inputs::Inputs, refuse};

/// Between looks at what no watch tells (pods, volume claims, events).
const DIAGNOSE_EVERY: Duration = Duration::from_secs(5);
/// Longest wait for a change before the deadline is looked at.
const PATIENCE: Duration = Duration::from_secs(2);
/// Waiting objects that a poll names.
const NAMED: usize = 3;

impl Job {
    /// Waits at the barrier behind a file: watches its objects until all are
    /// ready, then evaluates the outputs. An object that goes meanwhile is
    /// created again with the rest of its file.
    pub(super) async fn wait_for(&mut self, index: usize) -> Done {
        let inputs = self.inputs().await?;
        let mut barrier: Option<Barrier> = None;
        let begun = Instant::now();
        let mut diagnosed: Option<Instant> = None;
        let mut hints: Vec<String> = Vec::new();
        loop {
            let waiting = self.judge(&inputs, index).await?;
            if waiting.is_empty() {
                break;
            }
            self.progress.note(&waiting, Timestamp::now());
            if self.is_overdue() {
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
            let awaited = self.applied.entry(index).or_default();
            let barrier = match &mut barrier {
                Some(barrier) => barrier,
                None => barrier.insert(Barrier::open(&self.objects, awaited).await?),
            };
            self.turn.aside(barrier.changed(PATIENCE)).await;
            let gone = titles(&barrier.refresh(awaited));
            if !gone.is_empty() {
                return Err(self.begin_again(index, &gone));
            }
        }
        // Secrets are not watched: those of a file that was waited for are
        // looked at once.
        if barrier.is_some() {
            self.objects.forget_reads();
            let awaited = self.applied.get(&index).map_or(&[][..], Vec::as_slice);
            let gone = titles(&gone_unwatched(&self.objects, awaited).await?);
            if !gone.is_empty() {
                return Err(self.begin_again(index, &gone));
            }
        }
        self.evaluate_outputs(&inputs, index).await
    }

    /// Has a file applied again of which these objects are gone.
    fn begin_again(&mut self, index: usize, gone: &[String]) -> Halt {
        for object in self.applied.remove(&index).unwrap_or_default() {
            if gone.contains(&object.title()) {
                self.objects.forget(&object.gvk, &object.live.name_any());
            }
        }
        Halt::Wait(format!("creating {} again", gone.join(", ")))
    }

    /// What is not ready yet, in words; an object that has failed is a failure.
    async fn judge(&self, inputs: &Inputs, index: usize) -> Result<Vec<String>, Halt> {
        let mut waiting = Vec::new();
        let mut objects = Vec::new();
        for object in self.applied.get(&index).into_iter().flatten() {
            if object.is_terminating() {
                waiting.push(format!("{} is being deleted", object.title()));
                continue;
            }
            objects.push((object.live_json(), object.manifest.clone()));
        }
        let (loaded, now) = (&inputs.loaded, Timestamp::now());
        let judged = self
            .context
            .sandbox
            .readiness(loaded, &objects, &self.variables(inputs), now)
            .await
            .map_err(|error| ended(loaded, "the evaluation of ready rules", &error))?;
        for readiness in judged {
            match readiness {
                Readiness::Ready => {}
                Readiness::Waiting(message) => {
                    waiting.push(diagnose::without_namespace(&message, self.namespace()));
                }
                Readiness::Failed(message) => {
                    return Err(Halt::Fail(Failure {
                        message: diagnose::without_namespace(&message, self.namespace()),
                        repeatable: true,
                    }));
                }
            }
        }
        Ok(waiting)
    }

    async fn evaluate_outputs(&mut self, inputs: &Inputs, index: usize) -> Result<(), Halt> {
        let objects: Vec<Value> = self
            .applied
            .values()
            .flatten()
            .map(Written::live_json)
            .collect();
        let loaded = &inputs.loaded;
        let outputs = self
            .context
            .sandbox
            .outputs(loaded, &self.variables(inputs), &objects)
            .await
            .map_err(|error| ended(loaded, "the evaluation of outputs", &error))?
            .map_err(|error| refuse(format!("The plan's outputs cannot be evaluated: {error}")))?;
        let missing = loaded.missing_outputs(&outputs).join(", ");
        if index + 1 == loaded.files().len() && !missing.is_empty() {
            return Err(Halt::Wait(format!("waiting for the outputs {missing}")));
        }
        self.outputs = outputs;
        Ok(())
    }
}

fn titles(objects: &[&Written]) -> Vec<String> {
    objects.iter().map(|object| object.title()).collect()
}

fn sentence(waiting: &[String], hints: &[String]) -> String {
    let shown: Vec<&str> = waiting
        .iter()
        .chain(hints)
        .take(NAMED + hints.len())
        // Some of Kubernetes' messages are sentences, and more may follow.
        .map(|text| text.trim_end_matches('.'))
        .collect();
    shown.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for_and_why_is_one_sentence_that_does_not_end() {
        let waiting = ["StatefulSet/mdb: 0 of 3 members ready".to_owned()];
        let hints = [
            "pods mdb-0, mdb-1: 3 Insufficient cpu.",
            "volume claim c: Pending",
        ];
        assert_eq!(
            sentence(&waiting, &hints.map(str::to_owned)),
            "StatefulSet/mdb: 0 of 3 members ready; pods mdb-0, mdb-1: 3 Insufficient cpu; \
             volume claim c: Pending"
        );
    }
}
