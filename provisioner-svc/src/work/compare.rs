//! Before the first write of an update: asks the API server whether it would
//! take everything, so that what it refuses changes nothing.

use cluster::{apply, error::call};
use kube::api::{Patch, PatchParams};
use serde_json::Value;

use super::{Done, Job, known::place_of, prune::holds_data, refuse};
use crate::storage;

impl Job<'_> {
    /// Asks the API server, without effect, whether it would take each object,
    /// and refuses to delete what holds data. Nothing was applied yet.
    pub(super) async fn compare(&mut self) -> Done {
        let count = self.observed.files.len();
        let mut rendered = Vec::new();
        for index in 0..count {
            let file = self.render(index)?;
            for object in &file.objects {
                let (mut manifest, growths) = self.fitted(object).await?;
                for growth in growths {
                    self.check_growth(&growth).await?;
                    // The claim template is immutable; all else is compared.
                    storage::put_back(&mut manifest, &growth);
                    self.growths.push(growth);
                }
                self.dry_run(&manifest).await?;
            }
            rendered.extend(file.objects);
        }
        let doomed: Vec<String> = self
            .stale(&rendered)
            .into_iter()
            .filter(holds_data)
            .map(|entry| entry.label())
            .collect();
        if !doomed.is_empty() {
            return Err(refuse(format!(
                "The update would delete {}, which holds data; nothing was changed.",
                doomed.join(", ")
            )));
        }
        self.observed.grows = !self.growths.is_empty();
        self.observed.compared = true;
        Ok(())
    }

    async fn dry_run(&self, object: &Value) -> Done {
        let Some((gvk, name)) = place_of(object) else {
            return Ok(());
        };
        if self.known(&gvk, name).is_none() {
            return Ok(());
        }
        let kind = self.permit(self.kinds().get(&gvk).await)?;
        let mut manifest = object.clone();
        apply::label(&mut manifest, &self.record.labels());
        let params = PatchParams::apply(cluster::FIELD_MANAGER)
            .force()
            .validation_strict()
            .dry_run();
        let api = kind.api(self.context.client(), self.namespace());
        match call(api.patch(name, &params, &Patch::Apply(&manifest))).await {
            Ok(_) | Err(cluster::Error::NotFound) => Ok(()),
            Err(cluster::Error::Invalid(fields)) => Err(refuse(format!(
                "{}/{name} cannot be changed this way: {fields}; nothing was changed.",
                gvk.kind
            ))),
            Err(error) => self.permit(Err(error)),
        }
    }
}
