//! Writing the objects of one template file.

use cluster::{
    apply::{self, Outcome, Place},
    inventory::Entry,
};
use plan::render::File;

use super::{
    AppliedObject, Done, Halt, Job,
    known::{mark, place_of},
    refuse,
};
use crate::step::FileState;

/// Stop point: all is decided, nothing is written.
const CONFIRMED: &str = "Apply-confirmed";

impl Job<'_> {
    /// Renders one file with what is known now.
    pub(super) fn render(&self, index: usize) -> Result<File, Halt> {
        let inputs = self.inputs()?;
        let name = inputs.loaded.files().get(index).ok_or(Halt::Stale)?;
        let variables = self.variables()?;
        inputs
            .loaded
            .render_file(name, &variables)
            .map_err(|error| refuse(format!("The plan's template cannot be rendered: {error}")))
    }

    pub(super) async fn apply(&mut self, index: usize) -> Done {
        let file = self.render(index)?;
        let mut manifests = Vec::new();
        for manifest in &file.objects {
            let (mut fitted, _) = self.fitted(manifest).await?;
            mark(&mut fitted, index);
            if let Some((gvk, name)) = place_of(manifest) {
                self.look(&gvk, name).await?;
            }
            manifests.push(fitted);
        }
        // In this order: every write is based on what was there before the
        // record was seen to ask for it still, so that one that comes late
        // (this process was paused) does not make old again what is newer.
        self.confirm().await?;
        service::failpoint::reach(CONFIRMED);
        let place = if self.record.resource.spec.own_namespace {
            Place::Own
        } else {
            Place::Shared
        };
        let labels = self.record.labels();
        let namespace = self.namespace().to_owned();
        let mut applied = Vec::new();
        self.touched = true;
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        for (manifest, fitted) in file.objects.into_iter().zip(manifests) {
            let Some((gvk, name)) = place_of(&manifest) else {
                continue;
            };
            let label = format!("{}/{name}", gvk.kind);
            let known = self.known(&gvk, name);
            let basis = known.and_then(|entry| self.seen.get(&entry.uid));
            let outcome =
                apply::apply(self.kinds(), &fitted, &namespace, &labels, place, basis).await;
            let live = match outcome {
                Ok(Outcome::Applied(live)) => *live,
                Ok(Outcome::Changed(live)) => {
                    // By a controller, or by a replica that took over: look again.
                    self.saw(&live);
                    self.note(Entry::of(&gvk, &live, number));
                    return Err(Halt::Wait(format!("{label} is being changed")));
                }
                Ok(Outcome::Foreign) => {
                    return Err(Halt::Wait(format!(
                        "waiting for {label}, which belongs to somebody else, to go"
                    )));
                }
                Ok(Outcome::Vanished) => {
                    // Deleted by somebody since it was recorded: make it anew.
                    self.inventory.retain(|entry| !entry.is_of(&gvk, name));
                    return Err(Halt::Wait(format!("making {label} anew")));
                }
                Err(cluster::Error::UnknownKind(kind)) => {
                    return Err(Halt::Wait(format!(
                        "waiting for the cluster to serve {kind}"
                    )));
                }
                Err(cluster::Error::Invalid(fields)) => {
                    return Err(refuse(format!(
                        "{label} is refused by the API server: {fields}"
                    )));
                }
                Err(error) => return self.permit(Err(error)),
            };
            self.saw(&live);
            self.note(Entry::of(&gvk, &live, number));
            applied.push(AppliedObject {
                gvk,
                manifest,
                live,
            });
        }
        self.applied.insert(index, applied);
        self.observed.files[index] = FileState::Applied;
        self.write_status().await?;
        Ok(())
    }
}
