//! `osler-coordinator`: options, store, owner, door, wait, end.

#![forbid(unsafe_code)]

use anyhow::Context;
use clap::Parser;
use futures::FutureExt;
use osler_coordinator::access::Access;
use osler_coordinator::cluster::Limits;
use osler_coordinator::endpoint::Endpoint;
use osler_coordinator::leadership::{Leadership, LedAlready, NotBegun, Terms, begin, stand_by};
use osler_coordinator::ledger::{Ledger, LedgerError};
use osler_coordinator::lookout::{self, Duty};
use osler_coordinator::owner::Owner;
use osler_coordinator::service::{Door, serve};
use osler_core::access::NewToken;
use osler_core::paths;
use osler_core::process::exit;
use osler_runtime::auth::{Token, default_token_file};
use osler_runtime::clock::{Clock, SystemClock};
use osler_runtime::lease::Leader;
use osler_runtime::net::{may_listen, may_show_metrics};
use osler_runtime::pki::{first_tokens, own_server};
use osler_runtime::shutdown::Signals;
use osler_runtime::sign::{KeyError, SigningKey};
use osler_runtime::store::{Store, lacks_room, local_folder};
use osler_runtime::tls::ServerTls;
use osler_runtime::{listen, telemetry};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

const ENDPOINT_CHECK: Duration = Duration::from_secs(2);
const LOOKOUT_RETRY: Duration = Duration::from_secs(1);
const RENEWAL_CHECK: Duration = Duration::from_secs(24 * 60 * 60);

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
    /// What agents and people call, HOST:PORT, if not the address that it listens on.
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Wait beside the store's coordinator and take over when it dies or ends; and wait again when another one has taken over.
    #[arg(long)]
    standby: bool,
    /// Take over from a coordinator that leads the store, with its runs. Without this such a store is refused, with exit code 64.
    #[arg(long, conflicts_with = "standby")]
    take_over: bool,
    /// Seconds that a run with `min_ranks` waits for all of its slots before it goes on with fewer.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    shrink_after: u64,
    /// Seconds that there must be room for a gang that runs with fewer ranks before it is started again with more.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    grow_after: u64,
    /// Seconds that a gang may train before work of a higher priority takes its slots.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    preempt_after: u64,
    /// Remove finished runs beyond the newest N; never failed or stopped ones, nor one with a pinned checkpoint [default: keep all].
    #[arg(long, value_name = "N")]
    keep_finished: Option<usize>,
    /// Remove runs that finished longer ago, for example 30d, 12h or 90m; with the same exceptions [default: keep all].
    #[arg(long, value_name = "DURATION", value_parser = read_duration)]
    keep_finished_for: Option<Duration>,
    /// End when for so many seconds no run was there that is not over, and nobody asked for anything.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    end_when_idle: Option<u64>,
    /// Serve /metrics for Prometheus, /healthz and /readyz over HTTP on loopback; on any address with --tls, the metrics for a viewer's token.
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,
    /// The folder `coordinator` that `osler cluster init` made [default: one of its own, `tls` beside the token file, for the programs of
    /// its user on this machine].
    #[arg(long, value_name = "DIR")]
    tls: Option<PathBuf>,
    /// The owner's secret, which may do everything; made if it is not there [default: ~/.config/osler/token].
    #[arg(long, env = "OSLER_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Sign every version of records, of the book of tokens and of the log of calls with this Ed25519 key (PEM, as `openssl genpkey -algorithm
    /// ed25519` makes it); `osler audit --public-key` verifies them.
    #[arg(long, env = "OSLER_SIGNING_KEY", value_name = "FILE")]
    signing_key: Option<PathBuf>,
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
    let fit = may_listen(options.listen, options.tls.is_some())
        .and_then(|()| options.metrics.map_or(Ok(()), |address| may_show_metrics(address, options.tls.is_some())));
    if let Err(e) = fit {
        tracing::error!("{e}");
        return code(exit::USAGE);
    }
    match run(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!("{e:#}");
            code(match () {
                () if e.is::<LedAlready>() || e.is::<KeyError>() => exit::USAGE,
                () if lacks_room(e.as_ref()) => exit::STOPPED,
                () => exit::FAILED,
            })
        }
    }
}

async fn run(options: Options) -> anyhow::Result<()> {
    let token_file = options.token_file.clone().or_else(default_token_file).context("no home folder: give --token-file PATH")?;
    let token_file = std::path::absolute(&token_file)?;
    Token::load_or_create(&token_file)?;
    anyhow::ensure!(
        options.advertise.is_some() || !options.listen.ip().is_unspecified(),
        "--listen {}: agents cannot call the wildcard; add --advertise HOST:PORT",
        options.listen
    );
    let folder = match &options.tls {
        Some(folder) => folder.clone(),
        None => own_server(&token_file, SystemClock.now()).context("make certificates for this machine")?,
    };
    let tls = Arc::new(ServerTls::open(&folder)?);
    let (duty, seen) = watch::channel(Duty::default());
    if let Some(address) = options.metrics {
        look_out(address, options.standby, seen, options.tls.is_some().then(|| tls.clone())).await?;
    }
    let key = options.signing_key.as_deref().map(SigningKey::load).transpose()?.map(Arc::new);
    let store = Store::open(&options.store)?;
    store.keep_private();
    store.probe(&paths::probe(SystemClock.now(), std::process::id())).await.context("look whether the store can be trusted")?;
    let end = asked_to_end();
    tokio::pin!(end);
    loop {
        let ledger = match options.standby {
            false if options.take_over => Ledger::open(store.clone(), SystemClock.now()).await.context("take over the store")?,
            false => begin(&store, &SystemClock, Terms::default()).await.map_err(|e| match e {
                NotBegun::Led(led) => anyhow::Error::new(led),
                NotBegun::Ledger(e) => anyhow::Error::new(e).context("take over the store"),
            })?,
            true => {
                duty.send_replace(Duty::StandingBy);
                announce("standing by")?;
                tokio::select! {
                    () = &mut end => return Ok(()),
                    ledger = stand_by(&store, &SystemClock, Terms::default()) => ledger.context("stand by")?,
                }
            }
        };
        duty.send_replace(Duty::TakingOver);
        match lead(&options, &token_file, &duty, tls.clone(), first_tokens(&folder)?, ledger.signing(key.clone()), end.as_mut()).await {
            Err(e) if options.standby && matches!(e.downcast_ref(), Some(LedgerError::Fenced { .. })) => tracing::warn!("{e:#}"),
            ended => return ended,
        }
    }
}

/// From the begin of an epoch to its end: takes over the store, serves, and keeps the lease meanwhile.
async fn lead(
    options: &Options,
    token_file: &Path,
    duty: &watch::Sender<Duty>,
    tls: Arc<ServerTls>,
    first: Vec<NewToken>,
    ledger: Ledger,
    end: Pin<&mut impl Future<Output = ()>>,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(options.listen).await.with_context(|| format!("listen on {}", options.listen))?;
    let address = listener.local_addr()?;
    let advertised = options.advertise.clone().unwrap_or_else(|| address.to_string());
    let mut lease = Leadership::begin(ledger.store().clone(), ledger.epoch(), advertised, Some(Leader::own(SystemClock.now())))
        .await
        .context("write the lease")?;
    let serving = async {
        let (handle, owner) = Owner::start(ledger, Arc::new(SystemClock), limits(options)).await.context("take over the store")?;
        let token = Token::load(token_file)?;
        let access = Access::open(owner.ledger().clone(), Arc::new(SystemClock), &token, first).await.context("take over the tokens")?;
        let endpoint_file = match &options.endpoint_file {
            Some(file) => file.clone(),
            None => Endpoint::default_path(&local_folder(&options.store)?),
        };
        let endpoint = Endpoint { address, pid: std::process::id(), token_file: token_file.to_owned() };
        owner.ledger().check_leadership().await?; // a newer one may have written its file while this one was frozen
        endpoint.write(&endpoint_file).with_context(|| format!("write {}", endpoint_file.display()))?;
        announce(&format!("listening on {address}"))?;
        // The servers end with the leadership: open streams must not keep it.
        let mut servers = JoinSet::new();
        duty.send_replace(Duty::Leading { epoch: owner.ledger().epoch(), handle: handle.clone(), access: access.clone() });
        let (idle, limit) = (handle.clone(), options.end_when_idle.map(Duration::from_secs));
        let door = Door { handle, access, tls, limits: listen::Limits::default() };
        servers.spawn(serve(listener, door, std::future::pending()).map(drop));
        servers.spawn(keep(endpoint.clone(), endpoint_file.clone(), owner.ledger().clone()));
        if options.tls.is_none() {
            servers.spawn(renew(token_file.to_owned()));
        }
        let unneeded = async {
            match limit {
                Some(limit) => idle.unneeded(limit).await,
                None => std::future::pending().await,
            }
            tracing::info!("nobody has needed this coordinator for {limit:?}: ending");
        };
        let ended = owner
            .run(async {
                tokio::select! { () = end => {}, () = unneeded => {} }
            })
            .await;
        servers.shutdown().await; // the file must not be written again after this
        endpoint.remove(&endpoint_file)?;
        anyhow::Ok(ended?)
    };
    let ended = tokio::select! {
        ended = serving => ended,
        never = lease.renew(Terms::default()) => match never {},
    };
    if ended.is_ok() {
        lease.release(Terms::default()).await;
    }
    ended
}

/// From the start on: whoever looks after daemons asks before there is anything to lead. A standby beside a coordinator with the same
/// address gets it when that one has ended.
async fn look_out(address: SocketAddr, waits: bool, duty: watch::Receiver<Duty>, tls: Option<Arc<ServerTls>>) -> anyhow::Result<()> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let begin = move |listener: TcpListener| {
        if let Ok(address) = listener.local_addr() {
            tracing::info!("metrics at {scheme}://{address}/metrics");
        }
        lookout::serve(listener, duty, tls).map(drop)
    };
    match TcpListener::bind(address).await {
        Ok(listener) => drop(tokio::spawn(begin(listener))),
        Err(error) if waits => {
            tracing::warn!(%error, "listen on {address} for metrics; trying again");
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(LOOKOUT_RETRY).await;
                    if let Ok(listener) = TcpListener::bind(address).await {
                        return begin(listener).await;
                    }
                }
            });
        }
        Err(error) => return Err(error).with_context(|| format!("listen on {address} for metrics")),
    }
    Ok(())
}

fn limits(options: &Options) -> Limits {
    let Options { shrink_after, grow_after, preempt_after, keep_finished, keep_finished_for, .. } = *options;
    Limits {
        shrink_after: shrink_after * 1000,
        grow_after: grow_after * 1000,
        least_hold: preempt_after * 1000,
        keep_finished,
        keep_finished_for: keep_finished_for.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
        ..Limits::default()
    }
}

/// A number and its unit.
fn read_duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("{text:?} is no duration: write for example 30d, 12h, 90m or 600s");
    let unit = text.chars().last().ok_or_else(expected)?;
    let seconds = match unit {
        'd' => 24 * 60 * 60,
        'h' => 60 * 60,
        'm' => 60,
        's' => 1,
        _ => return Err(expected()),
    };
    let number: u64 = text.strip_suffix(unit).unwrap_or_default().parse().map_err(|_| expected())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(expected)
}

/// Sees to it that agents find this coordinator, for as long as it leads.
///
/// Only then: an older one that wrote its file over a newer one's would be called in its place and acknowledge, until it looks, reports
/// that it does not know.
async fn keep(endpoint: Endpoint, file: PathBuf, ledger: Ledger) {
    loop {
        tokio::time::sleep(ENDPOINT_CHECK).await;
        if ledger.check_leadership().await.is_err() {
            continue; // the owner finds that too, and ends the leadership
        }
        if let Err(error) = endpoint.restore(&file) {
            tracing::warn!(%error, "restore {}", file.display());
        }
    }
}

/// A coordinator may live for longer than the certificates that it made for itself.
async fn renew(token_file: PathBuf) {
    loop {
        tokio::time::sleep(RENEWAL_CHECK).await;
        if let Err(error) = own_server(&token_file, SystemClock.now()) {
            tracing::warn!(%error, "renew the certificates of this machine");
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

/// A line on standard output when the state changes: whoever starts a coordinator may wait for it.
fn announce(what: &str) -> std::io::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what}")?;
    out.flush()
}

fn code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        for (text, seconds) in [("30d", 30 * 24 * 60 * 60), ("12h", 12 * 60 * 60), ("90m", 5400), ("0s", 0)] {
            assert_eq!(read_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "d", "30", "1w", "-1d", "1.5h", "3dd", "99999999999999999999d"] {
            assert!(read_duration(text).is_err(), "{text}");
        }
    }
}
