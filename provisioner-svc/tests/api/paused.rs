//! A replica that is stopped (SIGSTOP) before any step of any operation, and
//! goes on (SIGCONT) when others have finished that operation and begun and
//! finished the next ones: it does no harm.

use std::{collections::BTreeMap, time::Duration};

use broker_proto::v1::{HoldRequest, OperationState, ReleaseHoldRequest};
use cluster::names;
use futures::{StreamExt as _, stream};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use objects::inventory::Entry;
use provisioner_svc::{resource::ServiceInstanceSpec, step::Step};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::{
    crashes::{EVERY_STEP, OF_CREATE, OF_DELETE, OF_UPDATE},
    harness::{
        LEASE_RENEW, Plan, Process, Provisioner, World, deprovisioned, end_of, eventually,
        provisioned, updated,
    },
    troubles::shared,
};

/// Each case waits for a lease to expire most of the time.
const AT_ONCE: usize = 8;
const ID: &str = "i";

/// What the paused operation is.
#[derive(Clone, Copy)]
enum Paused {
    Create,
    Update,
    /// Of an instance that was updated before: no object is as it was created.
    LaterUpdate,
    Delete,
}

impl Process {
    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// Whether it is stopped by a signal.
    pub(crate) fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id().unwrap()));
        let stat = stat.unwrap();
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
        state.is_some_and(|state| state.starts_with('T'))
    }
}

/// One operation, stopped before one of its steps.
struct Case {
    world: World,
    plan: Plan,
    sleeper: Process,
    step: Step,
}

impl Case {
    /// Has a process of its own take the operation and stop before `step`.
    async fn start(paused: Paused, step: Step) -> Self {
        Self::start_at(paused, step, &format!("before-{}", step.name())).await
    }

    /// The same, at a point before or in `step`.
    async fn start_at(paused: Paused, step: Step, point: &str) -> Self {
        let world = World::start().await;
        let plan = world.plan("steps", &EVERY_STEP);
        if !matches!(paused, Paused::Create) {
            let first = world.provisioner("first").await;
            provisioned(&first.client, plan.provision(ID, json!({}))).await;
            if matches!(paused, Paused::LaterUpdate) {
                for extra in [false, true] {
                    let request = plan.update(ID, json!({"extra": extra}));
                    updated(&first.client, request).await;
                }
            }
            if step == Step::AwaitRelease {
                let incarnation = world.record(ID).await.spec.incarnation;
                let instance_id = ID.to_owned();
                let hold = HoldRequest {
                    instance_id,
                    incarnation,
                };
                first.client.clone().hold(hold).await.unwrap();
            }
            first.stop().await;
        }
        // No sweep: what is shown here must not need one.
        let variables = [("BROKER_STOP_AT", point), ("BROKER_SWEEP_INTERVAL", "3600")];
        let sleeper = world.process_with("sleeper", &variables);
        let case = Self {
            world,
            plan,
            sleeper,
            step,
        };
        eventually(&format!("the process stops at {point}"), async || {
            // The answer may never come; a request that is given up too early
            // may leave a revision to the sweep.
            let request = case.request(paused);
            let _ = tokio::time::timeout(Duration::from_secs(5), request).await;
            case.sleeper.is_stopped().then_some(())
        })
        .await;
        case
    }

    async fn request(&self, paused: Paused) {
        let mut client = self.sleeper.client.clone();
        let plan = &self.plan;
        // A process that does not listen yet is asked again.
        match paused {
            Paused::Create => drop(client.provision(plan.provision(ID, json!({}))).await),
            Paused::Update | Paused::LaterUpdate => {
                drop(
                    client
                        .update(plan.update(ID, json!({"extra": false})))
                        .await,
                );
            }
            Paused::Delete => drop(client.deprovision(plan.deprovision(ID)).await),
        }
    }

    /// Another replica finishes what the paused one began.
    async fn finish(&self) -> Provisioner {
        let mut args = self.world.args("heir");
        args.sweep_interval = Duration::from_secs(3600);
        let heir = self.world.provisioner_with(args).await;
        let record = self.world.record(ID).await;
        if self.step == Step::AwaitRelease {
            let release = ReleaseHoldRequest {
                instance_id: ID.to_owned(),
                incarnation: record.spec.incarnation,
            };
            heir.client.clone().release_hold(release).await.unwrap();
        }
        let ended = end_of(&heir.client, ID, &record.spec.operation.id).await;
        assert_eq!(
            ended.state(),
            OperationState::Succeeded,
            "before {:?}: {}",
            self.step,
            ended.description
        );
        heir
    }

    /// Lets the paused process go on, until it surely has done what it may do.
    async fn wake(&self) {
        let leases: Api<Lease> = Api::namespaced(self.world.client(), &self.world.namespace);
        let version = async || {
            // By now it may have been cleared away.
            let lease = leases.get_opt("provisioner-sleeper").await.unwrap();
            lease.and_then(|lease| lease.metadata.resource_version)
        };
        let before = version().await;
        self.sleeper.signal(Signal::CONT);
        eventually("the sleeper renews its lease", async || {
            (version().await != before).then_some(())
        })
        .await;
        tokio::time::sleep(LEASE_RENEW * 3).await;
        assert!(!self.sleeper.is_stopped());
    }

    /// What counts of a record: all but the status.
    async fn record(&self) -> (ServiceInstanceSpec, Option<BTreeMap<String, String>>) {
        let record = self.world.record(ID).await;
        (record.spec, record.metadata.annotations)
    }

    /// Another finishes, and updates once more; when the paused process goes
    /// on, all stays as that update made it.
    async fn outlive(&self, extra: bool, names: &[&str]) {
        let heir = self.finish().await;
        updated(&heir.client, self.plan.update(ID, json!({"extra": extra}))).await;
        let before = self.record().await;
        self.wake().await;
        assert_eq!(self.record().await, before, "before {:?}", self.step);
        self.assert_whole(names).await;
    }

    /// One namespace with exactly what the record asks for, and the revision.
    async fn assert_whole(&self, names: &[&str]) {
        let step = self.step;
        let record = self.world.record(ID).await;
        let namespace = record.spec.namespace.clone();
        eventually(
            &format!("one namespace after a pause before {step:?}"),
            async || {
                let found = self.world.instance_namespaces().await;
                (found == [namespace.clone()]).then_some(())
            },
        )
        .await;
        let mut found = Vec::new();
        for name in ["first", "second", "third"] {
            if self.world.config_map(&namespace, name).await.is_some() {
                found.push(name);
            }
        }
        assert_eq!(found, names, "before {step:?}");
        let first = self.world.config_map(&namespace, "first").await.unwrap();
        let extra = names.contains(&"third").to_string();
        assert_eq!(first.data.unwrap()["extra"], extra, "before {step:?}");
        let until = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let status = self.world.record(ID).await.status.unwrap_or_default();
            let mut listed: Vec<&str> = status.inventory.iter().map(name_of).collect();
            listed.retain(|name| *name != "login");
            listed.sort_unstable();
            if listed == names && status.phase == "Ready" {
                break;
            }
            assert!(
                tokio::time::Instant::now() < until,
                "the status is wrong after a pause before {step:?}: {status:?}"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let revisions = self.world.revisions().await;
        assert_eq!(
            revisions,
            [record.spec.operation.revision.unwrap_or_default()],
            "before {step:?}"
        );
    }
}

fn name_of(entry: &Entry) -> &str {
    &entry.name
}

/// Runs a case for each step, several at a time.
async fn each(steps: &[Step], case: impl AsyncFn(Step)) {
    stream::iter(steps)
        .for_each_concurrent(AT_ONCE, |step| case(*step))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_paused_in_a_create_does_no_harm_after_it_and_two_more() {
    each(&OF_CREATE, async |step| {
        let case = Case::start(Paused::Create, step).await;
        let heir = case.finish().await;
        // The id goes and comes back: what the sleeper began is of a former life.
        deprovisioned(&heir.client, case.plan.deprovision(ID)).await;
        let request = case.plan.provision(ID, json!({"extra": false}));
        provisioned(&heir.client, request).await;
        let before = case.record().await;
        case.wake().await;
        assert_eq!(case.record().await, before, "before {step:?}");
        case.assert_whole(&["first", "second"]).await;
        let newest = &before.0.operation.id;
        for client in [&case.sleeper.client, &heir.client] {
            let ended = end_of(client, ID, newest).await;
            assert_eq!(ended.state(), OperationState::Succeeded);
        }
    })
    .await;
}

/// The worst moment: it has just seen that the record asks for this still.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_paused_between_its_last_look_and_its_write_makes_nothing_old_again() {
    let step = Step::Apply(0);
    let point = "Apply-confirmed";
    let create = async {
        let case = Case::start_at(Paused::Create, step, point).await;
        case.outlive(false, &["first", "second"]).await;
    };
    let update = async {
        let case = Case::start_at(Paused::LaterUpdate, step, point).await;
        case.outlive(true, &["first", "second", "third"]).await;
    };
    tokio::join!(create, update);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_paused_replica_makes_late_in_a_shared_namespace_is_swept() {
    let world = World::start().await;
    let (tenants, plan) = shared(&world, "60s").await;
    let variables = [
        ("BROKER_STOP_AT", "Apply-confirmed"),
        ("BROKER_SWEEP_INTERVAL", "3600"),
    ];
    let sleeper = world.process_with("sleeper", &variables);
    eventually("the process stops", async || {
        let mut client = sleeper.client.clone();
        let request = client.provision(plan.provision(ID, json!({})));
        let _ = tokio::time::timeout(Duration::from_millis(500), request).await;
        sleeper.is_stopped().then_some(())
    })
    .await;
    let mut args = world.args("heir");
    args.sweep_interval = Duration::from_secs(3600);
    let heir = world.provisioner_with(args).await;
    deprovisioned(&heir.client, plan.deprovision(ID)).await;
    heir.stop().await;
    let name = format!("app-{}", names::object(&names::instance_record(ID)));
    assert!(world.config_map(&tenants, &name).await.is_none());

    sleeper.signal(Signal::CONT);
    eventually("the late object is made", async || {
        world.config_map(&tenants, &name).await
    })
    .await;
    sleeper.signal(Signal::KILL);
    let mut args = world.args("sweeper");
    args.sweep_interval = Duration::from_secs(1);
    let sweeper = world.provisioner_with(args).await;
    eventually("the late object is swept", async || {
        let found = world.config_map(&tenants, &name).await;
        found.is_none().then_some(())
    })
    .await;
    sweeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_paused_in_an_update_does_no_harm_after_it_and_another() {
    each(&OF_UPDATE, async |step| {
        let case = Case::start(Paused::Update, step).await;
        case.outlive(true, &["first", "second", "third"]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_paused_in_a_delete_does_no_harm_to_the_next_life() {
    each(&OF_DELETE, async |step| {
        let case = Case::start(Paused::Delete, step).await;
        let heir = case.finish().await;
        provisioned(&heir.client, case.plan.provision(ID, json!({}))).await;
        let before = case.record().await;
        case.wake().await;
        assert_eq!(case.record().await, before, "before {step:?}");
        case.assert_whole(&["first", "second", "third"]).await;
    })
    .await;
}
