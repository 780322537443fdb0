//! The gRPC server of a service: health and reflection beside its own
//! routes, who may call them, request context, connection ageing, and the drain.

mod access;
mod incoming;

use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{service::Routes, transport::Server};
use tonic_health::ServingStatus;
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};
use tower::ServiceBuilder;

use self::{access::Access, incoming::incoming};
use crate::{
    admin::Admin, args::ServiceArgs, context::ContextLayer, readiness::Readiness, tls::Tls,
};

pub use self::access::Callers;

const HEALTH: &str = "grpc.health.v1.Health";

/// A service's two listeners, bound before any work starts.
#[derive(Debug)]
pub struct Listeners {
    /// For the service itself.
    pub service: TcpListener,
    /// For the admin port.
    pub admin: TcpListener,
}

impl Listeners {
    /// Binds both.
    pub async fn bind(args: &ServiceArgs) -> anyhow::Result<Self> {
        Ok(Self {
            service: crate::admin::bind(args.listen, "--listen").await?,
            admin: crate::admin::bind(args.admin_listen, "--admin-listen").await?,
        })
    }
}

/// What a service serves.
#[derive(Debug, Clone, Copy)]
pub struct Contract {
    /// An encoded `FileDescriptorSet`, for reflection.
    pub descriptors: &'static [u8],
    /// The full names of the gRPC services, for health and reflection.
    pub names: &'static [&'static str],
    /// Who may call what, where there is TLS; an rpc that is missing is nobody's.
    pub callers: Callers,
}

/// Serves `routes` until `shutdown`, then drains: it is not ready any more, but
/// accepts connections for the drain delay; after that calls in flight may
/// finish. The admin port closes last.
pub async fn serve(
    args: &ServiceArgs,
    listeners: Listeners,
    tls: Tls,
    routes: Routes,
    contract: Contract,
    admin: Admin,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let (health, health_service) = tonic_health::server::health_reporter();
    let mut routes = routes.add_service(health_service);
    if args.reflection {
        routes = routes.add_service(reflection(contract)?);
    }

    let stop_accepting = CancellationToken::new();
    let readiness = admin.readiness.clone();
    let draining = readiness.gate("drain");
    draining.open();

    let admin = admin.serve(listeners.admin);
    let report = tokio::spawn(report_health(readiness, health, contract.names));
    let server = Server::builder()
        .layer(
            ServiceBuilder::new()
                .layer(ContextLayer)
                .layer(Access::new(contract.callers)),
        )
        // Not tonic's own grace: with it tonic 0.14 says nothing to the client at this age, and
        // cuts calls in flight in the end. `incoming` ends what is left.
        .max_connection_age(args.max_connection_age)
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .add_routes(routes)
        .serve_with_incoming_shutdown(
            incoming(listeners.service, tls, args.longest_connection()),
            stop_accepting.clone().cancelled_owned(),
        );
    tokio::pin!(server);

    let outcome = tokio::select! {
        outcome = &mut server => outcome.context("serve gRPC"),
        () = shutdown.cancelled() => {
            draining.close();
            tokio::time::sleep(args.drain_delay).await;
            stop_accepting.cancel();
            // A stream that never ends must not keep the process: past the
            // deadline the connections are dropped.
            match tokio::time::timeout(args.drain_time(), &mut server).await {
                Ok(outcome) => outcome.context("serve gRPC"),
                Err(_) => Ok(()),
            }
        }
    };
    report.abort();
    let closed = admin.end().await;
    outcome.and(closed)
}

fn reflection(contract: Contract) -> anyhow::Result<ServerReflectionServer<impl ServerReflection>> {
    let mut reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(contract.descriptors)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    for name in contract.names.iter().chain([&HEALTH]) {
        reflection = reflection.with_service_name(*name);
    }
    reflection.build_v1().context("set up gRPC reflection")
}

/// Keeps the gRPC health of each service equal to the readiness.
async fn report_health(
    readiness: Readiness,
    health: tonic_health::server::HealthReporter,
    names: &'static [&'static str],
) {
    let mut changes = readiness.subscribe();
    loop {
        let status = if changes.ready() {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for name in names.iter().chain([&""]) {
            health.set_service_status(*name, status).await;
        }
        if !changes.changed().await {
            return;
        }
    }
}
