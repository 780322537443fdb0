//! Volume claims of a StatefulSet whose pods are members of a database: `kubectl scale` deletes
//! none; the broker deletes those of members that left, and no member starts again with old data.
//! Pods and claims are the real controllers'; what the database reports is written by the test.

use std::collections::BTreeMap;

use broker_proto::v1::{OperationState, OperationStatus};
use k8s_openapi::api::{
    apps::v1::StatefulSet, coordination::v1::Lease, core::v1::ConfigMap,
    core::v1::PersistentVolumeClaim,
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{
    PATIENCE, Plan, Process, Provisioner, World, deprovisioned, end_of, eventually, poll_says,
    provisioned, updated,
};

const ID: &str = "i";

/// As the shipped plans: the number of members first, then what can be made to fail, then the
/// pods, then what can be made to fail after them.
const MEMBERS: [(&str, &str); 5] = [
    (
        "plan.yaml",
        r#"kinds: [v1/ConfigMap, apps/v1/StatefulSet]
parameters:
  create:
    properties:
      members: {type: integer, enum: [1, 3], default: 1}
      note: {type: string, pattern: "^[a-z]*$", default: ""}
      fails: {type: string, enum: [never, before, after], default: never}
  update: {inherit: create}
ready:
  ConfigMap/topology:
    ready: >-
      object.metadata.annotations["report"] is undefined or
      (fromjson(object.metadata.annotations["report"]).desired == members and
      fromjson(object.metadata.annotations["report"]).excess == [])
    message: waiting for the members to leave
  ConfigMap/before: {ready: "fails != 'before'", failed: "fails == 'before'"}
  ConfigMap/after: {ready: "fails != 'after'", failed: "fails == 'after'"}
  StatefulSet/mdb: {ready: "object.status.replicas == members"}
claims:
  mdb:
    report: ConfigMap/topology
    left: >-
      false if ordinal < object.data.members | int else
      (true if fromjson(object.metadata.annotations["report"]).desired
      == object.data.members | int and
      fromjson(object.metadata.annotations["report"]).excess == [] and
      fromjson(object.metadata.annotations["report"]).primaryOrdinal is number)
"#,
    ),
    (
        "1.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: topology}\ndata: {members: \"{{ members }}\"}\n",
    ),
    (
        "2.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: before}\ndata: {note: \"{{ note }}\"}\n",
    ),
    (
        "3.yaml",
        "apiVersion: apps/v1
kind: StatefulSet
metadata: {name: mdb}
spec:
  replicas: {{ members }}
  serviceName: mdb
  podManagementPolicy: Parallel
  persistentVolumeClaimRetentionPolicy: {whenScaled: Retain, whenDeleted: Retain}
  selector: {matchLabels: {app: mdb}}
  template:
    metadata: {labels: {app: mdb}}
    spec:
      # As instances' namespaces demand it.
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: a
          image: a
          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
  volumeClaimTemplates:
    - metadata: {name: data}
      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
",
    ),
    (
        "4.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: after}\ndata: {note: \"{{ note }}\"}\n",
    ),
];

/// An instance of that plan.
struct Set {
    world: World,
    plan: Plan,
    namespace: String,
}

impl Set {
    /// With so many members, all in.
    async fn of(members: u32) -> Self {
        let world = World::start().await;
        let plan = world.plan("members", &MEMBERS);
        let provisioner = world.provisioner("first").await;
        let request = plan.provision(ID, json!({"members": members}));
        provisioned(&provisioner.client, request).await;
        provisioner.stop().await;
        let namespace = world.record(ID).await.spec.namespace;
        let set = Self {
            world,
            plan,
            namespace,
        };
        set.report(members, &[], Some(0)).await;
        set.has(&(0..members).collect::<Vec<_>>()).await;
        set
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.world.client(), &self.namespace)
    }

    /// Writes what the database reports.
    async fn report(&self, desired: u32, excess: &[u32], primary: Option<u32>) {
        let report = json!({"desired": desired, "excess": excess, "primaryOrdinal": primary});
        let patch = json!({"metadata": {"annotations": {"report": report.to_string()}}});
        let params = PatchParams::default();
        self.api::<ConfigMap>()
            .patch("topology", &params, &Patch::Merge(&patch))
            .await
            .unwrap();
    }

    /// The uids of the claims that are not being deleted, by the member's number.
    async fn claims(&self) -> BTreeMap<u32, String> {
        let list = self.api::<PersistentVolumeClaim>();
        let list = list.list(&ListParams::default()).await.unwrap();
        list.items
            .iter()
            .filter(|claim| claim.metadata.deletion_timestamp.is_none())
            .map(|claim| {
                let name = claim.name_any();
                let number = name.strip_prefix("data-mdb-").unwrap();
                (number.parse().unwrap(), claim.uid().unwrap())
            })
            .collect()
    }

    /// Waits for claims of exactly these members.
    async fn has(&self, members: &[u32]) -> BTreeMap<u32, String> {
        eventually(&format!("claims of {members:?}"), async || {
            let claims = self.claims().await;
            claims.keys().eq(members).then_some(claims)
        })
        .await
    }

    /// Waits until an update has asked for so many members.
    async fn asks_for(&self, members: u32) {
        eventually("the number of members is applied", async || {
            (self.asked().await == members.to_string()).then_some(())
        })
        .await;
    }

    async fn asked(&self) -> String {
        let topology = self.api::<ConfigMap>().get("topology").await.unwrap();
        topology.data.unwrap()["members"].clone()
    }

    async fn replicas(&self) -> i32 {
        let set = self.api::<StatefulSet>().get("mdb").await.unwrap();
        set.spec.unwrap().replicas.unwrap()
    }

    /// `kubectl scale`, and waits until the pods are as many.
    async fn scale(&self, replicas: i32) {
        let patch = json!({"spec": {"replicas": replicas}});
        let sets = self.api::<StatefulSet>();
        let params = PatchParams::default();
        sets.patch("mdb", &params, &Patch::Merge(&patch))
            .await
            .unwrap();
        eventually("the pods are scaled", async || {
            let status = sets.get("mdb").await.unwrap().status.unwrap();
            (status.replicas == replicas).then_some(())
        })
        .await;
    }

    /// Starts an update, over the time that a fresh process needs to listen.
    async fn update(
        &self,
        client: &broker_proto::v1::provisioner_client::ProvisionerClient<
            broker_proto::client::Transport,
        >,
        parameters: Value,
    ) -> String {
        let request = self.plan.update(ID, parameters);
        eventually("the update is accepted", async || {
            let answer = client.clone().update(request.clone()).await;
            answer.ok().map(|answer| answer.into_inner().operation)
        })
        .await
    }

    /// Members 1 and 2 have left and an update that took them out failed before it could stop
    /// their pods.
    async fn failed_shrink(&self) {
        let provisioner = self.world.provisioner("failing").await;
        let parameters = json!({"members": 1, "fails": "before"});
        let operation = self.update(&provisioner.client, parameters).await;
        self.asks_for(1).await;
        self.report(1, &[], Some(0)).await;
        let ended = end_of(&provisioner.client, ID, &operation).await;
        assert_eq!(ended.state(), OperationState::Failed);
        provisioner.stop().await;
        assert_eq!(self.replicas().await, 3);
        self.has(&[0, 1, 2]).await;
    }

    /// A process that dies at a point of an update; the operation.
    async fn dies_at(&self, point: &str, parameters: Value, during: impl AsyncFnOnce()) -> String {
        let mut doomed = self.world.process("doomed", Some(point));
        let operation = self.update(&doomed.client, parameters).await;
        during().await;
        let death = tokio::time::timeout(PATIENCE, doomed.child.wait()).await;
        let status = death.unwrap_or_else(|_| panic!("{point} was never reached"));
        assert!(!status.unwrap().success());
        operation
    }

    async fn ended_by(&self, heir: &Provisioner, operation: &str) -> OperationStatus {
        let ended = end_of(&heir.client, ID, operation).await;
        assert_eq!(
            ended.state(),
            OperationState::Succeeded,
            "{}",
            ended.description
        );
        ended
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_scale_deletes_no_claim_and_an_update_brings_the_pods_back_to_their_data() {
    let set = Set::of(3).await;
    let claims = set.has(&[0, 1, 2]).await;
    let provisioner = set.world.provisioner("a").await;
    for (number, replicas) in [0, 1].into_iter().enumerate() {
        set.scale(replicas).await;
        let note = ["zero", "one"][number];
        let request = set.plan.update(ID, json!({"note": note}));
        updated(&provisioner.client, request).await;
        assert_eq!(set.replicas().await, 3);
        assert_eq!(set.claims().await, claims, "after {replicas}");
    }
    // Up and down again by hand: the new members' claims are empty, and go with the next update.
    set.scale(5).await;
    set.has(&[0, 1, 2, 3, 4]).await;
    let request = set.plan.update(ID, json!({"note": "five"}));
    updated(&provisioner.client, request).await;
    assert_eq!(set.has(&[0, 1, 2]).await, claims);
    deprovisioned(&provisioner.client, set.plan.deprovision(ID)).await;
    set.world.assert_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stateful_set_that_was_deleted_by_hand_comes_back_to_its_claims() {
    let set = Set::of(3).await;
    let claims = set.has(&[0, 1, 2]).await;
    let provisioner = set.world.provisioner("a").await;
    let sets = set.api::<StatefulSet>();
    for (note, params) in [
        ("orphan", DeleteParams::orphan()),
        ("background", DeleteParams::background()),
        ("foreground", DeleteParams::foreground()),
    ] {
        sets.delete("mdb", &params).await.unwrap();
        eventually("the StatefulSet is gone", async || {
            let found = sets.get_opt("mdb").await.unwrap();
            found.is_none().then_some(())
        })
        .await;
        let request = set.plan.update(ID, json!({"note": note}));
        updated(&provisioner.client, request).await;
        assert_eq!(set.replicas().await, 3);
        assert_eq!(set.claims().await, claims, "{note}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_goes_after_the_report_that_its_member_left_and_a_new_one_comes_with_a_new_member()
{
    let set = Set::of(3).await;
    let before = set.has(&[0, 1, 2]).await;
    let provisioner = set.world.provisioner("a").await;
    let operation = set.update(&provisioner.client, json!({"members": 1})).await;
    set.asks_for(1).await;
    set.report(1, &[2], Some(0)).await;
    poll_says(&provisioner.client, &operation, "waiting for the members").await;
    assert_eq!(set.claims().await, before, "one is in the set still");
    set.report(1, &[], Some(0)).await;
    set.ended_by(&provisioner, &operation).await;
    let after = set.has(&[0]).await;
    assert_eq!(after[&0], before[&0]);

    let operation = set.update(&provisioner.client, json!({"members": 3})).await;
    set.asks_for(3).await;
    set.report(3, &[], Some(0)).await;
    set.ended_by(&provisioner, &operation).await;
    let grown = set.has(&[0, 1, 2]).await;
    assert_eq!(grown[&0], before[&0]);
    assert_ne!(grown[&1], before[&1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shrink_that_is_killed_around_its_last_step_still_deletes_what_left_and_nothing_else() {
    for point in ["before-DropClaims", "Claims-decided", "DropClaims"] {
        let set = Set::of(3).await;
        let before = set.has(&[0, 1, 2]).await;
        let left = async || {
            set.asks_for(1).await;
            set.report(1, &[], Some(0)).await;
        };
        let operation = set.dies_at(point, json!({"members": 1}), left).await;
        let heir = set.world.provisioner("heir").await;
        set.ended_by(&heir, &operation).await;
        let after = set.has(&[0]).await;
        assert_eq!(after[&0], before[&0], "{point}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_shrink_that_failed_members_come_back_with_empty_volumes_whatever_is_killed() {
    for point in ["before-ClearClaims", "Claims-decided", "ClearClaims"] {
        let set = Set::of(3).await;
        let before = set.has(&[0, 1, 2]).await;
        set.failed_shrink().await;
        let parameters = json!({"members": 3, "fails": "never"});
        let operation = set.dies_at(point, parameters, async || {}).await;
        if point == "ClearClaims" {
            // The new members are asked for only now, when nothing old is there.
            assert_eq!(set.asked().await, "1");
            assert_eq!(set.replicas().await, 1);
            assert_eq!(set.claims().await.into_keys().collect::<Vec<_>>(), [0]);
        }
        let heir = set.world.provisioner("heir").await;
        set.asks_for(3).await;
        set.report(3, &[], Some(0)).await;
        set.ended_by(&heir, &operation).await;
        let after = set.has(&[0, 1, 2]).await;
        assert_eq!(after[&0], before[&0], "{point}");
        assert_ne!(after[&1], before[&1], "{point}");
        assert_ne!(after[&2], before[&2], "{point}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_growth_that_failed_with_members_joined_and_is_repeated_keeps_their_claims() {
    let set = Set::of(1).await;
    let provisioner = set.world.provisioner("a").await;
    let parameters = json!({"members": 3, "fails": "after"});
    let operation = set.update(&provisioner.client, parameters).await;
    set.asks_for(3).await;
    set.report(3, &[], Some(0)).await;
    let ended = end_of(&provisioner.client, ID, &operation).await;
    assert_eq!(ended.state(), OperationState::Failed);
    let joined = set.has(&[0, 1, 2]).await;

    let parameters = json!({"members": 3, "fails": "never"});
    updated(&provisioner.client, set.plan.update(ID, parameters)).await;
    assert_eq!(set.claims().await, joined);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nobody_knows_whether_a_member_left_no_pod_of_its_number_starts() {
    let set = Set::of(3).await;
    set.failed_shrink().await;
    let claims = set.has(&[0, 1, 2]).await;
    set.report(1, &[], None).await;
    let provisioner = set.world.provisioner("a").await;
    let parameters = json!({"members": 3, "fails": "never"});
    let operation = set.update(&provisioner.client, parameters).await;
    let text = "ConfigMap/topology does not tell yet whether PersistentVolumeClaim/data-mdb-1";
    poll_says(&provisioner.client, &operation, text).await;
    assert_eq!(set.asked().await, "1");
    assert_eq!(set.claims().await, claims);
    set.report(1, &[], Some(0)).await;
    set.asks_for(3).await;
    set.report(3, &[], Some(0)).await;
    set.ended_by(&provisioner, &operation).await;
    assert_ne!(set.has(&[0, 1, 2]).await[&1], claims[&1]);
}

/// The worst moment: it has just decided which claims go and which pods stop.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_paused_before_it_deletes_claims_deletes_none_of_the_members_of_later() {
    let set = Set::of(3).await;
    set.failed_shrink().await;
    let variables = [("BROKER_STOP_AT", "Claims-decided")];
    let sleeper = set.world.process_with("sleeper", &variables);
    let parameters = json!({"members": 3, "fails": "never"});
    eventually("the process stops", async || {
        let request = set.plan.update(ID, parameters.clone());
        let mut client = sleeper.client.clone();
        let answer = client.update(request);
        let _ = tokio::time::timeout(std::time::Duration::from_secs(5), answer).await;
        sleeper.is_stopped().then_some(())
    })
    .await;
    let heir = set.world.provisioner("heir").await;
    set.asks_for(3).await;
    set.report(3, &[], Some(0)).await;
    let operation = set.world.record(ID).await.spec.operation.id;
    set.ended_by(&heir, &operation).await;
    let claims = set.has(&[0, 1, 2]).await;

    renews_twice(&set, &sleeper).await;
    assert_eq!(set.claims().await, claims);
    assert_eq!(set.replicas().await, 3);
}

/// Lets a paused process go on, until it has gone round its loops: its lease was renewed twice.
async fn renews_twice(set: &Set, sleeper: &Process) {
    let leases: Api<Lease> = Api::namespaced(set.world.client(), &set.world.namespace);
    let version = async || {
        let lease = leases.get_opt("provisioner-sleeper").await.unwrap();
        lease.and_then(|lease| lease.metadata.resource_version)
    };
    let mut before = version().await;
    sleeper.signal(Signal::CONT);
    for _ in 0..2 {
        before = eventually("the sleeper renews its lease", async || {
            let now = version().await;
            (now != before).then_some(now)
        })
        .await;
    }
}
