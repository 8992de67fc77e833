//! `osler cluster init|certs|rotate|signing-key|log`: the certificates and first tokens of a cluster of several hosts, and who did what in it.

use super::Context;
use crate::failure::{Failure, Outcome, usage};
use crate::show;
use crate::terminal::{Cell, Page, Style, Table, name, number, prose};
use osler_core::access::LogEntry;
use osler_core::ids::Millis;
use osler_runtime::clock::{Clock, SystemClock};
use osler_runtime::pki::{self, PkiError};
use osler_runtime::sign;
use osler_runtime::tls;
use serde::Serialize;
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
    Rotate(RotateArgs),
    /// Make a key with which coordinators sign what they write (`osler-coordinator --signing-key`), and its public half for `osler audit`.
    SigningKey(KeyArgs),
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
pub struct KeyArgs {
    /// Made if it is not there.
    folder: PathBuf,
}

#[derive(Debug, clap::Args)]
pub struct RotateArgs {
    /// A folder of `osler cluster init`.
    folder: PathBuf,
    /// A name or address by which the coordinator is reached from now on, instead of those that it has; several for several. Only the
    /// coordinators' certificate is made anew then.
    #[arg(long = "host", value_name = "HOST", num_args = 1..)]
    hosts: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub struct LogArgs {
    /// So many entries, the newest.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    last: u32,
}

pub async fn run(command: &Command, cx: &Context) -> Outcome {
    match command {
        Command::Init(args) => init(args, cx),
        Command::Certs(args) => show_certificates(&args.folder, Page::new(), SystemClock.now(), cx),
        Command::Rotate(args) => rotate(args, cx),
        Command::SigningKey(args) => signing_key(args, cx),
        Command::Log(args) => log(args, cx).await,
    }
}

fn init(args: &InitArgs, cx: &Context) -> Outcome {
    let now = SystemClock.now();
    pki::init(&args.folder, &args.hosts, now).map_err(refused)?;
    let folder = args.folder.display();
    let page = Page::from(format!(
        "Copy, so that only the daemons' user can read them:\n\
         \n  {folder}/{coordinator}  to each coordinator's host:  osler-coordinator --tls DIR --listen 0.0.0.0:PORT --advertise HOST:PORT …\
         \n  {folder}/{agent}        to each host with an agent:  osler-worker --tls DIR --coordinator HOST:PORT …\
         \n  {folder}/{admin}        to who administers:          OSLER_TLS=DIR OSLER_COORDINATOR=HOST:PORT osler ps\n\
         \nKeep {folder}/{key} on no host of the cluster: whoever has it can make certificates. The admin makes tokens for others with \
         `osler token create`; they need ca.pem and their token.",
        coordinator = pki::COORDINATOR,
        agent = pki::AGENT,
        admin = pki::ADMIN,
        key = pki::CA_KEY,
    ));
    show_certificates(&args.folder, page, now, cx)
}

fn rotate(args: &RotateArgs, cx: &Context) -> Outcome {
    let (now, folder) = (SystemClock.now(), args.folder.display());
    let hosts = Some(args.hosts.as_slice()).filter(|hosts| !hosts.is_empty());
    pki::rotate(&args.folder, hosts, now).map_err(refused)?;
    let agents = if hosts.is_some() { String::new() } else { format!(" and the agents' ({folder}/{})", pki::AGENT) };
    let page = Page::from(format!(
        "new certificates: replace cert.pem and key.pem on the coordinators' hosts ({folder}/{}){agents}; nothing needs a restart",
        pki::COORDINATOR,
    ));
    show_certificates(&args.folder, page, now, cx)
}

/// A pair of keys, by its files.
#[derive(Serialize)]
pub(super) struct Keys {
    pub key: PathBuf,
    pub public: PathBuf,
}

fn signing_key(args: &KeyArgs, cx: &Context) -> Outcome {
    let (key, public) = sign::create(&args.folder).map_err(|e| usage(e.to_string()))?;
    let made = Keys { key, public };
    cx.terminal().answer("signing-key", &made, || {
        Page::from(format!(
            "Give {} to each coordinator: osler-coordinator --signing-key FILE …\nKeep {} where nobody can replace it who can write the store: \
             osler audit --public-key FILE",
            made.key.display(),
            made.public.display(),
        ))
    })
}

fn refused(error: PkiError) -> Failure {
    match error {
        PkiError::Exists(_) | PkiError::BadHost(_) | PkiError::Hosts => usage(error.to_string()),
        other => other.into(),
    }
}

#[derive(Serialize)]
pub(super) struct Certificates {
    pub folder: PathBuf,
    pub certificates: Vec<Certificate>,
}

#[derive(Serialize)]
pub(super) struct Certificate {
    pub file: PathBuf,
    pub subject: String,
    pub hosts: Vec<String>,
    pub expires: Millis,
    pub days_left: i64,
}

/// Below what is said first; those that end soon are warned of.
fn show_certificates(folder: &Path, mut page: Page, now: Millis, cx: &Context) -> Outcome {
    let made = certificates(folder, now)?;
    cx.terminal().answer("certificates", &made, || {
        page.section(table(&made));
        page
    })?;
    let near = |c: &Certificate| {
        let when = if c.days_left < 0 { "has expired".to_owned() } else { format!("expires in {} days", c.days_left) };
        (c.days_left < NEAR).then(|| format!("{} {when}", c.file.display()))
    };
    let near: Vec<String> = made.certificates.iter().filter_map(near).collect();
    if !near.is_empty() {
        cx.terminal().note(format!("warning: {}: `osler cluster rotate {}` makes new ones", near.join(", "), folder.display()));
    }
    Ok(())
}

fn certificates(folder: &Path, now: Millis) -> Outcome<Certificates> {
    let mut made = Certificates { folder: folder.to_owned(), certificates: vec![] };
    for name in [PathBuf::from(tls::CA), Path::new(pki::COORDINATOR).join(tls::CERTIFICATE), Path::new(pki::AGENT).join(tls::CERTIFICATE)] {
        let seen = pki::inspect(&folder.join(&name))?;
        let days_left = seen.days_left(now);
        made.certificates.push(Certificate { file: name, subject: seen.subject, hosts: seen.hosts, expires: seen.expires, days_left });
    }
    Ok(made)
}

fn table(made: &Certificates) -> Table {
    let mut table = Table::new([name("file", 0), name("subject", 3), prose("hosts", 2), name("expires", 1), number("days left", 0)]);
    for c in &made.certificates {
        let style = if c.days_left < NEAR { Style::Careful } else { Style::Plain };
        table.row([
            c.file.display().to_string().into(),
            c.subject.as_str().into(),
            c.hosts.join(" ").into(),
            show::time(c.expires).into(),
            Cell::new(c.days_left.to_string(), style),
        ]);
    }
    table
}

async fn log(args: &LogArgs, cx: &Context) -> Outcome {
    let entries = cx.access.need_coordinator().await?.calls(args.last).await?;
    let terminal = cx.terminal();
    if terminal.is_json() {
        return entries.iter().try_for_each(|entry| terminal.json_line("call", entry));
    }
    terminal.page(&calls(entries))
}

pub(super) fn calls(entries: Vec<LogEntry>) -> Page {
    if entries.is_empty() {
        return Page::from("nothing was changed or refused yet");
    }
    let mut table = Table::new([
        name("time", 0),
        name("who", 1),
        name("role", 5),
        name("from", 6),
        name("call", 1),
        prose("arguments", 3),
        prose("outcome", 2),
        number("times", 4),
    ]);
    for e in entries {
        let role = e.role.map(|role| role.to_string()).unwrap_or_default();
        let cells = [show::time(e.at), e.who.unwrap_or_default(), role, e.peer, e.method, e.what].map(Cell::from);
        table.cells(cells.into_iter().chain([Cell::state(e.outcome), e.times.to_string().into()]));
    }
    let mut page = Page::new();
    page.table(table);
    page
}
