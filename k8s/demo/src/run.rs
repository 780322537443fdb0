//! The demo's commands.

use std::{
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use crate::{
    app,
    args::{Arguments, Command, World},
    deploy::NAMESPACE,
    diagnose, images,
    place::{Choice, Place},
    reach,
    release::{self, Release},
    removal::{self, Whose},
    stage::Stage,
    transcript::{Transcript, duration},
    writer,
};

/// Runs a command to its end.
pub async fn run(arguments: Arguments) -> ExitCode {
    let world = arguments.world;
    let transcript = Transcript::default();
    let ended = match arguments.command {
        Command::App { uri_file, document } => {
            return app::run(&uri_file, &document).await.exit_code();
        }
        Command::Write { uri_file, series } => {
            return writer::run(&uri_file, &series).await.exit_code();
        }
        Command::Reach {
            open,
            closed,
            seconds,
        } => {
            let expected = reach::expected(open, closed);
            return reach::run(&expected, Duration::from_secs(seconds)).await;
        }
        Command::Demo { keep } => demo(&world, keep, transcript).await,
        Command::Up => up(&world, transcript).await,
        Command::Run => join(&world, transcript).await,
        Command::Down { force } => {
            let whose = if force { Whose::Anybodys } else { Whose::Ours };
            down(&world, whose, &transcript).await
        }
        Command::Images {
            out,
            only,
            sbom_tool,
            digests,
        } => make_images(&world, &out, &only, sbom_tool.as_deref(), digests).await,
        Command::Release {
            out,
            prefix,
            tag,
            overlay,
            sbom_tool,
        } => {
            let release = Release {
                root: &world.root,
                context: &world.images,
                prefix: &prefix,
                tag: &tag,
                overlay: &overlay,
                out: &out,
            };
            make_release(&release, &sbom_tool).await
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nfailed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn demo(world: &World, keep: bool, transcript: Transcript) -> anyhow::Result<()> {
    let began = Instant::now();
    let place = match Stage::open(world, &transcript).await {
        // On a user's cluster nothing was changed yet.
        Err(error) if world.context.is_some() => return Err(error),
        place => place,
    };
    let staged = match place {
        Ok(place) => Stage::deploy(place, world, transcript.clone()).await,
        Err(error) => Err(error),
    };
    let ended = match staged {
        Ok(stage) => scenario(&stage).await.inspect(|()| {
            if keep {
                explain(&stage.place);
            }
        }),
        Err(error) => Err(error),
    };
    if keep {
        ended?;
    } else {
        transcript.line("\nremoving everything");
        let removed = down(world, Whose::Ours, &transcript)
            .await
            .context("remove everything");
        // What failed first is what matters.
        ended.and(removed)?;
    }
    transcript.line(&format!(
        "\nevery step did what it should, in {}",
        duration(began.elapsed())
    ));
    Ok(())
}

async fn up(world: &World, transcript: Transcript) -> anyhow::Result<()> {
    let stage = Stage::up(world, transcript).await?;
    explain(&stage.place);
    Ok(())
}

async fn join(world: &World, transcript: Transcript) -> anyhow::Result<()> {
    scenario(&Stage::join(world, transcript).await?).await
}

async fn scenario(stage: &Stage) -> anyhow::Result<()> {
    let ended = acts(stage).await;
    if ended.is_err() {
        diagnose::print(&stage.place).await;
    }
    ended
}

async fn acts(stage: &Stage) -> anyhow::Result<()> {
    let (mut scenario, forward) = stage.scenario().await?;
    scenario.run().await?;
    // A forward ends with the pod behind it: the second act has one of its own.
    drop(forward);
    let (growth, _forward) = stage.growth().await?;
    growth.run().await
}

async fn down(world: &World, whose: Whose, transcript: &Transcript) -> anyhow::Result<()> {
    match world.choice() {
        Choice::Testbed(name) => {
            let name = name.parse()?;
            let was_there = testbed::Cluster::names().contains(&name);
            testbed::Cluster::down(&name).await?;
            transcript.line(&if was_there {
                format!("the testbed cluster `{name}` is removed")
            } else {
                format!("there is no testbed cluster `{name}`")
            });
            Ok(())
        }
        Choice::Context { name, .. } => {
            let place = Place::connect(&name).await?;
            removal::remove(&place.client, &name, whose, transcript).await
        }
    }
}

async fn make_images(
    world: &World,
    out: &Path,
    only: &[String],
    sbom_tool: Option<&Path>,
    digests: bool,
) -> anyhow::Result<()> {
    let wanted = |name: &&str| only.is_empty() || only.iter().any(|only| only == name);
    let names: Vec<&str> = images::NAMES.into_iter().filter(wanted).collect();
    let (root, context) = (&world.root, &world.images);
    let made =
        images::build_some(&names, root, context, images::LOCAL, &images::Tag::Dev, out).await?;
    for image in made {
        println!("{}  {}", image.reference(), image.archive.display());
        if let Some(tool) = sbom_tool {
            let sbom = images::sbom::write(&image, root, context, tool).await?;
            println!("  {}", sbom.display());
        }
        if digests {
            println!("  {}", release::digest(&image.archive).await?);
        }
    }
    Ok(())
}

async fn make_release(release: &Release<'_>, sbom_tool: &Path) -> anyhow::Result<()> {
    for image in release::write(release).await? {
        images::sbom::write(&image, release.root, release.context, sbom_tool).await?;
        println!("{}", image.pinned());
    }
    println!("{}", release.out.join(release::MANIFESTS).display());
    Ok(())
}

/// How a person reaches what is left running.
fn explain(place: &Place) {
    println!(
        "
The broker is running in the namespace {NAMESPACE}.

The cluster:
  kubectl=\"{}\"
  $kubectl get pods --all-namespaces
  $kubectl get serviceinstances,servicebindings --all-namespaces

The OSB endpoint:
  $kubectl --namespace {NAMESPACE} port-forward service/gateway 8080:80 &
  password=$($kubectl --namespace {NAMESPACE} get secret gateway-credentials --output=jsonpath='{{.data.password}}' | base64 -d)
  curl --user \"demo:$password\" --header 'X-Broker-API-Version: 2.17' http://localhost:8080/v2/catalog

The gRPC services, with the certificate of a person:
  for file in tls.crt tls.key ca.crt; do $kubectl --namespace {NAMESPACE} get secret admin-tls --output=go-template=\"{{{{index .data \\\"$file\\\" | base64decode}}}}\" >$file; done",
        place.kubectl.prefix()
    );
    for (service, name, port) in [
        ("catalog-svc", "Catalog", 7000),
        ("provisioner-svc", "Provisioner", 7001),
        ("binder-svc", "Binder", 7002),
    ] {
        println!(
            "  $kubectl --namespace {NAMESPACE} port-forward service/{service} {port}:7000 &
  grpcurl -cacert ca.crt -cert tls.crt -key tls.key -authority {service} localhost:{port} describe mongodb_osb.v1.{name}"
        );
    }
    println!("\n`make down` removes it.");
}
