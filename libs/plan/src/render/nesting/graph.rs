//! Which name is made of which others, and how large that makes them.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::{algo::kosaraju_scc, graphmap::DiGraphMap};

use super::{
    ANY, MAX_DEPTH, MAX_PARTS,
    shape::{Name, Shape},
};
use crate::render::ast::Place;

/// How large a value can be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Size {
    /// How often it holds parts from outside; the highest number where nobody knows.
    parts: u64,
    /// How many levels it adds.
    depth: u64,
    /// It may be a list that is repeated, nobody knows how often. Alone it does no harm: the engine
    /// counts the items of a list, but not those of a list in a list.
    is_repeated: bool,
}

/// All names of a template, with how large they can be.
pub(super) struct Graph {
    assigned: BTreeMap<Name, Vec<(Place, Shape)>>,
    flat: BTreeSet<Name>,
    sizes: BTreeMap<Name, Size>,
    /// Names that are made of each other.
    cycles: Vec<BTreeSet<Name>>,
}

impl Graph {
    pub(super) fn new(assigned: BTreeMap<Name, Vec<(Place, Shape)>>) -> Self {
        let mut graph = Self {
            flat: assigned.keys().cloned().collect(),
            assigned,
            sizes: BTreeMap::new(),
            cycles: Vec::new(),
        };
        graph.find_flat();
        graph.measure();
        graph
    }

    /// A name is flat if all is that it is made of. Begins with all names, and takes out those
    /// of which something is not.
    fn find_flat(&mut self) {
        let mut users = BTreeMap::<Name, BTreeSet<Name>>::new();
        for (name, shapes) in &self.assigned {
            let mut parts = Vec::new();
            for (_, shape) in shapes {
                shape.names(&mut parts);
            }
            for part in parts {
                for (part, _) in self.known(part) {
                    users.entry(part.clone()).or_default().insert(name.clone());
                }
            }
        }
        let mut doubtful: Vec<Name> = self.assigned.keys().cloned().collect();
        while let Some(name) = doubtful.pop() {
            let shapes = &self.assigned[&name];
            let is_flat = shapes.iter().all(|(_, shape)| self.is_flat(shape));
            if !is_flat && self.flat.remove(&name) {
                doubtful.extend(users.get(&name).into_iter().flatten().cloned());
            }
        }
    }

    fn is_flat(&self, shape: &Shape) -> bool {
        match shape {
            Shape::Flat => true,
            Shape::Name(name) => {
                let known = self.known(name);
                !known.is_empty() && known.iter().all(|(name, _)| self.flat.contains(*name))
            }
            Shape::Either(parts) => parts.iter().all(|part| self.is_flat(part)),
            Shape::Held(_) => false,
            Shape::Times(part, _) => self.is_flat(part),
            // A list and a number have no sum, and a product of two numbers is one.
            Shape::Sum(left, right) => self.is_flat(left) || self.is_flat(right),
            Shape::Product(left, right) => self.is_flat(left) && self.is_flat(right),
        }
    }

    /// The names of this file that a name means, and whether they are held by it. None if it
    /// comes from outside.
    fn known(&self, name: &Name) -> Vec<(&Name, bool)> {
        let scopes = [name.scope.clone(), None];
        let scope = scopes.into_iter().find(|scope| {
            let first = Name {
                scope: scope.clone(),
                variable: name.variable.clone(),
                attribute: None,
            };
            self.attributes(first).next().is_some()
        });
        let Some(scope) = scope else {
            return Vec::new();
        };
        let whole = Name {
            scope,
            attribute: None,
            ..name.clone()
        };
        self.attributes(whole)
            .filter(|known| match (&name.attribute, &known.attribute) {
                (Some(asked), Some(attribute)) => asked == attribute,
                _ => true,
            })
            .map(|known| (known, name.attribute.is_none() && known.attribute.is_some()))
            .collect()
    }

    /// A variable and its attributes, as far as they are assigned.
    fn attributes(&self, whole: Name) -> impl Iterator<Item = &Name> {
        self.assigned
            .range(whole.clone()..)
            .map(|(name, _)| name)
            .take_while(move |name| name.scope == whole.scope && name.variable == whole.variable)
    }

    /// The names that a shape is made of, and whether they are held.
    fn made_of(&self, shape: &Shape, held: bool, into: &mut Vec<(Name, bool)>) {
        if self.is_flat(shape) {
            return;
        }
        match shape {
            Shape::Flat => {}
            Shape::Name(name) => into.extend(
                self.known(name)
                    .into_iter()
                    .map(|(name, inside)| (name.clone(), held || inside)),
            ),
            Shape::Either(parts) => {
                for part in parts {
                    self.made_of(part, held, into);
                }
            }
            Shape::Held(parts) => {
                for part in parts {
                    self.made_of(part, true, into);
                }
            }
            // Lists of this kind are read when they are asked for.
            Shape::Times(part, _) => self.made_of(part, true, into),
            Shape::Sum(left, right) => {
                self.made_of(left, held, into);
                self.made_of(right, held, into);
            }
            Shape::Product(left, right) => {
                self.made_of(left, true, into);
                self.made_of(right, true, into);
            }
        }
    }

    fn measure(&mut self) {
        let names: Vec<Name> = self.assigned.keys().cloned().collect();
        let number: BTreeMap<&Name, usize> = names
            .iter()
            .enumerate()
            .map(|(at, name)| (name, at))
            .collect();
        let mut edges = DiGraphMap::<usize, ()>::new();
        for (name, shapes) in &self.assigned {
            let from = edges.add_node(number[name]);
            let mut parts = Vec::new();
            for (_, shape) in shapes {
                self.made_of(shape, false, &mut parts);
            }
            for (part, _) in parts {
                edges.add_edge(from, number[&part], ());
            }
        }
        // Parts come before what is made of them.
        for group in kosaraju_scc(&edges) {
            let is_cycle = group.len() > 1 || edges.contains_edge(group[0], group[0]);
            let group: BTreeSet<Name> = group.iter().map(|at| names[*at].clone()).collect();
            let size = group
                .iter()
                .flat_map(|name| &self.assigned[name])
                .map(|(_, shape)| self.size(shape))
                .fold(Size::default(), Size::or);
            self.sizes
                .extend(group.iter().map(|name| (name.clone(), size)));
            if is_cycle {
                self.cycles.push(group);
            }
        }
    }

    /// The size of a shape. What is not measured yet is part of the same cycle, whose turns the
    /// engine counts.
    fn size(&self, shape: &Shape) -> Size {
        if self.is_flat(shape) {
            return Size::default();
        }
        let sum = |parts: &[Shape]| {
            let sizes = parts.iter().map(|part| self.size(part));
            sizes.fold(Size::default(), Size::and)
        };
        match shape {
            Shape::Flat => Size::default(),
            Shape::Name(name) => {
                let known = self.known(name);
                if known.is_empty() {
                    return Size {
                        parts: 1,
                        ..Size::default()
                    };
                }
                let sizes = known.into_iter().map(|(name, held)| {
                    let size = self.sizes.get(name).copied().unwrap_or_default();
                    if held { size.held() } else { size }
                });
                sizes.fold(Size::default(), Size::or)
            }
            Shape::Either(parts) => {
                let sizes = parts.iter().map(|part| self.size(part));
                sizes.fold(Size::default(), Size::or)
            }
            Shape::Held(parts) => sum(parts).held(),
            Shape::Times(part, count) => {
                let size = self.size(part).held();
                Size {
                    parts: size.parts.saturating_mul(*count),
                    ..size
                }
            }
            Shape::Sum(left, right) => self.size(left).and(self.size(right)),
            Shape::Product(left, right) => Size {
                is_repeated: true,
                ..self.size(left).or(self.size(right)).held()
            },
        }
    }

    /// Why a value is refused, if it is.
    pub(super) fn too_large(&self, shape: &Shape) -> Option<String> {
        let size = self.size(shape);
        if size.parts == u64::MAX {
            let message = "a product inside of a list or an object may be a list that is repeated: \
                           put it into parentheses with | int or | float behind them";
            return Some(message.to_owned());
        }
        if size.parts > MAX_PARTS {
            return Some(format!(
                "holds the same values over and over, more than {MAX_PARTS} times"
            ));
        }
        (size.depth > MAX_DEPTH).then(|| {
            format!("is nested more than {MAX_DEPTH} levels deeper than what it is made of")
        })
    }

    /// What is refused of what is assigned.
    pub(super) fn problems(&self) -> Vec<(Place, String)> {
        let mut problems = Vec::new();
        for (name, shapes) in &self.assigned {
            let cycle = self.cycles.iter().find(|cycle| cycle.contains(name));
            for (place, shape) in shapes {
                let refused = cycle
                    .and_then(|cycle| self.grows(name, shape, cycle))
                    .or_else(|| self.too_large(shape));
                problems.extend(refused.map(|message| (*place, message)));
            }
        }
        problems
    }

    /// Why a part of a cycle may not be made so.
    fn grows(&self, name: &Name, shape: &Shape, cycle: &BTreeSet<Name>) -> Option<String> {
        let mut parts = Vec::new();
        self.made_of(shape, false, &mut parts);
        if parts
            .iter()
            .any(|(part, held)| *held && cycle.contains(part))
        {
            let deeper = format!("{name} is put into itself, one level deeper with each turn");
            return Some(match name.variable.as_str() {
                ANY => deeper,
                _ => format!("{deeper}: add to a flat list, as in {name} = {name} + [item]"),
            });
        }
        (self.times(shape, cycle) > 1)
            .then(|| format!("{name} is made of itself twice, so that it doubles with each turn"))
    }

    /// How often a shape takes a name of the cycle.
    fn times(&self, shape: &Shape, cycle: &BTreeSet<Name>) -> u64 {
        if self.is_flat(shape) {
            return 0;
        }
        let each = |parts: &[Shape]| -> Vec<u64> {
            parts.iter().map(|part| self.times(part, cycle)).collect()
        };
        match shape {
            Shape::Flat => 0,
            Shape::Name(name) => self
                .known(name)
                .iter()
                .any(|(name, _)| cycle.contains(*name))
                .into(),
            Shape::Held(parts) => each(parts).into_iter().sum(),
            Shape::Either(parts) => each(parts).into_iter().max().unwrap_or_default(),
            Shape::Times(part, _) => self.times(part, cycle),
            Shape::Sum(left, right) | Shape::Product(left, right) => {
                self.times(left, cycle) + self.times(right, cycle)
            }
        }
    }
}

impl Size {
    /// Both side by side.
    fn and(self, other: Self) -> Self {
        Self {
            parts: self.parts.saturating_add(other.parts),
            ..self.or(other)
        }
    }

    /// The larger one.
    fn or(self, other: Self) -> Self {
        Self {
            parts: self.parts.max(other.parts),
            depth: self.depth.max(other.depth),
            is_repeated: self.is_repeated || other.is_repeated,
        }
    }

    fn held(self) -> Self {
        Self {
            parts: if self.is_repeated {
                u64::MAX
            } else {
                self.parts
            },
            depth: self.depth + 1,
            is_repeated: false,
        }
    }
}
