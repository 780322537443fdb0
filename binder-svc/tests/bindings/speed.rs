//! What bind and unbind cost beside the database's own work, in one run.

use std::time::{Duration, Instant};

use mongodb::bson::doc;

use crate::world::World;

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
    let (mut create, mut drop, mut bind, mut unbind) = (vec![], vec![], vec![], vec![]);
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
        let id = format!("b{round}");
        let begun = Instant::now();
        binder.bind(world.bind_request("i", &id)).await.unwrap();
        bind.push(begun.elapsed());
        let begun = Instant::now();
        binder.unbind(world.unbind_request("i", &id)).await.unwrap();
        unbind.push(begun.elapsed());
    }
    let [create, drop, bind, unbind] = [create, drop, bind, unbind].map(median);
    println!("p50: createUser {create:?}, bind {bind:?}; dropUser {drop:?}, unbind {unbind:?}");
    binder.stop().await;
}
