//! Fetched manifests, from a TLS server of this test's own.

use std::{net::SocketAddr, sync::Arc};

use catalog_svc::{Args, UrlArgs};
use plan::{Bundle, id::Digest};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use crate::fixture::{Templates, TestApp, client, namespace};

const MANIFEST: &str =
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: fetched}\ndata: {a: '{{ b }}'}\n";

/// Serves `/good.yaml`, a redirect to it at `/moved.yaml`, and 404.
async fn serve(folder: &std::path::Path) -> SocketAddr {
    service::process::install_tls_provider();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("ca.pem"), certified.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap_or_default();
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                let answer = match request.split(' ').nth(1) {
                    Some("/good.yaml") => format!("200 OK\r\ncontent-length: {}\r\n\r\n{MANIFEST}", MANIFEST.len()),
                    Some("/moved.yaml") => "302 Found\r\nlocation: /good.yaml\r\ncontent-length: 0\r\n\r\n".to_owned(),
                    Some("/away.yaml") => "302 Found\r\nlocation: https://elsewhere.example/\r\ncontent-length: 0\r\n\r\n".to_owned(),
                    _ => "404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
                };
                let _ = stream
                    .write_all(format!("HTTP/1.1 {answer}").as_bytes())
                    .await;
                let _ = stream.shutdown().await;
            });
        }
    });
    address
}

#[tokio::test]
async fn what_a_list_names_becomes_part_of_the_bundle_as_it_is() {
    let client = client().await;
    let namespace = namespace(&client).await;
    let folder = tempfile::tempdir().unwrap();
    let address = serve(folder.path()).await;
    let host = format!("localhost:{}", address.port());
    let pin = Digest::of(MANIFEST.as_bytes());
    let templates = Templates::with_plan();
    templates.write(
        "mongodb/map/20-fetched.url",
        &format!("https://{host}/moved.yaml#sha256={pin}\n"),
    );
    for (plan, line) in [
        ("absent", format!("https://{host}/absent.yaml")),
        ("away", format!("https://{host}/away.yaml")),
        (
            "changed",
            format!("https://{host}/good.yaml#sha256={}", "0".repeat(64)),
        ),
        ("forbidden", "https://example.com/good.yaml".to_owned()),
    ] {
        templates.plan(plan, "");
        templates.write(
            &format!("mongodb/{plan}/20-fetched.url"),
            &format!("# why\n{line}\n"),
        );
    }
    let args = Args {
        url: UrlArgs {
            allow: vec![host],
            ca: Some(folder.path().join("ca.pem")),
        },
        ..Args::for_tests(vec![templates.path()], &namespace)
    };
    let app = TestApp::start_with(&client, args).await;

    let plan = app.plan("map", "the plan", |_| true).await;
    let content = app.bundle(&plan.bundle_digest).await.unwrap();
    let digest = plan.bundle_digest.parse().unwrap();
    let bundle = Arc::new(Bundle::from_bytes(&content, &digest).unwrap());
    let loaded = plan::Loaded::new(bundle).unwrap();
    let variables = plan::Variables::default();
    let file = loaded
        .render_file("20-fetched.url.yaml", &variables)
        .unwrap();
    assert_eq!(file.objects[0]["data"]["a"], "{{ b }}");

    for (plan, text) in [
        ("absent", "404"),
        ("away", "--url-allow elsewhere.example"),
        ("changed", "pinned"),
        ("forbidden", "--url-allow example.com"),
    ] {
        let report = app.report(plan, "a report", |_| true).await;
        assert_eq!(report.served_digest, "", "{plan}");
        let fault = &report.faults[0];
        assert_eq!(fault.line, 2, "{plan}");
        assert!(fault.message.contains(text), "{plan}: {}", fault.message);
    }
    app.stop().await;
}
