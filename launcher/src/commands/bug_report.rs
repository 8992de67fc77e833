//! `osler bug-report`: one archive with what somebody else needs to find out why a run went wrong, and no secret.

use super::Context;
use crate::failure::{Outcome, failed, usage};
use crate::render::cause;
use crate::show;
use crate::source::Source;
use crate::terminal::{Page, View, printable};
use flate2::Compression;
use flate2::write::GzEncoder;
use osler_core::ids::{Millis, RunName};
use osler_core::paths;
use osler_core::record::RunRecord;
use osler_runtime::clock::{Clock, SystemClock};
use osler_runtime::store::Store;
use serde::Serialize;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Of each log, its end.
const LOG_BYTES: u64 = 64 << 10;
const MOST_LOGS: usize = 60;
const MOST_NAMES: usize = 20_000;
const ABOUT: &str =
    "Made by `osler bug-report`. Look through it before you hand it on: it holds the run file, names of hosts, users' paths and what
processes logged. Values of credentials that this command could see are replaced by [removed].

  about.txt       versions and this machine
  record.json     everything that is durable about the run, the run file included
  cause.txt       the failure in one block
  events.txt      what happened, newest last
  waiting.txt     what is not running, and why
  workers.json    the agents, if a coordinator answered
  objects.txt     names of the run's objects
  logs/           the ends of logs: of processes, failed ones first, and of the daemons of this machine
";

#[derive(Debug, clap::Args)]
pub struct Args {
    run: RunName,
    /// The archive to write; it must not be there [default: osler-bug-RUN-TIME.tar.gz].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Serialize)]
pub(super) struct Written {
    pub run: RunName,
    pub file: PathBuf,
}

pub async fn run(args: &Args, cx: &Context) -> Outcome {
    let now = SystemClock.now();
    let mut source = Source::find(&cx.access).await?;
    let seen = source.run(&args.run).await?;
    let store = cx.access.open_store()?;
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("osler-bug-{}-{}.tar.gz", args.run, now.0 / 1000)));
    let mut archive = Archive::create(&out, now)?;
    let record = &seen.record;
    archive.add("README.txt", ABOUT)?;
    archive.add("about.txt", &about(now, &store, source.is_live()))?;
    archive.add("record.json", &serde_json::to_string_pretty(record)?)?;
    archive.add("cause.txt", &cause::of_run(record).unwrap_or_else(|| Page::from("no attempt has failed")).render(View::PLAIN))?;
    archive.add("events.txt", &events(record))?;
    archive.add("waiting.txt", &seen.waiting.iter().map(|(key, why)| format!("{key}: {why}\n")).collect::<String>())?;
    if let Source::Live(coordinator) = &mut source
        && let Ok(workers) = coordinator.workers().await
    {
        archive.add("workers.json", &serde_json::to_string_pretty(&workers)?)?;
    }
    let names = store.list(&format!("{}/{}", paths::RUNS, args.run)).await?;
    archive.add("objects.txt", &names.iter().take(MOST_NAMES).map(|name| format!("{name}\n")).collect::<String>())?;
    for name in chosen_logs(&names, record) {
        archive.add(&format!("logs/{name}"), &end_of(&store, &name).await)?;
    }
    let folder = cx.access.folder()?.join("coordinator");
    for daemon in ["coordinator.log", "worker.log"] {
        if let Some(text) = end_of_file(&folder.join(daemon)) {
            archive.add(&format!("logs/{daemon}"), &text)?;
        }
    }
    archive.finish()?;
    let written = Written { run: args.run.clone(), file: out };
    cx.terminal()
        .answer("bug-report", &written, || Page::from(format!("{}: look through it before you hand it on", written.file.display())))
}

fn about(now: Millis, store: &Store, live: bool) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let system = read("/etc/os-release").lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("unknown").to_owned();
    let memory = read("/proc/meminfo").lines().take(3).map(|line| format!("{line}\n")).collect::<String>();
    format!(
        "osler {}\nat {}\nstore {}\ncoordinator {}\nsystem {system}\nkernel {}\ncores {}\n{memory}",
        env!("CARGO_PKG_VERSION"),
        show::time(now),
        store.shown(),
        if live { "answers" } else { "does not answer" },
        read("/proc/version").trim(),
        crate::machine::cores(),
    )
}

fn events(record: &RunRecord) -> String {
    let line = |e: &osler_core::record::Event| {
        let job = e.job.as_ref().map_or(String::new(), |job| format!(" {job}"));
        let generation = e.generation.map_or(String::new(), |generation| format!(" g{generation}"));
        format!("{} {} {:?}{job}{generation}: {}\n", e.id, show::time(e.at), e.kind, printable(&e.message))
    };
    record.events.iter().map(line).collect()
}

/// Logs of attempts that failed first, then the newest ones.
fn chosen_logs(names: &[String], record: &RunRecord) -> Vec<String> {
    let failed: Vec<String> = record
        .jobs
        .iter()
        .flat_map(|(key, job)| {
            job.past.iter().filter(|past| past.fault.is_some()).map(move |past| format!("/logs/{key}/g{}/", past.generation))
        })
        .collect();
    let of_failed = |name: &str| failed.iter().any(|part| name.contains(part.as_str()));
    let generation = |name: &str| name.rsplit('/').nth(1).and_then(|g| g.strip_prefix('g')?.parse::<u64>().ok()).unwrap_or(0);
    let mut logs: Vec<&String> = names.iter().filter(|name| name.ends_with(".log")).collect();
    logs.sort_by_key(|name| (!of_failed(name), std::cmp::Reverse(generation(name))));
    logs.into_iter().take(MOST_LOGS).cloned().collect()
}

async fn end_of(store: &Store, name: &str) -> String {
    let read = async {
        let size = store.size(name).await.ok()??;
        store.get_range(name, size.saturating_sub(LOG_BYTES)..size).await.ok()
    };
    read.await.map_or_else(|| "it could not be read\n".into(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn end_of_file(path: &Path) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    let from = bytes.len().saturating_sub(LOG_BYTES as usize);
    Some(String::from_utf8_lossy(bytes.get(from..)?).into_owned())
}

/// Texts in a gzipped tar, without the secrets of whoever calls.
struct Archive {
    tar: tar::Builder<GzEncoder<File>>,
    secrets: Vec<String>,
    now: Millis,
}

impl Archive {
    fn create(path: &Path, now: Millis) -> Outcome<Self> {
        let file = File::create_new(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => usage(format!("{} is there already", path.display())).hint("name another with --out"),
            _ => failed(format!("write {}: {e}", path.display())),
        })?;
        Ok(Self { tar: tar::Builder::new(GzEncoder::new(file, Compression::default())), secrets: secrets(std::env::vars()), now })
    }

    fn add(&mut self, name: &str, text: &str) -> Outcome {
        let text = redacted(text, &self.secrets);
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(self.now.0 / 1000);
        Ok(self.tar.append_data(&mut header, format!("osler-bug/{name}"), text.as_bytes())?)
    }

    fn finish(self) -> Outcome {
        self.tar.into_inner()?.finish()?.sync_all()?;
        Ok(())
    }
}

/// Values of variables whose names say that they are secret.
fn secrets(variables: impl Iterator<Item = (String, String)>) -> Vec<String> {
    const SECRET: [&str; 6] = ["SECRET", "TOKEN", "PASSWORD", "PASSWD", "CREDENTIAL", "ACCESS_KEY"];
    // A variable may name a file instead of holding the secret; its path is none, and short values would blot out ordinary words.
    let secret =
        |(name, value): &(String, String)| SECRET.iter().any(|part| name.contains(part)) && !name.ends_with("FILE") && value.len() >= 8;
    let mut found: Vec<String> = variables.filter(secret).map(|(_, value)| value).collect();
    found.sort_by_key(|value| std::cmp::Reverse(value.len()));
    found
}

fn redacted(text: &str, secrets: &[String]) -> String {
    let mut text = text.to_owned();
    for secret in secrets {
        text = text.replace(secret.as_str(), "[removed]");
    }
    // Tokens of ours, wherever they were printed.
    let bearer = |line: &str| match line.find("Bearer ") {
        Some(at) => format!("{}Bearer [removed]", &line[..at]),
        None => line.to_owned(),
    };
    text.split('\n').map(bearer).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn secrets_are_removed() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let variables = [
            pair("AWS_SECRET_ACCESS_KEY", "very/secret"),
            pair("OSLER_TOKEN_FILE", "/home/x/token"),
            pair("MY_TOKEN", "short"),
            pair("HOME", "/home/x/long"),
        ];
        let secrets = secrets(variables.into_iter());
        assert_eq!(secrets, ["very/secret"]);
        let text = redacted("a very/secret b\nauthorization: Bearer 0123abcd\n", &secrets);
        assert_eq!(text, "a [removed] b\nauthorization: Bearer [removed]\n");
    }

    #[test]
    fn logs_of_failed_attempts_come_first() {
        let (record, _) = fixture::finished();
        let names: Vec<String> = [3, 25, 40].iter().map(|g| format!("runs/tiny/logs/train/domain/g{g}/rank-00000.log")).collect();
        let chosen = chosen_logs(&[names.clone(), vec!["runs/tiny/state/1.json".into()]].concat(), &record);
        assert_eq!(chosen, [names[1].clone(), names[2].clone(), names[0].clone()]);
    }
}
