//! `osler logs`: what a run's processes wrote to standard error, as the store keeps it, each line with its job and rank.

mod fold;

use super::Context;
use crate::client::Access;
use crate::failure::{Outcome, failed, usage};
use crate::show;
use crate::source::Source;
use crate::terminal::{Line, Page, Style, Terminal};
use osler_core::ids::RunName;
use osler_core::paths;
use osler_runtime::store::Store;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

const POLL: Duration = Duration::from_millis(300);
const CHUNK: u64 = 1 << 20;

#[derive(Debug, clap::Args)]
pub struct Args {
    run: RunName,
    /// Go on showing them until the run is over.
    #[arg(short, long)]
    follow: bool,
    /// Show each rank's lines as they are, also those that others said too.
    #[arg(long)]
    no_fold: bool,
    /// One rank only.
    #[arg(long, value_name = "N")]
    rank: Option<u32>,
    /// One job, or all jobs whose name starts with this: train/domain, exam.
    #[arg(long, value_name = "JOB")]
    job: Option<String>,
}

pub async fn run(args: &Args, cx: &Context) -> Outcome {
    let mut source = Source::find(&cx.access).await?;
    let seen = source.run(&args.run).await?;
    if let Some(job) = &args.job {
        let known = seen.record.jobs.keys().any(|key| under(key.as_str(), job));
        if !known {
            let near = show::nearest(job, seen.record.jobs.keys().map(|key| key.as_str()));
            let meant = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
            return Err(
                usage(format!("run {} has no job {job:?}{meant}", args.run)).hint(format!("`osler describe {}` lists them", args.run))
            );
        }
    }
    let store = cx.access.open_store()?;
    let mut live = source.is_live() && seen.record.state.is_live();
    let mut read = BTreeMap::new();
    let terminal = cx.terminal();
    loop {
        // Asked before reading: lines written until the run's end are then read below.
        if args.follow && live {
            live = still_live(&mut source, &store, args, &cx.access).await;
        }
        let logs = find(&store, args).await?;
        for gang in logs.chunk_by(|a, b| a.gang() == b.gang()) {
            say(&terminal, &store, gang, &mut read, args.follow && live, !args.no_fold).await?;
        }
        if !args.follow || !live {
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    if read.is_empty() {
        return Err(failed(format!("run {} has no such logs in {}", args.run, store.url())));
    }
    Ok(())
}

/// A coordinator that is away is looked for again: only a record says that a run is over.
async fn still_live(source: &mut Source, store: &Store, args: &Args, access: &Access) -> bool {
    if !source.is_live()
        && let Ok(found) = Source::find(access).await
    {
        *source = found;
    }
    match source.run(&args.run).await {
        Ok(seen) => seen.record.state.is_live(),
        Err(_) => {
            *source = Source::Stored(store.clone());
            true
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Log {
    // Generations grow over the whole run, so this order is the order of starting.
    generation: u64,
    job: String,
    rank: u32,
    path: String,
}

impl Log {
    fn gang(&self) -> (u64, &str) {
        (self.generation, &self.job)
    }
}

async fn find(store: &Store, args: &Args) -> Outcome<Vec<Log>> {
    let folder = format!("{}/{}/logs", paths::RUNS, args.run);
    let mut logs: Vec<Log> = store.list(&folder).await?.iter().filter_map(|path| parse(&folder, path)).collect();
    logs.retain(|log| args.rank.is_none_or(|rank| rank == log.rank) && args.job.as_ref().is_none_or(|job| under(&log.job, job)));
    logs.sort();
    Ok(logs)
}

/// `FOLDER/train/domain/g3/rank-00000.log`, the other way round than `paths::log`.
fn parse(folder: &str, path: &str) -> Option<Log> {
    let rest = path.strip_prefix(folder)?.strip_prefix('/')?;
    let (rest, file) = rest.rsplit_once('/')?;
    let (job, generation) = rest.rsplit_once("/g")?;
    let rank = file.strip_prefix("rank-")?.strip_suffix(".log")?.parse().ok()?;
    Some(Log { generation: generation.parse().ok()?, job: job.to_owned(), rank, path: path.to_owned() })
}

fn under(key: &str, wanted: &str) -> bool {
    let wanted = wanted.trim_end_matches('/');
    key.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Shows what a gang's logs have beyond the bytes that were `read`, a piece of each at a time. A line without its end is left for later if
/// there will be a later.
async fn say(
    terminal: &Terminal,
    store: &Store,
    gang: &[Log],
    read: &mut BTreeMap<String, u64>,
    more_to_come: bool,
    folded: bool,
) -> Outcome {
    let mut open: Vec<&Log> = gang.iter().collect();
    while !open.is_empty() {
        let mut pieces = vec![];
        let mut unfinished = vec![];
        for log in open {
            let from = read.entry(log.path.clone()).or_insert(0);
            let (lines, bytes, more) = piece(store, log, *from, more_to_come).await?;
            *from += bytes;
            pieces.push((log.rank, lines));
            unfinished.extend(more.then_some(log));
        }
        open = unfinished;
        let Some(first) = gang.first() else { return Ok(()) };
        let said = if folded { fold::fold(&pieces) } else { pieces.into_iter().flat_map(one_by_one).collect() };
        if terminal.is_json() {
            let line = |(ranks, line): &(Vec<u32>, String)| LogLine::new(first, ranks, line);
            said.iter().try_for_each(|said| terminal.json_line("log-line", &line(said)))?;
        } else {
            let mut page = Page::new();
            said.iter().for_each(|(ranks, line)| {
                page.line(shown(first, ranks, line));
            });
            terminal.page(&page)?;
        }
    }
    Ok(())
}

/// A line for programs.
#[derive(Debug, Serialize)]
pub(super) struct LogLine {
    job: String,
    generation: u64,
    /// Who said it.
    ranks: Vec<u32>,
    line: String,
}

impl LogLine {
    fn new(log: &Log, ranks: &[u32], line: &str) -> Self {
        Self { job: log.job.clone(), generation: log.generation, ranks: ranks.to_vec(), line: line.to_owned() }
    }

    #[cfg(test)]
    pub(super) fn sample() -> Self {
        Self { job: "train/domain".into(), generation: 3, ranks: vec![0, 1], line: "training".into() }
    }
}

fn shown(log: &Log, ranks: &[u32], line: &str) -> Line {
    let style = match line.split_whitespace().nth(1) {
        Some("ERROR") => Style::Bad,
        Some("WARN") => Style::Careful,
        _ => Style::Plain,
    };
    let who = format!("[{} g{}/r{}] ", log.job, log.generation, fold::ranks(ranks));
    Line::default().styled(who, Style::Faint).styled(line, style).hang(4)
}

fn one_by_one((rank, lines): (u32, Vec<String>)) -> impl Iterator<Item = (Vec<u32>, String)> {
    lines.into_iter().map(move |line| (vec![rank], line))
}

/// The next lines of a log, how many bytes they are, and whether there may be more at once.
async fn piece(store: &Store, log: &Log, from: u64, more_to_come: bool) -> Outcome<(Vec<String>, u64, bool)> {
    let size = store.size(&log.path).await?.ok_or_else(|| failed(format!("{} is gone", log.path)))?;
    let end = from.saturating_add(CHUNK).min(size);
    let bytes = if from < end { store.get_range(&log.path, from..end).await? } else { Default::default() };
    let last_chunk = (bytes.len() as u64) < CHUNK;
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let cut = match (whole, last_chunk, more_to_come) {
        (_, true, false) | (0, false, _) => bytes.len(),
        (whole, ..) => whole,
    };
    let shown = bytes.get(..cut).unwrap_or_default();
    let lines = String::from_utf8_lossy(shown).lines().map(str::to_owned).collect();
    Ok((lines, shown.len() as u64, !last_chunk))
}

#[cfg(test)]
mod tests {
    use super::*;
    use osler_core::ids::Generation;
    use osler_core::job::{JobId, JobKey};

    #[test]
    fn a_log_is_known_by_its_name() {
        let run = RunName::new("r").unwrap();
        let path = paths::log(&JobId { run, job: JobKey::from("exam/domain/full/seen") }, Generation(12), 3);
        let log = parse("runs/r/logs", &path).unwrap();
        assert_eq!((log.job.as_str(), log.generation, log.rank), ("exam/domain/full/seen", 12, 3));
        for strange in
            ["runs/r/logs/x", "runs/r/logs/train/g/rank-00000.log", "runs/q/logs/t/g1/rank-00000.log", "runs/r/logs/t/g1/rank-x.log"]
        {
            assert_eq!(parse("runs/r/logs", strange), None, "{strange}");
        }
    }

    #[test]
    fn jobs_are_chosen_by_whole_names() {
        assert!(under("train/domain", "train") && under("train/domain", "train/domain") && under("train/domain", "train/"));
        assert!(!under("train/domain", "train/dom") && !under("train/domain", "domain"));
    }

    #[tokio::test]
    async fn a_line_that_is_still_being_written_waits() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().to_str().unwrap()).unwrap();
        std::fs::write(folder.path().join("l"), "one\ntw").unwrap();
        let log = Log { generation: 1, job: "t".into(), rank: 0, path: "l".into() };
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        assert_eq!(piece(&store, &log, 0, true).await.unwrap(), (lines(&["one"]), 4, false));
        assert_eq!(piece(&store, &log, 4, true).await.unwrap(), (vec![], 0, false));
        assert_eq!(piece(&store, &log, 4, false).await.unwrap(), (lines(&["tw"]), 2, false));
    }
}
