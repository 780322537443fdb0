//! The driver on a real mongod, without the rest of the service.

use std::collections::BTreeSet;

use binder_svc::{
    grant::{Grant, Role},
    mongo::{Error, Made, Mark, NewUser, Target, UserAdmin as _, driver::Driver},
};
use mongodb::{
    Client,
    bson::{Document, doc},
};
use plan::binding::{Admin, Database, Tls, TlsMode};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use secrecy::SecretString;
use testbed::{Mongod, MongodOptions};

use crate::world::{ADMIN_PASSWORD, make_admin, use_database};

fn target(mongod: &Mongod, tls: Tls, password: &str) -> Target {
    Target {
        key: password.to_owned(),
        database: Database {
            hosts: vec![mongod.address().to_string()],
            replica_set: None,
            admin: Admin {
                username: "osb-admin".into(),
                password: password.to_owned(),
                database: "admin".into(),
            },
            tls,
            database: None,
        },
    }
}

fn mark(attempt: u32) -> Mark {
    Mark {
        instance: "i".into(),
        binding: "b".into(),
        incarnation: "x".into(),
        attempt,
    }
}

fn uri(mongod: &Mongod, database: &str) -> String {
    format!(
        "mongodb://b-1:pw@{}/{database}?authSource=admin&directConnection=true",
        mongod.address()
    )
}

#[tokio::test]
async fn users_are_made_found_and_dropped_and_each_can_be_repeated() {
    service::process::install_tls_provider();
    let mongod = Mongod::start(MongodOptions::default().auth())
        .await
        .unwrap();
    make_admin(&mongod, None).await;
    let driver = Driver::default();
    let target_ = target(&mongod, Tls::default(), ADMIN_PASSWORD);
    let password = SecretString::from("pw");
    let grant = Grant {
        database: "app".into(),
        roles: vec![Role::ReadWrite],
    };
    let first = mark(1);
    let user = NewUser {
        name: "b-1",
        password: &password,
        grant: &grant,
        mark: &first,
    };
    let lost = SecretString::from("lost");
    let first_try = NewUser {
        password: &lost,
        ..user
    };
    for made in [Made::New, Made::Found] {
        assert_eq!(
            driver.create_user(&target_, &first_try).await.unwrap(),
            made
        );
    }
    for _ in 0..2 {
        driver.set_password(&target_, &user).await.unwrap();
    }
    let second = mark(2);
    let rival = NewUser {
        mark: &second,
        ..user
    };
    assert!(matches!(
        driver.create_user(&target_, &rival).await,
        Err(Error::Taken)
    ));
    for binding in [Some("b"), None] {
        let found = driver.find_users(&target_, binding).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), &found[0].mark), ("b-1", &first));
    }
    assert!(
        driver
            .find_users(&target_, Some("other"))
            .await
            .unwrap()
            .is_empty()
    );

    // The login works, in its database alone.
    use_database(&uri(&mongod, "app")).await.unwrap();
    assert!(use_database(&uri(&mongod, "elsewhere")).await.is_err());

    for _ in 0..2 {
        driver.drop_user(&target_, "b-1").await.unwrap();
    }
    assert!(use_database(&uri(&mongod, "app")).await.is_err());

    let wrong = target(&mongod, Tls::default(), "wrong");
    let refused = driver.find_users(&wrong, None).await.unwrap_err();
    assert!(matches!(refused, Error::Login(_)), "{refused:?}");
    assert!(!refused.is_final());
    mongod.stop().await;
    let away = driver.find_users(&target_, None).await.unwrap_err();
    assert!(matches!(away, Error::Unreachable(_)), "{away:?}");
}

#[tokio::test]
async fn a_database_that_requires_tls_is_verified_by_the_plans_authority() {
    service::process::install_tls_provider();
    let folder = tempfile::tempdir().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &authority).unwrap();
    let pem = folder.path().join("server.pem");
    std::fs::write(&pem, format!("{}{}", key.serialize_pem(), leaf.pem())).unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let options = MongodOptions::default()
        .auth()
        .arg("--tlsMode=requireTLS")
        .arg(format!("--tlsCertificateKeyFile={}", pem.display()))
        .arg(format!("--tlsCAFile={}", ca.display()))
        .arg("--tlsAllowConnectionsWithoutCertificates");
    let mongod = Mongod::start(options).await.unwrap();
    make_admin(&mongod, Some(&ca)).await;

    let driver = Driver::default();
    let tls = Tls {
        mode: TlsMode::Required,
        ca: Some(authority.pem()),
    };
    let trusted = target(&mongod, tls, ADMIN_PASSWORD);
    assert!(driver.find_users(&trusted, None).await.unwrap().is_empty());

    let stranger = CertificateParams::new(Vec::new()).unwrap();
    let stranger = stranger.self_signed(&KeyPair::generate().unwrap()).unwrap();
    let tls = Tls {
        mode: TlsMode::Required,
        ca: Some(stranger.pem()),
    };
    let mut untrusted = target(&mongod, tls, ADMIN_PASSWORD);
    untrusted.key = "untrusted".into();
    let error = driver.find_users(&untrusted, None).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn db_admin_does_all_of_the_servers_own_but_set_the_profiler() {
    service::process::install_tls_provider();
    let mongod = Mongod::start(MongodOptions::default().auth())
        .await
        .unwrap();
    make_admin(&mongod, None).await;
    let driver = Driver::default();
    let target = target(&mongod, Tls::default(), ADMIN_PASSWORD);
    let password = SecretString::from("pw");
    let grant = Grant {
        database: "app".into(),
        roles: vec![Role::ReadWrite, Role::DbAdmin],
    };
    let (first, second) = (mark(1), mark(2));
    let user = NewUser {
        name: "b-1",
        password: &password,
        grant: &grant,
        mark: &first,
    };
    let next = NewUser {
        name: "b-2",
        mark: &second,
        ..user
    };
    // Side by side, and again: the role is one.
    let (one, two) = futures::join!(
        driver.create_user(&target, &user),
        driver.create_user(&target, &next)
    );
    assert_eq!((one.unwrap(), two.unwrap()), (Made::New, Made::New));
    driver.drop_user(&target, "b-2").await.unwrap();
    assert_eq!(
        driver.create_user(&target, &user).await.unwrap(),
        Made::Found
    );

    let client = Client::with_uri_str(uri(&mongod, "app")).await.unwrap();
    let app = client.database("app");
    let run = async |command: Document| app.run_command(command).await;
    for refused in [
        doc! { "profile": 0, "slowms": -1 },
        doc! { "profile": -1, "slowms": -1 },
        doc! { "profile": 2 },
        doc! { "profile": 0, "sampleRate": 1.0 },
        doc! { "createRole": "r", "privileges": [], "roles": [] },
        doc! { "grantRolesToUser": "b-1", "roles": ["dbOwner"] },
        doc! { "dropRole": "mongodb-osb-dbAdmin" },
    ] {
        let error = run(refused.clone()).await.unwrap_err();
        assert!(
            error.to_string().contains("not authorized"),
            "{refused}: {error}"
        );
    }
    for allowed in [
        doc! { "create": "a" },
        doc! { "createIndexes": "a", "indexes": [{ "key": { "x": 1 }, "name": "x" }] },
        doc! { "listIndexes": "a" },
        doc! { "listCollections": 1 },
        doc! { "collMod": "a", "validationLevel": "moderate" },
        doc! { "collStats": "a" },
        doc! { "dbStats": 1 },
        doc! { "dbHash": 1 },
        doc! { "validate": "a" },
        doc! { "compact": "a" },
        doc! { "planCacheClear": "a" },
        doc! { "planCacheListFilters": "a" },
        doc! { "planCacheSetFilter": "a", "query": { "x": 1 }, "indexes": [{ "x": 1 }] },
        doc! { "insert": "a", "documents": [{ "x": 1 }], "bypassDocumentValidation": true },
        doc! { "dropIndexes": "a", "index": "x" },
        // Reads how the profiler is set.
        doc! { "profile": -1 },
        doc! { "find": "system.profile" },
        doc! { "convertToCapped": "a", "size": 4096 },
        doc! { "reIndex": "a" },
        doc! { "drop": "a" },
        doc! { "create": "b" },
        doc! { "dropDatabase": 1 },
    ] {
        run(allowed.clone())
            .await
            .unwrap_or_else(|error| panic!("{allowed}: {error}"));
    }
    // The same actions as the server's own, less that one, and nowhere else.
    let of = async |role: &str, database: &str| {
        let admin = admin(&mongod).await;
        let answer = admin
            .database(database)
            .run_command(doc! { "rolesInfo": role, "showPrivileges": true })
            .await
            .unwrap();
        privileges(&answer)
    };
    let (ours, mut servers) = (
        of("mongodb-osb-dbAdmin", "app").await,
        of("dbAdmin", "app").await,
    );
    servers.retain(|(_, action)| action != "enableProfiler");
    assert_eq!(ours, servers);
    assert!(ours.len() > 20, "{ours:?}");
    // It outlives the login, and dropDatabase.
    driver.drop_user(&target, "b-1").await.unwrap();
    assert_eq!(of("mongodb-osb-dbAdmin", "app").await, servers);
}

/// Resource and action, each.
fn privileges(answer: &Document) -> BTreeSet<(String, String)> {
    let role = answer.get_array("roles").unwrap()[0].as_document().unwrap();
    let mut all = BTreeSet::new();
    for privilege in role.get_array("privileges").unwrap() {
        let privilege = privilege.as_document().unwrap();
        let resource = privilege.get_document("resource").unwrap().to_string();
        for action in privilege.get_array("actions").unwrap() {
            all.insert((resource.clone(), action.as_str().unwrap().to_owned()));
        }
    }
    all
}

async fn admin(mongod: &Mongod) -> Client {
    let address = mongod.address();
    let uri = format!("mongodb://osb-admin:{ADMIN_PASSWORD}@{address}/?directConnection=true");
    Client::with_uri_str(uri).await.unwrap()
}
