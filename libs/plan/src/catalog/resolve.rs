//! `extends`: a folder laid over its base, and that over its own.

use std::collections::{BTreeMap, BTreeSet};

use crate::fault::{Pos, Problem};
use crate::node::{Kind, Node, unknown};
use crate::source::{Folder, Overlay, is_folder_name};

/// A folder with everything it inherits.
pub(crate) struct Resolved {
    /// plan.yaml, merged, without `extends`.
    pub(crate) node: Node,
    /// Templates by file name.
    pub(crate) files: BTreeMap<String, String>,
    /// Where a template really is, for faults.
    pub(crate) origins: BTreeMap<String, String>,
}

/// Resolves a plan's folder. `bases` are all that exist.
pub(crate) fn folder(
    overlay: &Overlay<'_>,
    bases: &BTreeSet<String>,
    provider: &str,
    name: &str,
) -> Result<Resolved, Vec<Problem>> {
    let mut chain = vec![format!("{provider}/{name}")];
    if !is_folder_name(name) {
        let message = "the name of a plan's folder may only have letters, digits, '-', '_' and '.'";
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
        let (mut node, files) = layer(&path, folder)?;
        let base = node.remove("extends");
        layers.push((path, node, files));
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

type Layer = (String, Node, BTreeMap<String, String>);

fn merge(layers: Vec<Layer>) -> Resolved {
    let mut merged: Option<Resolved> = None;
    for (path, node, files) in layers.into_iter().rev() {
        let origins = files
            .keys()
            .map(|name| (name.clone(), format!("{path}/{name}")));
        merged = Some(match merged {
            None => Resolved {
                node,
                origins: origins.collect(),
                files,
            },
            Some(mut below) => {
                below.origins.extend(origins);
                below.files.extend(files);
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

/// A folder's own descriptor and templates.
fn layer(
    path: &str,
    folder: &Folder<'_>,
) -> Result<(Node, BTreeMap<String, String>), Vec<Problem>> {
    let mut node = Node {
        kind: Kind::Map(Vec::new()),
        pos: Pos::file(&format!("{path}/plan.yaml")),
    };
    let mut files = BTreeMap::new();
    let mut problems = Vec::new();
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
            Role::Template => match std::str::from_utf8(content) {
                Ok(text) => {
                    files.insert((*name).to_owned(), text.to_owned());
                }
                Err(_) => problems.push(Problem::at(&whole, "is not UTF-8")),
            },
            Role::Ignored => {}
            Role::Refused(message) => problems.push(Problem::at(&whole, message)),
        }
    }
    if problems.is_empty() {
        Ok((node, files))
    } else {
        Err(problems)
    }
}

enum Role {
    Template,
    Ignored,
    Refused(&'static str),
}

fn role(name: &str) -> Role {
    let file = name.strip_prefix("binding/").unwrap_or(name);
    let extension = file.rsplit_once('.').map(|(_, extension)| extension);
    if name.starts_with("patches/") {
        return Role::Refused("patches of fetched manifests are not supported yet");
    }
    if file.contains('/') {
        return Role::Refused("the only folders in a plan are binding/ and patches/");
    }
    match extension {
        _ if name == "service.yaml" => {
            Role::Refused("belongs beside the plans: <provider>/service.yaml")
        }
        _ if name == "plan.yml" => Role::Refused("must be called plan.yaml"),
        Some("yaml" | "yml") => Role::Template,
        Some("url") => Role::Refused("names manifests that were not fetched"),
        Some("md" | "txt") => Role::Ignored,
        _ => Role::Refused(
            "is not a template (.yaml, .yml), a list of addresses (.url) or documentation (.md, .txt)",
        ),
    }
}
