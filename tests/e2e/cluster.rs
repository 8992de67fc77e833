//! A cluster of real processes on a folder of its own: coordinator, agents, and the means to kill any of them.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use osler_core::audit::Audit;
use osler_core::checkpoint::{Manifest, ObjectRef, StepRecord};
use osler_core::history::Contents;
use osler_core::ids::StageName;
use osler_core::record::RunRecord;
use osler_core::report::{Report, build};
use osler_core::spec::{Override, RunSpec, parse};
use osler_proto::v1::control_client::ControlClient;
use osler_proto::{MAX_MESSAGE_BYTES, v1};
use osler_runtime::auth::Token;
use osler_runtime::connect::{Authorized, connect};
use osler_runtime::tls::ClientTls;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Long enough for a loaded machine; a test that waits so long fails.
const PATIENCE: Duration = Duration::from_secs(240);
const POLL: Duration = Duration::from_millis(10);

/// Changes that leave training alone of the small run.
pub const TRAINING_ALONE: [&str; 3] = ["after_stage.quantize=[]", "after_stage.gate=[]", "after_stage.exam=[]"];

/// A small world and a run file over it: two stages, two ranks, exams, both compressions. Seconds on two cores.
pub fn mini_spec(folder: &Path, changes: &[&str]) -> RunSpec {
    let world = folder.join("world");
    let options = osler_demo::Options { seed: 7, diseases: 8, abstracts: 80, general_documents: 60, questions: 16 };
    osler_demo::generate(&world, &options).unwrap();
    let overrides: Vec<Override> = changes.iter().map(|c| c.parse().unwrap()).collect();
    let mut spec = parse(include_str!("mini.toml"), "mini.toml", &overrides).unwrap();
    let absolute = |files: &mut Vec<String>| {
        let mut found = vec![];
        for pattern in files.iter() {
            let (in_folder, _) = pattern.rsplit_once('/').unwrap();
            found.extend(fs::read_dir(world.join(in_folder)).unwrap().map(|e| e.unwrap().path().to_string_lossy().into_owned()));
        }
        found.sort();
        *files = found;
    };
    spec.corpora.values_mut().for_each(|c| absolute(&mut c.files));
    for exam in &mut spec.exams {
        exam.files.iter_mut().for_each(|f| *f = world.join(&*f).to_string_lossy().into_owned());
    }
    spec
}

/// The folder with the built binaries: that of the test binary's profile.
pub fn binary(name: &str) -> PathBuf {
    let mut folder = std::env::current_exe().unwrap();
    folder.pop();
    folder.pop();
    let path = folder.join(name);
    assert!(path.is_file(), "{} is not built: run `make build` first", path.display());
    path
}

pub struct Cluster {
    pub folder: tempfile::TempDir,
    coordinator: Option<Child>,
    standby: Option<Child>,
    agents: BTreeMap<String, (Child, u32)>,
    runtime: tokio::runtime::Runtime,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill_everything();
        if std::thread::panicking() {
            for log in ["coordinator.log", "agents.log"] {
                let text = fs::read_to_string(self.folder.path().join(log)).unwrap_or_default();
                let tail: Vec<&str> = text.lines().rev().take(40).collect();
                eprintln!("--- last lines of {log} ---\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
        }
    }
}

impl Cluster {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { folder: tempfile::tempdir().unwrap(), coordinator: None, standby: None, agents: BTreeMap::new(), runtime }
    }

    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn log(&self, name: &str) -> Stdio {
        let path = self.folder.path().join(name);
        Stdio::from(fs::OpenOptions::new().create(true).append(true).open(path).unwrap())
    }

    pub fn token_file(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    fn spawn_coordinator(&self, options: &[&str]) -> Child {
        let mut command = Command::new(binary("osler-coordinator"));
        command.arg("--store").arg(self.store()).arg("--token-file").arg(self.token_file()).args(options);
        command.stdout(Stdio::null()).stderr(self.log("coordinator.log")).spawn().unwrap()
    }

    /// The process that says that it listens.
    fn listening(&self) -> Option<u32> {
        let document: serde_json::Value = serde_json::from_slice(&fs::read(self.store().join("coordinator/endpoint.json")).ok()?).ok()?;
        document["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())
    }

    /// Where it listens, or did last.
    pub fn address(&self) -> String {
        let endpoint = fs::read(self.store().join("coordinator/endpoint.json")).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&endpoint).unwrap();
        document["address"].as_str().unwrap().to_owned()
    }

    pub fn start_coordinator(&mut self) {
        self.start_coordinator_with(&[]);
    }

    pub fn start_coordinator_with(&mut self, options: &[&str]) {
        let child = self.spawn_coordinator(options);
        let pid = child.id();
        self.coordinator = Some(child);
        wait_for("the coordinator listens", || (self.listening() == Some(pid)).then_some(()));
    }

    pub fn start_standby(&mut self) {
        self.standby = Some(self.spawn_coordinator(&["--standby"]));
    }

    /// Waits until the standby leads. Gives the coordinator before.
    pub fn wait_for_takeover(&mut self) -> Option<Child> {
        let standby = self.standby.take().unwrap();
        wait_for("the standby leads", || (self.listening() == Some(standby.id())).then_some(()));
        self.coordinator.replace(standby)
    }

    pub fn coordinator_pid(&self) -> u32 {
        self.coordinator.as_ref().unwrap().id()
    }

    pub fn agent_pid(&self, name: &str) -> u32 {
        self.agents[name].0.id()
    }

    pub fn freeze_coordinator(&self) {
        signal(Pid::from_raw(self.coordinator.as_ref().unwrap().id() as i32), Signal::SIGSTOP);
    }

    pub fn start_agent(&mut self, name: &str, slots: u32) {
        self.start_agent_with(name, slots, &[]);
    }

    pub fn start_agent_with(&mut self, name: &str, slots: u32, options: &[&str]) {
        let mut command = Command::new(binary("osler-worker"));
        command.args(["--name", name, "--slots", &slots.to_string()]).args(options);
        command.arg("--store").arg(self.store()).arg("--token-file").arg(self.token_file());
        command.arg("--scratch").arg(self.folder.path().join(format!("scratch-{name}")));
        command.arg("--state").arg(self.folder.path().join("state"));
        // A test may have two clusters, and one world for both.
        command.arg("--may-read").arg(std::env::temp_dir());
        let child = command.stdout(Stdio::null()).stderr(self.log("agents.log")).spawn().unwrap();
        self.agents.insert(name.to_owned(), (child, slots));
    }

    /// Not the standby.
    pub fn kill_coordinator(&mut self) {
        if let Some(mut child) = self.coordinator.take() {
            let _gone = child.kill();
            let _reaped = child.wait();
        }
    }

    /// Kills an agent and starts it again; returns when the old one is reaped.
    pub fn kill_agent(&mut self, name: &str) {
        if let Some((mut child, _)) = self.agents.remove(name) {
            let _gone = child.kill();
            let _reaped = child.wait();
        }
    }

    /// Waits until the coordinator and every agent have ended by themselves, and gives their exit codes, the coordinator's first.
    pub fn wait_for_ends(&mut self) -> Vec<Option<i32>> {
        let agents = std::mem::take(&mut self.agents).into_values().map(|(child, _)| child);
        let all = self.coordinator.take().into_iter().chain(agents);
        all.map(|mut child| wait_for("a daemon ended by itself", || child.try_wait().unwrap()).code()).collect()
    }

    /// Asks an agent to end, and waits for its exit code.
    pub fn end_agent(&mut self, name: &str, by: Signal) -> Option<i32> {
        let (mut child, _) = self.agents.remove(name).unwrap();
        signal(Pid::from_raw(child.id() as i32), by);
        wait_for("the agent has ended", || child.try_wait().unwrap()).code()
    }

    pub fn agents(&self) -> Vec<(String, u32)> {
        self.agents.iter().map(|(name, (_, slots))| (name.clone(), *slots)).collect()
    }

    pub fn kill_everything(&mut self) {
        if let Some(mut child) = self.standby.take() {
            let _gone = child.kill();
            let _reaped = child.wait();
        }
        self.kill_coordinator();
        for (name, _) in self.agents() {
            self.kill_agent(&name);
        }
    }

    /// Process ids of running job processes, in order.
    pub fn job_processes(&self) -> Vec<Pid> {
        self.children_of(&self.agents.values().map(|(child, _)| child.id()).collect::<Vec<_>>())
    }

    /// The same, of one agent.
    pub fn jobs_of(&self, agent: &str) -> Vec<Pid> {
        self.children_of(&[self.agents[agent].0.id()])
    }

    fn children_of(&self, agents: &[u32]) -> Vec<Pid> {
        let mut found: Vec<Pid> = processes().into_iter().filter(|(_, parent)| agents.contains(parent)).map(|(pid, _)| pid).collect();
        found.sort();
        found
    }

    /// `kill -9`; one that is gone already is fine.
    pub fn kill_process(pid: Pid) {
        let _gone = kill(pid, Signal::SIGKILL);
    }

    pub fn submit(&self, spec: &RunSpec) -> Result<v1::SubmitReply, tonic::Status> {
        let spec_json = serde_json::to_vec(spec).unwrap();
        self.call(async |mut client| Ok(client.submit(v1::SubmitRequest { spec_json, ..Default::default() }).await?.into_inner()))
    }

    pub fn stop(&self, run: &str) -> Result<v1::StopRunReply, tonic::Status> {
        self.call(async |mut client| Ok(client.stop_run(v1::StopRunRequest { run: run.into(), ..Default::default() }).await?.into_inner()))
    }

    /// `ranks`: another number of them; 0: as before.
    pub fn resume(&self, run: &str, ranks: u32) -> Result<v1::ResumeRunReply, tonic::Status> {
        self.call(async |mut client| {
            Ok(client.resume_run(v1::ResumeRunRequest { run: run.into(), ranks, ..Default::default() }).await?.into_inner())
        })
    }

    pub fn rewind(&self, request: v1::RewindStageRequest) -> Result<v1::RewindStageReply, tonic::Status> {
        self.call(async |mut client| Ok(client.rewind_stage(request).await?.into_inner()))
    }

    /// What `osler` says, as somebody who uses this cluster's store; it must succeed.
    pub fn osler(&self, arguments: &[&str]) -> String {
        let output = self.try_osler(arguments);
        assert!(output.status.success(), "osler {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn try_osler(&self, arguments: &[&str]) -> Output {
        Command::new(binary("osler")).args(arguments).arg("--store").arg(self.store()).output().unwrap()
    }

    /// Stops a run whose stage is on its way, and waits until nothing of it runs.
    pub fn stop_within(&self, run: &str, stage: &StageName, after: u64) -> RunRecord {
        self.wait_until(run, "a checkpoint", |r| r.published_steps(stage) > after);
        self.stop(run).unwrap();
        self.wait_until(run, "the run has stopped", |r| r.state.as_str() == "stopped")
    }

    fn call<T>(&self, with: impl AsyncFnOnce(Client) -> Result<T, tonic::Status>) -> Result<T, tonic::Status> {
        let token = Token::load(&self.token_file()).unwrap();
        self.runtime.block_on(async {
            let tls = ClientTls::own(&self.token_file(), &self.token_file());
            let dialled = connect(&self.address(), &token, &tls).await;
            let client = dialled.map_err(|e| tonic::Status::unavailable(e.to_string()))?;
            with(ControlClient::new(client).max_decoding_message_size(MAX_MESSAGE_BYTES)).await
        })
    }

    /// The newest durable record, as any reader of the store finds it.
    pub fn record(&self, run: &str) -> Option<RunRecord> {
        let folder = self.store().join("runs").join(run).join("state");
        let newest = fs::read_dir(folder).ok()?.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "json")).max()?;
        // Retention may have deleted it since the listing: the caller looks again.
        let mut record: RunRecord = serde_json::from_slice(&fs::read(newest).ok()?).ok()?;
        let page = |page: ObjectRef| Contents::read(&fs::read(self.store().join(page.path)).unwrap()).unwrap();
        record.fill(record.history.wanted(0).into_iter().map(page).collect::<Vec<_>>());
        Some(record)
    }

    pub fn wait_until(&self, run: &str, what: &str, accept: impl Fn(&RunRecord) -> bool) -> RunRecord {
        wait_for(what, || self.record(run).filter(&accept))
    }

    pub fn wait_finished(&self, run: &str) -> RunRecord {
        let over = |r: &RunRecord| !r.state.is_live() && r.state.as_str() != "stopped";
        let record = self.wait_until(run, "the run is over", over);
        assert_eq!(record.state.as_str(), "finished", "{:?}\n{}", record.state, events(&record));
        record
    }

    pub fn manifests(&self, record: &RunRecord) -> BTreeMap<StageName, Vec<Manifest>> {
        let read = |path: &str| serde_json::from_slice(&fs::read(self.store().join(path)).unwrap()).unwrap();
        record.checkpoints.iter().map(|(s, all)| (s.clone(), all.iter().map(|c| read(&c.manifest.path)).collect())).collect()
    }

    /// Everything about training that must not depend on what died: weights and moments, and the whole ledger.
    pub fn outcome(&self, record: &RunRecord) -> Vec<String> {
        let mut all = self.ledger(record);
        for (stage, manifests) in self.manifests(record) {
            let last = manifests.last().unwrap();
            all.extend(last.parts.iter().map(|p| format!("{stage} {} {}", last.step, p.digest)));
        }
        all
    }

    /// Every step of every stage.
    pub fn ledger(&self, record: &RunRecord) -> Vec<String> {
        let told = |(stage, manifests): (StageName, Vec<Manifest>)| {
            let steps = manifests.into_iter().flat_map(|m| m.ledger);
            steps.map(|r| format!("{stage} {}", serde_json::to_string(&r).unwrap())).collect::<Vec<_>>()
        };
        self.manifests(record).into_iter().flat_map(told).collect()
    }

    /// Digests of a stage's last checkpoint: weights, both moments, counts and the guard's memory, by rank.
    pub fn final_parts(&self, record: &RunRecord, stage: &StageName) -> Vec<String> {
        self.manifests(record)[stage].last().unwrap().parts.iter().map(|part| part.digest.to_string()).collect()
    }

    /// The ledger of a stage's steps up to a checkpoint, and what that one holds; and the ledgers of the stages before it.
    pub fn bits_until(&self, record: &RunRecord, stage: &StageName, last: u64) -> Vec<String> {
        let all = self.manifests(record);
        let told = |step: &StepRecord| serde_json::to_string(step).unwrap();
        let steps: Vec<String> = all[stage].iter().flat_map(|m| &m.ledger).filter(|step| step.step < last).map(told).collect();
        assert_eq!(steps.len() as u64, last, "the ledger has not every step once");
        let parts: Vec<String> =
            all[stage].iter().filter(|m| m.step == last).flat_map(|m| &m.parts).map(|p| p.digest.to_string()).collect();
        assert!(!parts.is_empty(), "no checkpoint at step {last}");
        let others = all.iter().filter(|(name, _)| *name != stage).flat_map(|(_, manifests)| manifests).flat_map(|m| &m.ledger).map(told);
        others.chain(steps).chain(parts).collect()
    }

    pub fn report(&self, record: &RunRecord) -> Report {
        build(record, &self.manifests(record))
    }

    pub fn audit(&self, record: &RunRecord) -> Audit {
        self.report(record).audit
    }
}

/// Living processes with their parents.
fn processes() -> Vec<(Pid, u32)> {
    let mut found = vec![];
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_string_lossy().parse::<i32>().ok() else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // "pid (name) state ppid ...": the name may hold anything, so look behind its last parenthesis.
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let (state, parent) = (fields.next(), fields.next().and_then(|p| p.parse::<u32>().ok()));
        if let Some(parent) = parent.filter(|_| state != Some("Z")) {
            found.push((Pid::from_raw(pid), parent));
        }
    }
    found
}

/// A process and everything below it.
pub fn descendants(root: u32) -> Vec<Pid> {
    let all = processes();
    let mut found = vec![Pid::from_raw(root as i32)];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(all.iter().filter(|(_, p)| *p == parent.as_raw() as u32).map(|(pid, _)| *pid));
        at += 1;
    }
    found
}

/// One that is gone already is fine.
pub fn signal(pid: Pid, signal: Signal) {
    let _gone = kill(pid, signal);
}

type Client = ControlClient<Authorized>;

pub fn events(record: &RunRecord) -> String {
    record.events.iter().map(|e| format!("{} {:?} {}", e.id, e.kind, e.message)).collect::<Vec<_>>().join("\n")
}

/// Polls until there is an answer; fails the test when patience runs out.
pub fn wait_for<T>(what: &str, answer: impl FnMut() -> Option<T>) -> T {
    wait_within(PATIENCE, what, answer)
}

pub fn wait_within<T>(patience: Duration, what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(start.elapsed() < patience, "waited {patience:?} until {what}");
        std::thread::sleep(POLL);
    }
}
