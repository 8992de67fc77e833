//! `osler-coordinator`: options, store, owner, door, wait, end.

#![forbid(unsafe_code)]

use anyhow::Context;
use clap::Parser;
use osler_coordinator::access::Access;
use osler_coordinator::cluster::Limits;
use osler_coordinator::endpoint::Endpoint;
use osler_coordinator::owner::Owner;
use osler_coordinator::service::{Door, serve, serve_metrics};
use osler_core::paths;
use osler_core::process::exit;
use osler_runtime::auth::{Token, default_token_file};
use osler_runtime::clock::{Clock, SystemClock};
use osler_runtime::net::{may_listen, may_show_metrics};
use osler_runtime::pki::first_tokens;
use osler_runtime::shutdown::Signals;
use osler_runtime::store::{Store, local_folder};
use osler_runtime::tls::ServerTls;
use osler_runtime::{listen, telemetry};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Decides what runs where, and publishes checkpoints. One per store.
#[derive(Debug, Parser)]
#[command(name = "osler-coordinator", version)]
struct Options {
    /// The runs' store: a folder, or s3://BUCKET/PREFIX.
    #[arg(long)]
    store: String,
    /// Only loopback without --tls; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Serve http://ADDR/metrics for Prometheus, on loopback and without a token.
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,
    /// Encrypt, with the folder `coordinator` that `osler cluster init` made. Agents must then show a certificate.
    #[arg(long, value_name = "DIR")]
    tls: Option<PathBuf>,
    /// The owner's secret, which may do everything; made if it is not there [default: ~/.config/osler/token].
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
    let fit = may_listen(options.listen, options.tls.is_some()).and_then(|()| options.metrics.map_or(Ok(()), may_show_metrics));
    if let Err(e) = fit {
        tracing::error!("{e}");
        return code(exit::USAGE);
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
    let tls = options.tls.as_deref().map(ServerTls::open).transpose()?.map(Arc::new);
    let first = options.tls.as_deref().map(first_tokens).transpose()?.unwrap_or_default();
    let store = Store::open(&options.store)?;
    let endpoint_file = match options.endpoint_file {
        Some(file) => file,
        None => Endpoint::default_path(&local_folder(&options.store)?),
    };
    store.probe(&paths::probe(SystemClock.now(), std::process::id())).await.context("look whether the store can be trusted")?;
    let (handle, owner) = Owner::start(store, Arc::new(SystemClock), Limits::default()).await.context("take over the store")?;
    let access = Access::open(owner.ledger().clone(), Arc::new(SystemClock), &token, first).await.context("take over the tokens")?;
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
    let door = Door { handle, access, tls, limits: listen::Limits::default() };
    let server = tokio::spawn(serve(listener, door, std::future::pending()));
    let ended = owner.run(asked_to_end()).await;
    server.abort();
    endpoint.remove(&endpoint_file)?;
    ended.context("coordinate")
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
