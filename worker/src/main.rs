//! `osler-worker`: the agent of one node. `osler-worker job` is one of the processes that it starts.
#![forbid(unsafe_code)]

mod standalone;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use osler_core::ids::{LabelKey, LabelValue, WorkerName};
use osler_core::process::exit;
use osler_runtime::auth::{Token, default_token_file};
use osler_runtime::clock::{Clock, SystemClock};
use osler_runtime::store::{Store, local_folder};
use osler_runtime::tls::{self, ClientTls};
use osler_runtime::{files, shutdown, telemetry};
use osler_worker::agent::{self, Ended, Endpoint, Options, Reading, life};
use osler_worker::{harness, jobs};
use std::collections::BTreeMap;
use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

/// Runs jobs of one node for an Osler coordinator.
///
/// Exit codes: 0 it had nothing to do, 75 work was interrupted (requeue), 1 failed, 64 bad usage.
#[derive(Debug, Parser)]
#[command(name = "osler-worker", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Mode>,
    #[command(flatten)]
    agent: AgentArgs,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// One job that needs no libtorch; started by the agent, which speaks on standard input.
    #[command(hide = true)]
    Job { scratch: PathBuf },
    /// Compresses a model without a cluster.
    Quantize(standalone::Args),
}

#[derive(Debug, Args)]
struct AgentArgs {
    /// The coordinator's address, HOST:PORT; with standbys theirs too, separated by commas.
    #[arg(long, env = "OSLER_COORDINATOR", value_delimiter = ',', conflicts_with = "endpoint_file")]
    coordinator: Vec<String>,
    /// The coordinator's store: whoever leads it is found through it.
    #[arg(long, conflicts_with_all = ["coordinator", "endpoint_file"])]
    store: Option<String>,
    /// A file in which the coordinator keeps its address; read again after every lost connection.
    #[arg(long)]
    endpoint_file: Option<PathBuf>,
    /// The folder `agent` that `osler cluster init` made; the token is looked for there too [default: `tls/agent` beside the token file, which
    /// the owner's coordinator on this machine makes].
    #[arg(long, value_name = "DIR")]
    tls: Option<PathBuf>,
    /// A worker's token; only its owner may be able to read it [default: DIR/token with --tls DIR, else ~/.config/osler/token].
    #[arg(long, env = "OSLER_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Processes that this node runs at once.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1024))]
    slots: u32,
    /// What runs may ask for, KEY=VALUE: --label switch=s1 --label gpu=h100.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(LabelKey, LabelValue)>,
    /// This worker's name in the cluster; the host's name if absent.
    #[arg(long)]
    name: Option<WorkerName>,
    /// This machine's IP address in the network that ranks exchange gradients over; needed when gangs span machines. What travels there is
    /// not encrypted.
    #[arg(long, env = "OSLER_GANG_ADDRESS", value_name = "IP", default_value = "127.0.0.1")]
    gang_address: IpAddr,
    /// For files that are worth nothing after a job; a folder of the system's temporary one if absent.
    #[arg(long)]
    scratch: Option<PathBuf>,
    /// A folder whose files runs may read as source files, exams, tokenizers and models; several for several. Without one runs read nothing but
    /// the store.
    #[arg(long = "may-read", value_name = "DIR")]
    may_read: Vec<PathBuf>,
    /// A folder that outlives the agent, so that a restarted one is known to be the later one even if the clock was set back
    /// [default: ~/.local/state/osler].
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Seconds that gangs have to save after SIGTERM or SIGUSR1, before everything is killed. A second signal kills at once.
    #[arg(long, env = "OSLER_GRACE", default_value_t = 60, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    grace: u64,
    /// End when there is nothing to do and no coordinator has answered for so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    end_when_alone: Option<u64>,
    /// The binary that runs jobs with libtorch; the one beside this one if absent.
    #[arg(long)]
    rank_binary: Option<PathBuf>,
}

fn main() {
    let cli = harness::parse_arguments::<Cli>();
    telemetry::init();
    let code = match cli.command {
        Some(Mode::Job { scratch }) => harness::run(scratch, Vec::new, jobs::run),
        Some(Mode::Quantize(args)) => standalone::run(&args),
        None => match options(cli.agent) {
            Ok(options) => agent_to_its_end(options),
            Err(e) => complain(&e, exit::USAGE),
        },
    };
    std::process::exit(code);
}

fn agent_to_its_end(options: Options) -> i32 {
    // One thread: the kernel ties a process to the thread that started it, and this one lives as long as the agent.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run_agent(options)));
    match ended {
        Ok(Ended::Idle) => exit::OK,
        Ok(Ended::Preempted) => exit::STOPPED,
        Err(e) => complain(&e, exit::FAILED),
    }
}

fn complain(error: &anyhow::Error, code: i32) -> i32 {
    tracing::error!("{error:#}");
    code
}

async fn run_agent(options: Options) -> anyhow::Result<Ended> {
    // Before anything that takes time: a signal must find somebody who listens.
    let stop = shutdown::requested().context("listen for signals")?;
    files::keep_private(options.store.as_deref());
    tracing::info!(worker = %options.worker, slots = options.slots, "agent started");
    Ok(agent::run(options, stop).await?)
}

fn label(text: &str) -> Result<(LabelKey, LabelValue), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, for example gpu=h100")?;
    Ok((LabelKey::new(key).map_err(|e| e.to_string())?, LabelValue::new(value).map_err(|e| e.to_string())?))
}

/// One value a label.
fn labels(given: Vec<(LabelKey, LabelValue)>) -> anyhow::Result<BTreeMap<LabelKey, LabelValue>> {
    let mut labels = BTreeMap::new();
    for (key, value) in given {
        if let Some(other) = labels.insert(key.clone(), value) {
            anyhow::bail!("--label {key} is given twice, first as {other}: give it once");
        }
    }
    Ok(labels)
}

fn options(args: AgentArgs) -> anyhow::Result<Options> {
    let is_folder = |store: &&String| !store.contains("://") || store.starts_with("file://");
    let store = args.store.as_ref().filter(is_folder).map(|store| local_folder(store)).transpose()?;
    let endpoint = match (args.coordinator.is_empty(), args.endpoint_file, args.store) {
        (false, ..) => Endpoint::Addresses(args.coordinator),
        (true, Some(file), _) => Endpoint::File(file),
        (true, None, Some(store)) => Endpoint::Store(Store::open(&store)?),
        (true, None, None) => anyhow::bail!("where is the coordinator? give --store, --endpoint-file PATH or --coordinator HOST:PORT"),
    };
    let beside_certificates = args.tls.as_deref().map(|folder| folder.join(tls::TOKEN));
    let token_file =
        args.token_file.or(beside_certificates).or_else(default_token_file).context("no home folder: give --token-file PATH")?;
    let host = nix::unistd::gethostname().map_or_else(|_| "unknown".to_owned(), |name| name.to_string_lossy().into_owned());
    let job_binary = std::env::current_exe().context("find this binary")?;
    let rank_binary = args.rank_binary.unwrap_or_else(|| job_binary.with_file_name("osler-rank"));
    anyhow::ensure!(rank_binary.is_file(), "{} is not there: build it or give --rank-binary", rank_binary.display());
    let worker = match args.name {
        Some(name) => name,
        None => WorkerName::new(host.to_ascii_lowercase()).context("this host's name cannot be a worker's: give --name")?,
    };
    let state = args.state.or_else(files::state_folder).context("no home folder: give --state DIR")?;
    Ok(Options {
        scratch: args.scratch.unwrap_or_else(|| std::env::temp_dir().join(format!("osler-{worker}-{}", std::process::id()))),
        incarnation: life::begin(&state, &worker, SystemClock.now())?,
        token: Token::load(&token_file)?,
        tls: args.tls.as_deref().map_or_else(|| Ok(ClientTls::own(&token_file, &token_file)), ClientTls::open)?,
        slots: args.slots,
        labels: labels(args.labels)?,
        reading: Reading::new(&args.may_read).map_err(anyhow::Error::msg)?,
        store,
        grace: Duration::from_secs(args.grace),
        end_when_alone: args.end_when_alone.map(Duration::from_secs),
        gang_address: usable(args.gang_address)?,
        worker,
        host,
        endpoint,
        rank_binary,
        job_binary,
    })
}

/// An address that is not this machine's would be found out by the first gang only.
fn usable(address: IpAddr) -> anyhow::Result<IpAddr> {
    anyhow::ensure!(!address.is_unspecified(), "--gang-address {address}: name one address of this machine, not the wildcard");
    TcpListener::bind((address, 0)).with_context(|| format!("--gang-address {address} is not an address of this machine"))?;
    Ok(address)
}
