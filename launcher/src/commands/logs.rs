//! `osler logs`: what a run's processes wrote to standard error, as the store keeps it, each line with its job and rank.

use crate::client::Access;
use crate::failure::{Outcome, failed, usage};
use crate::show;
use crate::source::Source;
use osler_core::ids::RunName;
use osler_core::paths;
use osler_runtime::store::Store;
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
    /// One rank only.
    #[arg(long, value_name = "N")]
    rank: Option<u32>,
    /// One job, or all jobs whose name starts with this: train/domain, exam.
    #[arg(long, value_name = "JOB")]
    job: Option<String>,
    #[command(flatten)]
    access: Access,
}

pub async fn run(args: &Args) -> Outcome {
    let mut source = Source::find(&args.access).await?;
    let seen = source.run(&args.run).await?;
    if let Some(job) = &args.job {
        let known = seen.record.jobs.keys().any(|key| under(key.as_str(), job));
        if !known {
            let near = show::nearest(job, seen.record.jobs.keys().map(|key| key.as_str()))
                .map(|near| format!("did you mean {near:?}? "))
                .unwrap_or_default();
            return Err(usage(format!("run {} has no job {job:?}; {near}`osler describe {0}` lists them", args.run)));
        }
    }
    let store = args.access.open_store()?;
    let mut live = source.is_live() && seen.record.state.is_live();
    let mut read = BTreeMap::new();
    loop {
        // Asked before reading: lines written until the run's end are then read below.
        if args.follow && live {
            live = still_live(&mut source, &store, args).await;
        }
        let logs = find(&store, args).await?;
        for log in logs {
            let from = read.entry(log.path.clone()).or_insert(0);
            *from = say(&store, &log, *from, args.follow && live).await?;
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
async fn still_live(source: &mut Source, store: &Store, args: &Args) -> bool {
    if !source.is_live()
        && let Ok(found) = Source::find(&args.access).await
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

/// Shows a log from a byte on; gives back where to go on. A line without its end is left for later if there will be a later.
async fn say(store: &Store, log: &Log, mut from: u64, more_to_come: bool) -> Outcome<u64> {
    let prefix = format!("[{} g{}/r{}] ", log.job, log.generation, log.rank);
    loop {
        let size = store.size(&log.path).await?.ok_or_else(|| failed(format!("{} is gone", log.path)))?;
        let end = from.saturating_add(CHUNK).min(size);
        let bytes = if from < end { store.get_range(&log.path, from..end).await? } else { Default::default() };
        let last_chunk = (bytes.len() as u64) < CHUNK;
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let cut =
            if whole == 0 || (last_chunk && !more_to_come) { if last_chunk && more_to_come { 0 } else { bytes.len() } } else { whole };
        let shown = bytes.get(..cut).unwrap_or_default();
        let text: String = String::from_utf8_lossy(shown).lines().map(|line| format!("{prefix}{}\n", show::clean(line))).collect();
        show::out(&text)?;
        from += shown.len() as u64;
        if last_chunk {
            return Ok(from);
        }
    }
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
        assert_eq!(say(&store, &log, 0, true).await.unwrap(), 4);
        assert_eq!(say(&store, &log, 4, true).await.unwrap(), 4);
        assert_eq!(say(&store, &log, 4, false).await.unwrap(), 6);
    }
}
