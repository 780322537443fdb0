//! `extends`: a folder laid over its base, and that over its own.

use std::collections::{BTreeMap, BTreeSet};

use crate::fault::{Pos, Problem};
use crate::node::{Kind, Node, unknown};
use crate::source::{self, Folder, Overlay, folder_name_fault};

/// A folder with everything it inherits.
pub(crate) struct Resolved {
    /// plan.yaml, merged, without `extends`.
    pub(crate) node: Node,
    /// Templates by file name.
    pub(crate) files: BTreeMap<String, String>,
    /// Where a template really is, for faults.
    pub(crate) origins: BTreeMap<String, String>,
    /// What is passed over.
    pub(crate) warnings: Vec<Problem>,
}

/// Resolves a plan's folder. `bases` are all that exist.
pub(crate) fn folder(
    overlay: &Overlay<'_>,
    bases: &BTreeSet<String>,
    provider: &str,
    name: &str,
) -> Result<Resolved, Vec<Problem>> {
    let mut chain = vec![format!("{provider}/{name}")];
    if let Some(message) = folder_name_fault(name) {
        return Err(vec![Problem::at(&Pos::file(&chain[0]), message)]);
    }
    let mut layers = Vec::new();
    let (mut provider, mut name) = (provider.to_owned(), name.to_owned());
    loop {
        let path = format!("{provider}/{name}");
        let Some(folder) = overlay.folders.get(&(provider.as_str(), name.as_str())) else {
            return Err(vec![Problem::at(
                &Pos::file(&path),
                "there is no such folder",
            )]);
        };
        let mut layer = layer(&path, folder)?;
        let base = layer.node.remove("extends");
        layers.push(layer);
        let Some(base) = base.filter(|base| !matches!(base.kind, Kind::Null)) else {
            break;
        };
        (provider, name) = target(&base, &provider).map_err(|p| vec![p])?;
        let next = format!("{provider}/{name}");
        if !overlay
            .folders
            .contains_key(&(provider.as_str(), name.as_str()))
        {
            return Err(vec![missing(bases, &base, &next)]);
        }
        let closes = chain.contains(&next);
        chain.push(next);
        if closes {
            let message = format!("extends forms a cycle: {}", chain.join(" -> "));
            return Err(vec![Problem::at(&base.pos, message)]);
        }
    }
    Ok(merge(layers))
}

/// A folder's own descriptor and templates.
struct Layer {
    path: String,
    node: Node,
    files: BTreeMap<String, String>,
    warnings: Vec<Problem>,
}

fn merge(layers: Vec<Layer>) -> Resolved {
    let mut merged: Option<Resolved> = None;
    for layer in layers.into_iter().rev() {
        let Layer {
            path,
            node,
            files,
            warnings,
        } = layer;
        let origins = files
            .keys()
            .map(|name| (name.clone(), format!("{path}/{name}")));
        merged = Some(match merged {
            None => Resolved {
                node,
                origins: origins.collect(),
                files,
                warnings,
            },
            Some(mut below) => {
                below.origins.extend(origins);
                below.files.extend(files);
                below.warnings.extend(warnings);
                below.node = below.node.merge(node);
                below
            }
        });
    }
    // There is always a layer: the folder itself.
    merged.unwrap_or_else(|| Resolved {
        node: Node {
            kind: Kind::Map(Vec::new()),
            pos: Pos::file(""),
        },
        files: BTreeMap::new(),
        origins: BTreeMap::new(),
        warnings: Vec::new(),
    })
}

fn target(base: &Node, provider: &str) -> Result<(String, String), Problem> {
    let Kind::String(text) = &base.kind else {
        return Err(Problem::at(
            &base.pos,
            "extends must be _base or provider/_base",
        ));
    };
    let (provider, name) = text.split_once('/').unwrap_or((provider, text));
    if !name.starts_with('_') {
        let message = format!("{text:?} is not a base: the folder of a base begins with _");
        return Err(Problem::at(&base.pos, message));
    }
    Ok((provider.to_owned(), name.to_owned()))
}

fn missing(bases: &BTreeSet<String>, base: &Node, path: &str) -> Problem {
    let bases: Vec<_> = bases.iter().map(String::as_str).collect();
    let message = if bases.is_empty() {
        format!("base {path:?} does not exist")
    } else {
        unknown("base", path, &bases)
    };
    Problem::at(&base.pos, message)
}

fn layer(path: &str, folder: &Folder<'_>) -> Result<Layer, Vec<Problem>> {
    let mut node = Node {
        kind: Kind::Map(Vec::new()),
        pos: Pos::file(&format!("{path}/plan.yaml")),
    };
    let mut files = BTreeMap::new();
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    for (name, content) in &folder.files {
        let file = format!("{path}/{name}");
        let whole = Pos::file(&file);
        if *name == "plan.yaml" {
            match Node::read(&file, content) {
                Ok(read) => node = read,
                Err(problem) => problems.push(problem),
            }
            continue;
        }
        match role(name) {
            Role::Template => match source::text(&file, content) {
                Ok(text) => {
                    files.insert((*name).to_owned(), text.to_owned());
                }
                Err(problem) => problems.push(problem),
            },
            Role::Documentation => {}
            Role::PassedOver => warnings.push(Problem::at(&whole, PASSED_OVER)),
            Role::Refused(message) => problems.push(Problem::at(&whole, message)),
        }
    }
    if problems.is_empty() {
        Ok(Layer {
            path: path.to_owned(),
            node,
            files,
            warnings,
        })
    } else {
        Err(problems)
    }
}

enum Role {
    Template,
    Documentation,
    /// Left there by an editor or a person; a plan is none the worse for it.
    PassedOver,
    Refused(&'static str),
}

const PASSED_OVER: &str = "is passed over: it is not a template (.yaml, .yml), a list of addresses \
                           (.url) or documentation (.md, .txt)";

fn role(name: &str) -> Role {
    let file = name.strip_prefix("binding/").unwrap_or(name);
    let extension = file.rsplit_once('.').map(|(_, extension)| extension);
    if name.starts_with("patches/") {
        return Role::Refused("patches of fetched manifests are not supported yet");
    }
    if file.contains('/') {
        return Role::Refused("the only folders in a plan are binding/, patches/ and tests/");
    }
    match extension {
        _ if name == "service.yaml" => {
            Role::Refused("belongs beside the plans: <provider>/service.yaml")
        }
        _ if name == "plan.yml" => Role::Refused("must be called plan.yaml"),
        Some("yaml" | "yml") => Role::Template,
        Some("url") => Role::Refused("names manifests that were not fetched"),
        Some("md" | "txt") => Role::Documentation,
        _ => Role::PassedOver,
    }
}
