//! Everything that can be observed, switched on.

use std::time::Duration;
use std::{io, thread};

use metrics_exporter_prometheus::PrometheusBuilder;
use tracing_subscriber::filter::LevelFilter;

/// Counts for Prometheus from here on, in the whole process; with `--spans` on the command line, also has every span of the level
/// info written to nowhere.
///
/// # Panics
///
/// When somebody else has been installed for that.
pub fn observe() {
    let exporter = PrometheusBuilder::new().install_recorder().expect("nobody counts yet");
    // What a service does beside it: nobody asks here, so histograms would only grow.
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_secs(5));
            exporter.run_upkeep();
        }
    });
    if std::env::args().any(|argument| argument == "--spans") {
        tracing_subscriber::fmt().with_max_level(LevelFilter::INFO).with_writer(io::sink).init();
    }
}
