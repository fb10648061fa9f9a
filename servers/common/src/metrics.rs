//! `/metrics` for Prometheus and `/healthz` for whoever watches over the process.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::net::TcpListener;

pub use prometheus_client::registry::Registry;

use ntm_program::Failure;

use crate::listening::cannot_listen;

/// The metrics of a process; clones are the same.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    health: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
}

impl Metrics {
    /// Metrics whose names begin with `prefix`; `health` says why the server does not serve, if so.
    pub fn new(prefix: &str, health: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self { registry: Arc::new(Mutex::new(Registry::with_prefix(prefix))), health: Arc::new(health) }
    }

    /// Adds metrics. What is counted inside a core is best added as a `Collector`, read when somebody asks.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The routes `/metrics` and `/healthz`.
    pub fn routes(&self) -> Router {
        Router::new().route("/metrics", get(metrics)).route("/healthz", get(healthz)).with_state(self.clone())
    }

    /// Serves the routes at `address` until the runtime ends.
    pub async fn serve(&self, address: SocketAddr) -> Result<SocketAddr, Failure> {
        let listener = TcpListener::bind(address).await.map_err(|why| cannot_listen(address, "metrics", &why))?;
        let bound = listener.local_addr().map_err(|why| Failure::new(format!("metrics: {why}")))?;
        let routes = self.routes();
        tokio::spawn(async move {
            let _ = axum::serve(listener, routes).await;
        });
        Ok(bound)
    }
}

async fn metrics(State(metrics): State<Metrics>) -> Response {
    let mut text = String::new();
    let registry = metrics.registry.lock().unwrap_or_else(PoisonError::into_inner);
    if prometheus_client::encoding::text::encode(&mut text, &registry).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

async fn healthz(State(metrics): State<Metrics>) -> Response {
    match (metrics.health)() {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}
