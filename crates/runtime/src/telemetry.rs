//! Logging, set up once per process: to standard error, levels from `OSLER_LOG` (as `tracing` filters), one line an event.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// Starts logging. Later calls in the same process (tests) change nothing.
pub fn init() {
    let filter = EnvFilter::try_from_env("OSLER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let _already_set = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_span_events(FmtSpan::NONE)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .try_init();
}
