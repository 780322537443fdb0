//! From roots to a catalog: every plan that has no fault, and the faults of the others.

mod candidate;
mod claims;
mod resolve;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::bundle::{Bundle, Offering};
use crate::descriptor::Service;
use crate::fault::{Fault, Pos, Problem};
use crate::id::{OfferingId, PlanId};
use crate::kinds::ServedKinds;
use crate::lint;
use crate::node::{Node, all_from_node};
use crate::source::{Overlay, Tree, folder_name_fault};

use claims::Claims;

pub use candidate::{Candidate, Checked};

/// What can be ordered, and what is wrong with the rest.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Offerings with at least one plan, in order of their providers.
    pub offerings: Vec<Offering>,
    /// Their plans, in order of provider and name.
    pub plans: Vec<Arc<Bundle>>,
    /// What is wrong. A plan with a fault is not among the plans.
    pub faults: Vec<Fault>,
    /// What keeps no plan from being served, and is probably not meant.
    pub warnings: Vec<Fault>,
}

impl Catalog {
    /// The plans of an offering.
    pub fn plans_of<'a>(&'a self, offering: &'a Offering) -> impl Iterator<Item = &'a Arc<Bundle>> {
        self.plans
            .iter()
            .filter(|plan| *plan.offering_id() == offering.id)
    }
}

/// Builds the catalog of roots laid over each other, the site's after the shipped.
pub fn build(trees: &[Tree]) -> Catalog {
    Draft::of(None, trees).finish_here()
}

/// As [`build`], and finds what a plan must not do with the broker's own namespace.
pub fn build_in(namespace: &str, trees: &[Tree]) -> Catalog {
    Draft::of(Some(namespace), trees).finish_here()
}

/// As [`build`], with kinds of others that the plans may apply.
pub fn build_with(served: &ServedKinds, trees: &[Tree]) -> Catalog {
    Draft::of(None, trees).knowing(served).finish_here()
}

/// Everything that is wrong with the plans of some roots, found as [`build`] finds it: at load,
/// with a trial rendering for each choice that a schema offers.
pub fn lint(trees: &[Tree]) -> Vec<Fault> {
    build(trees).faults
}

/// A catalog whose plans are still to be checked, each for itself: [`Candidate::check`] evaluates
/// what a stranger wrote, so that a service has a process of its own do it.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    faults: Vec<Fault>,
    providers: Vec<Drafted>,
    /// The plans of providers that have a fault: `<provider>/<plan>` and the id.
    held_back: Vec<(String, PlanId)>,
}

#[derive(Debug, Clone)]
struct Drafted {
    provider: String,
    service: Service,
    candidates: Vec<Candidate>,
}

impl Draft {
    /// Lays roots over each other. `namespace` is the broker's own, where it is known.
    pub fn of(namespace: Option<&str>, trees: &[Tree]) -> Self {
        let overlay = Overlay::of(trees);
        let mut draft = Self::default();
        for path in &overlay.stray {
            let provider = path.split('/').next().unwrap_or_default();
            let message = "belongs to no plan: templates are in <provider>/<plan>/";
            draft
                .faults
                .push(Problem::at(&Pos::file(path), message).of(provider, None));
        }
        let services = overlay.providers().into_iter();
        let services: Vec<_> = services
            .map(|provider| (provider, service(&overlay, provider)))
            .collect();
        let claims = OfferingClaims::of(&overlay, &services);
        for (provider, described) in services {
            let described = described.and_then(|described| {
                let problems = claims.problems(provider, &described);
                problems.is_empty().then_some(described).ok_or(problems)
            });
            match described {
                Err(problems) => {
                    let faults = problems.into_iter().map(|p| p.of(provider, None));
                    draft.faults.extend(faults);
                    let plans = candidate::names(&overlay, provider);
                    draft.held_back.extend(plans.map(|plan| {
                        let id = candidate::stated_id(&overlay, provider, plan);
                        let id = id.unwrap_or_else(|| PlanId::derive(provider, plan));
                        (format!("{provider}/{plan}"), id)
                    }));
                }
                Ok(Described { service, .. }) => {
                    let candidates = candidate::all(&overlay, provider, &service, namespace);
                    draft.providers.push(Drafted {
                        provider: provider.to_owned(),
                        service,
                        candidates,
                    });
                }
            }
        }
        draft
    }

    /// The `apiVersion`s that plans name and that Kubernetes itself does not bring: what can be asked
    /// for before [`Draft::knowing`].
    pub fn api_versions(&self) -> BTreeSet<String> {
        let candidates = self.candidates();
        candidates.flat_map(Candidate::api_versions).collect()
    }

    /// The same plans, which may apply these kinds, too. A kind that the broker knows stays what it
    /// is.
    #[must_use]
    pub fn knowing(mut self, served: &ServedKinds) -> Self {
        let providers = self.providers.iter_mut();
        for candidate in providers.flat_map(|of| &mut of.candidates) {
            candidate.know(served);
        }
        self
    }

    /// The plans, in the order in which [`Draft::finish`] takes what their checks found.
    pub fn candidates(&self) -> impl Iterator<Item = &Candidate> {
        self.providers.iter().flat_map(|of| &of.candidates)
    }

    /// The catalog, with what the check of each candidate found, in order. A plan that was not
    /// checked has a fault.
    pub fn finish(self, checked: impl IntoIterator<Item = Checked>) -> Catalog {
        let mut checked = checked.into_iter();
        let mut catalog = Catalog {
            faults: self.faults,
            ..Catalog::default()
        };
        let mut offered = Vec::new();
        for of in self.providers {
            let checked = of.candidates.into_iter().map(|candidate| {
                let checked = checked
                    .next()
                    .unwrap_or_else(|| candidate.not_checked("this plan was not checked"));
                (candidate, checked)
            });
            let checked: Vec<_> = checked.collect();
            offered.push((of.provider, of.service, checked));
        }
        let mut ids = Claims::default();
        for (path, id) in &self.held_back {
            ids.add(id.as_str(), path, true);
        }
        for (candidate, checked) in offered.iter().flat_map(|(_, _, plans)| plans) {
            let derived = PlanId::derive(candidate.provider(), candidate.name());
            // Also of a plan with a fault: nobody else is to take it meanwhile.
            let id = checked.id().cloned().or_else(|| candidate.stated_id());
            let id = id.unwrap_or_else(|| derived.clone());
            ids.add(id.as_str(), &candidate.path(), id != derived);
        }
        for (provider, service, plans) in offered {
            let mut bundles = Vec::new();
            for (candidate, checked) in plans {
                let of_plan = |problem: Problem| problem.of(&provider, Some(candidate.name()));
                catalog
                    .warnings
                    .extend(checked.warnings().cloned().map(of_plan));
                match checked.judged(&candidate, &ids) {
                    Ok(bundle) => bundles.push(Arc::new(bundle)),
                    Err(problems) => {
                        catalog.faults.extend(problems.into_iter().map(of_plan));
                    }
                }
            }
            if !bundles.is_empty() {
                let bindable = bundles.iter().any(|bundle| bundle.is_bindable());
                catalog
                    .offerings
                    .push(Offering::new(&provider, &service, bindable));
                catalog.plans.extend(bundles);
            }
        }
        for list in [&mut catalog.faults, &mut catalog.warnings] {
            list.sort();
            list.dedup();
        }
        catalog
    }

    /// Checks the plans in this very process.
    fn finish_here(self) -> Catalog {
        let checked: Vec<_> = self.candidates().map(Candidate::check).collect();
        self.finish(checked)
    }
}

/// A provider's service.yaml, if there is one.
#[derive(Debug, Clone)]
struct Described {
    service: Service,
    node: Option<Node>,
}

impl Described {
    fn place(&self, provider: &str, path: &[&str]) -> Pos {
        let file = Pos::file(&service_file(provider));
        self.node.as_ref().map_or(file, |node| node.place(path))
    }
}

fn service_file(provider: &str) -> String {
    format!("{provider}/service.yaml")
}

fn service(overlay: &Overlay<'_>, provider: &str) -> Result<Described, Vec<Problem>> {
    if let Some(message) = folder_name_fault(provider) {
        return Err(vec![Problem::at(&Pos::file(provider), message)]);
    }
    let Some(bytes) = overlay.services.get(provider) else {
        return Ok(Described {
            service: Service::default(),
            node: None,
        });
    };
    let node = Node::read(&service_file(provider), bytes).map_err(|p| vec![p])?;
    let service: Service = all_from_node(&node)?;
    Ok(Described {
        service,
        node: Some(node),
    })
}

/// The id and the name in a service.yaml that has a fault, which keep others from taking them.
fn read_in_part(overlay: &Overlay<'_>, provider: &str) -> Service {
    let bytes = overlay.services.get(provider).copied().unwrap_or_default();
    let text = |key: &str| Node::scalar_in(bytes, key);
    Service {
        id: text("id").and_then(|id| id.parse().ok()),
        name: text("name"),
        ..Service::default()
    }
}

/// Which offering has which id and name.
#[derive(Debug, Default)]
struct OfferingClaims {
    ids: Claims,
    names: Claims,
}

impl OfferingClaims {
    fn of(overlay: &Overlay<'_>, services: &[(&str, Result<Described, Vec<Problem>>)]) -> Self {
        let mut claims = Self::default();
        for (provider, described) in services {
            // One without plans offers nothing.
            if candidate::names(overlay, provider).next().is_none() {
                continue;
            }
            let service = match described {
                Ok(of) => of.service.clone(),
                Err(_) => read_in_part(overlay, provider),
            };
            let offering = Offering::new(provider, &service, false);
            let derived = OfferingId::derive(provider);
            let id = offering.id.as_str();
            claims.ids.add(id, provider, offering.id != derived);
            let states_name = offering.name != *provider;
            claims.names.add(&offering.name, provider, states_name);
        }
        claims
    }

    /// What is wrong with an offering.
    fn problems(&self, provider: &str, described: &Described) -> Vec<Problem> {
        let place = |path: &[&str]| described.place(provider, path);
        let offering = Offering::new(provider, &described.service, false);
        let mut problems = lint::service(&offering, &place);
        if let Some(rival) = self.names.rival(&offering.name, provider) {
            let name = &offering.name;
            let message =
                format!("name {name:?} is that of the offering {rival}, too; take another one");
            problems.push(Problem::at(&place(&["name"]), message));
        }
        let id = offering.id.as_str();
        if let Some(rival) = self.ids.rival(id, provider) {
            let message = format!("id {id} is that of the offering {rival}, too; take another one");
            problems.push(Problem::at(&place(&["id"]), message));
        }
        problems
    }
}
