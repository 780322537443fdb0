//! What clients without a login, and platforms that send bodies and never end them, may take: the
//! real program, and what the kernel says of its memory.

use std::{
    fs,
    net::SocketAddr,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::{pki_types::ServerName, version::TLS13};
use serde_json::json;
use tempfile::TempDir;
use testbed::Port;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
    sync::Mutex,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;

use crate::{
    app::{snapshot, write_login},
    fakes::Fakes,
    https::{NAME, certify, connector},
};

/// Half of the memory limit in k8s/base/broker/gateway/deployment.yaml, in KiB.
const HALF: u64 = 128 * 1024;
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a client of TLS waits to be let in while others keep all places.
const LET_IN: Duration = Duration::from_secs(8);

struct Program {
    child: Child,
    address: SocketAddr,
    /// Of a gateway that speaks HTTPS.
    connector: Option<TlsConnector>,
    _ports: [Port; 2],
    _folders: [TempDir; 2],
}

/// A connection, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Program {
    async fn start(fakes: &Fakes, https: bool) -> Self {
        Self::start_with(fakes, https, 384).await
    }

    async fn start_with(fakes: &Fakes, https: bool, connections: usize) -> Self {
        let [credentials, certificate] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        write_login(credentials.path(), "p");
        let ports = [Port::reserve().unwrap(), Port::reserve().unwrap()];
        let [address, admin] = ports.each_ref().map(at);
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command.env_clear();
        let connector = https.then(|| {
            command.env("BROKER_HTTPS", certificate.path());
            connector(&certify(certificate.path()), &TLS13, &["http/1.1"])
        });
        let child = command
            .env("BROKER_LISTEN", address.to_string())
            .env("BROKER_ADMIN_LISTEN", admin.to_string())
            .env("BROKER_MAX_CONNECTIONS", connections.to_string())
            .env("BROKER_CREDENTIALS", credentials.path())
            .env("BROKER_CATALOG", &fakes.target)
            .env("BROKER_PROVISIONER", &fakes.target)
            .env("BROKER_BINDER", &fakes.target)
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let program = Self {
            child,
            address,
            connector,
            _ports: ports,
            _folders: [credentials, certificate],
        };
        let began = Instant::now();
        while program.catalog().await != Some(200) {
            assert!(began.elapsed() < PATIENCE, "the gateway does not start");
            sleep(Duration::from_millis(50)).await;
        }
        program
    }

    async fn connect(&self) -> Box<dyn Stream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        secure(self.connector.as_ref(), stream).await.unwrap()
    }

    /// What a platform gets, if it gets anything within a second.
    async fn catalog(&self) -> Option<u16> {
        let request = format!("GET /v2/catalog HTTP/1.1\r\nhost: x\r\n{}\r\n", login("p"));
        let answer = async {
            let stream = TcpStream::connect(self.address).await.ok()?;
            let mut stream = secure(self.connector.as_ref(), stream).await.ok()?;
            stream.write_all(request.as_bytes()).await.ok()?;
            status(&mut stream).await
        };
        let answer = timeout(Duration::from_secs(1), answer).await;
        answer.ok().flatten()
    }

    /// The most memory that it has had, in KiB.
    fn peak(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id().unwrap());
        let text = fs::read_to_string(path).unwrap();
        let line = text.lines().find(|line| line.starts_with("VmHWM:"));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        number.unwrap().parse().unwrap()
    }
}

async fn secure(
    connector: Option<&TlsConnector>,
    stream: TcpStream,
) -> std::io::Result<Box<dyn Stream>> {
    let Some(connector) = connector else {
        return Ok(Box::new(stream));
    };
    let name = ServerName::try_from(NAME).unwrap();
    let stream = connector.connect(name, stream).await?;
    Ok(Box::new(stream))
}

fn at(port: &Port) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port.number()))
}

fn login(password: &str) -> String {
    let login = STANDARD.encode(format!("platform:{password}"));
    format!("authorization: Basic {login}\r\nx-broker-api-version: 2.17\r\n")
}

async fn status(stream: &mut Box<dyn Stream>) -> Option<u16> {
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).await.ok()?;
    let text = String::from_utf8_lossy(&answer[..read]).into_owned();
    text.split(' ').nth(1)?.parse().ok()
}

/// Sends as much as is taken within a moment.
async fn push(stream: &mut Box<dyn Stream>, bytes: &[u8]) {
    let written = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    let _ = timeout(Duration::from_millis(500), written).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_heads_and_bodies_stay_under_half_the_memory_limit() {
    unfinished(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_https_they_do_so_too() {
    unfinished(true).await;
}

/// One after the other: each needs a thousand sockets.
static TURN: Mutex<()> = Mutex::const_new(());

async fn unfinished(https: bool) {
    let _turn = TURN.lock().await;
    let fakes = Fakes::start(Some(snapshot("g-1"))).await;
    fakes.provisioner.provision.delay(Duration::from_secs(3));
    let gateway = Program::start(&fakes, https).await;

    // Heads without an end, by nobody: each as long as it is taken.
    let filler = "x".repeat(240 * 1024);
    let head = format!("GET /v2/catalog HTTP/1.1\r\nhost: x\r\nx-filler: {filler}");
    let head: Arc<str> = head.into();
    let mut opened = Vec::new();
    for _ in 0..1000 {
        opened.push(TcpStream::connect(gateway.address).await.unwrap());
    }
    let heads = opened.into_iter().map(|stream| {
        let (connector, head) = (gateway.connector.clone(), Arc::clone(&head));
        tokio::spawn(async move {
            let shaken = secure(connector.as_ref(), stream);
            let mut stream = timeout(LET_IN, shaken).await.ok()?.ok()?;
            push(&mut stream, head.as_bytes()).await;
            Some(stream)
        })
    });
    let heads = futures::future::join_all(heads).await;
    let heads: Vec<_> = heads.into_iter().filter_map(Result::unwrap).collect();
    // Over TLS a debug build needs longer for as many as there are places than a head may take.
    println!("heads at a time: {}", heads.len().min(384));
    assert!(heads.len() >= 100, "{} heads", heads.len());
    // The platform is served again once they are given up, though their clients stay.
    let began = Instant::now();
    while gateway.catalog().await != Some(200) {
        assert!(began.elapsed() < PATIENCE, "the platform is locked out");
    }
    drop(heads);

    // Bodies of a platform: without an end, and whole ones that wait for a service.
    let parameters: Vec<String> = (0..40_000).map(|i| format!("p{i:07}")).collect();
    let body = json!({
        "service_id": "s-1", "plan_id": "p-1", "organization_guid": "o", "space_guid": "s",
        "parameters": {"list": parameters},
    })
    .to_string();
    assert!(body.len() > 400 * 1024 && body.len() < 512 * 1024);
    let mut streams = Vec::new();
    for number in 0..350 {
        let mut stream = gateway.connect().await;
        let request = format!(
            "PUT /v2/service_instances/i{number}?accepts_incomplete=true HTTP/1.1\r\nhost: x\r\n\
             {}content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            login("p"),
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    let (unfinished, whole) = streams.split_at_mut(300);
    let part = &body.as_bytes()[..body.len() - 1];
    futures::future::join_all(unfinished.iter_mut().map(|stream| push(stream, part))).await;
    futures::future::join_all(whole.iter_mut().map(|stream| push(stream, body.as_bytes()))).await;
    // Whatever was too much was refused, and said so.
    let answers = whole
        .iter_mut()
        .map(|stream| timeout(PATIENCE, status(stream)));
    let answers: Vec<_> = futures::future::join_all(answers).await;
    assert!(answers.contains(&Ok(Some(503))), "{answers:?}");
    drop(streams);

    let peak = gateway.peak();
    println!("peak: {} MiB", peak / 1024);
    assert!(peak < HALF, "the gateway had {peak} KiB");
    assert_eq!(gateway.catalog().await, Some(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_logins_wait_and_a_right_one_never_does() {
    let fakes = Fakes::start(Some(snapshot("g-1"))).await;
    let gateway = Program::start(&fakes, false).await;
    let wrong = async || {
        let mut stream = gateway.connect().await;
        let request = format!(
            "GET /v2/catalog HTTP/1.1\r\nhost: x\r\n{}\r\n",
            login("wrong")
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let began = Instant::now();
        assert_eq!(status(&mut stream).await, Some(401));
        began.elapsed()
    };
    let mut waits = Vec::new();
    for _ in 0..9 {
        waits.push(wrong().await);
    }
    // The waits are in the program, so these times cannot be shorter.
    assert!(waits[8] >= Duration::from_millis(800), "{waits:?}");
    let held = tokio::join!(wrong(), async {
        // While a wrong one waits, from the same address.
        assert_eq!(gateway.catalog().await, Some(200));
        Instant::now()
    });
    assert!(held.0 >= Duration::from_millis(1600), "{held:?}");
}

/// On HTTP/2, where an answer does not end the connection by itself, and may not get through.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_fill_all_places_leave_them_soon_whatever_they_do() {
    const PLACES: usize = 8;
    let fakes = Fakes::start(Some(snapshot("g-1"))).await;
    let gateway = Program::start_with(&fakes, false, PLACES).await;
    let request = |path: &str, hosts: usize| {
        let mut request = axum::http::Request::get(format!("http://x{path}"));
        for _ in 0..hosts {
            request = request.header("host", "x");
        }
        request.body(()).unwrap()
    };
    for (window, path, hosts, status) in [
        (65_535, "/v2/catalog", 2, 400),
        (65_535, "/nowhere", 0, 401),
        // Not a byte of an answer's body gets through.
        (0, "/v2/catalog", 2, 400),
        (0, "/v2/catalog", 0, 401),
    ] {
        let mut strangers = Vec::new();
        for _ in 0..PLACES {
            let stream = TcpStream::connect(gateway.address).await.unwrap();
            let mut builder = h2::client::Builder::new();
            builder.initial_window_size(window);
            let shaken = builder.handshake::<_, axum::body::Bytes>(stream).await;
            let (mut requests, connection) = shaken.unwrap();
            let connection = tokio::spawn(connection);
            let (answer, _) = requests.send_request(request(path, hosts), true).unwrap();
            strangers.push((requests, answer, connection));
        }
        let mut kept = Vec::new();
        for (requests, answer, connection) in strangers {
            let answer = timeout(PATIENCE, answer).await.unwrap();
            assert_eq!(answer.as_ref().unwrap().status(), status);
            kept.push((requests, answer, connection));
        }
        let began = Instant::now();
        while gateway.catalog().await != Some(200) {
            assert!(began.elapsed() < PATIENCE, "{path}: locked out");
        }
        println!(
            "window {window}, {status}: served after {:?}",
            began.elapsed()
        );
        drop(kept);
    }
}
