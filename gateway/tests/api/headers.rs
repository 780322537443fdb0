//! Version, request identity, originating identity.

use broker_proto::ErrorCode;

use crate::app::{BINDING, IDS, INSTANCE, TestApp};

/// H-01 to H-04, and step 2 of the decision order: before route and body.
#[tokio::test]
async fn a_version_that_is_missing_or_not_served_is_412() {
    let app = TestApp::start().await;
    for version in ["", "2.12", "3.0", "1.17", "2", "two", "2.13.1"] {
        for (method, path) in [("GET", "/v2/catalog"), ("PUT", INSTANCE), ("GET", "/x")] {
            let ask = app.ask(method, path).version(version).body("{");
            assert!(ask.send().await.refused(412).contains("2.17"));
        }
    }
    let ask = app.get("/v2/catalog").without("x-broker-api-version");
    ask.send().await.refused(412);
    for version in ["2.13", "2.17", "2.18", "2.100"] {
        app.get("/v2/catalog")
            .version(version)
            .send()
            .await
            .granted(200);
    }
}

/// H-08.
#[tokio::test]
async fn the_request_identity_is_echoed_by_every_answer() {
    let app = TestApp::start().await;
    let etag = app
        .get("/v2/catalog")
        .send()
        .await
        .header("etag")
        .unwrap()
        .to_owned();
    app.fakes.provisioner.fetch.fail(ErrorCode::Unavailable);
    app.fakes.binder.fetch.fail(ErrorCode::Internal);
    let big = "x".repeat(70 * 1024);
    let asks = [
        (200, app.get("/v2/catalog")),
        (304, app.get("/v2/catalog").header("if-none-match", &etag)),
        (401, app.get("/v2/catalog").without("authorization")),
        (412, app.get("/v2/catalog").version("1.0")),
        (404, app.get("/nowhere")),
        (405, app.ask("POST", "/v2/catalog")),
        (400, app.ask("PUT", INSTANCE).body("{")),
        (413, app.ask("PUT", INSTANCE).body(big)),
        (503, app.get(INSTANCE)),
        (500, app.get(BINDING)),
    ];
    for (status, ask) in asks {
        let ask = ask.header("x-broker-api-request-identity", "r 1/");
        let answer = ask.send().await;
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(answer.header("x-broker-api-request-identity"), Some("r 1/"));
    }
    let answer = app.get("/v2/catalog").send().await;
    assert!(answer.header("x-broker-api-request-identity").is_none());
}

/// H-09: it is the request id of the calls behind, and of the log.
#[tokio::test]
async fn the_request_identity_travels_on_as_the_request_id() {
    let app = TestApp::start().await;
    let path = format!("{INSTANCE}/last_operation");
    let ask = app
        .get(&path)
        .header("x-broker-api-request-identity", "r-42");
    ask.send().await.granted(200);
    assert_eq!(
        app.fakes.provisioner.poll.request_id().as_deref(),
        Some("r-42")
    );
    app.get(&path).send().await.granted(200);
    assert!(app.fakes.provisioner.poll.request_id().unwrap().len() > 10);
}

/// H-05, H-06.
#[tokio::test]
async fn the_originating_identity_is_passed_on_and_never_required() {
    let app = TestApp::start().await;
    let path = format!("{INSTANCE}?{IDS}&accepts_incomplete=true");
    // {"user_id":"u-1"}
    let header = "cloudfoundry eyJ1c2VyX2lkIjoidS0xIn0=";
    let ask = app.ask("DELETE", &path);
    let ask = ask.header("x-broker-api-originating-identity", header);
    ask.send().await.granted(202);
    let requester = app.fakes.provisioner.deprovision.asked().requester.unwrap();
    assert_eq!(requester.login, "platform");
    assert_eq!(requester.platform, "platform");
    assert_eq!(requester.user, "u-1");

    for header in ["nonsense", "cloudfoundry %%%", "k8s W10=", ""] {
        let ask = app.ask("DELETE", &path);
        let ask = ask.header("x-broker-api-originating-identity", header);
        ask.send().await.granted(202);
        let requester = app.fakes.provisioner.deprovision.asked().requester.unwrap();
        assert_eq!(requester.user, "");
    }
}
