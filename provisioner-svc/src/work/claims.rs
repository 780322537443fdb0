//! Deletes the volume claims that [`crate::claims`] decides on.

use std::collections::BTreeSet;

use cluster::error::{call, optional};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions},
    core::DynamicObject,
};
use objects::kinds;
use plan::descriptor::ClaimRule;
use serde_json::{Value, json};

use super::{
    Job,
    halt::{Done, Halt, ended},
    inputs::Inputs,
};
use crate::claims::{self, Claim, Decision, Moment, View};

/// Owner of `spec.replicas` after pods were stopped here. Not the manager that applies: that one's
/// fields are what templates say.
const SCALE_MANAGER: &str = "mongodb-osb-claims";
/// Stop point: all is decided, nothing is written.
const DECIDED: &str = "Claims-decided";

impl Job {
    /// Before anything is applied: no pod starts with the data of one that left earlier.
    pub(super) async fn clear_claims(&mut self) -> Done {
        self.delete_claims(Moment::BeforeApply).await
    }

    /// After everything was applied: the claims of pods that left in this update.
    pub(super) async fn drop_claims(&mut self) -> Done {
        self.delete_claims(Moment::AfterApply).await
    }

    async fn delete_claims(&mut self, moment: Moment) -> Done {
        let inputs = self.inputs().await?;
        let rules = &inputs.loaded.bundle().descriptor().claims;
        if rules.is_empty() {
            return Ok(());
        }
        let mut wait = Vec::new();
        for set in self.rendered_sets(&inputs).await? {
            let name = set.pointer("/metadata/name").and_then(Value::as_str);
            if let Some(rule) = name.and_then(|name| rules.get(name)) {
                wait.extend(self.delete_claims_of(&inputs, &set, rule, moment).await?);
            }
        }
        if wait.is_empty() {
            return Ok(());
        }
        Err(Halt::Wait(wait.join("; ")))
    }

    /// The StatefulSets that the update asks for.
    async fn rendered_sets(&self, inputs: &Inputs) -> Result<Vec<Value>, Halt> {
        let mut sets = Vec::new();
        for index in 0..inputs.loaded.files().len() {
            let objects = self.render(inputs, index).await?.objects;
            sets.extend(objects.into_iter().filter(|o| o["kind"] == "StatefulSet"));
        }
        Ok(sets)
    }

    /// What to wait for afterwards.
    ///
    /// In this order: everything is read, then the record is seen to ask for this still, then each
    /// write names the version or uid that was read. So one that comes late (this process was
    /// paused) neither stops a pod nor deletes a claim that is newer than the decision.
    async fn delete_claims_of(
        &mut self,
        inputs: &Inputs,
        set: &Value,
        rule: &ClaimRule,
        moment: Moment,
    ) -> Result<Vec<String>, Halt> {
        let claims = self.list_claims(set).await?;
        let Some(report) = self.report(rule).await?.filter(|_| !claims.is_empty()) else {
            return Ok(Vec::new());
        };
        let name = set.pointer("/metadata/name").and_then(Value::as_str);
        let gvk = kinds::parse("apps/v1", "StatefulSet");
        let live = self.objects.read(&gvk, name.unwrap_or_default()).await?;
        let running = live
            .as_ref()
            .map_or(0..0, |live| claims::ordinals(&live.data));
        let claimed = claims.iter().map(|claim| claim.ordinal);
        let ordinals: BTreeSet<u32> = running.clone().chain(claimed).collect();
        let ordinals: Vec<u32> = ordinals.into_iter().collect();
        let loaded = &inputs.loaded;
        let memberships = self
            .context
            .sandbox
            .membership(loaded, rule, &report, &ordinals, &self.variables(inputs))
            .await
            .map_err(|error| ended(loaded, "the evaluation of claims", &error))?;
        let view = View {
            moment,
            wanted: claims::ordinals(set),
            running: running.clone(),
            claims,
            memberships,
        };
        let Decision {
            stop_from,
            delete,
            wait,
        } = claims::decide(&view, &rule.report);
        if delete.is_empty() {
            return Ok(wait);
        }
        self.confirm().await?;
        service::failpoint::reach(DECIDED);
        if let (Some(live), Some(first)) = (live, stop_from) {
            self.scale(&live, first.saturating_sub(running.start))
                .await?;
        }
        for claim in &delete {
            self.delete_claim(claim).await?;
        }
        // Look again: what is deleted may have to be gone.
        match moment {
            Moment::BeforeApply => Err(Halt::Wait(format!(
                "deleting {}, which members that left have used",
                labels(&delete)
            ))),
            Moment::AfterApply => Ok(wait),
        }
    }

    async fn list_claims(&self, set: &Value) -> Result<Vec<Claim>, Halt> {
        let api: Api<PersistentVolumeClaim> =
            Api::namespaced(self.context.client(), self.namespace());
        let params = ListParams::default().labels(&self.record.selector());
        let list = call(api.list_metadata(&params)).await?;
        let claims = list.items.into_iter().filter_map(|claim| {
            Some(Claim {
                ordinal: claims::ordinal_of(&claim.name_any(), set)?,
                name: claim.name_any(),
                uid: claim.uid()?,
                is_terminating: claim.metadata.deletion_timestamp.is_some(),
            })
        });
        Ok(claims.collect())
    }

    /// The object that the rule names, as it is now. Without one nothing is known of any pod, and
    /// the update goes on: it may be what brings the object back.
    async fn report(&mut self, rule: &ClaimRule) -> Result<Option<Value>, Halt> {
        let known = self
            .objects
            .inventory()
            .iter()
            .find(|e| e.label() == rule.report);
        let Some((gvk, name)) = known.map(|entry| (entry.gvk(), entry.name.clone())) else {
            return Ok(None);
        };
        let report = self.objects.read(&gvk, &name).await?;
        Ok(report.and_then(|report| serde_json::to_value(report).ok()))
    }

    /// Stops the last pods of a StatefulSet, if it is still as it was read.
    async fn scale(&mut self, live: &DynamicObject, replicas: u32) -> Done {
        let gvk = kinds::parse("apps/v1", "StatefulSet");
        let kind = self.context.kinds.get(&gvk).await?;
        let api = kind.api(self.context.client(), self.namespace());
        let patch = json!({
            "metadata": {"uid": live.uid(), "resourceVersion": live.resource_version()},
            "spec": {"replicas": replicas},
        });
        let params = PatchParams {
            field_manager: Some(SCALE_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let name = live.name_any();
        match call(api.patch(&name, &params, &Patch::Merge(&patch))).await {
            Ok(scaled) => {
                self.objects.saw(&scaled);
                Ok(())
            }
            Err(cluster::Error::Conflict | cluster::Error::NotFound) => {
                Err(Halt::Wait(format!("StatefulSet/{name} is being changed")))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn delete_claim(&self, claim: &Claim) -> Done {
        let api: Api<PersistentVolumeClaim> =
            Api::namespaced(self.context.client(), self.namespace());
        let params = DeleteParams::default().preconditions(Preconditions {
            uid: Some(claim.uid.clone()),
            resource_version: None,
        });
        match optional(call(api.delete(&claim.name, &params)).await) {
            // A conflict: another claim has the name by now.
            Ok(_) | Err(cluster::Error::Conflict) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn labels(claims: &[Claim]) -> String {
    let labels = claims
        .iter()
        .map(|claim| format!("PersistentVolumeClaim/{}", claim.name));
    labels.collect::<Vec<_>>().join(", ")
}
