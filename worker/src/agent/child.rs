//! One process under the agent: its pipes, its log, its end.
//!
//! Standard output carries reports, standard error the log. The log is kept as an object of the run; its last lines travel with the
//! process's end, so that a failure can be read where it is noticed.

use super::threads;
use crate::limits::inherited;
use osler_core::job::{Fault, FaultClass};
use osler_core::paths;
use osler_core::process::{Assignment, Command, GANG_ADDRESS_VARIABLE, GPU_VARIABLE, MAX_LINE_BYTES, Report};
use osler_core::sync::ProcessId;
use osler_runtime::files;
use osler_runtime::store::Store;
use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

/// 128 + SIGKILL.
const KILLED: i32 = 137;
/// 128 + SIGABRT.
const ABORTED: i32 = 134;
const TAIL_LINES: usize = 20;
const TAIL_LINE_BYTES: usize = 2000;
/// A process that says why it fails is about to end; its log is added to its last word if it does.
const LAST_WORD: Duration = Duration::from_secs(2);
/// Whoever stops a process to look at it has so many seconds.
const STOPPED: u32 = 30;
const STOPPED_LOOK: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub enum ChildEvent {
    Report(Report),
    /// The process is gone and reaped; every report that it wrote has been sent before this.
    Exited {
        code: i32,
        log_tail: Vec<String>,
    },
}

/// Dropping it kills the process.
#[derive(Debug)]
pub struct Child {
    lines: mpsc::UnboundedSender<Vec<u8>>,
    pid: Option<u32>,
    kill: Option<oneshot::Sender<()>>,
    folder: PathBuf,
}

impl Child {
    /// Starts the process and hands it its assignment. Must be called on the thread that lives as long as the agent: the process asks
    /// the kernel to be killed when the thread that started it ends.
    pub fn start(
        binary: &Path,
        scratch: &Path,
        process: &ProcessId,
        assignment: Assignment,
        gpu: Option<u32>,
        gang_address: IpAddr,
        events: mpsc::Sender<(ProcessId, ChildEvent)>,
    ) -> io::Result<Self> {
        let log = Log::new(&assignment, process, scratch)?;
        let folder = scratch.join(format!("{}-g{}-r{}", process.id.to_string().replace('/', "_"), process.generation, process.rank));
        std::fs::create_dir_all(&folder)?;
        let mut command = process::Command::new(binary);
        command.arg("job").arg(&folder).env_clear();
        command.envs(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(inherited)));
        command.env("OMP_NUM_THREADS", assignment.spec.resources.threads_per_rank.to_string());
        command.env(GANG_ADDRESS_VARIABLE, gang_address.to_string());
        if let Some(gpu) = gpu {
            command.env(GPU_VARIABLE, gpu.to_string());
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let kills_before = kernel_kills();
        let mut child = command.spawn()?;
        let (lines, outgoing) = mpsc::unbounded_channel();
        let (kill, killed) = oneshot::channel();
        let running = Self { lines, pid: child.id(), kill: Some(kill), folder: folder.clone() };
        running.write_line(&assignment);
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(io::Error::other("the process has no pipes"));
        };
        let id = process.clone();
        tokio::spawn(write_lines(stdin, outgoing));
        let watcher = tokio::spawn(say_if_stopped(running.pid, id.clone(), events.clone()));
        tokio::spawn(async move {
            let work = read_all(stdout, stderr, log.file.clone(), &id, &events);
            let Exit { code, log_tail, asked } = wait(child, killed, work).await;
            watcher.abort();
            let _cleanup = tokio::fs::remove_dir_all(&folder).await;
            let killed = code == KILLED && !asked && kernel_kills().zip(kills_before).is_some_and(|(now, before)| now > before);
            if let Some(fault) = if killed { Some(killed_for_memory()) } else { had_no_memory(code, &log_tail) } {
                let _agent_gone = events.send((id.clone(), ChildEvent::Report(Report::Failed { fault }))).await;
            }
            let _agent_gone = events.send((id, ChildEvent::Exited { code, log_tail })).await;
            log.keep().await;
        });
        Ok(running)
    }

    /// Its scratch folder, which goes when it has ended.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Of the process while it lives or is not reaped.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    pub fn send(&mut self, command: &Command) {
        self.write_line(command);
    }

    pub fn kill(&mut self) {
        if let Some(kill) = self.kill.take() {
            let _already_gone = kill.send(());
        }
    }

    fn write_line(&self, document: &impl serde::Serialize) {
        // Documents of ours always serialize; a process that is gone does not need its line.
        if let Ok(mut line) = serde_json::to_vec(document) {
            line.push(b'\n');
            let _process_gone = self.lines.send(line);
        }
    }
}

/// Where the log goes: into the run's folder, so that it outlives the node's scratch space. A remote store cannot be appended to, so it
/// gets the log when the process has ended.
struct Log {
    file: PathBuf,
    /// The store that wants it afterwards, and its name there.
    to: Option<(Store, String)>,
}

impl Log {
    fn new(assignment: &Assignment, process: &ProcessId, scratch: &Path) -> io::Result<Self> {
        let path = paths::log(&process.id, process.generation, process.rank);
        let store = Store::open(&assignment.store).ok();
        store.iter().for_each(Store::keep_private);
        let root = store.as_ref().and_then(|store| store.local_root()).unwrap_or(scratch);
        let file = root.join(&path);
        if let Some(folder) = file.parent() {
            files::make_folder(folder)?;
        }
        let to = store.filter(|store| store.local_root().is_none()).map(|store| (store, path));
        Ok(Self { file, to })
    }

    /// A log that cannot be kept is not worth a run.
    async fn keep(self) {
        if let Some((store, path)) = self.to
            && let Err(error) = store.put_file(&self.file, &path).await
        {
            tracing::warn!(%error, "the log of a process stays in {}", self.file.display());
        }
    }
}

/// Says in its place that a process was stopped and stays so, also one that has not come to its first word: nobody else would know before
/// the time is over in which that word must come.
async fn say_if_stopped(pid: Option<u32>, id: ProcessId, events: mpsc::Sender<(ProcessId, ChildEvent)>) {
    let Some(pid) = pid else { return };
    // Looks in a row, not time: the agent may have been stopped with it.
    let mut looks = 0;
    loop {
        sleep(STOPPED_LOOK).await;
        looks = if threads::is_stopped(pid) { looks + 1 } else { 0 };
        if looks >= STOPPED {
            let message = format!("its process was stopped by a signal {STOPPED} s ago and does not go on");
            let report = Report::Failed { fault: Fault::new(FaultClass::Infrastructure, message) };
            let _agent_gone = events.send((id, ChildEvent::Report(report))).await;
            return;
        }
    }
}

async fn write_lines(mut stdin: process::ChildStdin, mut lines: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(line) = lines.recv().await {
        if stdin.write_all(&line).await.is_err() || stdin.flush().await.is_err() {
            return; // the process is gone; its end is reported by whoever waits for it
        }
    }
}

struct Exit {
    code: i32,
    log_tail: Vec<String>,
    /// It was killed because the agent wanted it.
    asked: bool,
}

async fn wait(mut child: process::Child, killed: oneshot::Receiver<()>, work: impl Future<Output = Vec<String>>) -> Exit {
    tokio::pin!(work);
    let (log_tail, asked) = tokio::select! {
        tail = &mut work => (tail, false),
        // Asked to kill, or the `Child` was dropped: both mean the same.
        _ = killed => {
            let _already_gone = child.start_kill();
            (work.await, true)
        }
    };
    let status = child.wait().await;
    Exit { code: status.map_or(126, code), log_tail, asked }
}

/// Processes that the kernel has killed for memory since the machine started, on the whole machine: one that dies of SIGKILL while this grows
/// is taken for one of them.
fn kernel_kills() -> Option<u64> {
    count_of(&std::fs::read_to_string("/proc/vmstat").ok()?, "oom_kill")
}

fn count_of(vmstat: &str, name: &str) -> Option<u64> {
    vmstat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

fn killed_for_memory() -> Fault {
    let message = "the kernel killed the process because the machine or its group was out of memory: lower micro_batch, recompute layers, or give it more";
    Fault { exit_code: Some(KILLED), ..Fault::new(FaultClass::OutOfMemory, message) }
}

/// What Rust's allocator says before it gives up; the process has no other last word then.
fn had_no_memory(code: i32, log_tail: &[String]) -> Option<Fault> {
    let said = log_tail.iter().rev().find(|line| line.contains("memory allocation of ") && line.contains("failed"))?;
    let message = format!("{said}: the process has all the memory that it may have; give it more (limits.memory_mib), or less to do");
    (code == ABORTED).then(|| Fault { exit_code: Some(code), ..Fault::new(FaultClass::OutOfMemory, message) })
}

/// As shells count: 128 + signal.
fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(126)
}

/// Reads both pipes to their ends; returns the last lines of the log. Why a process fails is passed on with them, unless it does not end.
async fn read_all(
    stdout: process::ChildStdout,
    stderr: process::ChildStderr,
    log: PathBuf,
    id: &ProcessId,
    events: &mpsc::Sender<(ProcessId, ChildEvent)>,
) -> Vec<String> {
    let pass_on = async |report: Report| {
        let report = osler_proto::may_report(&report).map(|()| report).unwrap_or_else(|refused| {
            let said = format!("it reported what no coordinator takes in: {refused}");
            Report::Failed { fault: Fault::new(FaultClass::Internal, said) }
        });
        let _agent_gone = events.send((id.clone(), ChildEvent::Report(report))).await;
    };
    let reports = async {
        let mut lines = BufReader::new(stdout);
        let (mut strays, mut last_word) = (vec![], None);
        loop {
            let next = bounded_line(&mut lines, MAX_LINE_BYTES);
            let next = match last_word.take() {
                None => next.await,
                Some(fault) => match timeout(LAST_WORD, next).await {
                    Ok(next) => {
                        last_word = Some(fault);
                        next
                    }
                    Err(_) => {
                        pass_on(Report::Failed { fault }).await;
                        continue;
                    }
                },
            };
            let Some(line) = next else { return (strays, last_word) };
            match serde_json::from_slice::<Report>(&line) {
                Ok(Report::Failed { fault }) => last_word = last_word.or(Some(fault)),
                Ok(report) => pass_on(report).await,
                // A library that prints: part of the log.
                Err(_) => strays.push(shown(&line)),
            }
        }
    };
    let ((strays, last_word), tail) = tokio::join!(reports, keep_log(stderr, log));
    let tail: Vec<String> = strays.into_iter().chain(tail).rev().take(TAIL_LINES).collect::<Vec<_>>().into_iter().rev().collect();
    if let Some(fault) = last_word {
        pass_on(Report::Failed { fault: Fault { log_tail: tail.clone(), ..fault } }).await;
    }
    tail
}

async fn keep_log(stderr: process::ChildStderr, path: PathBuf) -> VecDeque<String> {
    let mut file: Option<File> = None;
    let mut lines = BufReader::new(stderr);
    let mut tail = VecDeque::new();
    while let Some(mut line) = bounded_line(&mut lines, 1 << 20).await {
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(shown(&line));
        line.push(b'\n');
        if file.is_none() {
            file = OpenOptions::new().create(true).append(true).open(&path).await.ok();
        }
        if let Some(open) = &mut file {
            // A full disk must not stop the run: lines are lost, the process goes on, and the log when there is room.
            if open.write_all(&line).await.is_err() || open.flush().await.is_err() {
                file = None;
            }
        }
    }
    tail
}

fn shown(line: &[u8]) -> String {
    String::from_utf8_lossy(&line[..line.len().min(TAIL_LINE_BYTES)]).into_owned()
}

/// The next line without its end, None at the end of the stream. A longer line is cut into pieces of at most `limit` bytes.
async fn bounded_line(reader: &mut BufReader<impl AsyncRead + Unpin>, limit: usize) -> Option<Vec<u8>> {
    let mut line = vec![];
    let read = reader.take(limit as u64).read_until(b'\n', &mut line).await.ok()?;
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    (read > 0).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use osler_core::ids::{Generation, RunName};
    use osler_core::job::{JobId, JobKey};

    /// What an agent hears of a process that writes these lines and ends.
    async fn heard(lines: &[Vec<u8>]) -> (Vec<Report>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lines");
        std::fs::write(&file, lines.join(&b'\n')).unwrap();
        let mut cat = process::Command::new("cat").arg(&file).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, stderr) = (cat.stdout.take().unwrap(), cat.stderr.take().unwrap());
        let id = JobId { run: RunName::new("r").unwrap(), job: JobKey::from("tokenizer") };
        let (events, mut inbox) = mpsc::channel(16);
        let tail =
            read_all(stdout, stderr, folder.path().join("log"), &ProcessId { id, generation: Generation(1), rank: 0 }, &events).await;
        cat.wait().await.unwrap();
        drop(events);
        let mut reports = vec![];
        while let Some((_, event)) = inbox.recv().await {
            let ChildEvent::Report(report) = event else { panic!("{event:?}") };
            reports.push(report);
        }
        (reports, tail)
    }

    #[tokio::test]
    async fn a_report_that_no_coordinator_takes_in_is_a_fault_of_its_process_alone() {
        let small = Report::Stack { lines: vec!["main".into()] };
        let large = Report::Stack { lines: vec!["x".repeat(25 << 20)] };
        let json = |report: &Report| serde_json::to_vec(report).unwrap();
        let (reports, tail) = heard(&[json(&small), json(&large), vec![b'x'; 25 << 20], json(&small)]).await;
        let [first, Report::Failed { fault }, last] = reports.as_slice() else { panic!("{} reports", reports.len()) };
        assert_eq!((first, last), (&small, &small));
        assert!(fault.class == FaultClass::Internal && fault.message.contains("at most 25165824"), "{fault:?}");
        assert_eq!(tail.len(), 1, "what a library prints is part of the log, whatever its length");
        // A last word that is too large only with its log is too large.
        let word = |bytes| Report::Failed { fault: Fault::new(FaultClass::User, "x".repeat(bytes)) };
        let room = (24 << 20) - json(&word(0)).len();
        let stray = vec![b'y'; TAIL_LINE_BYTES];
        let (reports, _) = heard(&[stray, json(&word(room))]).await;
        assert!(matches!(reports.as_slice(), [Report::Failed { fault }] if fault.class == FaultClass::Internal));
    }

    #[test]
    fn an_allocation_that_failed_is_a_lack_of_memory() {
        let tail = ["INFO merging".to_owned(), "memory allocation of 4096 bytes failed".to_owned()];
        let fault = had_no_memory(ABORTED, &tail).unwrap();
        assert!(fault.class == FaultClass::OutOfMemory && fault.message.contains("limits.memory_mib"), "{fault}");
        assert!(had_no_memory(ABORTED, &tail[..1]).is_none() && had_no_memory(1, &tail).is_none());
    }

    #[test]
    fn the_kernels_count_is_read() {
        assert_eq!(count_of("oom_killer 7\noom_kill 12\n", "oom_kill"), Some(12));
        assert_eq!(count_of("oom_kill x\n", "oom_kill"), None);
        assert_eq!(count_of("", "oom_kill"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_was_stopped_before_its_first_word_is_told_of() {
        use nix::sys::signal::{Signal, kill};
        use tokio::time::Instant;
        let mut sleeper = std::process::Command::new("sleep").arg("600").stdout(Stdio::null()).spawn().unwrap();
        let pid = nix::unistd::Pid::from_raw(sleeper.id() as i32);
        let id = JobId { run: RunName::new("r").unwrap(), job: JobKey::from("tokenizer") };
        let (events, mut inbox) = mpsc::channel(16);
        let begun = Instant::now();
        let watcher = tokio::spawn(say_if_stopped(Some(sleeper.id()), ProcessId { id, generation: Generation(1), rank: 0 }, events));
        sleep(Duration::from_secs(100)).await;
        assert!(inbox.try_recv().is_err(), "it runs");
        kill(pid, Signal::SIGSTOP).unwrap();
        nix::sys::wait::waitpid(pid, Some(nix::sys::wait::WaitPidFlag::WUNTRACED)).unwrap();
        let (_, event) = inbox.recv().await.unwrap();
        let ChildEvent::Report(Report::Failed { fault }) = event else { panic!("{event:?}") };
        assert!(fault.class == FaultClass::Infrastructure && fault.message.contains("was stopped by a signal"), "{fault}");
        assert!((129..=131).contains(&begun.elapsed().as_secs()), "after half a minute: {:?}", begun.elapsed());
        watcher.await.unwrap();
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
    }
}
