//! The documents of `-o json`: docs/schemas holds their shapes, which are computed here from documents that hold every field, and
//! docs/output.md names their fields. `OSLER_BLESS=1 cargo nextest run -p osler-launcher schemas` writes the shapes again.

use super::*;
use crate::client::{Budget, QueueLine, QuotaLine, RunLine, Seen, TokenLine, WorkerLine};
use crate::explain::{Around, Explanation};
use crate::failure::{Failure, hopeless};
use crate::fixture;
use crate::planning::{Machine, planned};
use crate::resolve::Resolved;
use crate::status::Status;
use osler_core::access::{Ended, Follows, LogEntry};
use osler_core::cluster::{Drain, Strike};
use osler_core::digest::Digest;
use osler_core::evidence::{Evidence, Finding};
use osler_core::health::{FolderCheck, GpuCheck, Health, RankCheck};
use osler_core::ids::*;
use osler_core::job::JobKey;
use osler_core::output::{document, error_document};
use osler_core::plan::train_key;
use osler_core::reason::{Cause, Reason};
use osler_core::record::{JobState, RunState};
use osler_core::report::build;
use osler_core::spec::{CorpusFormat, CorpusSpec, Variant};
use osler_core::stop::{Stop, StopKind, Waiver};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A schema, documents that hold all that it may hold, and the paths of maps and of what has a shape by its own code.
struct Sample {
    schema: &'static str,
    documents: Vec<Value>,
    maps: &'static [&'static str],
    open: &'static [&'static str],
}

fn sample<T: Serialize>(schema: &'static str, bodies: impl IntoIterator<Item = T>) -> Sample {
    let documents = bodies.into_iter().map(|body| serde_json::to_value(document(schema, body)).unwrap()).collect();
    Sample { schema, documents, maps: &[], open: &[] }
}

impl Sample {
    fn maps(self, maps: &'static [&'static str]) -> Self {
        Self { maps, ..self }
    }

    fn open(self, open: &'static [&'static str]) -> Self {
        Self { open, ..self }
    }
}

fn run() -> RunName {
    RunName::new("tiny").unwrap()
}

fn stage() -> StageName {
    StageName::new("domain").unwrap()
}

fn worker() -> WorkerName {
    WorkerName::new("a").unwrap()
}

fn node() -> WorkerLine {
    let folder =
        |error: Option<&str>, free_bytes| FolderCheck { path: "/scratch".into(), free_bytes, ms: 4, error: error.map(str::to_owned) };
    let gpu =
        |uncorrected, error: Option<&str>| GpuCheck { name: "gpu".into(), uncorrected, xids: vec![48], error: error.map(str::to_owned) };
    WorkerLine {
        worker: "a".into(),
        host: "h".into(),
        state: "drained".into(),
        slots: 4,
        used: 1,
        seen_at: Millis(1_795_410_000_000),
        labels: [("gpu".to_owned(), "h100".to_owned())].into(),
        why: Some("drained: new disks".into()),
        drain: Some(Drain { at: Millis(1), reason: "new disks".into(), automatic: false }),
        strikes: vec![Strike {
            at: Millis(1),
            job: osler_core::job::JobId { run: run(), job: JobKey::from("train/domain") },
            generation: Generation(2),
            message: "killed".into(),
        }],
        health: Some(Health {
            at: Millis(1),
            folders: vec![folder(Some("read-only"), None), folder(None, Some(1))],
            memory_available: Some(1),
            gpus: vec![gpu(None, Some("gone")), gpu(Some(0), None)],
            ranks: Some(RankCheck { build: Some("0.1.0".into()), error: Some("exit code 127".into()) }),
            overdue_ms: Some(3),
        }),
        skew_ms: 12,
    }
}

fn bare_node() -> WorkerLine {
    let health = Health { at: Millis(1), folders: vec![], memory_available: None, gpus: vec![], ranks: None, overdue_ms: None };
    WorkerLine { why: None, drain: None, strikes: vec![], health: Some(health), ..node() }
}

pub(super) fn nodes() -> Vec<WorkerLine> {
    let silent = Some(RankCheck { build: None, error: None });
    let unknown = bare_node().health.map(|health| Health { ranks: silent, ..health });
    vec![node(), bare_node(), WorkerLine { health: None, ..node() }, WorkerLine { health: unknown, ..bare_node() }]
}

pub(super) fn removal(known: bool) -> rm::Removal {
    let (objects, bytes) = (known.then_some(1), known.then_some(1 << 30));
    let run = rm::Removed { run: run(), state: "finished".into(), objects, bytes, pinned: vec!["domain@10".into()] };
    rm::Removal { removed: true, runs: vec![run] }
}

pub(super) fn fsck_check() -> fsck::Check {
    let finding = |run, harmless, repaired| fsck::Finding {
        kind: fsck::Kind::Output,
        run,
        object: "runs/tiny/jobs/export/domain/g9/model.safetensors".into(),
        found: "is missing".into(),
        costs: "doing export/domain again, once".into(),
        way_out: "`osler fsck --repair` notes that it is to be made again".into(),
        harmless,
        repaired,
        mend: fsck::Mend::Doubt,
    };
    let findings = vec![finding(Some(run()), false, false), finding(None, true, false), finding(Some(run()), false, true)];
    fsck::Check { ok: false, quick: false, runs: 1, objects: 20, bytes: 1 << 30, findings }
}

/// Runs whose views differ in what they have.
fn views() -> Vec<Seen> {
    let mut waiting = fixture::running();
    waiting.record.state = RunState::Failed("a gate said stop".into());
    let reason = Reason::Slots { needs: 2, free: 1, unusable: vec![] };
    waiting.waiting = vec![(JobKey::from("export/domain"), reason)];
    waiting.alarm = Some("x".to_owned());
    vec![fixture::running(), waiting]
}

fn status() -> Sample {
    let views = views();
    let of = |seen: &Seen| [Status::of(seen, true), Status::of_record(&seen.record)];
    let bare = Status::of_record(&unbegun());
    let stop = Stop { kind: StopKind::ByHand, by: "owner (ann@desk)".into(), at: Millis(1) };
    let told = Status { stop: Some(stop), waived: Some("gate domain/full/seen WAIVED by owner (ann@desk): noise".into()), ..bare.clone() };
    sample("status", views.iter().flat_map(of).chain([bare, told])).maps(&["jobs"]).open(&["waiting[].detail"])
}

/// A run of which nothing is done.
fn unbegun() -> osler_core::record::RunRecord {
    let mut record = fixture::running().record;
    record.checkpoints.clear();
    record
}

fn explanations() -> Sample {
    let mut seen = fixture::running();
    seen.record.spec.queue.team = Some(TeamName::new("nlp").unwrap());
    let key = train_key(&stage());
    seen.record.jobs = fixture::finished().0.jobs;
    let job = seen.record.jobs.get_mut(&key).unwrap();
    job.status = JobState::Pending { since: Millis(5), not_before: Millis(9) };
    job.past[0].cause = Some(Cause::Stopped);
    job.past[0].fault.as_mut().unwrap().exit_code = Some(1);
    seen.waiting = vec![(key.clone(), Reason::Slots { needs: 2, free: 1, unusable: vec![] })];
    seen.budgets.insert(key.clone(), Budget { infrastructure: 9, internal: 1, out_of_memory: 1 });
    let line = |run: &str, team: &str| QueueLine {
        run: run.into(),
        job: key.to_string(),
        ranks: 2,
        priority: 0,
        team: team.into(),
        reason: "1 of 2 slots free".into(),
    };
    let around = |slots| Around {
        live: true,
        workers: nodes(),
        queue: vec![line("older", ""), line("tiny", "nlp")],
        quotas: vec![QuotaLine { team: "nlp".into(), slots, used: 0 }],
    };
    let mut running = fixture::running();
    running.record.spec.queue.team = None;
    let all = [
        Explanation::of(&seen, around(Some(4)), Some(&key)),
        Explanation::of(&seen, around(None), None),
        Explanation::of(&running, Around::default(), None),
    ];
    sample("explanation", all.into_iter().flatten()).maps(&["workers[].labels"]).open(&["jobs[].reason", "jobs[].attempts[].cause"])
}

fn reports() -> Sample {
    let (record, manifests) = fixture::finished();
    let full = build(&record, &manifests);
    let mut failed = full.clone();
    failed.reason = Some("a gate said stop".into());
    failed.goodput = None;
    failed.audit.mismatched_steps = vec![3];
    let stage = &mut failed.stages[1];
    stage.final_loss = None;
    stage.audit.mismatched_steps = vec![3];
    let cost = stage.cost.as_mut().unwrap();
    (cost.flops_per_token, cost.utilisation, cost.peak_memory) = (None, None, None);
    cost.no_utilisation = Some("a GPU of no known peak".into());
    cost.devices[0].peak = None;
    let energy = cost.energy.as_mut().unwrap();
    let mut counter = energy.readings[0].clone();
    counter.estimate = None;
    energy.readings.push(counter);
    let mut early = full.clone();
    early.stages[0].time = None;
    early.stages[0].cost = None;
    early.stages[1].cost.as_mut().unwrap().energy = None;
    early.gates[0].waived = Some(Waiver { by: "owner (ann@desk)".into(), at: Millis(1), reason: "noise".into() });
    sample("report", [full, failed, early]).maps(&["corpora", "corpora{}.removed", "corpora{}.packed", "stages[].epochs"])
}

fn plans() -> Sample {
    let corpora = BTreeMap::from([
        (CorpusName::new("general").unwrap(), vec![("/data/general.jsonl".into(), 44_000)]),
        (CorpusName::new("domain").unwrap(), vec![("/data/1.xml.gz".into(), 6_500)]),
    ]);
    let resolved = Resolved { spec: fixture::spec(), problems: vec![], warnings: vec![], corpora, vocab: None };
    let known = Machine { cores: 1, available_memory: Some(1), free_disk: Some(1), no_port: Some("denied".into()) };
    let unknown = Machine { cores: 1, available_memory: None, free_disk: None, no_port: None };
    let plans = [planned(&resolved, None, known), planned(&resolved, None, unknown)];
    sample("plan", plans).maps(&["corpora", "jobs", "estimate.epochs"])
}

fn of_runs() -> Vec<Sample> {
    let (record, manifests) = fixture::finished();
    let line = RunLine {
        run: "tiny".into(),
        state: "running".into(),
        reason: String::new(),
        stage: "domain".into(),
        step: 7,
        planned_steps: 10,
        submitted_at: Millis(1),
    };
    let mut events = record.events.clone();
    events[0].reason = Some(Cause::Stopped);
    events[0].generation = Some(Generation(3));
    let mut checkpoints = vec![serde_json::to_value(ckpt::list(&record)).unwrap()];
    let mut without = checkpoints[0].clone();
    without["checkpoints"][0]["mean_loss"] = Value::Null;
    checkpoints.push(without);
    let findings = vec![Finding { path: "x".into(), why: "x".into() }];
    let evidence = Evidence { objects: 3, chained: 2, signed: 1, findings };
    let mut swapped = build(&record, &manifests);
    swapped.audit.mismatched_steps = vec![3];
    swapped.stages[0].audit.mismatched_steps = vec![3];
    let verified = |problems: &[&str]| ckpt::Verified {
        stage: stage(),
        step: 5,
        parts: 2,
        bytes: 11,
        ok: problems.is_empty(),
        problems: problems.iter().map(|p| (*p).to_owned()).collect(),
    };
    let variants = [Variant::Full];
    vec![
        sample(
            "runs",
            [None, Some("x".to_owned())].map(|alarm| ps::Runs { coordinator: true, alarm, runs: vec![line.clone()], workers: nodes() }),
        )
        .maps(&["workers[].labels"]),
        sample("removal", [removal(true), removal(false)]),
        sample("check", [fsck_check()]),
        sample(
            "leftovers",
            [gc::Leftovers {
                deleted: false,
                objects: vec![gc::Leftover { path: "x".into(), bytes: 1, why: "x" }],
                unreadable: vec!["x".into()],
            }],
        ),
        sample("run", [describe::Described { coordinator: true, record: &record }]).open(&["record"]),
        status(),
        explanations(),
        sample("event", events).open(&["reason"]),
        sample("log-line", [logs::LogLine::sample()]),
        sample("run-state", [stop::RunNow { run: run(), state: "stopping".into() }]),
        sample("submission", [submit::Submitted { run: run(), created: true, state: "submitted".into() }]),
        reports(),
        sample("bug-report", [bug_report::Written { run: run(), file: PathBuf::from("osler-bug.tar.gz") }]),
        sample("audit", [audit::audited(&record, swapped, 3, evidence.clone())]),
        sample("signing-key", [cluster::Keys { key: "signing-key.pem".into(), public: "signing-public.pem".into() }]),
        sample("evidence", [audit::Examined { whole: false, evidence }]),
        sample(
            "export",
            variants.map(|variant| export::Exported { run: run(), stage: stage(), variant, dir: "m".into(), files: 4, bytes: 9 }),
        ),
        sample("checkpoints", checkpoints),
        sample("verification", [ckpt::Verification { run: run(), ok: false, checkpoints: vec![verified(&["gone"])] }]),
        sample("pin", [ckpt::Pinned { run: run(), stage: stage(), step: 5, pinned: true }]),
    ]
}

fn of_files() -> Vec<Sample> {
    let valid = |jobs| validate::Valid { run: "tiny".into(), digest: "0".into(), stages: 2, steps: 14, exams: 2, jobs };
    let folder = tempfile::tempdir().unwrap();
    let options = osler_demo::Options { diseases: 8, abstracts: 80, general_documents: 60, questions: 16, ..Default::default() };
    let world = folder.path().join("world");
    let made = osler_demo::generate(&world, &options).unwrap();
    let pubmed = made.files.iter().find(|(path, _)| path.ends_with(".xml.gz")).map(|(path, _)| world.join(path)).unwrap();
    let text = world.join("general/everyday.jsonl");
    let open = |path: &Path, format| osler_corpus::open(path, &CorpusSpec::new(format, vec![])).unwrap().map(Result::unwrap);
    let documents: Vec<_> = open(&pubmed, CorpusFormat::PubmedXml).chain(open(&text, CorpusFormat::Jsonl)).collect();
    let mut counts = corpus::Counts::default();
    documents.iter().for_each(|document| counts.add(document));
    let manual = man::write(&folder.path().join("man")).unwrap();
    vec![
        sample("validation", [valid(Some(22)), valid(None)]),
        plans(),
        sample("sources", [corpus::Sources { files: vec![corpus::Source { file: "1.xml.gz".into(), counts }] }]),
        sample("demo", [demo::document(Path::new("world"), &made)]),
        sample("completion", [completion::script(clap_complete::Shell::Bash)]),
        sample("manual", [manual]),
    ]
}

fn of_clusters() -> Vec<Sample> {
    let token = |worker: Option<&str>, revoked_at| TokenLine {
        name: "ann".into(),
        role: "viewer".into(),
        worker: worker.map(str::to_owned),
        created_at: Millis(1),
        created_by: "owner".into(),
        revoked_at,
    };
    let made = |worker, file: Option<&str>, secret: Option<&str>| token::Made {
        name: TokenName::new("ann").unwrap(),
        role: "viewer".into(),
        worker,
        file: file.map(PathBuf::from),
        secret: secret.map(str::to_owned),
    };
    let call = |who: Option<&str>, role| LogEntry {
        at: Millis(1),
        epoch: Epoch(1),
        number: 1,
        who: who.map(str::to_owned),
        role,
        peer: "127.0.0.1".into(),
        method: "StopRun".into(),
        what: "tiny".into(),
        outcome: "ok".into(),
        times: 1,
        follows: who.map(|_| Follows { epoch: Epoch(1), number: 1, link: Digest::of(b"") }),
        ended: vec![Ended { number: 1, outcome: Digest::of(b"ok") }],
    };
    let certificate = cluster::Certificate {
        file: "ca.pem".into(),
        subject: "CN=osler".into(),
        hosts: vec!["h".into()],
        expires: Millis(1),
        days_left: -3,
    };
    let team = || TeamName::new("nlp").unwrap();
    let quota = |slots| QuotaLine { team: "nlp".into(), slots, used: 3 };
    let drained = |reason: Option<&str>| node::Drained { worker: worker(), drained: reason.is_some(), reason: reason.map(str::to_owned) };
    vec![
        sample("nodes", [node::Nodes { nodes: nodes() }]).maps(&["nodes[].labels"]),
        sample("node", nodes()).maps(&["labels"]),
        sample("drain", [drained(Some("new disks")), drained(None)]),
        sample("quotas", [quota::Quotas { quotas: vec![quota(Some(4)), quota(None)] }]),
        sample("quota", [Some(4), None].map(|slots| quota::Quota { team: team(), slots })),
        sample("tokens", [token::Tokens { tokens: vec![token(Some("a"), None), token(None, Some(Millis(1)))] }]),
        sample("token", [made(Some(worker()), Some("f"), None), made(None, None, Some("s"))]),
        sample("revocation", [token::Revoked { name: TokenName::new("ann").unwrap(), revoked: true }]),
        sample("certificates", [cluster::Certificates { folder: "c".into(), certificates: vec![certificate] }]),
        sample("call", [call(Some("ann"), Some(osler_core::access::Role::Viewer)), call(None, None)]),
    ]
}

fn others() -> Vec<Sample> {
    let error = |failure: Failure| {
        let document = error_document(failure.kind().as_str(), failure.message(), failure.hint_text(), failure.code());
        serde_json::to_value(document).unwrap()
    };
    let errors = vec![error(usage("no run is named \"x\"").hint("known here: tiny")), error(hopeless("it failed"))];
    vec![
        Sample { schema: "error", documents: errors, maps: &[], open: &[] },
        sample("down", [down::Down { store: "s".into(), interrupted: vec!["tiny".into()], ended: vec!["worker", "coordinator"] }]),
        sample("note", [json!({ "note": "run tiny is finished already" })]),
    ]
}

fn samples() -> Vec<Sample> {
    [of_runs(), of_files(), of_clusters(), others()].into_iter().flatten().collect()
}

/// The shape of values that stand at one place.
fn infer(values: &[&Value], path: &str, sample: &Sample) -> Value {
    let mut types = BTreeSet::new();
    for value in values {
        types.insert(match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(n) if n.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        });
    }
    if types.contains("number") {
        types.remove("integer");
    }
    assert!(types.iter().any(|t| *t != "null"), "{}: {path}: no document has it", sample.schema);
    let mut shape = Map::new();
    let types: Vec<_> = types.into_iter().collect();
    shape.insert("type".into(), if let [one] = types.as_slice() { json!(one) } else { json!(types) });
    let objects: Vec<&Map<String, Value>> = values.iter().filter_map(|value| value.as_object()).collect();
    if sample.maps.contains(&path) {
        let inner: Vec<&Value> = objects.iter().flat_map(|object| object.values()).collect();
        shape.insert("additionalProperties".into(), infer(&inner, &format!("{path}{{}}"), sample));
    } else if !objects.is_empty() && !sample.open.contains(&path) {
        let keys: BTreeSet<&String> = objects.iter().flat_map(|object| object.keys()).collect();
        let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        let of = |key: &String| infer(&objects.iter().filter_map(|object| object.get(key)).collect::<Vec<_>>(), &below(key), sample);
        let required: Vec<&&String> = keys.iter().filter(|key| objects.iter().all(|object| object.contains_key(**key))).collect();
        shape.insert("required".into(), json!(required));
        shape.insert("properties".into(), keys.iter().map(|key| ((*key).clone(), of(key))).collect::<Map<_, _>>().into());
    }
    let items: Vec<&Value> = values.iter().filter_map(|value| value.as_array()).flatten().collect();
    if !items.is_empty() {
        shape.insert("items".into(), infer(&items, &format!("{path}[]"), sample));
    }
    shape.into()
}

fn shape(sample: &Sample) -> Value {
    let documents: Vec<&Value> = sample.documents.iter().collect();
    let mut shape = infer(&documents, "", sample);
    let name = format!("{} {}", osler_core::output::VERSION, sample.schema);
    shape["properties"]["schema"] = json!({ "const": name });
    shape["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    shape["title"] = json!(name);
    shape
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

#[test]
fn documents_have_the_shapes_that_are_shipped() {
    let folder = docs().join("schemas");
    let mut shipped = BTreeSet::new();
    for sample in samples() {
        let file = folder.join(format!("{}.json", sample.schema));
        let expected = serde_json::to_string_pretty(&shape(&sample)).unwrap() + "\n";
        if std::env::var_os("OSLER_BLESS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&file, &expected).unwrap();
        }
        let found = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(found == expected, "{}: it should be\n{expected}", file.display());
        shipped.insert(file);
    }
    for entry in std::fs::read_dir(&folder).unwrap().flatten() {
        assert!(shipped.contains(&entry.path()), "{}: no document has this shape", entry.path().display());
    }
}

/// Fields by schema, as docs/output.md names them: a section `### name`, and in it rows `| `field` | ... |`.
fn described() -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(docs().join("output.md")).unwrap();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut open = vec![];
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("### ") {
            open = title.split(", ").map(|name| name.trim_matches('`').to_owned()).collect();
            open.iter().for_each(|name| {
                found.entry(name.clone()).or_default();
            });
        } else if let Some(row) = line.strip_prefix("| `") {
            let cell = row.split(" | ").next().unwrap_or_default();
            let fields = cell.split(", ").map(|field| field.trim_matches('`').to_owned());
            for name in &open {
                found.entry(name.clone()).or_default().extend(fields.clone());
            }
        }
    }
    found
}

#[test]
fn every_field_is_described_and_no_other() {
    let described = described();
    for sample in samples() {
        let shape = shape(&sample);
        let fields: BTreeSet<String> = shape["properties"].as_object().unwrap().keys().filter(|key| *key != "schema").cloned().collect();
        let named = described.get(sample.schema).unwrap_or_else(|| panic!("docs/output.md has no section {:?}", sample.schema));
        assert_eq!(*named, fields, "docs/output.md, {}", sample.schema);
    }
}
