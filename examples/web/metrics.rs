//! What is counted, for Prometheus: `GET /metrics`. `dashboard.json` is a dashboard for Grafana that reads it.

use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// The bounds of the histograms, in seconds: from a lock that is free to one that somebody waits for as long as anybody does.
const SECONDS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// How often what was counted is put into the histograms where nobody asks for it.
const UPKEEP: Duration = Duration::from_secs(5);

/// Counts from here on, for the whole process.
pub(crate) fn count() -> Result<PrometheusHandle, BuildError> {
    let of_times = Matcher::Suffix("_seconds".to_owned());
    let counted = PrometheusBuilder::new().set_buckets_for_metric(of_times, &SECONDS)?.install_recorder()?;
    let upkeep = counted.clone();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(counted)
}

pub(crate) fn router<S: Clone + Send + Sync + 'static>(counted: PrometheusHandle) -> Router<S> {
    let kind = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Router::new().route("/metrics", get(async move || (kind, counted.render())))
}
