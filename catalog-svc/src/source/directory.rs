//! Folders of templates, looked at every few seconds: cheaper to get right than
//! file events, since a mounted ConfigMap changes by swapping a symbolic link
//! (`..data`) and network file systems send no events at all.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use plan::{Fault, Tree, source::is_of_tests};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Content, assemble, fault};

/// No template is larger.
const MAX_FILE: u64 = 1 << 20;
/// No root has more files.
const MAX_FILES: usize = 10_000;
/// `<provider>/<plan>/binding/<file>` and a little more; ends loops of links.
const MAX_DEPTH: usize = 5;

/// By what a changed file is noticed without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    path: String,
    length: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

/// Which files of the roots are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Those of plans. Their cases are no part of them: one that cannot be read takes no plan away.
    Plans,
    /// The cases of plans.
    Tests,
}

/// The roots, and what was last seen in them.
#[derive(Debug)]
pub(crate) struct Directories {
    roots: Vec<Root>,
}

#[derive(Debug)]
struct Root {
    path: PathBuf,
    part: Part,
    stamps: Option<Vec<Stamp>>,
    tree: Tree,
    faults: Vec<Fault>,
    /// Whether its absence was logged already.
    away: bool,
}

impl Directories {
    /// The plans in some roots. Nothing is read yet.
    pub(crate) fn new(roots: &[PathBuf]) -> Self {
        Self::of(Part::Plans, roots)
    }

    /// The cases of the plans, as [`Directories::new`].
    pub(crate) fn of_tests(roots: &[PathBuf]) -> Self {
        Self::of(Part::Tests, roots)
    }

    fn of(part: Part, roots: &[PathBuf]) -> Self {
        let root = |path: &PathBuf| Root {
            path: path.clone(),
            part,
            stamps: None,
            tree: Tree::new(),
            faults: Vec::new(),
            away: false,
        };
        Self {
            roots: roots.iter().map(root).collect(),
        }
    }

    /// Reads what changed; the content if anything did. Blocks.
    pub(crate) fn refresh(&mut self) -> Option<Content> {
        let mut changed = false;
        for root in &mut self.roots {
            changed |= root.refresh();
        }
        changed.then(|| self.content())
    }

    /// What is known now.
    pub(crate) fn content(&self) -> Content {
        Content {
            trees: self.roots.iter().map(|root| root.tree.clone()).collect(),
            faults: self
                .roots
                .iter()
                .flat_map(|root| root.faults.clone())
                .collect(),
            ..Content::default()
        }
    }
}

impl Root {
    fn refresh(&mut self) -> bool {
        let stamps = match list(&self.path, self.part) {
            Ok(stamps) => stamps,
            Err(error) => {
                // A root that goes away (a mount that comes back later) does
                // not empty the catalog.
                if !std::mem::replace(&mut self.away, true) {
                    tracing::warn!(
                        path = %self.path.display(), %error,
                        "cannot read a folder of templates; its last known content stays",
                    );
                }
                return false;
            }
        };
        self.away = false;
        if self.stamps.as_ref() == Some(&stamps) {
            return false;
        }
        let (tree, faults) = read(&self.path, &stamps);
        self.stamps = Some(stamps);
        let changed = tree != self.tree || faults != self.faults;
        (self.tree, self.faults) = (tree, faults);
        changed
    }
}

/// Where a path leads; nothing where a link in it leads out of `home`, a path without links. A
/// stranger's link must not bring a file of this process into a plan.
fn inside(home: &Path, path: &Path) -> Option<PathBuf> {
    let target = fs::canonicalize(path).ok()?;
    target.starts_with(home).then_some(target)
}

/// All files of a part below a root, in order; hidden ones left out. Links that lead out of it are
/// listed like files, and not followed.
fn list(root: &Path, part: Part) -> io::Result<Vec<Stamp>> {
    let home = fs::canonicalize(root)?;
    let mut stamps = Vec::new();
    let mut folders = vec![(root.to_owned(), String::new(), 0)];
    while let Some((folder, prefix, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else {
                continue;
            };
            let path = format!("{prefix}{name}");
            // Follows links, as a mounted ConfigMap needs it; one that leads nowhere is looked at
            // itself. What vanished between listing and looking is not there.
            let followed = fs::metadata(entry.path());
            let Ok(metadata) = followed.or_else(|_| entry.metadata()) else {
                continue;
            };
            let leaves = entry.file_type()?.is_symlink() && inside(&home, &entry.path()).is_none();
            // A link may stand for the folder itself.
            let is_of_tests = is_of_tests(&path) || leaves && is_of_tests(&format!("{path}/"));
            let is_wanted = is_of_tests == (part == Part::Tests);
            if metadata.is_dir() && !leaves && depth < MAX_DEPTH {
                folders.push((entry.path(), format!("{path}/"), depth + 1));
            } else if (!metadata.is_dir() || leaves) && is_wanted && stamps.len() < MAX_FILES {
                stamps.push(Stamp {
                    path,
                    length: metadata.len(),
                    modified: metadata.modified().ok(),
                    inode: metadata.ino(),
                });
            }
        }
    }
    stamps.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(stamps)
}

fn read(root: &Path, stamps: &[Stamp]) -> (Tree, Vec<Fault>) {
    let home = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    let mut files = Vec::new();
    let mut faults = Vec::new();
    for stamp in stamps {
        if stamp.length > MAX_FILE {
            faults.push(fault(
                &stamp.path,
                "the file is larger than 1 MiB".to_owned(),
            ));
            continue;
        }
        let path = root.join(&stamp.path);
        let is_file = fs::metadata(&path).map(|metadata| metadata.is_file());
        let (Some(path), Ok(true)) = (inside(&home, &path), &is_file) else {
            let message = match is_file {
                Err(_) => "is a link to something that does not exist",
                Ok(_) if inside(&home, &path).is_none() => {
                    "is a link that leads out of the folder of templates: put a copy here"
                }
                // Whoever opens a pipe waits for somebody to write.
                Ok(_) => "is neither a file nor a folder",
            };
            faults.push(fault(&stamp.path, message.to_owned()));
            continue;
        };
        match fs::read(path) {
            Ok(content) => files.push((stamp.path.clone(), content)),
            Err(error) => {
                let message = format!("the file cannot be read: {error}");
                faults.push(fault(&stamp.path, message));
            }
        }
    }
    let files = files
        .iter()
        .map(|(path, content)| (path.clone(), content.as_slice()));
    (assemble(files, &faults), faults)
}

/// Keeps `sender` at the newest content until `shutdown`.
pub(crate) async fn watch(
    mut directories: Directories,
    period: Duration,
    sender: watch::Sender<Content>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(period) => {}
        }
        let refreshed = tokio::task::spawn_blocking(move || {
            let content = directories.refresh();
            (directories, content)
        })
        .await?;
        directories = refreshed.0;
        if let Some(content) = refreshed.1 {
            sender.send_replace(content);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn paths(content: &Content) -> Vec<String> {
        content
            .trees
            .iter()
            .flat_map(|tree| tree.iter().map(|(path, _)| path.to_owned()))
            .collect()
    }

    #[test]
    fn a_swap_of_a_mounted_config_map_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let plan = folder.path().join("mongodb/small");
        for (version, text) in [("..1", "a: 1"), ("..2", "a: 2")] {
            fs::create_dir_all(plan.join(version)).unwrap();
            fs::write(plan.join(version).join("plan.yaml"), text).unwrap();
        }
        symlink("..1", plan.join("..data")).unwrap();
        symlink("..data/plan.yaml", plan.join("plan.yaml")).unwrap();
        let mut directories = Directories::new(&[folder.path().to_owned()]);
        let content = directories.refresh().unwrap();
        assert_eq!(paths(&content), ["mongodb/small/plan.yaml"]);
        assert!(directories.refresh().is_none());

        fs::write(plan.join("..2/plan.yaml"), "a: 2 # another length").unwrap();
        symlink("..2", plan.join("..tmp")).unwrap();
        fs::rename(plan.join("..tmp"), plan.join("..data")).unwrap();
        let content = directories.refresh().unwrap();
        assert_eq!(
            content.trees[0].iter().next().unwrap().1,
            b"a: 2 # another length"
        );
    }

    #[test]
    fn a_root_that_goes_away_keeps_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("templates");
        fs::create_dir_all(root.join("p/q")).unwrap();
        fs::write(root.join("p/q/1.yaml"), "x").unwrap();
        let mut directories = Directories::new(std::slice::from_ref(&root));
        directories.refresh().unwrap();
        fs::remove_dir_all(&root).unwrap();
        assert!(directories.refresh().is_none());
        assert_eq!(paths(&directories.content()), ["p/q/1.yaml"]);
    }

    #[test]
    fn a_huge_file_is_a_fault_of_its_plan_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("p/q")).unwrap();
        let file = fs::File::create(folder.path().join("p/q/1.yaml")).unwrap();
        file.set_len(MAX_FILE + 1).unwrap();
        let content = Directories::new(&[folder.path().to_owned()])
            .refresh()
            .unwrap();
        assert_eq!(content.faults[0].plan.as_deref(), Some("q"));
        assert!(content.trees[0].is_empty());
    }

    #[test]
    fn cases_are_read_for_themselves_and_take_no_plan_away() {
        let folder = tempfile::tempdir().unwrap();
        let tests = folder.path().join("p/q/tests");
        fs::create_dir_all(&tests).unwrap();
        fs::write(folder.path().join("p/q/1.yaml"), "x").unwrap();
        fs::write(tests.join("a.yaml"), "{}").unwrap();
        let huge = fs::File::create(tests.join("b.yaml")).unwrap();
        huge.set_len(MAX_FILE + 1).unwrap();
        let roots = [folder.path().to_owned()];
        let mut plans = Directories::new(&roots);
        let content = plans.refresh().unwrap();
        assert_eq!(paths(&content), ["p/q/1.yaml"]);
        assert!(content.faults.is_empty());
        fs::write(tests.join("a.yaml"), "parameters: {}").unwrap();
        assert!(plans.refresh().is_none(), "nothing of a plan changed");

        let content = Directories::of_tests(&roots).refresh().unwrap();
        assert_eq!(content.faults[0].file.as_deref(), Some("p/q/tests/b.yaml"));
        fs::remove_file(tests.join("b.yaml")).unwrap();
        let content = Directories::of_tests(&roots).refresh().unwrap();
        assert_eq!(paths(&content), ["p/q/tests/a.yaml"]);
    }

    #[test]
    fn a_link_out_of_the_root_is_a_fault_and_its_file_is_not_read() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let plan = folder.path().join("p/q");
        fs::create_dir_all(&plan).unwrap();
        fs::write(plan.join("1.yaml"), "x").unwrap();
        fs::write(other.path().join("secret"), "hunter2").unwrap();
        symlink(other.path().join("secret"), plan.join("2.yaml")).unwrap();
        symlink(other.path(), plan.join("binding")).unwrap();
        let content = Directories::new(&[folder.path().to_owned()])
            .refresh()
            .unwrap();
        assert!(paths(&content).is_empty(), "a plan with a fault is none");
        let files: Vec<_> = content
            .faults
            .iter()
            .map(|fault| fault.file.as_deref())
            .collect();
        assert_eq!(files, [Some("p/q/2.yaml"), Some("p/q/binding")]);
        assert!(content.faults[0].message.contains("leads out of"));

        // The root itself may be a link.
        fs::remove_file(plan.join("2.yaml")).unwrap();
        fs::remove_file(plan.join("binding")).unwrap();
        let link = other.path().join("templates");
        symlink(folder.path(), &link).unwrap();
        let content = Directories::new(&[link]).refresh().unwrap();
        assert_eq!(paths(&content), ["p/q/1.yaml"]);
    }

    #[test]
    fn what_is_no_file_is_a_fault_and_nobody_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let plan = folder.path().join("p/q");
        fs::create_dir_all(&plan).unwrap();
        fs::write(plan.join("1.yaml"), "x").unwrap();
        symlink("nowhere.yaml", plan.join("2.yaml")).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(plan.join("3.yaml")).unwrap();
        let content = Directories::new(&[folder.path().to_owned()])
            .refresh()
            .unwrap();
        let told: Vec<String> = content.faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "p/q/2.yaml: is a link to something that does not exist",
                "p/q/3.yaml: is neither a file nor a folder",
            ]
        );
        assert!(paths(&content).is_empty());
    }

    #[test]
    fn a_loop_of_links_ends() {
        let folder = tempfile::tempdir().unwrap();
        symlink(folder.path(), folder.path().join("again")).unwrap();
        fs::write(folder.path().join("x"), "x").unwrap();
        let files = list(folder.path(), Part::Plans).unwrap();
        assert!(files.len() <= MAX_DEPTH + 1);
    }
}
