//! Who is let in.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::app::{INSTANCE, TestApp, write_login_of};

fn login(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// and step 1 of the decision order: the login is judged before
/// version, body, query and route are.
#[tokio::test]
async fn a_wrong_login_is_401_whatever_else_is_wrong_with_the_request() {
    let app = TestApp::start().await;
    for path in [
        "/v2/catalog",
        INSTANCE,
        "/nowhere",
        "/v2/service_instances/%FF",
    ] {
        for method in ["GET", "PUT", "POST"] {
            let answer = app
                .ask(method, path)
                .header("authorization", &login("platform", "wrong"))
                .version("garbage")
                .body("{")
                .send()
                .await;
            answer.refused(401);
            assert!(
                answer
                    .header("www-authenticate")
                    .unwrap()
                    .starts_with("Basic ")
            );
        }
    }
    let answer = app.get("/v2/catalog").without("authorization").send().await;
    answer.refused(401);
    assert_eq!(app.fakes.provisioner.provision.count(), 0);
}

#[tokio::test]
async fn logins_that_are_added_work_and_removed_ones_stop_working() {
    let app = TestApp::start().await;
    let folder = app.credentials.path().join("second");
    std::fs::create_dir(&folder).unwrap();
    write_login_of("second", &folder, "second", "p2\n");
    let status = async |user: &str, password: &str| {
        let ask = app.get("/v2/catalog");
        let answer = ask
            .header("authorization", &login(user, password))
            .send()
            .await;
        answer.status.as_u16()
    };
    while status("second", "p2").await != 200 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    std::fs::remove_dir_all(&folder).unwrap();
    while status("second", "p2").await != 401 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(status("platform", crate::app::PASSWORD).await, 200);
}
