//! What every job process does the same way: take an assignment from standard input, report on standard output, die with its agent.

use crate::heart::Heart;
use crate::limits;
use anyhow::Context as _;
use osler_core::checkpoint::ObjectRef;
use osler_core::job::{Damage, Fault, FaultClass, JobKey, JobKind, JobResult};
use osler_core::json;
use osler_core::paths;
use osler_core::process::{Assignment, Command, MAX_LINE_BYTES, Progress, Report, exit, phase};
use osler_runtime::shutdown;
use osler_runtime::store::{BlockingStore, Patience, StoreError, lacks_room};
use std::any::Any;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// The shortest time between two progress reports.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// Between two looks whether there is room again; doubled from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How a job ends when it does not fail.
#[derive(Debug)]
pub enum Ended {
    Done(JobResult),
    /// It checkpointed because it was asked to stop.
    Stopped {
        step: u64,
    },
    /// Train: see [`Report::Rewind`].
    Rewind {
        skipped: Range<u64>,
    },
}

/// A failure with its class: who has to act.
#[derive(Debug)]
pub struct Failure {
    pub class: FaultClass,
    pub error: anyhow::Error,
}

/// Marks an error as one that trying again cannot help: the run file's or the data's.
pub fn user(error: impl Into<anyhow::Error>) -> Failure {
    Failure { class: FaultClass::User, error: error.into() }
}

/// Marks an error as one of memory: somebody has to give the job more, or ask for less.
pub fn out_of_memory(error: impl Into<anyhow::Error>) -> Failure {
    let advice = "out of memory: lower micro_batch, recompute layers, or give each rank more";
    Failure { class: FaultClass::OutOfMemory, error: error.into().context(advice) }
}

impl Failure {
    fn lacks_room(&self) -> bool {
        lacks_room(self.error.as_ref())
    }

    /// The object of the run that could not be used, if that is it.
    fn damage(&self) -> Option<Damage> {
        self.error.chain().find_map(|cause| match cause.downcast_ref()? {
            StoreError::Missing { path } => Some(Damage { path: path.clone(), found: "it is missing".to_owned() }),
            StoreError::Corrupt { path, found, .. } => Some(Damage { path: path.clone(), found: found.clone() }),
            _ => None,
        })
    }
}

/// Repeats a write into the scratch folder while the disk is full: what the store does by itself for its own.
pub fn with_room<T, E: std::error::Error + 'static>(mut write: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let mut room = Room::default();
    loop {
        match write() {
            Err(error) if lacks_room(&error) && room.is_worth_waiting() => {
                tracing::warn!("{error}; waiting for room");
                room.wait();
            }
            other => return other,
        }
    }
}

/// Growing pauses within the time that a folder is waited for. Only waits count: a job may have worked for hours before.
struct Room {
    waited: Duration,
    pause: Duration,
}

impl Default for Room {
    fn default() -> Self {
        Self { waited: Duration::ZERO, pause: FIRST_PAUSE }
    }
}

impl Room {
    fn is_worth_waiting(&self) -> bool {
        self.waited < Patience::folder().room
    }

    fn wait(&mut self) {
        std::thread::sleep(self.pause);
        self.waited += self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    /// Without a mark an error is the infrastructure's: it may go away.
    fn from(error: E) -> Self {
        Self { class: FaultClass::Infrastructure, error: error.into() }
    }
}

/// A running job: its assignment, its store, its scratch folder, and the line to its agent.
pub struct Job {
    pub assignment: Assignment,
    pub store: BlockingStore,
    /// Empty at the start, removed by the agent afterwards.
    pub scratch: PathBuf,
    /// Says each second what the job does.
    pub heart: Heart,
    commands: Receiver<Command>,
    stop: bool,
    reported: Option<Instant>,
}

impl Job {
    fn trains(&self) -> bool {
        matches!(self.assignment.kind, JobKind::Train { .. })
    }

    /// The result of the job `kind`, which this one depends on.
    pub fn input(&self, kind: &JobKind) -> anyhow::Result<&JobResult> {
        self.input_of(&kind.key())
    }

    pub fn input_of(&self, key: &JobKey) -> anyhow::Result<&JobResult> {
        self.assignment.inputs.get(key).with_context(|| format!("the assignment lacks the result of {key}"))
    }

    /// A local file with the verified bytes of one of an input's outputs.
    pub fn fetch(&self, input: &JobResult, name: &str) -> anyhow::Result<PathBuf> {
        let object = input.outputs.get(name).with_context(|| format!("an input has no output {name:?}"))?;
        Ok(self.store.fetch(object)?)
    }

    /// A folder with the outputs of `input` whose names start with `prefix`, under the rest of their names.
    pub fn fetch_folder(&self, input: &JobResult, prefix: &str) -> anyhow::Result<PathBuf> {
        let folder = self.scratch.join(format!("inputs-{}", prefix.replace('/', "-")));
        for (name, object) in &input.outputs {
            let Some(rest) = name.strip_prefix(prefix) else { continue };
            anyhow::ensure!(
                Path::new(rest).components().all(|c| matches!(c, Component::Normal(_))),
                "output {name:?} has an unusable name"
            );
            self.link_object(object, &folder.join(rest))?;
        }
        anyhow::ensure!(folder.is_dir(), "an input has no outputs below {prefix:?}");
        Ok(folder)
    }

    /// Puts one of an input's outputs where `link` says, under a name of the job's choice.
    pub fn link(&self, input: &JobResult, name: &str, link: &Path) -> anyhow::Result<()> {
        let object = input.outputs.get(name).with_context(|| format!("an input has no output {name:?}"))?;
        self.link_object(object, link)
    }

    fn link_object(&self, object: &ObjectRef, link: &Path) -> anyhow::Result<()> {
        if let Some(folder) = link.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = self.store.fetch(object)?;
        std::os::unix::fs::symlink(file, link).with_context(|| format!("link {} as {}", object.path, link.display()))
    }

    /// Moves a finished file to this attempt's outputs.
    pub fn publish(&self, file: &Path, name: &str) -> anyhow::Result<ObjectRef> {
        let path = paths::output(&self.assignment.id, self.assignment.generation, name);
        Ok(self.store.put_file(file, &path)?)
    }

    /// What the job does from now on, for people and for whoever watches over it.
    pub fn say(&self, phase: &str) {
        self.heart.say(phase);
    }

    /// Tells the agent how far the job is; most calls only change what the next heartbeat says.
    pub fn progress(&mut self, progress: Progress) {
        self.heart.set(progress.clone());
        let now = Instant::now();
        if progress.done >= progress.total || self.reported.is_none_or(|last| now - last >= PROGRESS_EVERY) {
            self.reported = Some(now);
            report(&Report::Progress(progress));
        }
    }

    /// Whether the job has been asked to checkpoint and end.
    pub fn stop_requested(&mut self) -> bool {
        while let Ok(command) = self.commands.try_recv() {
            self.stop |= command == Command::Stop;
        }
        self.stop
    }

    /// Waits for the place where the gang meets. A stop request that comes first is kept: the gang meets, agrees on a step, and stops.
    pub fn rendezvous(&mut self, limit: Duration) -> anyhow::Result<String> {
        let deadline = Instant::now() + limit;
        loop {
            match self.commands.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Command::Rendezvous { address }) => return Ok(address),
                Ok(Command::Stop) => self.stop = true,
                Ok(Command::Look) => {} // answered by the thread that reads commands
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    anyhow::bail!("rank 0 did not say within {limit:?} where the gang meets")
                }
            }
        }
    }
}

/// Parses the command line; bad usage ends the process with [`exit::USAGE`].
pub fn parse_arguments<T: clap::Parser>() -> T {
    T::try_parse().unwrap_or_else(|e| {
        let _closed_terminal = e.print();
        std::process::exit(if e.use_stderr() { exit::USAGE } else { exit::OK })
    })
}

/// Writes one report. A pipe that is closed means the agent is gone, and so is this process.
pub fn report(report: &Report) {
    let mut line = json::bytes(report);
    line.push(b'\n');
    let mut out = io::stdout().lock();
    if out.write_all(&line).and_then(|()| out.flush()).is_err() {
        die();
    }
}

/// Runs one job to its end and returns the exit code. `scratch` is the folder that the agent made; `look` tells where the main thread
/// stands, and is called by another one.
pub fn run(scratch: PathBuf, look: fn() -> Vec<String>, mut work: impl FnMut(&mut Job) -> Result<Ended, Failure>) -> i32 {
    // The kernel kills this process with its agent; end of standard input covers an agent that was gone before this line.
    let _older_kernel = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
    // A scheduler that ends a job signals all of its processes. Only the agent acts on it: it asks this one to save.
    if let Err(error) = shutdown::ignore() {
        tracing::warn!(%error, "a signal to this process will end it");
    }
    let mut job = match start(scratch, look) {
        Ok(job) => job,
        Err(error) => return fail(Failure { class: FaultClass::Internal, error }),
    };
    match catch_unwind(AssertUnwindSafe(|| until_there_is_room(&mut job, &mut work))) {
        Ok(Ok(Ended::Done(result))) => {
            report(&Report::Done { result });
            exit::OK
        }
        Ok(Ok(Ended::Stopped { step })) => {
            report(&Report::Stopped { step });
            exit::STOPPED
        }
        Ok(Ok(Ended::Rewind { skipped })) => {
            report(&Report::Rewind { skipped });
            exit::STOPPED
        }
        Ok(Err(failure)) => fail(failure),
        Err(panic) => fail(Failure { class: FaultClass::Internal, error: anyhow::anyhow!("panicked: {}", panic_text(&*panic)) }),
    }
}

/// A job is a function of its inputs: when the disk was full it begins again with an empty scratch folder, once there is room. Not a
/// rank of a gang: the others would wait for it, and its gang goes on from a checkpoint.
fn until_there_is_room(job: &mut Job, work: &mut impl FnMut(&mut Job) -> Result<Ended, Failure>) -> Result<Ended, Failure> {
    let mut room = Room::default();
    loop {
        match work(job) {
            Err(failure) if !job.trains() && failure.lacks_room() && room.is_worth_waiting() => {
                tracing::warn!("{:#}; waiting for room, then beginning again", failure.error);
                job.progress(Progress { phase: phase::NO_ROOM.to_owned(), ..Progress::default() });
                clear(&job.scratch);
                room.wait();
            }
            other => return other,
        }
    }
}

/// What cannot be removed is written over.
fn clear(scratch: &Path) {
    for entry in std::fs::read_dir(scratch).into_iter().flatten().flatten() {
        let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let path = entry.path();
        let _stays = if folder { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    }
}

fn start(scratch: PathBuf, look: fn() -> Vec<String>) -> anyhow::Result<Job> {
    let mut input = BufReader::new(io::stdin());
    let assignment: Assignment = next_line(&mut input).context("read assignment")?.context("no assignment on standard input")?;
    limits::bound_memory(&assignment)?;
    let heart = Heart::start("starting");
    let store = BlockingStore::open(&assignment.store)?.fetching_into(scratch.join("fetched"));
    store.store().keep_private();
    let waits = store.store().clone();
    heart.say_while(phase::STORE, move || waits.waits().is_some());
    let (sender, commands) = channel();
    std::thread::spawn(move || {
        loop {
            match next_line(&mut input) {
                // Not by this thread: whoever does not answer must not keep a stop from being heard.
                Ok(Some(Command::Look)) => drop(std::thread::spawn(move || report(&Report::Stack { lines: look() }))),
                Ok(Some(command)) => drop(sender.send(command)),
                Ok(None) => die(),
                Err(e) => {
                    tracing::error!(error = %e, "unreadable command from the agent");
                    die();
                }
            }
        }
    });
    Ok(Job { assignment, store, scratch, heart, commands, stop: false, reported: None })
}

fn next_line<T: serde::de::DeserializeOwned>(input: &mut impl BufRead) -> anyhow::Result<Option<T>> {
    let mut line = vec![];
    input.take(MAX_LINE_BYTES as u64).read_until(b'\n', &mut line)?;
    if line.is_empty() { Ok(None) } else { Ok(Some(serde_json::from_slice(&line)?)) }
}

fn fail(failure: Failure) -> i32 {
    let (class, damage) = (if failure.lacks_room() { FaultClass::NoRoom } else { failure.class }, failure.damage());
    let failure = Failure { class, ..failure };
    let code = if failure.class == FaultClass::User { exit::USAGE } else { exit::FAILED };
    let message = format!("{:#}", failure.error);
    tracing::error!(class = %failure.class, "{message}");
    let mut fault = Fault::new(failure.class, message);
    fault.exit_code = Some(code);
    fault.damage = damage.map(Box::new);
    report(&Report::Failed { fault });
    code
}

/// Ends this process at once, without destructors that could wait for threads of a library.
fn die() -> ! {
    let _killed = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
    std::process::abort()
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}
