//! What clients without a login, and platforms that send bodies and never end them, may take: the
//! real program, and what the kernel says of its memory.

use std::{
    fs,
    net::SocketAddr,
    process::Stdio,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use testbed::Port;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::{app::snapshot, fakes::Fakes};

/// Half of the memory limit in k8s/base/broker/gateway/deployment.yaml, in KiB.
const HALF: u64 = 128 * 1024;
const PATIENCE: Duration = Duration::from_secs(60);

struct Program {
    child: Child,
    address: SocketAddr,
    _ports: [Port; 2],
    _credentials: tempfile::TempDir,
}

impl Program {
    async fn start(fakes: &Fakes) -> Self {
        let credentials = tempfile::tempdir().unwrap();
        fs::write(credentials.path().join("username"), "platform").unwrap();
        fs::write(credentials.path().join("password"), "p").unwrap();
        let ports = [Port::reserve().unwrap(), Port::reserve().unwrap()];
        let [address, admin] = ports.each_ref().map(at);
        let child = Command::new(env!("CARGO_BIN_EXE_gateway"))
            .env_clear()
            .env("BROKER_LISTEN", address.to_string())
            .env("BROKER_ADMIN_LISTEN", admin.to_string())
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
            _ports: ports,
            _credentials: credentials,
        };
        let began = Instant::now();
        while program.catalog().await != Some(200) {
            assert!(began.elapsed() < PATIENCE, "the gateway does not start");
            sleep(Duration::from_millis(50)).await;
        }
        program
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// What a platform gets, if it gets anything within a second.
    async fn catalog(&self) -> Option<u16> {
        let request = format!("GET /v2/catalog HTTP/1.1\r\nhost: x\r\n{}\r\n", login("p"));
        let mut stream = TcpStream::connect(self.address).await.ok()?;
        stream.write_all(request.as_bytes()).await.ok()?;
        let answer = timeout(Duration::from_secs(1), status(&mut stream)).await;
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

fn at(port: &Port) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port.number()))
}

fn login(password: &str) -> String {
    let login = STANDARD.encode(format!("platform:{password}"));
    format!("authorization: Basic {login}\r\nx-broker-api-version: 2.17\r\n")
}

async fn status(stream: &mut TcpStream) -> Option<u16> {
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).await.ok()?;
    let text = String::from_utf8_lossy(&answer[..read]).into_owned();
    text.split(' ').nth(1)?.parse().ok()
}

/// Sends as much as is taken within a moment.
async fn push(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = timeout(Duration::from_millis(500), stream.write_all(bytes)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_heads_and_bodies_stay_under_half_the_memory_limit() {
    let fakes = Fakes::start(Some(snapshot("g-1"))).await;
    fakes.provisioner.provision.delay(Duration::from_secs(3));
    let gateway = Program::start(&fakes).await;

    // Heads without an end, by nobody: each as long as it is taken.
    let filler = "x".repeat(240 * 1024);
    let head = format!("GET /v2/catalog HTTP/1.1\r\nhost: x\r\nx-filler: {filler}");
    let mut heads = Vec::new();
    for _ in 0..1000 {
        heads.push(gateway.connect().await);
    }
    futures::future::join_all(heads.iter_mut().map(|stream| push(stream, head.as_bytes()))).await;
    // The platform is served again once they are given up, though they stay.
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
    let gateway = Program::start(&fakes).await;
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
