//! From roots to a catalog: every plan that has no fault, and the faults of the others.

mod candidate;
mod resolve;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::bundle::{Bundle, Offering};
use crate::descriptor::Service;
use crate::fault::{Fault, Pos, Problem};
use crate::lint;
use crate::node::{Node, all_from_node};
use crate::source::{Overlay, Tree, folder_name_fault};

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
    taken: Taken,
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
        for provider in overlay.providers() {
            match service(&overlay, provider, &mut draft.taken) {
                Err(problems) => {
                    let faults = problems.into_iter().map(|p| p.of(provider, None));
                    draft.faults.extend(faults);
                }
                Ok(service) => {
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

    /// The plans, in the order in which [`Draft::finish`] takes what their checks found.
    pub fn candidates(&self) -> impl Iterator<Item = &Candidate> {
        self.providers.iter().flat_map(|of| &of.candidates)
    }

    /// The catalog, with what the check of each candidate found, in order. A plan that was not
    /// checked has a fault.
    pub fn finish(self, checked: impl IntoIterator<Item = Checked>) -> Catalog {
        let mut checked = checked.into_iter();
        let mut taken = self.taken;
        let mut catalog = Catalog {
            faults: self.faults,
            ..Catalog::default()
        };
        for of in self.providers {
            let mut bundles = Vec::new();
            for candidate in &of.candidates {
                let checked = checked
                    .next()
                    .unwrap_or_else(|| candidate.not_checked("this plan was not checked"));
                let of_plan = |problem: Problem| problem.of(&of.provider, Some(candidate.name()));
                catalog
                    .warnings
                    .extend(checked.warnings().cloned().map(of_plan));
                match checked.judged(candidate, &mut taken.ids) {
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
                    .push(Offering::new(&of.provider, &of.service, bindable));
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

/// Ids and names that are in use; a second one is the fault of whoever comes later.
#[derive(Debug, Clone, Default)]
struct Taken {
    ids: BTreeSet<String>,
    names: BTreeSet<String>,
}

fn service(
    overlay: &Overlay<'_>,
    provider: &str,
    taken: &mut Taken,
) -> Result<Service, Vec<Problem>> {
    let file = format!("{provider}/service.yaml");
    if let Some(message) = folder_name_fault(provider) {
        return Err(vec![Problem::at(&Pos::file(provider), message)]);
    }
    let (service, node) = match overlay.services.get(provider) {
        None => (Service::default(), None),
        Some(bytes) => {
            let node = Node::read(&file, bytes).map_err(|p| vec![p])?;
            let service: Service = all_from_node(&node)?;
            (service, Some(node))
        }
    };
    let place = |path: &[&str]| {
        node.as_ref()
            .map_or_else(|| Pos::file(&file), |node| node.place(path))
    };
    let offering = Offering::new(provider, &service, false);
    let mut problems = lint::service(&offering, &place);
    if !taken.names.insert(offering.name.clone()) {
        let message = format!("offering name {:?} is in use already", offering.name);
        problems.push(Problem::at(&place(&["name"]), message));
    }
    if !taken.ids.insert(offering.id.to_string()) {
        let message = format!("id {} is in use already", offering.id);
        problems.push(Problem::at(&place(&["id"]), message));
    }
    if problems.is_empty() {
        Ok(service)
    } else {
        Err(problems)
    }
}
