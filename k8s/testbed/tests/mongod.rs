//! A real mongod.

use mongodb::{
    Client,
    bson::{Document, doc},
};
use testbed::{Mongod, MongodOptions};

async fn count(uri: &str) -> mongodb::error::Result<u64> {
    let client = Client::with_uri_str(uri).await?;
    client
        .database("db")
        .collection::<Document>("things")
        .count_documents(doc! {})
        .await
}

#[tokio::test]
async fn with_authentication_only_a_user_gets_in() {
    let mongod = Mongod::start(MongodOptions::default().auth())
        .await
        .unwrap();
    let client = Client::with_uri_str(mongod.uri()).await.unwrap();
    let create = doc! { "createUser": "root", "pwd": "secret", "roles": ["root"] };
    client.database("admin").run_command(create).await.unwrap();
    assert!(count(&mongod.uri()).await.is_err());
    let uri = format!(
        "mongodb://root:secret@{}/?directConnection=true",
        mongod.address()
    );
    assert_eq!(count(&uri).await.unwrap(), 0);
}

#[tokio::test]
async fn a_member_of_a_replica_set_keeps_its_data_and_address_when_stopped_and_killed() {
    let options = MongodOptions::default().replica_set("rs0");
    let mongod = Mongod::start(options).await.unwrap();
    let client = Client::with_uri_str(mongod.uri()).await.unwrap();
    let member = doc! { "_id": 0, "host": mongod.address().to_string() };
    let initiate = doc! { "replSetInitiate": { "_id": "rs0", "members": [member] } };
    client
        .database("admin")
        .run_command(initiate)
        .await
        .unwrap();
    let hello = doc! { "hello": 1 };
    while !client
        .database("admin")
        .run_command(hello.clone())
        .await
        .unwrap()
        .get_bool("isWritablePrimary")
        .unwrap()
    {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    client
        .database("db")
        .collection("things")
        .insert_one(doc! { "_id": 1 })
        .await
        .unwrap();

    mongod.restart().await.unwrap();
    assert_eq!(count(&mongod.uri()).await.unwrap(), 1);
    mongod.kill().await;
    mongod.resume().await.unwrap();
    assert_eq!(count(&mongod.uri()).await.unwrap(), 1);
}

#[tokio::test]
async fn a_key_file_works() {
    let options = MongodOptions::default()
        .replica_set("rs0")
        .key_file("c29tZXRoaW5nIHNlY3JldA==");
    let mongod = Mongod::start(options).await.unwrap();
    assert!(count(&mongod.uri()).await.is_err());
}
