//! Writing the objects of one template file.

use cluster::{error::Error, gate::Gate};
use objects::{barrier::Written, manifest, write::Outcome};
use plan::render::File;
use serde_json::Value;

use super::{Done, Halt, Job, halt::ended, inputs::Inputs, refuse};
use crate::step::Aim;

/// Stop point: all is decided, nothing is written.
const CONFIRMED: &str = "Apply-confirmed";

impl Job {
    /// Renders one file with what is known now.
    pub(super) async fn render(&self, inputs: &Inputs, index: usize) -> Result<File, Halt> {
        let unknown = || refuse("The plan has no such file.");
        let name = inputs.loaded.files().get(index).ok_or_else(unknown)?;
        let sandbox = &self.context.sandbox;
        sandbox
            .render_file(&inputs.loaded, name, &self.variables(inputs))
            .await
            .map_err(|error| ended(&inputs.loaded, &format!("the rendering of {name}"), &error))?
            .map_err(|error| refuse(format!("The plan's template cannot be rendered: {error}")))
    }

    pub(super) async fn apply(&mut self, index: usize) -> Done {
        let inputs = self.inputs().await?;
        let file = self.render(&inputs, index).await?;
        let mut written = Vec::new();
        let mut changed = Vec::new();
        for manifest in file.objects {
            let (applied, _) = self.with_kept_storage(&manifest).await?;
            let unchanged = self.objects.unchanged(&applied, number(index)).await?;
            if let (Some(live), Some((gvk, _))) =
                (unchanged.cloned(), manifest::identity(&manifest))
            {
                written.push(Written {
                    gvk,
                    manifest,
                    live,
                });
                continue;
            }
            self.objects.look_at(&manifest).await?;
            changed.push((manifest, applied));
        }
        if !changed.is_empty() {
            self.confirm_before(&changed).await?;
            self.own_before(&inputs, &changed, index).await?;
        }
        for (manifest, applied) in changed {
            written.push(self.write(manifest, &applied, index).await?);
        }
        self.applied.insert(index, written);
        Ok(())
    }

    /// Sees that the record still asks for these changes, just before them.
    async fn confirm_before(&mut self, changed: &[(Value, Value)]) -> Done {
        self.touch().await?;
        // In this order: every write is based on what was there before the
        // record was seen to ask for it still, so that one that comes late
        // (this process was paused) does not make old again what is newer.
        if self.is_all_new(changed).await? {
            if self.is_stale()? {
                return Err(Halt::Stale);
            }
        } else {
            self.confirm().await?;
        }
        service::failpoint::reach(CONFIRMED);
        Ok(())
    }

    /// As [`Self::compare`] does, for what an output of this very update has
    /// changed since.
    async fn own_before(
        &mut self,
        inputs: &Inputs,
        changed: &[(Value, Value)],
        index: usize,
    ) -> Done {
        if self.aim != Aim::Update {
            return Ok(());
        }
        let file = number(index);
        let applied: Vec<(Value, u32)> = changed
            .iter()
            .map(|(_, applied)| (applied.clone(), file))
            .collect();
        self.own(inputs, &applied).await
    }

    /// Whether all of this is made in a namespace that this worker made, and
    /// nothing of it is there: a create that comes late finds its name taken,
    /// or the namespace gone, so that the record need not be read first.
    async fn is_all_new(&self, changed: &[(Value, Value)]) -> Result<bool, Halt> {
        if self.namespace != Some(Gate::Created) {
            return Ok(false);
        }
        for (manifest, _) in changed {
            let Some((gvk, name)) = manifest::identity(manifest) else {
                return Ok(false);
            };
            let inside = self.context.kinds.get(&gvk).await?.namespaced;
            if !inside || self.objects.entry(&gvk, name).is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn write(
        &mut self,
        manifest: Value,
        applied: &Value,
        index: usize,
    ) -> Result<Written, Halt> {
        let Some((gvk, name)) = manifest::identity(&manifest) else {
            return Err(refuse(
                "An object of the plan has no apiVersion, kind or name.",
            ));
        };
        let title = manifest::title(&gvk, name);
        let outcome = self.objects.write(applied, number(index)).await;
        let live = match outcome.map_err(|error| refused(&title, error))? {
            Outcome::Applied(live) => *live,
            // By a controller, or by a replica that took over: look again.
            Outcome::Changed(_) => {
                return Err(Halt::Wait(format!("{title} is being changed")));
            }
            Outcome::Foreign => {
                return Err(Halt::Wait(format!(
                    "waiting for {title} to go, which is there already and not part of this instance"
                )));
            }
            Outcome::Vanished => return Err(Halt::Wait(format!("creating {title} again"))),
        };
        Ok(Written {
            gvk,
            manifest,
            live,
        })
    }
}

fn refused(title: &str, error: Error) -> Halt {
    match error {
        Error::Invalid(fields) => refuse(format!("{title} is refused by the API server: {fields}")),
        error => error.into(),
    }
}

/// The index of a file as objects carry it.
pub(super) fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
