//! The catalog of a moment, ready to be sent: made once, swapped as a whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::SystemTime,
};

use broker_proto::v1;
use plan::{Bundle, Fault, id::Digest};
use prost::Message as _;

use crate::{
    events::{self, Note},
    snapshot::{Bundles, Chosen, Found, PlanKey},
    wire,
};

/// See the module.
#[derive(Clone)]
pub(crate) struct Published {
    /// The answer to `GetCatalog`.
    pub(crate) snapshot: v1::CatalogSnapshot,
    /// The answer to `ListPlans`.
    pub(crate) reports: Vec<v1::PlanReport>,
    /// The answers to `GetBundle` for what is served.
    pub(crate) bundles: BTreeMap<Digest, Arc<[u8]>>,
    /// What is served, by folder.
    pub(crate) served: Bundles,
    /// What is told of ConfigMaps.
    pub(crate) notes: Vec<Note>,
}

impl Published {
    /// The catalog of what was chosen. `reason` says why a plan cannot be
    /// ordered, and is empty if it can.
    pub(crate) fn new(
        found: &Found,
        chosen: &BTreeMap<PlanKey, Chosen>,
        reason: impl Fn(&Bundle) -> String,
        now: SystemTime,
    ) -> Self {
        let reasons: BTreeMap<&PlanKey, String> = chosen
            .iter()
            .map(|(key, chosen)| (key, reason(&chosen.bundle)))
            .collect();
        let offerings = offerings(chosen, &reasons);
        let reports = reports(found, chosen, &reasons);
        Self {
            notes: events::notes(&reports, &found.origins),
            snapshot: v1::CatalogSnapshot {
                generation: generation(&offerings),
                last_modified: Some(now.into()),
                offerings,
            },
            reports,
            bundles: chosen
                .values()
                .map(|chosen| {
                    let bundle = &chosen.bundle;
                    (bundle.digest().clone(), bundle.to_bytes().into())
                })
                .collect(),
            served: chosen
                .iter()
                .map(|(key, chosen)| (key.clone(), Arc::clone(&chosen.bundle)))
                .collect(),
        }
    }

    /// Whether a receiver would see a difference.
    pub(crate) fn differs(&self, other: &Self) -> bool {
        self.snapshot.generation != other.snapshot.generation
            || self.reports != other.reports
            || self.notes != other.notes
    }
}

/// Names and numbers: an offering may carry the secret of a dashboard's client.
impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Published")
            .field("generation", &self.snapshot.generation)
            .field("plans", &self.bundles.len())
            .finish_non_exhaustive()
    }
}

/// A hash of the content: the same on every replica.
fn generation(offerings: &[v1::Offering]) -> String {
    let content = v1::CatalogSnapshot {
        generation: String::new(),
        last_modified: None,
        offerings: offerings.to_vec(),
    };
    Digest::of(&content.encode_to_vec()).to_string()
}

fn offerings(
    chosen: &BTreeMap<PlanKey, Chosen>,
    reasons: &BTreeMap<&PlanKey, String>,
) -> Vec<v1::Offering> {
    let mut providers: BTreeMap<&str, Vec<(&PlanKey, &Chosen)>> = BTreeMap::new();
    for (key, chosen) in chosen {
        providers
            .entry(&key.provider)
            .or_default()
            .push((key, chosen));
    }
    let mut offerings = Vec::new();
    for (provider, plans) in providers {
        // Today's service.yaml is in today's bundles; only where all of them
        // are older ones, an older one speaks for the offering.
        let newest = plans.iter().find(|(_, chosen)| !chosen.last_good);
        let Some((_, speaker)) = newest.or_else(|| plans.first()) else {
            continue;
        };
        let any_bindable = plans.iter().any(|(_, chosen)| chosen.bundle.is_bindable());
        let messages = plans.iter().filter_map(|(key, chosen)| {
            let plan = wire::plan(&chosen.bundle).inspect_err(|error| unsent(key, error));
            Some(v1::Plan {
                not_orderable_reason: reasons.get(key).cloned().unwrap_or_default(),
                ..plan.ok()?
            })
        });
        match wire::offering(&speaker.bundle, any_bindable, messages.collect()) {
            Ok(offering) if offering.plans.is_empty() => {}
            Ok(offering) => offerings.push(offering),
            Err(error) => unsent(provider, &error),
        }
    }
    offerings
}

/// Does not happen: what cannot travel is a fault, found before it is chosen.
fn unsent(what: impl fmt::Display, error: &str) {
    tracing::error!(plan = %what, error, "a part of the catalog cannot be sent");
}

fn reports(
    found: &Found,
    chosen: &BTreeMap<PlanKey, Chosen>,
    reasons: &BTreeMap<&PlanKey, String>,
) -> Vec<v1::PlanReport> {
    // A fault may be all that is known of a folder, or of a provider.
    let faulty = found.faults.iter().map(|fault| PlanKey {
        provider: fault.provider.clone(),
        plan: fault.plan.clone().unwrap_or_default(),
    });
    let keys: BTreeSet<PlanKey> = faulty.chain(found.folders.iter().cloned()).collect();
    keys.into_iter()
        .map(|key| {
            let served = chosen.get(&key);
            let current = served.is_some_and(|chosen| !chosen.last_good);
            // What keeps a plan from being served may be its provider's.
            let above = found.faults_of_provider(&key.provider).filter(|_| !current);
            v1::PlanReport {
                served_digest: served.map(digest).unwrap_or_default(),
                last_good: served.is_some_and(|chosen| chosen.last_good),
                not_orderable_reason: reasons.get(&key).cloned().unwrap_or_default(),
                faults: found.faults_of(&key).chain(above).map(message).collect(),
                warnings: found.warnings_of(&key).map(message).collect(),
                provider: key.provider,
                plan: key.plan,
            }
        })
        .collect()
}

fn digest(chosen: &Chosen) -> String {
    chosen.bundle.digest().to_string()
}

fn message(fault: &Fault) -> v1::PlanFault {
    v1::PlanFault {
        file: fault.file.clone().unwrap_or_default(),
        line: fault.line.unwrap_or_default(),
        column: fault.column.unwrap_or_default(),
        message: fault.message.clone(),
    }
}
