//! `catalog-svc plan …`: tools for authors of plans. All but `refresh` work without a cluster, unless
//! one is to be asked.

mod cases;
mod configmap;
mod diff;
mod docs;
mod explain;
mod golden;
mod init;
mod instance;
mod kinds;
mod lint;
mod rbac;
mod refresh;
mod render;
mod schema;
mod test;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use kube::Client;
use plan::{Bundle, Catalog, Fault, Tree, catalog::Draft};
use sandbox::{Sandbox, SandboxArgs};

use crate::{
    snapshot::PlanKey,
    source::{
        directory::Directories,
        fetched::{self, Fetched, List, Text},
        url::{Fetcher, UrlArgs},
    },
    store::{ListKey, Store},
};

/// Exit code for a command that cannot be used so (sysexits' EX_USAGE).
const USAGE: u8 = 64;

/// What to do with plan folders.
#[derive(Debug, Subcommand)]
pub enum PlanCommand {
    /// Print the ConfigMap that brings a plan, or a base, to a broker that runs: pipe it
    /// to `kubectl apply -f -`. A plan with a fault is not printed.
    Configmap(configmap::ConfigMap),
    /// Print what users of a plan should know, as Markdown: parameters, logins, what
    /// becomes of the data.
    Docs(docs::Docs),
    /// Print what templates can use, how plans are laid out, and what becomes of
    /// values.
    Explain(explain::Explain),
    /// Make the folder of a new plan: an example that works, or a manifest of yours.
    Init(init::Init),
    /// Check plans as the service does before it serves them. Prints a line
    /// `file:line:column: message` for each fault, and exits with 1 if there is
    /// any.
    Lint(lint::Lint),
    /// Print the ClusterRole mongodb-osb-plans, which allows the broker to apply
    /// the objects of these plans.
    Rbac(rbac::Rbac),
    /// Fetch again what the `*.url` files of plans name, for a broker that runs: what
    /// was fetched once is kept until then, or until the file changes.
    Refresh(refresh::Refresh),
    /// Print the manifests of an instance of a plan. Generated values are
    /// placeholders; values that only a cluster knows are undefined.
    Render(render::Render),
    /// Print the JSON Schema of plan.yaml or service.yaml, for editors.
    Schema(schema::Schema),
    /// Render the cases that plans have in their folders `tests/`, and compare each with its
    /// golden file. Exits with 1 if there is a difference.
    Test(test::Test),
}

/// Why a command did not do what it should.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The plans have faults, which are printed already.
    Faults,
    /// Something else is wrong.
    Other(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

impl PlanCommand {
    /// Runs the command. 1 means that plans have faults, 64 that the command
    /// could not be carried out.
    pub fn run(self) -> ExitCode {
        let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
        match self.write(&mut out, &mut err) {
            Ok(()) => ExitCode::SUCCESS,
            Err(Failure::Faults) => ExitCode::FAILURE,
            // Whoever reads has seen enough: `| head`.
            Err(Failure::Other(error)) if is_broken_pipe(&error) => ExitCode::SUCCESS,
            Err(Failure::Other(error)) => {
                // If standard error is gone, too, the exit code has to do.
                let _ = writeln!(err, "{error:#}");
                ExitCode::from(USAGE)
            }
        }
    }

    fn write(self, out: &mut impl Write, err: &mut impl Write) -> Result<(), Failure> {
        match self {
            Self::Configmap(command) => command.run(out, err),
            Self::Docs(command) => command.run(out, err),
            Self::Explain(command) => command.run(out),
            Self::Init(command) => command.run(out),
            Self::Lint(command) => command.run(out),
            Self::Rbac(command) => command.run(out, err),
            Self::Refresh(command) => command.run(out, err),
            Self::Render(command) => command.run(out, err),
            Self::Schema(command) => command.run(out),
            Self::Test(command) => command.run(out, err),
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The folders of templates that a command is about.
#[derive(Debug, Args)]
pub(crate) struct Roots {
    /// Directories of plans, `<service provider>/<plan>/` below each. A plan in a
    /// later directory replaces the plan of the same name in an earlier one.
    #[arg(
        required = true,
        env = "BROKER_TEMPLATES",
        value_delimiter = ':',
        value_name = "DIR"
    )]
    folders: Vec<PathBuf>,
    /// The broker's namespace, in which plans cannot apply objects.
    #[arg(long, env = "BROKER_NAMESPACE", default_value = "mongodb-osb")]
    namespace: String,
    #[command(flatten)]
    kinds: kinds::KindArgs,
    /// What the check of a plan may take: it is done in a process of its own, as the service does.
    #[command(flatten)]
    sandbox: SandboxArgs,
    /// Without --url-allow nothing is fetched, and a warning says so.
    #[command(flatten)]
    url: UrlArgs,
}

/// What is in the folders, valid or not.
struct Plans {
    catalog: Catalog,
    faults: Vec<Fault>,
    /// Addresses that were not looked at, which are among the warnings.
    unseen: Vec<Fault>,
}

impl Plans {
    /// A plan that must be valid; else what is wrong is printed.
    fn wanted(
        &self,
        wanted: &PlanKey,
        roots: &Roots,
        err: &mut impl Write,
    ) -> Result<&Arc<Bundle>, Failure> {
        let plans = &self.catalog.plans;
        if let Some(found) = plans.iter().find(|bundle| PlanKey::of(bundle) == *wanted) {
            let unseen = self.unseen.iter().filter(|fault| wanted.has(fault));
            let unseen: Vec<Fault> = unseen.map(as_warning).collect();
            roots.print(&unseen, err)?;
            return Ok(found);
        }
        roots.print(&self.faults, err)?;
        let valid: Vec<_> = plans
            .iter()
            .map(|bundle| PlanKey::of(bundle).to_string())
            .collect();
        let valid = valid.join(", ");
        writeln!(err, "{wanted} is not a valid plan; valid are: {valid}")?;
        Err(Failure::Faults)
    }

    /// What is wrong with one plan.
    fn faults_of(&self, plan: &PlanKey) -> Vec<Fault> {
        let own = self.faults.iter().filter(|fault| plan.has(fault));
        own.cloned().collect()
    }
}

impl Roots {
    /// The content of the folders. One that does not exist is an error: a
    /// check of nothing must not pass.
    fn trees(&self) -> anyhow::Result<(Vec<Tree>, Vec<Fault>)> {
        for folder in &self.folders {
            anyhow::ensure!(folder.is_dir(), "{} is not a directory", folder.display());
        }
        Ok(read(Directories::new(&self.folders)))
    }

    /// The cases in the folders.
    fn tests(&self) -> (Vec<Tree>, Vec<Fault>) {
        read(Directories::of_tests(&self.folders))
    }

    /// The content of those folders that exist, as the service takes it.
    fn existing_trees(&self) -> anyhow::Result<(Vec<Tree>, Vec<Fault>)> {
        let exists = |folder: &&PathBuf| folder.is_dir();
        let folders: Vec<PathBuf> = self.folders.iter().filter(exists).cloned().collect();
        anyhow::ensure!(!folders.is_empty(), "none of the folders exists");
        Ok(read(Directories::new(&folders)))
    }

    fn plans(&self) -> anyhow::Result<Plans> {
        let (trees, faults) = self.trees()?;
        self.build(&trees, faults)
    }

    fn build(&self, trees: &[Tree], faults: Vec<Fault>) -> anyhow::Result<Plans> {
        self.build_with(&self.kinds, None, trees, faults)
    }

    fn build_with(
        &self,
        kinds: &kinds::KindArgs,
        broker: Option<&str>,
        trees: &[Tree],
        mut faults: Vec<Fault>,
    ) -> anyhow::Result<Plans> {
        let (fetched, unseen) = self.fetch(broker, trees)?;
        let draft = Draft::of(Some(&self.namespace), &fetched.trees);
        let served = kinds.served(&draft.api_versions())?;
        let draft = draft.knowing(&served);
        let mut catalog = wait(async {
            let sandbox = Sandbox::new(&self.sandbox);
            let mut checked = Vec::new();
            for candidate in draft.candidates() {
                checked.push(sandbox.check(candidate).await?);
            }
            Ok(draft.finish(checked))
        })?;
        faults.extend(fetched.faults);
        faults.extend(catalog.faults.iter().cloned());
        faults.sort();
        faults.dedup();
        catalog.warnings.extend(unseen.iter().cloned());
        Ok(Plans {
            catalog,
            faults,
            unseen,
        })
    }

    /// What `*.url` files name, as far as their hosts may be asked, and where they may not. What a
    /// broker has stored in the namespace `broker` counts before what the hosts say now.
    fn fetch(&self, broker: Option<&str>, trees: &[Tree]) -> anyhow::Result<(Fetched, Vec<Fault>)> {
        let fetcher = fetcher(&self.url)?;
        let lists = fetched::lists(trees);
        let mut texts = match broker {
            Some(namespace) if !lists.is_empty() => stored(namespace, &lists)?,
            Some(_) | None => BTreeMap::new(),
        };
        let (mut wanted, mut unseen) = (Vec::new(), Vec::new());
        for list in lists.iter().filter(|list| !texts.contains_key(&list.key)) {
            let mut refused = list.refused(&fetcher);
            if refused.is_empty() {
                wanted.push(list);
            }
            unseen.append(&mut refused);
        }
        for fault in &mut unseen {
            fault.message.insert_str(0, "was not looked at: ");
        }
        let fetched = wait(async {
            let texts = wanted
                .iter()
                .map(async |list| (list.key.clone(), list.fetch(&fetcher).await));
            Ok(futures::future::join_all(texts).await)
        })?;
        texts.extend(fetched);
        let fetched = fetched::put_in(trees, |list| match texts.get(&list.key) {
            Some(text) => text.clone(),
            None => Ok(fetched::not_fetched()),
        });
        Ok((fetched, unseen))
    }

    /// The file of a fault as the caller knows it: the last folder that has it
    /// is the one that counts.
    fn place(&self, fault: &Fault) -> Fault {
        let path = fault.file.as_ref().and_then(|file| {
            let candidates = self.folders.iter().rev().map(|folder| folder.join(file));
            let path = candidates.into_iter().find(|path| Path::exists(path))?;
            Some(path.to_string_lossy().into_owned())
        });
        Fault {
            file: path.or_else(|| fault.file.clone()),
            ..fault.clone()
        }
    }

    /// Prints faults, one a line.
    fn print(&self, faults: &[Fault], out: &mut impl Write) -> io::Result<()> {
        for fault in faults {
            writeln!(out, "{}", self.place(fault))?;
        }
        Ok(())
    }
}

/// What a broker has stored for these files.
fn stored(namespace: &str, lists: &[List]) -> anyhow::Result<BTreeMap<ListKey, Text>> {
    wait(async {
        let store = Store::new(client().await?, namespace);
        let mut texts = BTreeMap::new();
        for list in lists {
            let Some(digest) = store.list_of(&list.key).await? else {
                continue;
            };
            if let Some(bytes) = store.read(&digest).await? {
                let text: Arc<str> = String::from_utf8_lossy(&bytes).into();
                texts.insert(list.key.clone(), Ok(text));
            }
        }
        Ok(texts)
    })
}

/// A client of the cluster that the environment names.
async fn client() -> anyhow::Result<Client> {
    service::process::install_tls_provider();
    let client = Client::try_default().await;
    client.context("find the Kubernetes API server")
}

/// Ready to ask the hosts that are allowed.
fn fetcher(args: &UrlArgs) -> anyhow::Result<Fetcher> {
    service::process::install_tls_provider();
    Fetcher::new(args)
}

/// A fault as a warning is printed.
fn as_warning(fault: &Fault) -> Fault {
    Fault {
        message: format!("warning: {}", fault.message),
        ..fault.clone()
    }
}

/// A plan as an argument.
fn key(text: &str) -> Result<PlanKey, String> {
    PlanKey::parse(text).ok_or_else(|| "expected <service provider>/<plan>".to_owned())
}

/// Waits for processes.
fn wait<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build()?.block_on(work)
}

/// A number of things, in words.
fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn read(mut directories: Directories) -> (Vec<Tree>, Vec<Fault>) {
    directories.refresh();
    let content = directories.content();
    (content.trees, content.faults)
}
