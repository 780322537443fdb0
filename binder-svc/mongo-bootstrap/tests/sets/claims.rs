//! The rule of the shipped plans for volume claims, judged by what mongo-bootstrap has written on the
//! API server.

use std::{path::Path, sync::Arc};

use plan::{Loaded, Tree, Variables, catalog, claims::Membership};

use crate::{
    pod::Set,
    world::{World, config_of},
};

/// The shipped plan that has the rule.
pub(crate) struct Claims(Loaded);

impl Claims {
    pub(crate) fn shipped() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../catalog-svc/templates");
        let mut tree = Tree::new();
        add(&mut tree, &root, "");
        let catalog = catalog::build(&[tree]);
        assert!(catalog.faults.is_empty(), "{:?}", catalog.faults);
        let small = catalog.plans.iter().find(|plan| plan.name() == "small");
        Self(Loaded::new(Arc::clone(small.unwrap())).unwrap())
    }

    /// What the rule says of members 0, 1 and 2. A member that left is in no configuration.
    pub(crate) async fn of(&self, world: &World, set: &Set) -> [Membership; 3] {
        let rule = &self.0.bundle().descriptor().claims["mdb"];
        let topology = serde_json::to_value(world.topology(set).await).unwrap();
        let variables = Variables::default();
        let judged =
            [0, 1, 2].map(|ordinal| self.0.membership(rule, &topology, ordinal, &variables));
        let members = config_of(set, &[0, 1, 2]).await;
        for ordinal in 0..3 {
            if judged[ordinal as usize] == Membership::Left {
                let host = set.host(ordinal);
                assert!(!members.contains(&host), "{host} is in {members:?}");
            }
        }
        judged
    }
}

fn add(tree: &mut Tree, folder: &Path, prefix: &str) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() {
            add(tree, &entry.path(), &format!("{path}/"));
        } else {
            tree.insert(&path, std::fs::read(entry.path()).unwrap());
        }
    }
}
