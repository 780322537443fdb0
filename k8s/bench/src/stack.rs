//! All that runs: API server, databases, and the services as processes.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use kube::Client;
use rig::{Launch, NAMESPACE, Replica};
use testbed::ControlPlane;

use crate::{
    args::Args,
    database::Database,
    plans,
    platform::{LOGIN, Platform},
    usage::{self, Usage},
};

/// The services in the order in which they are started.
pub(crate) const SERVICES: [&str; 4] = ["catalog-svc", "provisioner-svc", "binder-svc", "gateway"];

/// Everything.
pub(crate) struct Stack {
    /// A platform with its catalog.
    pub(crate) platform: Platform,
    /// Plan n is in database n.
    pub(crate) databases: Vec<Database>,
    /// Of each service, until it was ready.
    pub(crate) started: Vec<(&'static str, Duration)>,
    control_plane: ControlPlane,
    replicas: Vec<(&'static str, Replica)>,
    _folder: tempfile::TempDir,
}

impl Stack {
    /// Starts all of it, with so many databases.
    pub(crate) async fn start(args: &Args, databases: usize) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("make a folder")?;
        let logs = args
            .logs
            .clone()
            .unwrap_or_else(|| folder.path().to_owned());
        fs::create_dir_all(&logs).context("make the folder of logs")?;
        println!("starting the API server and {databases} databases");
        let control_plane = rig::control_plane(&args.root).await?;
        let mut running = Vec::new();
        for _ in 0..databases {
            running.push(Database::start().await?);
        }
        let templates = folder.path().join("templates");
        let servers: Vec<SocketAddr> = running.iter().map(Database::address).collect();
        plans::write(&templates, &servers)?;
        let logins = folder.path().join("logins");
        fs::create_dir_all(&logins)?;
        fs::write(logins.join("username"), LOGIN.0)?;
        fs::write(logins.join("password"), LOGIN.1)?;
        fs::write(logins.join("platform"), LOGIN.0)?;

        rig::certificates::certify(folder.path(), &SERVICES)?;
        println!("starting the services");
        let programs = args.programs()?;
        let mut replicas: Vec<(&'static str, Replica)> = Vec::new();
        let mut started = Vec::new();
        for service in SERVICES {
            let mut environment = environment(args, service, &templates, &logins);
            let certificate = rig::certificates::of(folder.path(), service);
            environment.insert("BROKER_TLS".to_owned(), certificate.display().to_string());
            if service != "gateway" {
                let identity = control_plane.service_account(NAMESPACE, service).await?;
                let path = identity.kubeconfig().display().to_string();
                environment.insert("KUBECONFIG".to_owned(), path);
            }
            for number in 0..args.replicas.into() {
                let name = format!("{service}-{number}");
                let mut environment = environment.clone();
                environment.extend(addresses_of(&replicas, number));
                environment.insert("BROKER_REPLICA".to_owned(), name.clone());
                let replica = Replica::new(Launch {
                    name,
                    program: programs.join(service),
                    environment: environment.into_iter().collect(),
                    logs: logs.clone(),
                })?;
                let began = Instant::now();
                replica.start().await?;
                replica.ready().await?;
                if number == 0 {
                    started.push((service, began.elapsed()));
                }
                replicas.push((service, replica));
            }
        }
        let mut platform = Platform::new(&addresses(&replicas, "gateway"), LOGIN)?;
        // One plan for each database, and one that is stuck.
        platform.learn(databases + 1).await?;
        Ok(Self {
            platform,
            databases: running,
            started,
            control_plane,
            replicas,
            _folder: folder,
        })
    }

    /// Ends the services, and with them all that runs.
    pub(crate) async fn stop(self) {
        for (_, replica) in &self.replicas {
            replica.stop().await;
        }
    }

    /// A client of the API server with all rights.
    pub(crate) fn client(&self) -> Client {
        self.control_plane.client()
    }

    /// Where the gateways serve.
    pub(crate) fn gateways(&self) -> Vec<SocketAddr> {
        addresses(&self.replicas, "gateway")
    }

    /// What the first replica of a service uses.
    pub(crate) async fn usage(&self, service: &str) -> anyhow::Result<Usage> {
        usage::of(self.first(service)?.id().await.context("no process")?)
    }

    /// Starts the first replica of a service anew; until it is ready.
    pub(crate) async fn restart(&self, service: &str) -> anyhow::Result<Duration> {
        let replica = self.first(service)?;
        replica.stop().await;
        let began = Instant::now();
        replica.start().await?;
        replica.ready().await?;
        Ok(began.elapsed())
    }

    /// What all replicas of all services have used of the processor.
    pub(crate) async fn cpu(&self) -> anyhow::Result<Duration> {
        let mut sum = Duration::ZERO;
        for (_, replica) in &self.replicas {
            sum += usage::of(replica.id().await.context("no process")?)?.cpu;
        }
        Ok(sum)
    }

    /// What the API server has used of the processor.
    pub(crate) fn api_server_cpu(&self) -> anyhow::Result<Duration> {
        let folder = self.control_plane.folder().display().to_string();
        let id = usage::named("kube-apiserver", &folder).context("no API server")?;
        Ok(usage::of(id)?.cpu)
    }

    /// How many requests the API server has answered, by verb and resource, but
    /// those that are there without any work: leases, and endpoints, which are
    /// its own as well as those of Services.
    pub(crate) async fn api_requests(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let request = axum::http::Request::get("/metrics")
            .body(Vec::new())
            .context("make a request")?;
        let text = self.client().request_text(request).await?;
        Ok(requests(&text))
    }

    fn first(&self, service: &str) -> anyhow::Result<&Replica> {
        let found = self.replicas.iter().find(|(of, _)| *of == service);
        Ok(&found.context("no such service")?.1)
    }
}

/// Sums of `apiserver_request_total` by verb and resource.
fn requests(metrics: &str) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for line in metrics.lines() {
        let Some((labels, value)) = line
            .strip_prefix("apiserver_request_total{")
            .and_then(|rest| rest.split_once("} "))
        else {
            continue;
        };
        let label = |name: &str| {
            let (_, rest) = labels.split_once(&format!("{name}=\""))?;
            rest.split('"').next()
        };
        let (verb, resource) = (label("verb"), label("resource"));
        let (Some(verb), Some(resource)) = (verb, resource) else {
            continue;
        };
        if matches!(resource, "" | "leases" | "endpoints" | "endpointslices") {
            continue;
        }
        let part = match label("subresource") {
            Some(part) if !part.is_empty() => format!("{verb} {resource}/{part}"),
            _ => format!("{verb} {resource}"),
        };
        // Prometheus writes large numbers with an exponent.
        let Ok(value) = value.trim().parse::<f64>() else {
            continue;
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a counter, far below 2^52"
        )]
        let value = value as u64;
        *sums.entry(part).or_default() += value;
    }
    sums
}

fn environment(
    args: &Args,
    service: &str,
    templates: &Path,
    logins: &Path,
) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::from([
        ("BROKER_NAMESPACE", NAMESPACE.to_owned()),
        ("BROKER_LOG", args.log.clone()),
        ("BROKER_DRAIN_DELAY", "0".to_owned()),
    ]);
    match service {
        "catalog-svc" => environment.insert("BROKER_TEMPLATES", templates.display().to_string()),
        "gateway" => environment.insert("BROKER_CREDENTIALS", logins.display().to_string()),
        _ => None,
    };
    let owned = environment.into_iter();
    owned
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Where the replicas of a service serve.
fn addresses(replicas: &[(&'static str, Replica)], service: &str) -> Vec<SocketAddr> {
    let of = replicas.iter().filter(|(of, _)| *of == service);
    of.map(|(_, replica)| replica.address).collect()
}

/// Where those that run already are found by the replica of this number that
/// comes: each asks the one of its own number, so that all have work.
fn addresses_of(replicas: &[(&'static str, Replica)], number: usize) -> Vec<(String, String)> {
    let variables = [
        ("catalog-svc", "BROKER_CATALOG"),
        ("provisioner-svc", "BROKER_PROVISIONER"),
        ("binder-svc", "BROKER_BINDER"),
    ];
    variables
        .into_iter()
        .filter_map(|(service, variable)| {
            let address = addresses(replicas, service).get(number).copied()?;
            Some((variable.to_owned(), address.to_string()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_summed_by_verb_and_resource() {
        let text = r#"# HELP apiserver_request_total Counter
apiserver_request_total{code="200",resource="secrets",scope="resource",subresource="",verb="GET",version="v1"} 3
apiserver_request_total{code="404",resource="secrets",scope="resource",subresource="",verb="GET",version="v1"} 2
apiserver_request_total{code="200",resource="serviceinstances",subresource="status",verb="PATCH"} 1
apiserver_request_total{code="200",resource="leases",subresource="",verb="PUT"} 9
apiserver_request_total{code="201",resource="events",subresource="",verb="POST"} 1e+06
"#;
        let expected = [
            ("GET secrets", 5),
            ("PATCH serviceinstances/status", 1),
            ("POST events", 1_000_000),
        ];
        let expected = expected.map(|(name, count)| (name.to_owned(), count));
        assert_eq!(requests(text), BTreeMap::from(expected));
    }
}
