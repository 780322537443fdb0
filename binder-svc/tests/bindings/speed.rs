//! What bind and unbind cost beside the database's own work, in one run.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, api::PostParams};
use mongodb::bson::doc;

use crate::world::{NAMESPACE, World};

const ROUNDS: usize = 40;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures, and means something only alone: run it with --ignored --nocapture"]
async fn a_bind_costs_little_more_than_its_user() {
    let world = World::start().await;
    world.instance("i").await;
    let binder = world.binder("r1").await;
    let admin = world.admin().database("admin");
    let secrets: Api<Secret> = Api::namespaced(world.control_plane.client(), NAMESPACE);
    let (mut create, mut drop, mut bind, mut unbind) = (vec![], vec![], vec![], vec![]);
    let mut write = vec![];
    for round in 0..ROUNDS {
        let name = format!("raw-{round}");
        let begun = Instant::now();
        admin
            .run_command(doc! {
                "createUser": &name, "pwd": "pw", "roles": [{ "role": "readWrite", "db": "app" }],
                "mechanisms": ["SCRAM-SHA-256"], "writeConcern": { "w": "majority" },
            })
            .await
            .unwrap();
        create.push(begun.elapsed());
        let begun = Instant::now();
        admin
            .run_command(doc! { "dropUser": &name, "writeConcern": { "w": "majority" } })
            .await
            .unwrap();
        drop.push(begun.elapsed());
        let mut secret = Secret::default();
        secret.metadata.name = Some(name);
        let begun = Instant::now();
        secrets
            .create(&PostParams::default(), &secret)
            .await
            .unwrap();
        write.push(begun.elapsed());
        let id = format!("b{round}");
        let begun = Instant::now();
        binder.bind(world.bind_request("i", &id)).await.unwrap();
        bind.push(begun.elapsed());
        let begun = Instant::now();
        binder.unbind(world.unbind_request("i", &id)).await.unwrap();
        unbind.push(begun.elapsed());
    }
    let [create, drop, write, bind, unbind] = [create, drop, write, bind, unbind].map(median);
    println!("p50: createUser {create:?}, dropUser {drop:?}, one write {write:?}");
    println!("p50: bind {bind:?}, unbind {unbind:?}");
    binder.stop().await;
}
