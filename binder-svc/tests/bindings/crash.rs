//! The process is killed after each step of a bind and of an unbind; another
//! one finishes: exactly one user for a living binding, none after an unbind.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use binder_svc::{resource::Phase, step::Step};
use broker_proto::{
    ErrorCode,
    client::Transport,
    v1::{InstancePhase, Outcome, binder_client::BinderClient},
};
use futures::future::join_all;
use testbed::Port;

use crate::world::{
    Binder, LIMIT, NAMESPACE, World, connect, credentials, done, until, uri, use_database,
    wait_ready,
};

/// A binder in a process of its own that ends after a step.
struct Doomed {
    child: Child,
    client: BinderClient<Transport>,
    admin: SocketAddr,
    _ports: [Port; 2],
}

impl Doomed {
    fn start(world: &World, replica: &str, step: Step) -> Self {
        let ports = [Port::reserve().unwrap(), Port::reserve().unwrap()];
        let [port, admin] = ports.each_ref().map(Port::number);
        let child = Command::new(env!("CARGO_BIN_EXE_binder-svc"))
            .env_clear()
            .env("KUBECONFIG", world.control_plane.kubeconfig())
            .env("BROKER_CRASH_AT", step.name())
            .env("BROKER_BINDINGS_NAMESPACE", NAMESPACE)
            .arg(format!("--listen=127.0.0.1:{port}"))
            .arg(format!("--admin-listen=127.0.0.1:{admin}"))
            .arg(format!("--catalog={}", world.fakes))
            .arg(format!("--provisioner={}", world.fakes))
            .arg(format!("--replica={}", replica.to_lowercase()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            client: connect(SocketAddr::from(([127, 0, 0, 1], port))),
            admin: SocketAddr::from(([127, 0, 0, 1], admin)),
            _ports: ports,
        }
    }

    async fn died(mut self, what: &str) {
        until(&format!("the end of the process: {what}"), async || {
            self.child.try_wait().unwrap().is_some()
        })
        .await;
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a bind to a process that dies of it.
async fn doomed_bind(world: &World, binding: &str, step: Step) {
    let doomed = Doomed::start(world, binding, step);
    wait_ready(doomed.admin).await;
    let request = world.bind_request("i", binding);
    // No client gets the answer, if there is one.
    let _ = tokio::time::timeout(LIMIT, doomed.client.clone().bind(request)).await;
    doomed.died(binding).await;
}

async fn doomed_unbind(world: &World, binding: &str, step: Step) {
    let doomed = Doomed::start(world, binding, step);
    wait_ready(doomed.admin).await;
    let request = world.unbind_request("i", binding);
    let _ = tokio::time::timeout(LIMIT, doomed.client.clone().unbind(request)).await;
    doomed.died(binding).await;
}

/// Sends an unbind to a process that dies at a step; whether it came there before the end.
pub(crate) async fn unbind_dies(world: &World, binding: &str, step: Step) -> bool {
    let mut doomed = Doomed::start(world, binding, step);
    wait_ready(doomed.admin).await;
    let mut request = world.unbind_request("i", binding);
    request.accepts_incomplete = true;
    let _ = tokio::time::timeout(LIMIT, doomed.client.clone().unbind(request)).await;
    let mut has_died = false;
    until("the unbind ends, or the process", async || {
        has_died = doomed.child.try_wait().unwrap().is_some();
        let record = world.record("i", binding).await;
        has_died || record.is_none_or(|record| record.phase() == Phase::Deleted)
    })
    .await;
    has_died
}

/// The steps of method `database`.
pub(crate) const CREATE_USER: Step = Step::Make("CreateUser");
pub(crate) const DROP_USERS: Step = Step::Revoke("DropUsers");

/// The steps of a bind that nobody disturbs, and of an unbind.
pub(crate) const BIND: [Step; 6] = [
    Step::WriteRequest,
    Step::WriteRecord,
    Step::Hold,
    CREATE_USER,
    Step::CommitReady,
    Step::WriteStatus,
];
pub(crate) const UNBIND: [Step; 6] = [
    Step::WriteRecord,
    Step::LookUpInstance,
    DROP_USERS,
    Step::DeleteSecrets,
    Step::CommitDeleted,
    Step::WriteStatus,
];
/// The steps of taking over an unfinished bind.
const TAKE_OVER: [Step; 3] = [Step::StartAttempt, DROP_USERS, Step::CommitReady];

/// The platform asks again: for it the binding is there, made by the request
/// that died, and works.
async fn assert_bound(world: &World, heir: &Binder, name: &str) {
    let replay = heir.bind(world.bind_request("i", name)).await.unwrap();
    assert_eq!(replay.outcome(), Outcome::Unchanged, "{name}");
    let operation = world
        .record("i", name)
        .await
        .unwrap()
        .operation()
        .id
        .clone();
    assert!(heir.ended("i", name, &operation).await, "{name}");
    let binding = heir.fetch("i", name).await.unwrap();
    use_database(&uri(&binding)).await.unwrap();
    assert_eq!(
        replay.binding.unwrap().credentials,
        binding.credentials,
        "{name}"
    );
    let user = credentials(&binding)["username"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(world.users_of("i", name).await, [user], "{name}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_step_a_process_dies_after_another_finishes_its_work() {
    let world = World::start().await;
    world.instance("i").await;
    let names = |verb: &str, step: &Step| format!("{verb}-{}", step.name());
    let ready = world.binder("r0").await;
    for step in UNBIND {
        done(
            ready
                .bind(world.bind_request("i", &names("unbind", &step)))
                .await
                .unwrap(),
        );
    }
    ready.stop().await;

    let binds = BIND.map(|step| (names("bind", &step), step));
    join_all(
        binds
            .iter()
            .map(|(name, step)| doomed_bind(&world, name, *step)),
    )
    .await;
    let unbinds = UNBIND.map(|step| (names("unbind", &step), step));
    join_all(
        unbinds
            .iter()
            .map(|(name, step)| doomed_unbind(&world, name, *step)),
    )
    .await;
    // A replica that comes back under its name dies again of what it left.
    let takeovers = TAKE_OVER.map(|step| (names("take-over", &step), step));
    join_all(takeovers.iter().map(async |(name, step)| {
        doomed_bind(&world, name, CREATE_USER).await;
        Doomed::start(&world, name, *step).died(name).await;
    }))
    .await;

    let heir = world.binder("heir").await;
    // Nothing was written down before this step, so nothing need be finished.
    let nothing = names("bind", &Step::WriteRequest);
    assert!(world.record("i", &nothing).await.is_none());
    for (name, _) in binds
        .iter()
        .filter(|(name, _)| *name != nothing)
        .chain(&takeovers)
    {
        assert_bound(&world, &heir, name).await;
    }
    for (name, _) in &unbinds {
        let operation = world
            .record("i", name)
            .await
            .unwrap()
            .operation()
            .id
            .clone();
        // Under way, it is waited for; done already, it is gone.
        match heir.unbind(world.unbind_request("i", name)).await {
            Ok(answer) => assert_eq!(answer.outcome(), Outcome::Done, "{name}"),
            Err(error) => assert_eq!(error.code, ErrorCode::Gone, "{name}"),
        }
        assert!(heir.ended("i", name, &operation).await, "{name}");
        assert_eq!(world.users_of("i", name).await, [""; 0], "{name}");
        assert_eq!(
            world.record("i", name).await.unwrap().phase(),
            Phase::Deleted,
            "{name}"
        );
    }
    // Superseded attempts are settled, their Secrets gone, and all of it once more.
    for (name, _) in &takeovers {
        until("nothing is owed", async || {
            world
                .record("i", name)
                .await
                .unwrap()
                .ledger
                .owed
                .is_empty()
        })
        .await;
        assert_eq!(
            world.secrets_of("i", name).await.len(),
            2,
            "{name}: request and login"
        );
        assert_eq!(world.users_of("i", name).await.len(), 1, "{name}");
        heir.unbind(world.unbind_request("i", name)).await.unwrap();
        assert_eq!(world.users_of("i", name).await, [""; 0], "{name}");
    }
    heir.stop().await;
}

/// The steps of removing the bindings of an instance that leaves.
const CASCADE: [Step; 3] = [
    Step::LookUpInstance,
    Step::DeleteSecrets,
    Step::CommitDeleted,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_goes_on_whatever_step_a_process_dies_after() {
    let world = World::start().await;
    let ready = world.binder("r0").await;
    let instances = CASCADE.map(|step| (format!("i-{}", step.name()), step));
    for (instance, _) in &instances {
        world.instance(instance).await;
        for binding in ["b1", "b2"] {
            done(
                ready
                    .bind(world.bind_request(instance, binding))
                    .await
                    .unwrap(),
            );
        }
    }
    ready.stop().await;
    for (instance, step) in &instances {
        world
            .provisioner
            .set_phase(instance, InstancePhase::Deprovisioning);
        Doomed::start(&world, "r1", *step).died(instance).await;
        assert_eq!(world.provisioner.get(instance).releases, 0, "{instance}");
    }
    let heir = world.binder("r1").await;
    for (instance, _) in &instances {
        until("the hold is released", async || {
            world.provisioner.get(instance).releases > 0
        })
        .await;
        for binding in ["b1", "b2"] {
            let record = world.record(instance, binding).await.unwrap();
            assert_eq!(record.phase(), Phase::Deleted, "{instance} {binding}");
            assert!(
                world.secrets_of(instance, binding).await.is_empty(),
                "{instance} {binding}"
            );
        }
    }
    heir.stop().await;
}
