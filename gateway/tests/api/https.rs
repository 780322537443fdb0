//! The OSB endpoint over TLS, with a certificate from a folder that is read again.

use std::{path::Path, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
    version::{TLS12, TLS13},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::app::{PASSWORD, TestApp};

pub(crate) const NAME: &str = "broker.example.org";

/// Puts a new certificate into the folder.
pub(crate) fn certify(folder: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed([NAME.to_owned()]).unwrap();
    std::fs::write(folder.join("tls.crt"), cert.pem()).unwrap();
    std::fs::write(folder.join("tls.key"), signing_key.serialize_pem()).unwrap();
    cert.der().clone()
}

/// A gateway, the folder of its certificate, and that.
async fn start() -> (TestApp, TempDir, CertificateDer<'static>) {
    let folder = tempfile::tempdir().unwrap();
    let certificate = certify(folder.path());
    let https = folder.path().to_owned();
    let app = TestApp::start_with(|args| args.http.https = Some(https)).await;
    (app, folder, certificate)
}

/// A connection of a client that believes this certificate alone.
async fn connect(
    app: &TestApp,
    believes: &CertificateDer<'static>,
    version: &'static SupportedProtocolVersion,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(&app.address).await?;
    let name = ServerName::try_from(NAME).unwrap();
    connector(believes, version, protocols)
        .connect(name, stream)
        .await
}

/// A client that believes this certificate alone.
pub(crate) fn connector(
    believes: &CertificateDer<'static>,
    version: &'static SupportedProtocolVersion,
    protocols: &[&str],
) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(believes.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

fn head() -> String {
    let login = STANDARD.encode(format!("platform:{PASSWORD}"));
    format!(
        "GET /v2/catalog HTTP/1.1\r\nhost: {NAME}\r\nconnection: close\r\n\
         authorization: Basic {login}\r\nx-broker-api-version: 2.17\r\n\r\n"
    )
}

#[tokio::test]
async fn the_catalog_comes_over_tls_and_only_so() {
    let (app, _folder, certificate) = start().await;
    for version in [&TLS12, &TLS13] {
        let mut stream = connect(&app, &certificate, version, &["http/1.1"])
            .await
            .unwrap();
        stream.write_all(head().as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let stream = connect(&app, &certificate, &TLS13, &["h2", "http/1.1"])
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));

    let mut plain = TcpStream::connect(&app.address).await.unwrap();
    plain.write_all(head().as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _reset = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[tokio::test]
async fn a_new_certificate_is_shown_and_half_of_one_is_not() {
    let (app, folder, old) = start().await;
    // A key that does not fit: the old certificate stays.
    let kept = std::fs::read(folder.path().join("tls.crt")).unwrap();
    certify(folder.path());
    std::fs::write(folder.path().join("tls.crt"), kept).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    connect(&app, &old, &TLS13, &[]).await.unwrap();

    let new = certify(folder.path());
    while connect(&app, &new, &TLS13, &[]).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(connect(&app, &old, &TLS13, &[]).await.is_err());
}
