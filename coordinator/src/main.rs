//! `osler-coordinator`: options, store, owner, door, wait, end.

#![forbid(unsafe_code)]

use anyhow::Context;
use clap::Parser;
use osler_coordinator::cluster::Limits;
use osler_coordinator::endpoint::Endpoint;
use osler_coordinator::owner::Owner;
use osler_coordinator::service::{serve, serve_metrics};
use osler_core::paths;
use osler_core::process::exit;
use osler_runtime::auth::{Token, default_token_file};
use osler_runtime::clock::{Clock, SystemClock};
use osler_runtime::net::require_loopback;
use osler_runtime::shutdown::Signals;
use osler_runtime::store::{Store, local_folder};
use osler_runtime::telemetry;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

const ENDPOINT_CHECK: Duration = Duration::from_secs(2);

/// Decides what runs where, and publishes checkpoints. One per store.
#[derive(Debug, Parser)]
#[command(name = "osler-coordinator", version)]
struct Options {
    /// The runs' store: a folder, or s3://BUCKET/PREFIX.
    #[arg(long)]
    store: String,
    /// Loopback only; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Serve http://ADDR/metrics for Prometheus, on loopback and without a token.
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,
    /// The shared secret; made if it is not there [default: ~/.config/osler/token].
    #[arg(long, env = "OSLER_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Where to write address, pid and token file once it listens [default: coordinator/endpoint.json in the
    /// store's folder, for s3 in one of ~/.local/state/osler].
    #[arg(long)]
    endpoint_file: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(e) => {
            let _closed_terminal = e.print();
            return if e.use_stderr() { code(exit::USAGE) } else { ExitCode::SUCCESS };
        }
    };
    telemetry::init();
    for address in [Some(options.listen), options.metrics].into_iter().flatten() {
        if let Err(e) = require_loopback(address) {
            tracing::error!("{e}");
            return code(exit::USAGE);
        }
    }
    match run(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!("{e:#}");
            code(exit::FAILED)
        }
    }
}

async fn run(options: Options) -> anyhow::Result<()> {
    let token_file = options.token_file.or_else(default_token_file).context("no home folder: give --token-file PATH")?;
    let token = Token::load_or_create(&token_file)?;
    let store = Store::open(&options.store)?;
    let endpoint_file = match options.endpoint_file {
        Some(file) => file,
        None => Endpoint::default_path(&local_folder(&options.store)?),
    };
    store.probe(&paths::probe(SystemClock.now(), std::process::id())).await.context("look whether the store can be trusted")?;
    let (handle, owner) = Owner::start(store, Arc::new(SystemClock), Limits::default()).await.context("take over the store")?;
    let listener = TcpListener::bind(options.listen).await.with_context(|| format!("listen on {}", options.listen))?;
    let token_file = std::path::absolute(&token_file)?;
    let endpoint = Endpoint { address: listener.local_addr()?, pid: std::process::id(), token_file };
    endpoint.write(&endpoint_file).with_context(|| format!("write {}", endpoint_file.display()))?;
    announce(endpoint.address)?;
    if let Some(address) = options.metrics {
        let listener = TcpListener::bind(address).await.with_context(|| format!("listen on {address} for metrics"))?;
        tracing::info!("metrics at http://{}/metrics", listener.local_addr()?);
        tokio::spawn(serve_metrics(listener, handle.clone()));
    }
    // The server ends with the process: open streams must not keep it.
    let server = tokio::spawn(serve(listener, handle, token, std::future::pending()));
    let kept = tokio::spawn(keep(endpoint.clone(), endpoint_file.clone()));
    let ended = owner.run(asked_to_end()).await;
    server.abort();
    kept.abort();
    let _aborted = kept.await; // it must not write the file again after this
    endpoint.remove(&endpoint_file)?;
    ended.context("coordinate")
}

/// Sees to it that agents find this coordinator, for as long as it reigns.
async fn keep(endpoint: Endpoint, file: PathBuf) {
    loop {
        tokio::time::sleep(ENDPOINT_CHECK).await;
        if let Err(error) = endpoint.restore(&file) {
            tracing::warn!(%error, "restore {}", file.display());
        }
    }
}

async fn asked_to_end() {
    match Signals::new() {
        Ok(mut signals) => {
            signals.next_but_usr1().await;
            // The second one does not wait for what is being written.
            tokio::spawn(async move {
                signals.next_but_usr1().await;
                tracing::warn!("second signal: exiting at once");
                std::process::exit(130);
            });
        }
        Err(error) => tracing::error!(%error, "signals cannot be received; ending"),
    }
}

/// The one line on standard output: whoever starts a coordinator may wait for it.
fn announce(address: SocketAddr) -> std::io::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening on {address}")?;
    out.flush()
}

fn code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
