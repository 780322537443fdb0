//! Several logins: each belongs to a platform, which every call names.

use serde_json::json;

use crate::app::{BINDING, IDS, INSTANCE, TestApp, write_login_of};

/// Gives the gateway another login, of the platform `clusters`.
fn add_login(app: &TestApp) {
    let folder = app.credentials.path().join("k8s");
    std::fs::create_dir(&folder).unwrap();
    write_login_of("clusters", &folder, "kay", "p");
}

#[tokio::test]
async fn every_call_names_the_platform_of_its_login() {
    let app = TestApp::start().await;
    add_login(&app);
    // kay:p
    let kay = "Basic a2F5OnA=";
    let is_taken = async || {
        let ask = app.get("/v2/catalog").header("authorization", kay);
        ask.send().await.status == 200
    };
    while !is_taken().await {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let order = json!({
        "service_id": "s-1", "plan_id": "p-1", "organization_guid": "o", "space_guid": "s",
    });
    for (authorization, platform) in [(None, "platform"), (Some(kay), "clusters")] {
        let send = async |method: &str, path: String| {
            let mut ask = app.ask(method, &path);
            if let Some(value) = authorization {
                ask = ask.header("authorization", value);
            }
            if matches!(method, "PUT" | "PATCH") {
                ask = ask.json(&order);
            }
            let answer = ask.send().await;
            assert!(
                answer.status.is_success(),
                "{method} {path}: {}",
                answer.body
            );
        };
        let fakes = &app.fakes;
        send("PUT", format!("{INSTANCE}?accepts_incomplete=true")).await;
        let asked = fakes.provisioner.provision.asked();
        assert_eq!(asked.requester.unwrap().platform, platform);
        send("PATCH", format!("{INSTANCE}?accepts_incomplete=true")).await;
        let asked = fakes.provisioner.update.asked();
        assert_eq!(asked.requester.unwrap().platform, platform);
        send(
            "DELETE",
            format!("{INSTANCE}?{IDS}&accepts_incomplete=true"),
        )
        .await;
        let asked = fakes.provisioner.deprovision.asked();
        assert_eq!(asked.requester.unwrap().platform, platform);
        send("GET", INSTANCE.to_owned()).await;
        assert_eq!(fakes.provisioner.fetch.asked().platform, platform);
        send("GET", format!("{INSTANCE}/last_operation")).await;
        assert_eq!(fakes.provisioner.poll.asked().platform, platform);
        send("PUT", BINDING.to_owned()).await;
        let asked = fakes.binder.bind.asked();
        assert_eq!(asked.requester.unwrap().platform, platform);
        send("DELETE", format!("{BINDING}?{IDS}")).await;
        let asked = fakes.binder.unbind.asked();
        assert_eq!(asked.requester.unwrap().platform, platform);
        send("GET", BINDING.to_owned()).await;
        assert_eq!(fakes.binder.fetch.asked().platform, platform);
        send("GET", format!("{BINDING}/last_operation")).await;
        assert_eq!(fakes.binder.poll.asked().platform, platform);
    }
}
