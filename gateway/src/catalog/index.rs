//! Service and plan ids to what the gateway tells of them.

use std::collections::HashMap;

use broker_proto::v1::{CatalogVerdict, Offering, Plan, catalog_verdict::Outcome};

/// Offerings by id.
#[derive(Debug)]
pub(super) struct Index(HashMap<String, Entry>);

#[derive(Debug)]
struct Entry {
    allow_context_updates: bool,
    plans: HashMap<String, CatalogVerdict>,
}

impl Index {
    pub(super) fn new(offerings: &[Offering]) -> Self {
        Self(
            offerings
                .iter()
                .map(|offering| (offering.id.clone(), Entry::new(offering)))
                .collect(),
        )
    }

    pub(super) fn verdict(&self, service: &str, plan: &str) -> CatalogVerdict {
        let Some(entry) = self.0.get(service) else {
            return CatalogVerdict {
                outcome: Outcome::UnknownService.into(),
                ..Default::default()
            };
        };
        entry
            .plans
            .get(plan)
            .cloned()
            .unwrap_or_else(|| CatalogVerdict {
                outcome: Outcome::UnknownPlan.into(),
                allow_context_updates: entry.allow_context_updates,
                ..Default::default()
            })
    }
}

impl Entry {
    fn new(offering: &Offering) -> Self {
        let verdict = |plan: &Plan| CatalogVerdict {
            outcome: Outcome::Found.into(),
            bundle_digest: plan.bundle_digest.clone(),
            maintenance_version: plan.maintenance_version.clone(),
            provision_async: plan.provision_async,
            binding_async: plan.binding_async,
            not_orderable_reason: plan.not_orderable_reason.clone(),
            allow_context_updates: offering.allow_context_updates,
        };
        Self {
            allow_context_updates: offering.allow_context_updates,
            plans: offering
                .plans
                .iter()
                .map(|plan| (plan.id.clone(), verdict(plan)))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PRO-02, PRO-03: a plan counts only inside its own offering.
    #[test]
    fn a_plan_of_another_offering_is_unknown() {
        let offering = |id: &str, plan: &str| Offering {
            id: id.into(),
            allow_context_updates: true,
            plans: vec![Plan {
                id: plan.into(),
                bundle_digest: "d".into(),
                provision_async: true,
                ..Default::default()
            }],
            ..Default::default()
        };
        let index = Index::new(&[offering("s1", "p1"), offering("s2", "p2")]);
        let outcome = |service, plan| index.verdict(service, plan).outcome();
        assert_eq!(outcome("s1", "p1"), Outcome::Found);
        assert_eq!(outcome("s1", "p2"), Outcome::UnknownPlan);
        assert_eq!(outcome("s3", "p1"), Outcome::UnknownService);
        let found = index.verdict("s2", "p2");
        assert!(found.provision_async && found.allow_context_updates);
        assert_eq!(found.bundle_digest, "d");
        assert!(index.verdict("s1", "p2").allow_context_updates);
    }
}
