//! A replica that is stopped (SIGSTOP) before or after any step of a bind and
//! of an unbind, and goes on (SIGCONT) when another has finished that and has
//! done more: no revoked login comes back, and no superseded credentials are
//! handed out.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use binder_svc::{ledger::Record, resource::ServiceBinding, step::Step};
use broker_proto::{
    client::Transport,
    v1::{BindResponse, Outcome, binder_client::BinderClient},
};
use futures::future::join_all;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use rustix::process::{Pid, Signal, kill_process};
use testbed::Port;
use tokio::task::JoinHandle;

use crate::world::{
    Binder, LIMIT, World, connect, create_namespace, credentials, done, until, uri, use_database,
    wait_ready,
};

const RENEW: Duration = Duration::from_millis(500);
const LIFETIME: Duration = Duration::from_secs(3);

/// A binder in a process of its own that stops at a point.
struct Sleeper {
    child: Child,
    client: BinderClient<Transport>,
    admin: SocketAddr,
    _ports: [Port; 2],
}

impl Sleeper {
    fn start(world: &World, namespace: &str, point: &str) -> Self {
        let ports = [Port::reserve().unwrap(), Port::reserve().unwrap()];
        let [port, admin] = ports.each_ref().map(Port::number);
        let child = Command::new(env!("CARGO_BIN_EXE_binder-svc"))
            .env_clear()
            .env("KUBECONFIG", world.control_plane.kubeconfig())
            .env("BROKER_STOP_AT", point)
            .env("BROKER_LEASE_RENEW", RENEW.as_secs_f64().to_string())
            .env("BROKER_LEASE_LIFETIME", LIFETIME.as_secs_f64().to_string())
            .arg(format!("--listen=127.0.0.1:{port}"))
            .arg(format!("--admin-listen=127.0.0.1:{admin}"))
            .arg(format!("--catalog={}", world.fakes))
            .arg(format!("--provisioner={}", world.fakes))
            .arg(format!("--bindings-namespace={namespace}"))
            .arg("--replica=sleeper")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            child,
            client: connect(address(port)),
            admin: address(admin),
            _ports: ports,
        }
    }

    fn go_on(&self) {
        let id = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), Signal::CONT).unwrap();
    }

    /// Whether it is stopped by a signal.
    fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.unwrap();
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
        state.is_some_and(|state| state.starts_with('T'))
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What becomes of the binding while the sleeper sleeps.
#[derive(Clone, Copy, PartialEq)]
enum Meanwhile {
    /// The bind is finished.
    Bound,
    /// It is unbound as well.
    Unbound,
    /// And bound anew, under the same id.
    Rebound,
}

/// One binding, in a broker's namespace of its own: no other sleeper takes its work.
struct Case<'a> {
    world: &'a World,
    name: String,
    heir: Binder,
}

impl<'a> Case<'a> {
    async fn start(world: &'a World, name: &str) -> Self {
        // The name of a namespace, too.
        let name = name.to_lowercase();
        create_namespace(&world.control_plane.client(), &name).await;
        let mut args = world.args("heir");
        args.bindings_namespace = Some(name.clone());
        args.replica.lease_renew = RENEW;
        args.replica.lease_lifetime = LIFETIME;
        let heir = world.binder_with(args).await;
        Self { world, name, heir }
    }

    /// A sleeper of which the heir knows, so that it leaves it its work.
    async fn sleeper(&self, point: &str) -> Sleeper {
        let sleeper = Sleeper::start(self.world, &self.name, point);
        wait_ready(sleeper.admin).await;
        tokio::time::sleep(RENEW * 3).await;
        sleeper
    }

    async fn record(&self) -> Record {
        let client = self.world.control_plane.client();
        let api: Api<ServiceBinding> = Api::namespaced(client, &self.name);
        let name = cluster::names::binding_record("i", &self.name);
        Record::read(api.get(&name).await.unwrap()).unwrap()
    }

    async fn has_record(&self) -> bool {
        let client = self.world.control_plane.client();
        let api: Api<ServiceBinding> = Api::namespaced(client, &self.name);
        let name = cluster::names::binding_record("i", &self.name);
        api.get_opt(&name).await.unwrap().is_some()
    }

    async fn bind(&self) -> BindResponse {
        let request = self.world.bind_request("i", &self.name);
        self.heir.bind(request).await.unwrap()
    }

    async fn unbind(&self) {
        let request = self.world.unbind_request("i", &self.name);
        self.heir.unbind(request).await.unwrap();
    }

    /// Until the sleeper has surely done what it may do.
    async fn wake(&self, sleeper: &Sleeper) {
        let client = self.world.control_plane.client();
        let leases: Api<Lease> = Api::namespaced(client, &self.name);
        let version = async || {
            // By now it may have been cleared away.
            let lease = leases.get_opt("binder-svc-sleeper").await.unwrap();
            lease.and_then(|lease| lease.metadata.resource_version)
        };
        let before = version().await;
        sleeper.go_on();
        until("the sleeper renews its lease", async || {
            version().await != before
        })
        .await;
        tokio::time::sleep(RENEW * 4).await;
        assert!(!sleeper.is_stopped());
    }

    /// The binding works for who has its credentials, and nobody else logs in.
    async fn assert_bound(&self) {
        let name = &self.name;
        let binding = self.heir.fetch("i", name).await.unwrap();
        use_database(&uri(&binding)).await.unwrap();
        let user = credentials(&binding)["username"].clone();
        assert_eq!(
            self.world.users_of("i", name).await,
            [user.as_str().unwrap()],
            "{name}"
        );
    }
}

/// Sends a request that the process may never answer.
async fn stopped<T: Send + 'static>(
    sleeper: &Sleeper,
    what: &str,
    call: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    let call = tokio::spawn(call);
    until(what, async || sleeper.is_stopped()).await;
    call
}

async fn paused_bind(world: &World, point: String, meanwhile: Meanwhile) {
    let case = Case::start(world, &format!("bind-{point}")).await;
    let sleeper = case.sleeper(&point).await;
    let request = world.bind_request("i", &case.name);
    let mut client = sleeper.client.clone();
    let call = stopped(
        &sleeper,
        &case.name,
        async move { client.bind(request).await },
    )
    .await;

    // Another takes over, or there is nothing to take over yet.
    if case.has_record().await {
        assert!(case.heir.ended("i", &case.name, "").await, "{point}");
    } else {
        case.bind().await;
    }
    let first = case.heir.fetch("i", &case.name).await.unwrap();
    if meanwhile != Meanwhile::Bound {
        case.unbind().await;
        assert!(use_database(&uri(&first)).await.is_err());
    }
    if meanwhile == Meanwhile::Rebound {
        assert_ne!(done(case.bind().await).credentials, first.credentials);
    }
    // The heir's second look is over: what is shown here must not need it.
    tokio::time::sleep(Duration::from_secs(3)).await;

    let before = case.record().await;
    case.wake(&sleeper).await;
    let after = case.record().await;
    assert_eq!(after.spec(), before.spec(), "{point}");
    assert_eq!(after.ledger.attempt, before.ledger.attempt, "{point}");
    assert_eq!(after.ledger.state, before.ledger.state, "{point}");
    match meanwhile {
        Meanwhile::Bound | Meanwhile::Rebound => case.assert_bound().await,
        Meanwhile::Unbound => {
            assert_eq!(world.users_of("i", &case.name).await, [""; 0], "{point}");
        }
    }
    // What the sleeper answers, if it does, is what the bind came to.
    if let Ok(Ok(Ok(answer))) = tokio::time::timeout(LIMIT, call).await {
        let answer = answer.into_inner();
        if let (Outcome::Done | Outcome::Unchanged, Some(binding)) =
            (answer.outcome(), answer.binding)
        {
            let newest = case.heir.fetch("i", &case.name).await.ok();
            let newest = newest.and_then(|newest| newest.credentials);
            let known = [first.credentials, newest];
            assert!(known.contains(&binding.credentials), "{point}");
        }
    }
    case.heir.stop().await;
}

async fn paused_unbind(world: &World, point: String) {
    let case = Case::start(world, &format!("unbind-{point}")).await;
    let first = done(case.bind().await);
    let sleeper = case.sleeper(&point).await;
    let request = world.unbind_request("i", &case.name);
    let mut client = sleeper.client.clone();
    let call = stopped(
        &sleeper,
        &case.name,
        async move { client.unbind(request).await },
    )
    .await;

    assert!(case.heir.ended("i", &case.name, "").await, "{point}");
    assert!(use_database(&uri(&first)).await.is_err(), "{point}");
    let second = done(case.bind().await);
    assert_ne!(second.credentials, first.credentials);

    let before = case.record().await;
    case.wake(&sleeper).await;
    let after = case.record().await;
    assert_eq!(after.spec(), before.spec(), "{point}");
    assert_eq!(after.ledger.attempt, before.ledger.attempt, "{point}");
    case.assert_bound().await;
    use_database(&uri(&second)).await.unwrap();
    assert!(use_database(&uri(&first)).await.is_err(), "{point}");
    call.abort();
    case.heir.stop().await;
}

/// Before each step of a job, and after the writes of a handler.
fn points(steps: &[Step]) -> Vec<String> {
    let of_handler = |step: &Step| matches!(step, Step::WriteRequest | Step::WriteRecord);
    let point = |step: &Step| {
        if of_handler(step) {
            step.name().to_owned()
        } else {
            format!("before-{}", step.name())
        }
    };
    steps.iter().map(point).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_paused_at_any_step_brings_no_login_back_and_takes_none_away() {
    let world = World::start().await;
    world.instance("i").await;
    let ways = [Meanwhile::Rebound, Meanwhile::Unbound, Meanwhile::Bound];
    let mut binds: Vec<(String, Meanwhile)> = points(&crate::crash::BIND)
        .into_iter()
        .zip(ways.into_iter().cycle())
        .collect();
    // Between the login's making and its commit.
    binds.push((
        crate::crash::CREATE_USER.name().to_owned(),
        Meanwhile::Rebound,
    ));
    let unbinds = points(&crate::crash::UNBIND);
    let half = binds.len().div_ceil(2);
    for binds in binds.chunks(half) {
        join_all(
            binds
                .iter()
                .map(|(point, way)| paused_bind(&world, point.clone(), *way)),
        )
        .await;
    }
    join_all(
        unbinds
            .into_iter()
            .map(|point| paused_unbind(&world, point)),
    )
    .await;
}
