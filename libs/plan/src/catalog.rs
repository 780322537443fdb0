//! From roots to a catalog: every plan that has no fault, and the faults of the others.

mod resolve;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::bundle::{Bundle, Content, Offering};
use crate::descriptor::Service;
use crate::fault::{Fault, Pos, Problem};
use crate::id::{OfferingId, PlanId};
use crate::lint;
use crate::node::{Node, from_node};
use crate::source::{Overlay, Tree, is_folder_name};

use resolve::Resolved;

/// What can be ordered, and what is wrong with the rest.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Offerings with at least one plan, in order of their providers.
    pub offerings: Vec<Offering>,
    /// Their plans, in order of provider and name.
    pub plans: Vec<Arc<Bundle>>,
    /// What is wrong. A plan with a fault is not among the plans.
    pub faults: Vec<Fault>,
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
    build_with(trees, None)
}

/// As [`build`], and finds what a plan must not do with the broker's own namespace.
pub fn build_in(namespace: &str, trees: &[Tree]) -> Catalog {
    build_with(trees, Some(namespace))
}

fn build_with(trees: &[Tree], namespace: Option<&str>) -> Catalog {
    let site = Site {
        overlay: Overlay::of(trees),
        broker_namespace: namespace,
    };
    let mut catalog = Catalog::default();
    for path in &site.overlay.stray {
        let provider = path.split('/').next().unwrap_or_default();
        let message = "belongs to no plan: templates are in <provider>/<plan>/";
        catalog
            .faults
            .push(Problem::at(&Pos::file(path), message).of(provider, None));
    }
    let mut taken = Taken::default();
    for provider in site.overlay.providers() {
        match service(&site.overlay, provider, &mut taken) {
            Err(problems) => {
                let faults = problems.into_iter().map(|p| p.of(provider, None));
                catalog.faults.extend(faults);
            }
            Ok(service) => plans(&site, provider, &service, &mut taken, &mut catalog),
        }
    }
    catalog.faults.sort();
    catalog.faults.dedup();
    catalog
}

/// Everything that is wrong with the plans of some roots, found as [`build`] finds it: at load,
/// with a trial rendering for each choice that a schema offers.
pub fn lint(trees: &[Tree]) -> Vec<Fault> {
    build(trees).faults
}

/// All folders, and where they are served.
struct Site<'a> {
    overlay: Overlay<'a>,
    /// The broker's own namespace, where it is known.
    broker_namespace: Option<&'a str>,
}

/// Ids and names that are in use; a second one is the fault of whoever comes later.
#[derive(Default)]
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
    if !is_folder_name(provider) {
        let message =
            "the name of a provider's folder may only have letters, digits, '-', '_' and '.'";
        return Err(vec![Problem::at(&Pos::file(provider), message)]);
    }
    let (service, node) = match overlay.services.get(provider) {
        None => (Service::default(), None),
        Some(bytes) => {
            let node = Node::read(&file, bytes).map_err(|p| vec![p])?;
            let service: Service = from_node(&node).map_err(|p| vec![p])?;
            (service, Some(node))
        }
    };
    let place = |key: &str| {
        node.as_ref()
            .map_or_else(|| Pos::file(&file), |n| n.place([key]))
    };
    let offering = Offering::new(provider, &service, false);
    let mut problems = lint::service(&offering, &place);
    if !taken.names.insert(offering.name.clone()) {
        let message = format!("offering name {:?} is in use already", offering.name);
        problems.push(Problem::at(&place("name"), message));
    }
    if !taken.ids.insert(offering.id.to_string()) {
        let message = format!("id {} is in use already", offering.id);
        problems.push(Problem::at(&place("id"), message));
    }
    if problems.is_empty() {
        Ok(service)
    } else {
        Err(problems)
    }
}

fn plans(
    site: &Site<'_>,
    provider: &str,
    service: &Service,
    taken: &mut Taken,
    catalog: &mut Catalog,
) {
    let mut bundles = Vec::new();
    let folders = &site.overlay.folders;
    let own = folders
        .keys()
        .filter(|(p, _)| *p == provider)
        .map(|(_, name)| *name);
    for name in own.filter(|name| !name.starts_with('_')) {
        match plan(site, provider, name, service, taken) {
            Ok(bundle) => bundles.push(Arc::new(bundle)),
            Err(problems) => {
                let faults = problems.into_iter().map(|p| p.of(provider, Some(name)));
                catalog.faults.extend(faults);
            }
        }
    }
    if !bundles.is_empty() {
        let bindable = bundles.iter().any(|bundle| bundle.is_bindable());
        catalog
            .offerings
            .push(Offering::new(provider, service, bindable));
        catalog.plans.extend(bundles);
    }
}

fn plan(
    site: &Site<'_>,
    provider: &str,
    name: &str,
    service: &Service,
    taken: &mut Taken,
) -> Result<Bundle, Vec<Problem>> {
    let Resolved {
        node,
        files,
        origins,
    } = resolve::folder(&site.overlay, provider, name)?;
    lint::refused(&node)?;
    let descriptor = from_node(&node).map_err(|p| vec![p])?;
    let subject = lint::Subject {
        folder: format!("{provider}/{name}"),
        node: &node,
        descriptor: &descriptor,
        files: &files,
        siblings: siblings(&site.overlay, provider),
        origins: &origins,
        broker_namespace: site.broker_namespace,
    };
    let checked = lint::plan(&subject)?;
    let plan_id = descriptor
        .id
        .clone()
        .unwrap_or_else(|| PlanId::derive(provider, name));
    if !taken.ids.insert(plan_id.to_string()) {
        let message = format!("id {plan_id} is in use already");
        return Err(vec![Problem::at(&node.place(["id"]), message)]);
    }
    let content = Content {
        format: 0,
        provider: provider.to_owned(),
        plan: name.to_owned(),
        offering_id: service
            .id
            .clone()
            .unwrap_or_else(|| OfferingId::derive(provider)),
        plan_id,
        service: service.clone(),
        descriptor: descriptor.clone(),
        kinds: checked.kinds,
        schemas: checked.schemas,
        files: files.clone(),
    };
    let bundle = Bundle::new(content);
    lint::trial(&bundle, &subject)?;
    Ok(bundle)
}

/// The plans of a provider, by folder.
fn siblings<'a>(overlay: &Overlay<'a>, provider: &str) -> BTreeSet<&'a str> {
    overlay
        .folders
        .keys()
        .filter(|(p, name)| *p == provider && !name.starts_with('_'))
        .map(|(_, name)| *name)
        .collect()
}
