//! `osler cluster init|certs|rotate|log`: the certificates and first tokens of a cluster of several hosts, and who did what in it.

use crate::client::Access;
use crate::failure::{Outcome, usage};
use crate::show::{self, Grid};
use osler_core::ids::Millis;
use osler_runtime::clock::{Clock, SystemClock};
use osler_runtime::pki::{self, PkiError};
use osler_runtime::tls;
use std::path::{Path, PathBuf};

/// From then on a certificate's end is near.
const NEAR: i64 = 30;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a CA of the cluster's own, certificates and first tokens, in one folder.
    Init(InitArgs),
    /// Show a cluster's certificates, what for and how long.
    Certs(FolderArgs),
    /// Make new certificates from the same CA. Daemons that run read them when the files are replaced.
    Rotate(FolderArgs),
    /// Show who changed what, and who was refused.
    Log(LogArgs),
}

#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// Made if it is not there.
    folder: PathBuf,
    /// A name or address by which agents and people reach the coordinator; several for several, or for a standby.
    #[arg(long = "host", value_name = "HOST", required = true, num_args = 1..)]
    hosts: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub struct FolderArgs {
    /// A folder of `osler cluster init`.
    folder: PathBuf,
}

#[derive(Debug, clap::Args)]
pub struct LogArgs {
    /// So many entries, the newest.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    last: u32,
    /// One JSON document a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: Access,
}

pub async fn run(command: &Command) -> Outcome {
    match command {
        Command::Init(args) => init(args),
        Command::Certs(args) => certs(&args.folder),
        Command::Rotate(args) => rotate(&args.folder),
        Command::Log(args) => log(args).await,
    }
}

fn init(args: &InitArgs) -> Outcome {
    let now = SystemClock.now();
    pki::init(&args.folder, &args.hosts, now).map_err(|e| match e {
        PkiError::Exists(_) | PkiError::BadHost(_) | PkiError::Hosts => usage(e.to_string()),
        other => other.into(),
    })?;
    let folder = args.folder.display();
    show::out(&format!(
        "Copy, so that only the daemons' user can read them:\n\
         \n  {folder}/{coordinator}  to each coordinator's host:  osler-coordinator --tls DIR --listen 0.0.0.0:PORT --advertise HOST:PORT …\
         \n  {folder}/{agent}        to each host with an agent:  osler-worker --tls DIR --coordinator HOST:PORT …\
         \n  {folder}/{admin}        to who administers:          OSLER_TLS=DIR OSLER_COORDINATOR=HOST:PORT osler ps\n\
         \nKeep {folder}/{key} on no host of the cluster: whoever has it can make certificates. The admin makes tokens for others with\n\
         `osler token create`; they need ca.pem and their token.\n\n",
        coordinator = pki::COORDINATOR,
        agent = pki::AGENT,
        admin = pki::ADMIN,
        key = pki::CA_KEY,
    ))?;
    table(&args.folder, now)
}

fn certs(folder: &Path) -> Outcome {
    table(folder, SystemClock.now())
}

fn rotate(folder: &Path) -> Outcome {
    let now = SystemClock.now();
    pki::rotate(folder, now)?;
    show::out(&format!(
        "new certificates: replace cert.pem and key.pem on the coordinators' hosts ({0}/{1}) and the agents' ({0}/{2}); nothing needs a restart\n\n",
        folder.display(),
        pki::COORDINATOR,
        pki::AGENT,
    ))?;
    table(folder, now)
}

fn table(folder: &Path, now: Millis) -> Outcome {
    let mut grid = Grid::new(&["file", "subject", "hosts", "expires", ">days left"]);
    let mut near = vec![];
    for name in [PathBuf::from(tls::CA), Path::new(pki::COORDINATOR).join(tls::CERTIFICATE), Path::new(pki::AGENT).join(tls::CERTIFICATE)] {
        let seen = pki::inspect(&folder.join(&name))?;
        let days = seen.days_left(now);
        if days < NEAR {
            near.push(format!(
                "{} {}",
                name.display(),
                if days < 0 { "has expired".to_owned() } else { format!("expires in {days} days") }
            ));
        }
        grid.row([name.display().to_string(), seen.subject, seen.hosts.join(" "), show::time(seen.expires), days.to_string()]);
    }
    show::out(&grid.text())?;
    if !near.is_empty() {
        show::note(&format!("warning: {}: `osler cluster rotate {}` makes new ones", near.join(", "), folder.display()));
    }
    Ok(())
}

async fn log(args: &LogArgs) -> Outcome {
    let entries = args.access.need_coordinator().await?.calls(args.last).await?;
    if args.json {
        return entries.iter().try_for_each(show::json_line);
    }
    let mut grid = Grid::new(&["time", "who", "role", "from", "call", "arguments", "outcome", ">times"]);
    for e in entries {
        let role = e.role.map(|role| role.to_string()).unwrap_or_default();
        grid.row([show::time(e.at), e.who.unwrap_or_default(), role, e.peer, e.method, e.what, e.outcome, e.times.to_string()]);
    }
    show::out(&if grid.is_empty() { "nothing was changed or refused yet\n".to_owned() } else { grid.text() })
}
