//! One plan before its check: all that the check needs, as data, so that it can be done elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use super::claims::Claims;
use super::resolve::{self, Resolved};
use crate::bundle::{Bundle, Content};
use crate::canonical;
use crate::descriptor::Service;
use crate::fault::{Pos, Problem};
use crate::id::{Digest, OfferingId, PlanId};
use crate::kinds::{ServedKinds, named};
use crate::lint;
use crate::node::{Node, all_from_node};
use crate::source::{Folder, Overlay, Tree};

/// A plan that was found, with the bases that it may extend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    provider: String,
    name: String,
    service: Service,
    /// Its folder and those of bases, `<provider>/<folder>` -> files, these in base64.
    folders: BTreeMap<String, BTreeMap<String, String>>,
    /// Every base of the site, for the advice on one that is misspelt.
    bases: BTreeSet<String>,
    /// The plans of the same offering.
    siblings: BTreeSet<String>,
    broker_namespace: Option<String>,
    /// What is known of the kinds of others that it names.
    #[serde(default, skip_serializing_if = "ServedKinds::is_empty")]
    served: ServedKinds,
}

/// What the check of a plan found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// The plan's id, once the descriptor is known to be valid, and where it is written.
    id: Option<(PlanId, Pos)>,
    outcome: Result<Bundle, Vec<Problem>>,
    /// What is no fault, and probably not meant.
    warnings: Vec<Problem>,
}

/// The plans of a provider.
pub(super) fn all(
    overlay: &Overlay<'_>,
    provider: &str,
    service: &Service,
    broker_namespace: Option<&str>,
) -> Vec<Candidate> {
    let siblings: BTreeSet<String> = names(overlay, provider).map(str::to_owned).collect();
    let candidate = |name: &str| Candidate {
        provider: provider.to_owned(),
        name: name.to_owned(),
        service: service.clone(),
        folders: folders(overlay, provider, name),
        bases: bases(overlay).map(|(p, name)| path(p, name)).collect(),
        siblings: siblings.clone(),
        broker_namespace: broker_namespace.map(str::to_owned),
        served: ServedKinds::default(),
    };
    names(overlay, provider).map(candidate).collect()
}

/// The names of a provider's plan folders.
pub(super) fn names<'a>(overlay: &Overlay<'a>, provider: &str) -> impl Iterator<Item = &'a str> {
    let of_provider = overlay.folders.keys().filter(move |(p, _)| *p == provider);
    let names = of_provider.map(|(_, name)| *name);
    names.filter(|name| !name.starts_with('_'))
}

/// The id that a plan's own plan.yaml states, whatever else is wrong with it.
pub(super) fn stated_id(overlay: &Overlay<'_>, provider: &str, name: &str) -> Option<PlanId> {
    let folder = overlay.folders.get(&(provider, name))?;
    id_in(folder.files.get("plan.yaml")?)
}

fn id_in(plan_yaml: &[u8]) -> Option<PlanId> {
    Node::scalar_in(plan_yaml, "id")?.parse().ok()
}

fn path(provider: &str, folder: &str) -> String {
    format!("{provider}/{folder}")
}

fn bases<'a>(overlay: &Overlay<'a>) -> impl Iterator<Item = (&'a str, &'a str)> {
    let folders = overlay.folders.keys().copied();
    folders.filter(|(_, name)| name.starts_with('_'))
}

/// A plan's folder and every base that it may extend: whose name stands in its plan.yaml, or in
/// that of such a base. Nothing is parsed for it: a name cannot be written otherwise, except with
/// escapes, and then every base may be meant.
fn folders(
    overlay: &Overlay<'_>,
    provider: &str,
    name: &str,
) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut next = vec![(provider, name)];
    while let Some((provider, name)) = next.pop() {
        let Some(folder) = overlay.folders.get(&(provider, name)) else {
            continue;
        };
        if found.contains_key(&path(provider, name)) {
            continue;
        }
        let text = folder.files.get("plan.yaml").copied().unwrap_or_default();
        let text = String::from_utf8_lossy(text);
        next.extend(bases(overlay).filter(|(_, base)| text.contains('\\') || text.contains(base)));
        found.insert(path(provider, name), encoded(folder));
    }
    found
}

fn encoded(folder: &Folder<'_>) -> BTreeMap<String, String> {
    let files = folder.files.iter();
    files
        .map(|(name, content)| ((*name).to_owned(), BASE64.encode(content)))
        .collect()
}

impl Candidate {
    /// The provider's folder.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// The plan's folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `<provider>/<plan>`.
    pub(super) fn path(&self) -> String {
        path(&self.provider, &self.name)
    }

    /// The id that its own plan.yaml states, whatever else is wrong with it.
    pub(super) fn stated_id(&self) -> Option<PlanId> {
        let folder = self.folders.get(&self.path())?;
        id_in(&BASE64.decode(folder.get("plan.yaml")?.as_bytes()).ok()?)
    }

    /// The `apiVersion`s of others that its files name, up to a number that none of good will needs.
    pub(super) fn api_versions(&self) -> BTreeSet<String> {
        let texts = self.texts();
        // What it lists itself comes first: a manifest of others may mention many.
        let own = self.folders.get(&self.path());
        let own = own.and_then(|files| BASE64.decode(files.get("plan.yaml")?.as_bytes()).ok());
        let own = String::from_utf8_lossy(&own.unwrap_or_default()).into_owned();
        let mut named = named::in_text(&own);
        for version in texts.iter().flat_map(|text| named::in_text(text)) {
            if named.len() >= named::MOST {
                break;
            }
            named.insert(version);
        }
        named.into_iter().take(named::MOST).collect()
    }

    /// Takes what is known of the kinds that it names.
    pub(super) fn know(&mut self, served: &ServedKinds) {
        self.served = served.for_texts(&self.texts());
    }

    /// Its files, and those of its bases.
    fn texts(&self) -> Vec<String> {
        let files = self.folders.values().flat_map(BTreeMap::values);
        let bytes = files.filter_map(|file| BASE64.decode(file.as_bytes()).ok());
        bytes
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .collect()
    }

    /// Of all that the check depends on: two that are equal have the same outcome.
    pub fn digest(&self) -> Digest {
        Digest::of(&canonical::bytes(self))
    }

    /// Checks the plan, with a trial rendering for each choice that a schema offers. What its
    /// templates say is evaluated: it may take any time and memory.
    pub fn check(&self) -> Checked {
        let (mut id, mut warnings) = (None, Vec::new());
        let tree = self.tree();
        let outcome = tree.and_then(|tree| self.build(&[tree], &mut id, &mut warnings));
        Checked {
            id,
            outcome,
            warnings,
        }
    }

    /// What is said of a plan whose check did not take place, or came to no end.
    pub fn not_checked(&self, message: impl Into<String>) -> Checked {
        let pos = Pos::file(&path(&self.provider, &self.name));
        Checked {
            id: None,
            outcome: Err(vec![Problem::at(&pos, message)]),
            warnings: Vec::new(),
        }
    }

    fn tree(&self) -> Result<Tree, Vec<Problem>> {
        let mut tree = Tree::new();
        for (folder, files) in &self.folders {
            for (name, content) in files {
                let file = format!("{folder}/{name}");
                let content = BASE64
                    .decode(content.as_bytes())
                    .map_err(|_| vec![Problem::at(&Pos::file(&file), "arrived damaged")])?;
                tree.insert(&file, content);
            }
        }
        Ok(tree)
    }

    fn build(
        &self,
        trees: &[Tree],
        id: &mut Option<(PlanId, Pos)>,
        warnings: &mut Vec<Problem>,
    ) -> Result<Bundle, Vec<Problem>> {
        let (provider, name) = (self.provider.as_str(), self.name.as_str());
        let Resolved {
            node,
            files,
            origins,
            warnings: passed_over,
        } = resolve::folder(&Overlay::of(trees), &self.bases, provider, name)?;
        warnings.extend(passed_over);
        lint::refused(&node)?;
        let descriptor = all_from_node(&node)?;
        let subject = lint::Subject {
            folder: path(provider, name),
            node: &node,
            descriptor: &descriptor,
            files: &files,
            siblings: self.siblings.iter().map(String::as_str).collect(),
            origins: &origins,
            broker_namespace: self.broker_namespace.as_deref(),
            served: &self.served,
        };
        let checked = lint::plan(&subject)?;
        warnings.extend(lint::advice(&subject));
        let moving = lint::moving(&subject, &checked.schemas);
        if !moving.is_empty() {
            return Err(moving);
        }
        let plan_id = descriptor
            .id
            .clone()
            .unwrap_or_else(|| PlanId::derive(provider, name));
        *id = Some((plan_id.clone(), node.place(["id"])));
        let service = &self.service;
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
        lint::trial(&bundle, &subject, &checked.sources, warnings)?;
        Ok(bundle)
    }
}

impl Checked {
    /// What the check warned of.
    pub(super) fn warnings(&self) -> impl Iterator<Item = &Problem> {
        self.warnings.iter()
    }

    /// The plan's id, where it is known.
    pub(super) fn id(&self) -> Option<&PlanId> {
        self.id.as_ref().map(|(id, _)| id)
    }

    /// The bundle, or what is wrong, an id that is another's included.
    pub(super) fn judged(
        self,
        candidate: &Candidate,
        ids: &Claims,
    ) -> Result<Bundle, Vec<Problem>> {
        let mut problems = Vec::new();
        if let Some((id, pos)) = self.id
            && let Some(rival) = ids.rival(id.as_str(), &candidate.path())
        {
            let message = format!("id {id} is that of the plan {rival}, too; take another one");
            problems.push(Problem::at(&pos, message));
        }
        let bundle = match self.outcome {
            Ok(bundle) if problems.is_empty() => bundle,
            Ok(_) => return Err(problems),
            Err(more) => {
                problems.extend(more);
                return Err(problems);
            }
        };
        if (bundle.provider(), bundle.name()) == (candidate.provider(), candidate.name()) {
            Ok(bundle)
        } else {
            candidate
                .not_checked("the check of this plan told of another one")
                .outcome
        }
    }
}
