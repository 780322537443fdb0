//! Every rpc with every caller, and callers who prove nothing.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::Router;
use broker_proto::v1::{LastOperationRequest, WatchInstancesRequest};
use prometheus_client::registry::Registry;
use service::{Admin, Readiness, ServiceArgs, Tls, grpc::Listeners};
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    service::Routes,
    transport::{Channel, ClientTlsConfig, Endpoint},
};
use tonic_prost::ProstCodec;

use crate::{
    pki::{Authority, Mounted, shows},
    replica::{Addresses, Answers, CONTRACT, Replica},
};

/// What the broker's services may do, said once more: the contracts' options
/// must not widen unseen.
const MAY: &[(&str, &[&str])] = &[
    ("Binder/Bind", &["gateway"]),
    ("Binder/Unbind", &["gateway"]),
    ("Binder/FetchBinding", &["gateway"]),
    ("Binder/LastBindingOperation", &["gateway"]),
    ("Catalog/GetCatalog", &[]),
    ("Catalog/WatchCatalog", &["gateway", "provisioner-svc"]),
    ("Catalog/GetBundle", &["provisioner-svc", "binder-svc"]),
    ("Catalog/ListPlans", &[]),
    ("Provisioner/Provision", &["gateway"]),
    ("Provisioner/Update", &["gateway"]),
    ("Provisioner/Deprovision", &["gateway"]),
    ("Provisioner/FetchInstance", &["gateway"]),
    ("Provisioner/LastOperation", &["gateway"]),
    ("Provisioner/GetInstance", &["binder-svc"]),
    ("Provisioner/Hold", &["binder-svc"]),
    ("Provisioner/ReleaseHold", &["binder-svc"]),
    ("Provisioner/WatchInstances", &["binder-svc"]),
];
const CALLERS: [&str; 6] = [
    "gateway",
    "catalog-svc",
    "provisioner-svc",
    "binder-svc",
    "admin",
    "stranger",
];

/// A server of every rpc, which answers each with NOT_FOUND.
async fn serve(tls: Tls) -> SocketAddr {
    let args = ServiceArgs::for_tests();
    let listeners = Listeners::bind(&args).await.unwrap();
    let address = listeners.service.local_addr().unwrap();
    let reached = || async { Status::not_found("reached").into_http::<axum::body::Body>() };
    let routes = Routes::from(Router::new().fallback(reached));
    tokio::spawn(async move {
        let admin = Admin::new(Readiness::default(), Registry::default());
        let shutdown = CancellationToken::new();
        service::grpc::serve(&args, listeners, tls, routes, CONTRACT, admin, shutdown).await
    });
    address
}

fn channel(address: SocketAddr, tls: ClientTlsConfig) -> Channel {
    let endpoint = Endpoint::try_from(format!("https://{address}")).unwrap();
    endpoint.tls_config(tls).unwrap().connect_lazy()
}

async fn call(channel: &Channel, path: &str) -> Status {
    let mut client = Grpc::new(channel.clone());
    if let Err(error) = client.ready().await {
        return Status::unavailable(error.to_string());
    }
    let path = PathAndQuery::try_from(path).unwrap();
    let codec = ProstCodec::<(), ()>::default();
    let answer = client.unary(Request::new(()), path, codec).await;
    answer
        .err()
        .unwrap_or_else(|| Status::new(Code::Ok, "answered"))
}

#[tokio::test]
async fn every_rpc_has_its_callers_and_nobody_else() {
    let authority = Authority::new();
    let own = Mounted::new(&authority.leaf("provisioner-svc"), &[&authority]);
    let address = serve(own.tls.clone()).await;
    let known: BTreeSet<_> = broker_proto::CALLERS
        .iter()
        .map(|(path, _)| *path)
        .collect();
    let listed = MAY.iter().map(|(rpc, _)| format!("/mongodb_osb.v1.{rpc}"));
    let listed: Vec<_> = listed.collect();
    assert_eq!(known, listed.iter().map(String::as_str).collect());

    for caller in CALLERS {
        let leaf = authority.leaf(caller);
        let channel = channel(address, shows(Some(&leaf), &authority));
        for (path, (rpc, callers)) in listed.iter().zip(MAY) {
            let status = call(&channel, path).await;
            let may = caller == "admin" || callers.contains(&caller);
            let expected = if may {
                Code::NotFound
            } else {
                Code::PermissionDenied
            };
            assert_eq!(status.code(), expected, "{caller} {rpc}: {status}");
            if !may {
                let text = format!("{caller} may not call mongodb_osb.v1.{rpc}");
                assert!(status.message().starts_with(&text), "{status}");
            }
        }
        let status = call(&channel, "/grpc.health.v1.Health/Check").await;
        assert_ne!(status.code(), Code::PermissionDenied, "{caller}");
        let status = call(&channel, "/mongodb_osb.v1.Binder/Other").await;
        assert_eq!(status.code(), Code::Unimplemented, "{caller}");
    }
}

/// What is logged on the thread of a test.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_call_by_a_person_is_logged_and_a_services_is_not() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let authority = Authority::new();
    let own = Mounted::new(&authority.leaf("provisioner-svc"), &[&authority]);
    let address = serve(own.tls.clone()).await;
    for caller in ["gateway", "admin"] {
        let leaf = authority.leaf(caller);
        let channel = channel(address, shows(Some(&leaf), &authority));
        let rpc = "/mongodb_osb.v1.Provisioner/LastOperation";
        assert_eq!(call(&channel, rpc).await.code(), Code::NotFound);
    }
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let calls: Vec<&str> = text
        .lines()
        .filter(|line| line.contains(" audit: "))
        .collect();
    assert_eq!(calls.len(), 1, "{text}");
    for said in [
        "called by a person",
        "Provisioner/LastOperation",
        "127.0.0.1",
    ] {
        assert!(calls[0].contains(said), "{}", calls[0]);
    }
}

#[tokio::test]
async fn who_proves_nothing_is_not_heard() {
    let (authority, other) = (Authority::new(), Authority::new());
    let own = Mounted::new(&authority.leaf("provisioner-svc"), &[&authority]);
    let address = serve(own.tls.clone()).await;
    let rpc = "/mongodb_osb.v1.Provisioner/LastOperation";

    let (wrong, expired) = (other.leaf("gateway"), authority.expired("gateway"));
    let plaintext = Endpoint::try_from(format!("http://{address}")).unwrap();
    for (what, channel) in [
        (
            "of another authority",
            channel(address, shows(Some(&wrong), &authority)),
        ),
        (
            "expired",
            channel(address, shows(Some(&expired), &authority)),
        ),
        ("no certificate", channel(address, shows(None, &authority))),
        ("plaintext", plaintext.connect_lazy()),
    ] {
        let status = call(&channel, rpc).await;
        // The transport's codes, not those of the server behind it.
        let unheard = matches!(
            status.code(),
            Code::Unavailable | Code::Unknown | Code::Internal
        );
        assert!(unheard, "{what}: {status}");
    }

    for uris in [
        &[][..],
        &["spiffe://elsewhere/gateway"],
        &["spiffe://mongodb-osb/"],
        &[
            "spiffe://mongodb-osb/gateway",
            "spiffe://mongodb-osb/binder-svc",
        ],
    ] {
        let leaf = authority.nameless(uris);
        let status = call(&channel(address, shows(Some(&leaf), &authority)), rpc).await;
        assert_eq!(status.code(), Code::Unauthenticated, "{uris:?}: {status}");
        assert!(status.message().contains("spiffe://mongodb-osb/<service>"));
    }
    let mut metrics = String::new();
    prometheus_client::encoding::text::encode(&mut metrics, &own.registry).unwrap();
    assert!(
        !metrics.contains("tls_connections_refused_total 0"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_client_calls_only_the_service_that_it_means() {
    let authority = Authority::new();
    let binder = Mounted::new(&authority.leaf("binder-svc"), &[&authority]);
    let gateway = Mounted::new(&authority.leaf("gateway"), &[&authority]);
    let replica = Replica::start_as(binder.tls.clone(), Answers::AtOnce, |_| ());
    let addresses = Addresses::default();
    addresses.add(replica.address);
    let mut provisioner = addresses.client_as(&gateway.tls, Duration::from_secs(2));
    let answer = provisioner
        .last_operation(LastOperationRequest::default())
        .await;
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("provisioner-svc"), "{status}");
    assert_eq!(replica.count(), 0);
}

#[tokio::test]
async fn calls_and_streams_end_with_the_certificate() {
    let authority = Authority::new();
    let own = Mounted::new(&authority.leaf("provisioner-svc"), &[&authority]);
    let short = authority.leaf_for("binder-svc", Duration::from_secs(3));
    let binder = Mounted::new(&short, &[&authority]);
    let replica = Replica::start_as(own.tls.clone(), Answers::AtOnce, |_| ());
    let addresses = Addresses::default();
    addresses.add(replica.address);
    let mut client = addresses.client_as(&binder.tls, Duration::from_secs(30));
    let states = client.watch_instances(WatchInstancesRequest {}).await;
    let mut states = states.unwrap().into_inner();
    assert!(states.message().await.unwrap().is_some());
    let ended = states.message().await.unwrap_err();
    assert_eq!(ended.code(), Code::Unauthenticated);
    assert!(
        ended.message().contains("binder-svc has expired"),
        "{ended}"
    );
    // The connection is the same, and open.
    let answer = client.watch_instances(WatchInstancesRequest {}).await;
    assert_eq!(answer.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(replica.count(), 1);
}
