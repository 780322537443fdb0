//! Golden files: what a case is rendered as, beside it as `<name>.golden.yaml`.

use std::{fs, path::Path};

use anyhow::Context as _;

/// How the name of a golden file ends.
pub(super) const ENDING: &str = ".golden.yaml";

/// Writes a file as a whole: who reads it, or goes on after this process was killed, finds the
/// old one or the new one.
pub(super) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Hidden, so that one that was left over is no file of the folder.
    let draft = path.with_file_name(format!(".{name}.new"));
    let write = || format!("write {}", path.display());
    fs::write(&draft, text).with_context(write)?;
    fs::rename(&draft, path).with_context(write)
}

/// Removes a file.
pub(super) fn remove(path: &Path) -> anyhow::Result<()> {
    fs::remove_file(path).with_context(|| format!("remove {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_by_a_whole_one_whatever_a_killed_process_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.golden.yaml");
        fs::write(&path, "old").unwrap();
        fs::write(folder.path().join(".a.golden.yaml.new"), "ha").unwrap();
        // A link to the file still has the old content: it was not written into.
        fs::hard_link(&path, folder.path().join("before")).unwrap();
        write(&path, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        let before = fs::read_to_string(folder.path().join("before")).unwrap();
        assert_eq!(before, "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        remove(&path).unwrap();
        assert!(remove(&path).is_err());
    }
}
