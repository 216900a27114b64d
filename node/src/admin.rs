//! I/O: the admin listener: `/metrics` `/healthz` `/readyz` `/version`, the page of `operations.rs`, and the orders of
//! `admin_orders.rs`.

use crate::{admin_orders, clock, failpoints::Failpoints, operations, pulse::Pulse, readiness::Readiness};
use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use core::net::SocketAddr;
use counter::Engine;
use gateway::gateway::Gateway;
use prometheus::{Gauge, IntGauge, Opts, Registry, TextEncoder};
use protocol::audit::Sink;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::net::TcpListener;

/// What the admin pages tell about. Cheap to clone.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct Admin {
    pub registry: Registry,
    pub readiness: Arc<Readiness>,
    pub pulse: Arc<Pulse>,
    pub metrics: NodeMetrics,
    /// `None`: they are elsewhere.
    pub counters: Option<Engine>,
    /// `None`: this node has no clients.
    pub gateway: Option<Arc<Gateway>>,
    /// What tests may order.
    pub failpoints: Failpoints,
    /// Where orders are recorded; `None`: nowhere.
    pub audit: Option<Sink>,
}

/// The metrics of the process itself; each is in `METRICS.md`.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct NodeMetrics {
    pub phase: IntGauge,
    pub runtime_lag: Gauge,
}

impl NodeMetrics {
    /// Registers them, and those that never change.
    pub fn register(registry: &Registry) -> prometheus::Result<NodeMetrics> {
        let build_info = IntGauge::with_opts(
            Opts::new("headcount_build_info", "Always 1; the version is in its labels.")
                .const_label("version", VERSION)
                .const_label("git", GIT_SHA.unwrap_or_default()),
        )?;
        build_info.set(1);
        let start_time = IntGauge::new("headcount_start_time_seconds", "When the process started, in seconds since 1970.")?;
        start_time.set(i64::try_from(clock::now().wall_s()).unwrap_or(i64::MAX));
        let phase = IntGauge::new("headcount_phase", "Life of the node: 0 starting, 1 ready, 2 draining.")?;
        let runtime_lag = Gauge::new("headcount_runtime_lag_seconds", "How late the latest of the runtime's ticks of the last 15 s came.")?;
        registry.register(Box::new(build_info))?;
        registry.register(Box::new(start_time))?;
        registry.register(Box::new(phase.clone()))?;
        registry.register(Box::new(runtime_lag.clone()))?;
        Ok(NodeMetrics { phase, runtime_lag })
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Set by whoever builds releases.
const GIT_SHA: Option<&str> = option_env!("HEADCOUNT_GIT_SHA");

/// Serves the admin pages for ever.
pub async fn serve(listener: TcpListener, admin: Admin) -> std::io::Result<()> {
    axum::serve(listener, routes(admin).into_make_service_with_connect_info::<SocketAddr>()).await
}

fn routes(admin: Admin) -> Router {
    let operations = operations::routes(&admin);
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/version", get(version))
        .merge(admin_orders::routes(&admin))
        .with_state(admin)
        .merge(operations)
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    admin.metrics.phase.set(admin.readiness.phase().parts().1);
    match TextEncoder::new().encode_to_string(&admin.registry.gather()) {
        Ok(text) => (StatusCode::OK, [(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(CONTENT_TYPE, "text/plain")], error.to_string()),
    }
}

/// Whether the process is alive; never whether anything that it depends on is.
async fn healthz(State(admin): State<Admin>) -> (StatusCode, Json<Value>) {
    match admin.pulse.is_fresh(clock::now()) {
        true => (StatusCode::OK, Json(json!({ "status": "ok" }))),
        false => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "stuck" }))),
    }
}

async fn readyz(State(admin): State<Admin>) -> (StatusCode, Json<Value>) {
    let (welcome, report) = admin.readiness.report();
    (if welcome { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(report))
}

async fn version() -> Json<Value> {
    Json(json!({ "version": VERSION, "git": GIT_SHA }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::readiness::Phase;
    use counter::{Ack, EngineConfig};
    use testkit::http;

    #[tokio::test]
    async fn readyz_answers_503_while_starting_and_draining_and_200_in_between() {
        let registry = Registry::new();
        let metrics = NodeMetrics::register(&registry).unwrap();
        let readiness = Arc::new(Readiness::new(Vec::new()));
        let data_dir = tempfile::tempdir().unwrap();
        let engine = EngineConfig {
            data_dir: data_dir.path().to_owned(),
            region: "eu".to_owned(),
            node: "c1".to_owned(),
            default_ack: Ack::Fsync,
            clock: clock::now,
            epoch: 1,
            snapshot_log_bytes: u64::MAX,
            votes_memory_bytes: 0,
        };
        let counters = Engine::open(engine, &registry).unwrap();
        let admin = Admin {
            registry,
            readiness: readiness.clone(),
            pulse: Arc::default(),
            metrics,
            counters: Some(counters),
            gateway: None,
            failpoints: Failpoints::default(),
            audit: None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, admin));
        for (phase, status, name) in [(Phase::Starting, 503, "starting"), (Phase::Ready, 200, "ready"), (Phase::Draining, 503, "draining")]
        {
            readiness.set(phase);
            let answer = http::get(address, "/readyz").await.unwrap();
            assert_eq!((answer.status, answer.body), (status, format!(r#"{{"checks":{{}},"status":"{name}"}}"#)));
            let metrics = http::get(address, "/metrics").await.unwrap().body;
            assert!(metrics.contains(&format!("\nheadcount_phase {}\n", phase.parts().1)), "{metrics}");
        }
        assert_eq!(http::get(address, "/healthz").await.unwrap().status, 200);
        assert_eq!(http::get(address, "/nothing").await.unwrap().status, 404);
        server.abort();
    }
}
