//! Over real sockets: readiness, metrics, log lines, drain, start-up.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use gateway::{App, Args};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tracing_subscriber::fmt::MakeWriter;

use crate::{
    app::{BINDING, INSTANCE, PASSWORD, TestApp, snapshot, write_login},
    fakes::Fakes,
};

async fn raw(address: &str, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // Who is refused half way may be hung up on.
    let _ = stream.write_all(text.as_bytes()).await;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

async fn get(address: &str, path: &str, headers: &str) -> String {
    let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
    raw(address, &head).await
}

fn login() -> String {
    let login = STANDARD.encode(format!("platform:{PASSWORD}"));
    format!("authorization: Basic {login}\r\nx-broker-api-version: 2.17\r\n")
}

#[tokio::test]
async fn the_gateway_is_ready_once_it_has_a_catalog_and_stays_so() {
    let app = TestApp::launch(None, |_| ()).await;
    let ready = async || get(&app.admin, "/ready", "").await;
    let answer = ready().await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("catalog"));
    app.fakes
        .catalog
        .snapshot
        .send_replace(Some(snapshot("g-1")));
    while !ready().await.starts_with("HTTP/1.1 200") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(
        get(&app.admin, "/live", "")
            .await
            .starts_with("HTTP/1.1 200")
    );
    // Health is on the admin port only.
    let answer = get(&app.address, "/live", &login()).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}

#[tokio::test]
async fn requests_are_counted_by_route_method_and_status() {
    let app = TestApp::start().await;
    app.get("/v2/service_instances/secret-id")
        .send()
        .await
        .granted(200);
    app.ask("BREW", "/v2/elsewhere").send().await.refused(404);
    let metrics = get(&app.admin, "/metrics", "").await;
    for line in [
        r#"osb_requests_total{route="/v2/service_instances/{instance_id}",method="GET",status="200"} 1"#,
        r#"osb_requests_total{route="unknown",method="OTHER",status="404"} 1"#,
        "osb_requests_in_flight 0",
        "osb_catalog_stream_up 1",
    ] {
        assert!(
            metrics.lines().any(|it| it == line),
            "{line} not in {metrics}"
        );
    }
    assert!(!metrics.contains("secret-id"));
}

#[tokio::test]
async fn a_request_in_flight_is_answered_during_the_drain() {
    let app = TestApp::start().await;
    app.fakes
        .provisioner
        .fetch
        .delay(Duration::from_millis(300));
    let address = app.address.clone();
    let answer = tokio::spawn(async move { get(&address, INSTANCE, &login()).await });
    while app.fakes.provisioner.fetch.count() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    app.shutdown.cancel();
    assert!(answer.await.unwrap().starts_with("HTTP/1.1 200"));
    let mut app = app;
    let running = &mut app.running;
    tokio::time::timeout(Duration::from_secs(5), running)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_head_beyond_the_limits_is_refused_and_a_long_operation_is_not() {
    let app = TestApp::start().await;
    let many = "x-filler: x\r\n".repeat(150);
    let answer = get(&app.address, "/v2/catalog", &format!("{}{many}", login())).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert!(answer.contains("\"error\":\"RequestTooLarge\""), "{answer}");
    let long = format!("x-filler: {}\r\n", "x".repeat(70_000));
    let answer = get(&app.address, "/v2/catalog", &format!("{}{long}", login())).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert!(answer.contains("\"description\""), "{answer}");
    let path = format!(
        "{INSTANCE}/last_operation?operation={}",
        "%C3%BC".repeat(10_000)
    );
    let answer = get(&app.address, &path, &login()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn assert_refused_in_json(answer: &str, thrown: &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| head.strip_prefix("HTTP/1.0 "));
    assert!(
        status.is_some_and(|status| status.starts_with('4')),
        "{thrown:?}: {answer}"
    );
    assert!(
        head.contains("\r\ncontent-type: application/json"),
        "{answer}"
    );
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    for key in ["error", "description"] {
        assert!(!body[key].as_str().unwrap().is_empty(), "{answer}");
    }
}

#[tokio::test]
async fn what_the_parser_refuses_is_refused_in_json() {
    let app = TestApp::start().await;
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(70_000));
    let huge = format!(
        "GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n",
        "x".repeat(400_000)
    );
    for thrown in [
        "what\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /\u{1} HTTP/1.1\r\n\r\n",
        "GET /v2/catalog HTTP/1.1\r\nno colon\r\n\r\n",
        "GET /v2/catalog HTTP/1.1\r\nbad name: x\r\n\r\n",
        "PUT /v2/catalog HTTP/1.1\r\ncontent-length: many\r\n\r\n",
        "PUT /v2/catalog HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        "PUT /v2/catalog HTTP/1.1\r\ntransfer-encoding: odd\r\n\r\n",
        &long,
        &huge,
    ] {
        let shown: String = thrown.chars().take(80).collect();
        assert_refused_in_json(&raw(&app.address, thrown).await, &shown);
    }
}

/// Bytes, half of them after a sound beginning: a refusal in JSON, or nothing
/// where the bytes end before a request does.
#[test]
fn no_bytes_whatever_are_answered_without_json() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let app = runtime.block_on(TestApp::start());
    let bytes = || prop::collection::vec(any::<u8>(), 0..64);
    let sound = Just(b"GET /v2/catalog HTTP/1.1\r\nhost: x\r\nx-".to_vec());
    let begun = (sound, bytes()).prop_map(|(begin, end)| [begin, end].concat());
    let thrown = prop_oneof![bytes(), begun]
        .prop_map(|bytes| [bytes, b"\r\nconnection: close\r\n\r\n".to_vec()].concat());
    TestRunner::new(Config {
        cases: 300,
        ..Config::with_source_file(file!())
    })
    .run(&thrown, |thrown| {
        let answer = runtime.block_on(thrown_at(&app.address, &thrown));
        if !answer.is_empty() {
            assert_refused_in_json(&answer, &String::from_utf8_lossy(&thrown));
        }
        Ok(())
    })
    .unwrap();
}

/// Says no more than that.
async fn thrown_at(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    // Unread bytes at the other end turn its close into a reset.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn the_catalog_outlives_the_catalog_service_and_its_return_is_noticed() {
    let app = TestApp::start().await;
    let shown = async |line: &str| {
        while !get(&app.admin, "/metrics", "")
            .await
            .lines()
            .any(|it| it == line)
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    app.fakes.catalog.up.send_replace(false);
    shown("osb_catalog_stream_up 0").await;
    app.get("/v2/catalog").send().await.granted(200);
    let ready = get(&app.admin, "/ready", "").await;
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");

    let mut changed = snapshot("g-2");
    changed.offerings.clear();
    app.fakes.catalog.snapshot.send_replace(Some(changed));
    app.fakes.catalog.up.send_replace(true);
    shown("osb_catalog_stream_up 1").await;
    let answer = app.get("/v2/catalog").send().await;
    assert_eq!(*answer.granted(200), json!({"services": []}));
}

#[tokio::test]
async fn without_credentials_it_does_not_start_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let args = <Args as clap::Parser>::try_parse_from(["gateway", "--credentials", path]).unwrap();
    let error = App::bind(args).await.unwrap_err().to_string();
    assert!(error.contains("no broker credentials in"), "{error}");
    assert!(error.contains("BROKER_CREDENTIALS"), "{error}");
}

#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// H-09 and trap 24.
#[tokio::test]
async fn each_request_is_logged_once_with_its_id_and_without_secrets() {
    let app = TestApp::start().await;
    // With a single subscriber, tracing asks the thread that reaches a line
    // first whether anybody listens; that may be another test's.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(log.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let body = json!({"service_id": "s-1", "plan_id": "p-1", "parameters": {"key": "hunter2"},
        "context": {"user": "hunter2"}});
    let ask = app.put(
        &format!("{BINDING}?accepts_incomplete=true&x=hunter2"),
        &body,
    );
    let identity = STANDARD.encode(r#"{"user_id":"hunter2"}"#);
    let ask = ask.header("x-broker-api-request-identity", "r-42").header(
        "x-broker-api-originating-identity",
        &format!("cf {identity}"),
    );
    ask.send().await.granted(202);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("request answered"))
        .collect();
    assert_eq!(lines.len(), 1, "{text}");
    let line: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
    assert_eq!(line["status"], 202);
    assert_eq!(line["method"], "PUT");
    assert_eq!(line["path"], BINDING);
    assert_eq!(line["span"]["request.id"], "r-42");
    assert!(line["duration_ms"].is_number());
    for secret in ["hunter2", &identity, PASSWORD, &STANDARD.encode(PASSWORD)] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[tokio::test]
async fn a_background_task_that_panics_ends_the_process() {
    let fakes = Fakes::start(Some(snapshot("g-1"))).await;
    let folder = tempfile::tempdir().unwrap();
    write_login(folder.path(), PASSWORD);
    for task in ["catalog", "credentials"] {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_gateway"))
            .env("BROKER_PANIC_AT", format!("task-{task}"))
            .args(["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"])
            .arg("--drain-delay=0")
            .arg(format!("--credentials={}", folder.path().display()))
            .args(["catalog", "provisioner", "binder"].map(|it| format!("--{it}={}", fakes.target)))
            .output()
            .await
            .unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{task}: {log}");
        let named = format!("background task \\\"{task}\\\"");
        assert!(log.contains(&named), "{task}: {log}");
    }
}

/// A misspelt setting would otherwise change nothing and say nothing.
#[tokio::test]
async fn a_variable_that_is_no_setting_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_gateway"))
        .env("BROKER_CREDENTIALS_DIR", "/elsewhere")
        // There are no logins: it ends at once.
        .env("BROKER_CREDENTIALS", folder.path())
        .output()
        .await
        .unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 1, "{log}");
    assert!(warnings[0].contains("BROKER_CREDENTIALS_DIR"), "{log}");
}
