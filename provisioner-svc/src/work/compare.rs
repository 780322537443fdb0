//! Before the first write of an update: asks the API server whether it would
//! take every change, so that what it refuses changes nothing. A dry run rather
//! than a list of immutable fields: the API server knows every kind's rules,
//! CRDs' included. It is a step rather than a part of the request, since
//! rendering needs the generated values.

use cluster::error::Error;
use objects::{
    inventory::Entry,
    manifest::{self, identity},
};
use serde_json::Value;

use super::{Done, Halt, Job, apply::number, halt::ended, inputs::Inputs, prune::holds_data};
use crate::storage;

/// Stop point: fields are owned, nothing was tried out.
const OWNED: &str = "Compare-owned";

impl Job {
    /// Asks the API server, without effect, whether it would take each object
    /// that changes, and refuses to delete what holds data. Nothing was applied
    /// yet.
    pub(super) async fn compare(&mut self) -> Done {
        let inputs = self.inputs().await?;
        let mut rendered: Vec<Value> = Vec::new();
        let mut changed = Vec::new();
        let mut growths = Vec::new();
        for index in 0..inputs.loaded.files().len() {
            for object in &self.render(&inputs, index).await?.objects {
                let (mut manifest, found) = self.with_kept_storage(object).await?;
                for growth in found {
                    self.check_growth(&growth).await?;
                    // The claim template is immutable; all else is compared.
                    storage::without_growth(&mut manifest, &growth);
                    growths.push(growth);
                }
                let file = number(index);
                if self.objects.unchanged(&manifest, file).await?.is_none() {
                    changed.push((manifest.clone(), file));
                }
                rendered.push(manifest);
            }
        }
        let doomed: Vec<String> = self
            .objects
            .not_among(&rendered)
            .iter()
            .filter(|entry| holds_data(entry))
            .map(Entry::label)
            .collect();
        if !doomed.is_empty() {
            return Err(self.refuse_update(&format!(
                "The update would delete {}, which holds data",
                doomed.join(", ")
            )));
        }
        self.own(&inputs, &changed).await?;
        service::failpoint::reach(OWNED);
        for (manifest, file) in &changed {
            let tried = self.objects.try_out(manifest, *file).await;
            tried.map_err(|error| self.refused(manifest, error))?;
        }
        self.growths = growths;
        Ok(())
    }

    /// Objects that are about to change, and were only created so far: from now
    /// on their fields are owned as if they had been applied, so that the first
    /// change does what later ones do.
    pub(super) async fn own(&mut self, inputs: &Inputs, changed: &[(Value, u32)]) -> Done {
        let as_created = |(manifest, _): &(Value, u32)| self.objects.is_as_created(manifest);
        if !changed.iter().any(as_created) {
            return Ok(());
        }
        let previous = self.previous(inputs).await?;
        for (manifest, _) in changed {
            let before = previous
                .iter()
                .find(|(before, _)| identity(before) == identity(manifest));
            let (before, file) = before.map_or((None, 0), |(before, file)| (Some(before), *file));
            self.objects.own(manifest, before, file).await?;
        }
        Ok(())
    }

    /// The objects of the revision that was applied last, each with its file,
    /// as far as they can be rendered again.
    async fn previous(&mut self, inputs: &Inputs) -> Result<Vec<(Value, u32)>, Halt> {
        let Some(applied) = self.record.state.applied.clone() else {
            return Ok(Vec::new());
        };
        let before = match self.read_inputs(&applied.revision).await {
            Ok(before) => before,
            // It is gone: managedFields are turned without it.
            Err(Halt::Fail(_)) => return Ok(Vec::new()),
            Err(halt) => return Err(halt),
        };
        let mut variables = self.variables(&before);
        variables.secrets.clone_from(&inputs.secrets);
        variables.outputs = applied.outputs;
        let mut all = Vec::new();
        for (index, name) in before.loaded.files().iter().enumerate() {
            let sandbox = &self.context.sandbox;
            let rendered = sandbox.render_file(&before.loaded, name, &variables).await;
            let file = match rendered {
                Ok(Ok(file)) => file,
                Err(error) if error.is_transient() => {
                    return Err(ended(
                        &before.loaded,
                        &format!("the rendering of {name}"),
                        &error,
                    ));
                }
                Ok(Err(_)) | Err(_) => continue,
            };
            for object in file.objects {
                let (manifest, _) = self.with_kept_storage(&object).await?;
                all.push((manifest, number(index)));
            }
        }
        Ok(all)
    }

    fn refused(&self, manifest: &Value, error: Error) -> Halt {
        match (error, identity(manifest)) {
            (Error::Invalid(fields), Some((gvk, name))) => self.refuse_update(&format!(
                "{} cannot be changed this way: {fields}",
                manifest::title(&gvk, name)
            )),
            (error, _) => error.into(),
        }
    }
}
