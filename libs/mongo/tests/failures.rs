//! What real refusals of a real mongod are taken for.

#![expect(
    clippy::unwrap_used,
    reason = "what a helper cannot do fails the test that called it"
)]

use std::time::Duration;

use mongo::{Failure, Login, options, run, users};
use mongodb::{Client, bson::doc, options::ServerAddress};
use secrecy::SecretString;
use testbed::{Mongod, MongodOptions};

const LIMIT: Duration = Duration::from_secs(10);

fn client(mongod: &Mongod, login: Option<(&str, &str)>) -> Client {
    let address = ServerAddress::parse(mongod.address().to_string()).unwrap();
    let password = SecretString::from(login.map_or("", |(_, password)| password));
    let login = login.map(|(username, _)| Login {
        username,
        password: &password,
        database: "admin",
    });
    let selection = Duration::from_millis(500);
    let mut options = options("test", vec![address], selection, login.as_ref());
    options.direct_connection = Some(true);
    Client::with_options(options).unwrap()
}

#[tokio::test]
async fn refusals_are_told_apart_by_what_is_to_be_done_about_them() {
    let mongod = Mongod::start(MongodOptions::default().auth())
        .await
        .unwrap();
    let anonymous = client(&mongod, None);
    let password = SecretString::from("correct");
    let root = users::NewUser {
        name: "root",
        password: &password,
        roles: vec![("root", "admin")],
        custom_data: Some(doc! { "by": "test" }),
        comment: "test",
    };
    run(&anonymous, LIMIT, users::create(&root)).await.unwrap();

    let refused = run(&anonymous, LIMIT, doc! { "usersInfo": 1 }).await;
    assert!(
        matches!(refused, Err(Failure::Unauthorized(_))),
        "{refused:?}"
    );
    let wrong = client(&mongod, Some(("root", "wrong")));
    let refused = run(&wrong, LIMIT, doc! { "ping": 1 }).await;
    assert!(
        matches!(refused, Err(Failure::LoginRefused(_))),
        "{refused:?}"
    );

    let admin = client(&mongod, Some(("root", "correct")));
    let taken = run(&admin, LIMIT, users::create(&root)).await.unwrap_err();
    assert!(matches!(taken, Failure::Refused(_)), "{taken:?}");
    assert_eq!(taken.code(), Some(users::EXISTS));
    assert!(taken.reason().contains("root"), "{}", taken.reason());
    let changed = SecretString::from("changed");
    let update = users::update(&users::NewUser {
        password: &changed,
        custom_data: Some(doc! { "by": "test" }),
        ..root
    });
    run(&admin, LIMIT, update).await.unwrap();
    let fresh = client(&mongod, Some(("root", "changed")));
    run(&fresh, LIMIT, doc! { "ping": 1 }).await.unwrap();
    let absent = run(&admin, LIMIT, users::drop("nobody", "test")).await;
    assert_eq!(absent.unwrap_err().code(), Some(users::NOT_FOUND));

    mongod.kill().await;
    let gone = run(&admin, LIMIT, doc! { "ping": 1 }).await;
    assert!(matches!(gone, Err(Failure::Unavailable(_))), "{gone:?}");
}

#[tokio::test]
async fn what_passes_with_an_election_is_no_refusal() {
    let mongod = Mongod::start(MongodOptions::default().replica_set("mdb"))
        .await
        .unwrap();
    let client = client(&mongod, None);
    let failure = run(&client, LIMIT, users::drop("nobody", "test")).await;
    // Not a primary yet: another try may find one.
    let failure = failure.unwrap_err();
    assert!(matches!(failure, Failure::Unavailable(_)), "{failure:?}");
}
