//! Files of plans.

use std::{fs, path::Path};

use anyhow::Context as _;

/// Writes a file, and makes its folder if there is none.
pub fn put(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
