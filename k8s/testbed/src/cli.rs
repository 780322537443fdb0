//! What the command takes and prints: results on standard output, progress on standard error.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    str::FromStr,
};

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use testbed::{
    Cluster,
    binaries::{self, Binary},
    cluster::{Existing, Extent, Name, Options, Registry, Status},
    images,
};

/// A real Kubernetes cluster on a bare machine: etcd, API server, controllers, scheduler, kubelet
/// with containerd, DNS. Nothing but Go, Python and Debian's packages is needed.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts a cluster, or finds it running, and prints the path of its kubeconfig.
    Up {
        #[command(flatten)]
        cluster: Named,
        /// Without a node, so without pods. Needs no root.
        #[arg(long)]
        control_plane_only: bool,
        /// With an image registry on the loopback address, which the node pulls from.
        #[arg(long)]
        registry: bool,
        /// Starts anew, even if the cluster is running.
        #[arg(long)]
        fresh: bool,
    },
    /// Ends a cluster and removes all of it.
    Down {
        #[command(flatten)]
        cluster: Named,
        /// All clusters.
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
    /// Shows what runs.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Prints the path of a cluster's kubeconfig.
    Kubeconfig {
        #[command(flatten)]
        cluster: Named,
    },
    /// Gives images to a cluster's node.
    Load {
        #[command(flatten)]
        cluster: Named,
        /// Archives, as `docker save` and `testbed image` write them.
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
    /// Makes an image of a program, and prints the path of the archive.
    Image {
        /// The program. Libraries that it is linked with come along.
        program: PathBuf,
        /// The image's name, such as `localhost/mongodb-osb/gateway:dev`.
        #[arg(long)]
        name: String,
        /// One more file or folder, as `<source>:<path in the image>`.
        #[arg(long)]
        add: Vec<Addition>,
        /// The archive; a file in the cache by default.
        #[arg(long)]
        output: Option<PathBuf>,
    },
    /// Builds and downloads everything that clusters and tests need, and prints where it is.
    Binaries {
        /// Only what a control plane needs.
        #[arg(long)]
        control_plane_only: bool,
    },
    /// Prints the path of one program, such as `kubectl`, `crane` or `mongod`.
    Which {
        /// Its name.
        program: String,
    },
}

#[derive(Debug, clap::Args)]
struct Named {
    /// The cluster's name.
    #[arg(long, default_value = "testbed")]
    name: Name,
}

/// A file or folder for an image.
#[derive(Debug, Clone)]
struct Addition {
    source: PathBuf,
    path: String,
}

impl FromStr for Addition {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (source, path) = text
            .rsplit_once(':')
            .ok_or("it lacks a colon between source and path")?;
        if !path.starts_with('/') {
            return Err("the path in the image must begin with a slash");
        }
        Ok(Self {
            source: source.into(),
            path: path.to_owned(),
        })
    }
}

/// Does what the arguments say.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Up {
            cluster,
            control_plane_only,
            registry,
            fresh,
        } => {
            let extent = if control_plane_only {
                Extent::ControlPlane
            } else {
                Extent::Node
            };
            let registry = if registry {
                Registry::Local
            } else {
                Registry::None
            };
            let existing = if fresh {
                Existing::Replace
            } else {
                Existing::Reuse
            };
            let options = Options::new(cluster.name)
                .extent(extent)
                .registry(registry)
                .existing(existing);
            let cluster = Cluster::up(options).await?;
            if let Some(registry) = cluster.registry() {
                print(format!("registry {registry}"))?;
            }
            print(cluster.kubeconfig().display())
        }
        Command::Down { cluster, all } => down(cluster.name, all).await,
        Command::Status { json } => status(json).await,
        Command::Kubeconfig { cluster } => print(find(&cluster.name).await?.kubeconfig().display()),
        Command::Load { cluster, archives } => {
            let cluster = find(&cluster.name).await?;
            for archive in archives {
                cluster.load_image(&archive).await?;
            }
            Ok(())
        }
        Command::Image {
            program,
            name,
            add,
            output,
        } => image(program, name, add, output).await,
        Command::Binaries { control_plane_only } => all_binaries(control_plane_only).await,
        Command::Which { program } => which(&program).await,
    }
}

async fn down(name: Name, all: bool) -> anyhow::Result<()> {
    let names = if all { Cluster::names() } else { vec![name] };
    for name in names {
        Cluster::down(&name)
            .await
            .with_context(|| format!("cannot remove the cluster `{name}`"))?;
    }
    Ok(())
}

async fn find(name: &Name) -> anyhow::Result<Cluster> {
    let cluster = Cluster::find(name).await?;
    cluster.with_context(|| {
        format!("there is no cluster `{name}`: `testbed up --name {name}` starts it")
    })
}

async fn status(json: bool) -> anyhow::Result<()> {
    let mut all = vec![];
    for name in Cluster::names() {
        all.push(Cluster::status(&name).await?);
    }
    if json {
        return print(serde_json::to_string_pretty(&all)?);
    }
    if all.is_empty() {
        return print("nothing is running");
    }
    all.iter().try_for_each(show)
}

fn show(status: &Status) -> anyhow::Result<()> {
    let state = if status.healthy {
        "healthy"
    } else {
        "not healthy"
    };
    print(format!(
        "{}: {state}, kubeconfig {}",
        status.name,
        status.kubeconfig.display()
    ))?;
    if let Some(registry) = &status.registry {
        print(format!("  registry {registry}"))?;
    }
    status
        .processes
        .iter()
        .try_for_each(|(id, program)| print(format!("  {id:>8} {program}")))
}

async fn image(
    program: PathBuf,
    name: String,
    add: Vec<Addition>,
    output: Option<PathBuf>,
) -> anyhow::Result<()> {
    let mut spec = images::service(&name, &program)?;
    for Addition { source, path } in add {
        spec = match source
            .metadata()
            .with_context(|| format!("cannot read {}", source.display()))?
        {
            found if found.is_dir() => spec.tree(&source, &path)?,
            _ if binaries::is_executable(&source) => spec.program(source, &path),
            _ => spec.file(source, &path, 0o644),
        };
    }
    let archive = match output {
        Some(path) => {
            images::build_to(&spec, &path).await?;
            path
        }
        None => images::build(&spec).await?,
    };
    print(archive.display())
}

async fn all_binaries(control_plane_only: bool) -> anyhow::Result<()> {
    let wanted = if control_plane_only {
        Binary::CONTROL_PLANE.to_vec()
    } else {
        binaries::node_packages().await?;
        [&Binary::CLUSTER[..], &Binary::TOOLS].concat()
    };
    let paths = binaries::provide_all(&wanted).await?;
    for (binary, path) in wanted.iter().zip(paths) {
        print(format!("{}\t{}", binary.name(), path.display()))?;
    }
    print(format!("mongod\t{}", binaries::mongod().await?.display()))
}

async fn which(program: &str) -> anyhow::Result<()> {
    if program == "mongod" {
        return print(binaries::mongod().await?.display());
    }
    let all = [&Binary::CLUSTER[..], &Binary::TOOLS].concat();
    let Some(&binary) = all.iter().find(|binary| binary.name() == program) else {
        let names: Vec<&str> = all.iter().map(|binary| binary.name()).collect();
        bail!(
            "there is no program `{program}` here, only mongod, {}",
            names.join(", ")
        );
    };
    print(binaries::provide(binary).await?.display())
}

fn print(line: impl std::fmt::Display) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{line}").context("cannot write to standard output")
}
