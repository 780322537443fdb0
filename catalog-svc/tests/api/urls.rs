//! Fetched manifests, from a TLS server of this test's own.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use broker_proto::v1::PlanReport;
use catalog_svc::{Args, UrlArgs};
use plan::{Bundle, id::Digest};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::fixture::{Templates, TestApp, client, control_plane, namespace, program};

const MANIFEST: &str =
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: fetched}\ndata: {a: '{{ b }}'}\n";

/// A host. `/good.yaml` is a manifest, `/moved.yaml` a redirect to it,
/// `/away.yaml` one out of the host, `/counted.yaml` another manifest with each
/// answer, `/never.yaml` has no answer.
struct Host {
    address: SocketAddr,
    ca: PathBuf,
    answers: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Host {
    async fn start(folder: &Path) -> Self {
        service::process::install_tls_provider();
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let ca = folder.join("ca.pem");
        std::fs::write(&ca, certified.cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let answers = Arc::new(AtomicUsize::new(0));
        Self {
            address: listener.local_addr().unwrap(),
            ca,
            answers: Arc::clone(&answers),
            task: tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (acceptor, answers) = (acceptor.clone(), Arc::clone(&answers));
                    tokio::spawn(async move {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            answer(stream, &answers).await;
                        }
                    });
                }
            }),
        }
    }

    fn name(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}/{path}", self.name())
    }

    fn answers(&self) -> usize {
        self.answers.load(Ordering::SeqCst)
    }

    fn args(&self, templates: &Templates, namespace: &str) -> Args {
        Args {
            url: UrlArgs {
                allow: vec![self.name()],
                ca: Some(self.ca.clone()),
            },
            ..Args::for_tests(vec![templates.path()], namespace)
        }
    }

    /// The program, which may fetch from this host.
    fn program(&self) -> std::process::Command {
        let mut command = program();
        command
            .env("BROKER_URL_ALLOW", self.name())
            .env("BROKER_URL_CA", &self.ca);
        command
    }

    /// Connections are refused from then on.
    async fn stop(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, answers: &AtomicUsize) {
    let mut request = vec![0; 4096];
    let length = stream.read(&mut request).await.unwrap_or_default();
    let request = String::from_utf8_lossy(&request[..length]).into_owned();
    let manifest = |text: &str| format!("200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len());
    let moved = |to: &str| format!("302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
    let path = request
        .split(' ')
        .nth(1)
        .and_then(|path| path.split('?').next());
    let answer = match path {
        Some("/good.yaml") => manifest(MANIFEST),
        Some("/counted.yaml") => {
            let number = answers.fetch_add(1, Ordering::SeqCst);
            manifest(&MANIFEST.replace("{{ b }}", &number.to_string()))
        }
        Some("/wrong.yaml") => manifest("apiVersion: v1\nkind: ConfigMapp\nmetadata: {name: x}\n"),
        Some("/never.yaml") => return std::future::pending().await,
        Some("/big.yaml") => manifest(&"# none\n".repeat(1 << 20)),
        Some("/moved.yaml") => moved("/good.yaml"),
        Some("/away.yaml") => moved("https://elsewhere.example/"),
        _ => "404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
    };
    let _ = stream
        .write_all(format!("HTTP/1.1 {answer}").as_bytes())
        .await;
    let _ = stream.shutdown().await;
}

/// A plan of one fetched manifest that is another one each time.
fn counted(host: &Host) -> Templates {
    let templates = Templates::with_plan();
    templates.plan("counted", "");
    let line = host.url("counted.yaml");
    templates.write("mongodb/counted/20-fetched.url", &format!("{line}\n"));
    templates
}

#[tokio::test]
async fn what_a_list_names_becomes_part_of_the_bundle_as_it_is() {
    let client = client().await;
    let namespace = namespace(&client).await;
    let folder = tempfile::tempdir().unwrap();
    let server = Host::start(folder.path()).await;
    let host = server.name();
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
        (
            "forbidden",
            "https://example.com/good.yaml?token=secret".to_owned(),
        ),
        (
            "big",
            format!("https://{host}/big.yaml\nhttps://{host}/big.yaml?2"),
        ),
    ] {
        templates.plan(plan, "");
        templates.write(
            &format!("mongodb/{plan}/20-fetched.url"),
            &format!("# why\n{line}\n"),
        );
    }
    let app = TestApp::start_with(&client, server.args(&templates, &namespace)).await;

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
        ("big", "12 MiB in all"),
    ] {
        // Until then it says that it waits.
        let is_asked = |report: &PlanReport| report.faults.iter().any(|fault| fault.line > 0);
        let report = app.report(plan, "the answer", is_asked).await;
        assert_eq!(report.served_digest, "", "{plan}");
        let fault = &report.faults[0];
        assert!(!fault.message.contains("secret"), "{}", fault.message);
        assert!(fault.message.contains(text), "{plan}: {}", fault.message);
    }
    app.stop().await;
}

#[tokio::test]
async fn a_host_without_an_answer_delays_its_own_plan_only() {
    let client = client().await;
    let namespace = namespace(&client).await;
    let folder = tempfile::tempdir().unwrap();
    let host = Host::start(folder.path()).await;
    let templates = Templates::with_plan();
    templates.plan("slow", "");
    let line = host.url("never.yaml");
    templates.write("mongodb/slow/20-fetched.url", &format!("{line}\n"));
    let app = TestApp::start_with(&client, host.args(&templates, &namespace)).await;
    app.plan("map", "a plan beside it", |_| true).await;
    let report = app.report("slow", "the reason", |report| !report.faults.is_empty());
    let report = report.await;
    assert!(
        report.faults[0].message.contains("is being fetched"),
        "{}",
        report.faults[0].message
    );
    // While it is waited for.
    templates.plan("other", "");
    app.plan("other", "a plan that came later", |_| true).await;
    let report = app.report("slow", "the same", |_| true).await;
    assert!(report.faults[0].message.contains("is being fetched"));
    app.stop().await;
}

#[tokio::test]
async fn what_was_fetched_once_is_what_all_replicas_serve_whatever_becomes_of_the_host() {
    let client = client().await;
    let namespace = namespace(&client).await;
    let folder = tempfile::tempdir().unwrap();
    let host = Host::start(folder.path()).await;
    let templates = counted(&host);
    let args = host.args(&templates, &namespace);
    let (one, two) = tokio::join!(
        TestApp::start_with(&client, args.clone()),
        TestApp::start_with(&client, args.clone())
    );
    let first = one.plan("counted", "the plan", |_| true).await;
    let second = two.plan("counted", "the plan", |_| true).await;
    assert_eq!(first.bundle_digest, second.bundle_digest);
    one.stop().await;
    two.stop().await;

    host.stop().await;
    // A plan that nobody has seen yet, and one that changes in another file.
    templates.plan("counted", "description: Changed meanwhile.\n");
    let later = TestApp::start_with(&client, args).await;
    let changed = later.plan("counted", "the plan", |plan| {
        plan.description == "Changed meanwhile."
    });
    changed.await;
    later.stop().await;

    // A host that is not allowed any more brings nothing into a new version.
    templates.plan("counted", "description: Once more.\n");
    let args = Args::for_tests(vec![templates.path()], &namespace);
    let strict = TestApp::start_with(&client, args).await;
    let is_refused = |report: &PlanReport| {
        let first = report.faults.first();
        first.is_some_and(|fault| fault.message.contains("--url-allow"))
    };
    let report = strict.report("counted", "the refusal", is_refused).await;
    assert!(report.last_good);
    strict.stop().await;
}

#[tokio::test]
async fn it_is_fetched_again_when_the_file_changes_and_when_a_person_asks() {
    let client = client().await;
    let namespace = namespace(&client).await;
    let folder = tempfile::tempdir().unwrap();
    let host = Host::start(folder.path()).await;
    let templates = counted(&host);
    let app = TestApp::start_with(&client, host.args(&templates, &namespace)).await;
    let first = app.plan("counted", "the plan", |_| true).await;
    assert_eq!(host.answers(), 1);

    let line = host.url("counted.yaml");
    templates.write(
        "mongodb/counted/20-fetched.url",
        &format!("# again\n{line}\n"),
    );
    let is_new = |plan: &broker_proto::v1::Plan| plan.bundle_digest != first.bundle_digest;
    let second = app.plan("counted", "the change", is_new).await;
    assert_eq!(host.answers(), 2);

    let mut command = host.program();
    command
        .env("KUBECONFIG", control_plane().await.kubeconfig())
        .args(["plan", "refresh", "--plan", "mongodb/counted"])
        .args(["--plans-namespace", &namespace])
        .args(["--bundles-namespace", &namespace])
        .arg(templates.path());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(
        text.starts_with("mongodb/counted/20-fetched.url: new, sha256 "),
        "{text}"
    );
    let is_newer =
        |plan: &broker_proto::v1::Plan| is_new(plan) && plan.bundle_digest != second.bundle_digest;
    app.plan("counted", "what was asked for", is_newer).await;
    app.stop().await;
}

#[tokio::test]
async fn authors_tools_look_at_what_is_fetched_or_say_that_they_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::start(folder.path()).await;
    let templates = Templates::with_plan();
    templates.plan("wrong", "");
    let line = host.url("wrong.yaml");
    templates.write("mongodb/wrong/20-fetched.url", &format!("{line}\n"));
    let run = async |mut command: std::process::Command, arguments: &[&str]| {
        command.args(arguments).arg(templates.path());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = output.await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let (code, out, _) = run(host.program(), &["plan", "lint"]).await;
    assert_eq!(code, Some(1), "{out}");
    assert!(
        out.contains("20-fetched.url.yaml:3:1: v1/ConfigMapp"),
        "{out}"
    );

    let (code, out, _) = run(program(), &["plan", "lint"]).await;
    assert_eq!(code, Some(0), "{out}");
    assert!(
        out.contains("20-fetched.url:1:1: warning: was not looked at: https://localhost"),
        "{out}"
    );
    let (code, _, _) = run(program(), &["plan", "lint", "--strict"]).await;
    assert_eq!(code, Some(1));

    templates.write(
        "mongodb/wrong/20-fetched.url",
        &format!("{}\n", host.url("good.yaml")),
    );
    let render = ["plan", "render", "--plan", "mongodb/wrong"];
    let (code, out, err) = run(host.program(), &render).await;
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("name: fetched"), "{out}");
    let (code, _, err) = run(program(), &render).await;
    assert_eq!(code, Some(0));
    assert!(err.contains("was not looked at"), "{err}");
}
