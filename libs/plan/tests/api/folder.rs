//! A folder as a root of plans.

use std::path::Path;

use plan::Tree;

/// All files under `root`, by their paths in it.
pub(crate) fn read(root: &Path) -> Tree {
    let mut tree = Tree::new();
    add(root, root, &mut tree);
    tree
}

fn add(root: &Path, folder: &Path, tree: &mut Tree) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            add(root, &path, tree);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            tree.insert(name, std::fs::read(&path).unwrap());
        }
    }
}
