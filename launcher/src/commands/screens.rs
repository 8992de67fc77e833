//! Every table of every command in 80 columns, and narrower, with usual and with hostile contents: nothing is wider than the terminal,
//! no word is broken that could stand whole, and nothing from outside steers the terminal.

use super::*;
use crate::client::{QueueLine, QuotaLine, RunLine, Seen, TokenLine};
use crate::explain::{Around, Explanation};
use crate::fixture;
use crate::planning::{Machine, planned};
use crate::render::{cause, text};
use crate::resolve::Resolved;
use crate::status::Status;
use crate::terminal::{Page, Style, View, width};
use osler_core::access::LogEntry;
use osler_core::evidence::{Evidence, Finding};
use osler_core::ids::*;
use osler_core::job::JobKey;
use osler_core::reason::Reason;
use osler_core::report::{Report, build};
use std::collections::BTreeMap;

/// A long text with everything that a terminal could be steered by.
fn evil() -> String {
    let long = "a long story of a disk that was full and of a rank that did not answer for it ".repeat(4);
    format!("\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}{long}/very/{}/path\r\n\tnext", "deep/".repeat(30))
}

/// A name as long as names may be.
fn long(first: char) -> String {
    std::iter::once(first).chain("name-of-a-thing.".chars().cycle()).take(64).collect()
}

fn seen() -> Seen {
    let mut seen = fixture::running();
    seen.record.jobs = fixture::finished().0.jobs;
    let reason = Reason::Behind {
        first: osler_core::job::JobId { run: RunName::new(long('r')).unwrap(), job: JobKey::from(format!("train/{}", long('s')).as_str()) },
        unusable: vec![osler_core::reason::Unusable { worker: WorkerName::new(long('w')).unwrap(), why: evil() }],
    };
    let key = JobKey::from(format!("exam/{}/gguf-q8_0/{}", long('s'), long('e')).as_str());
    let mut job = seen.record.jobs.values().next().unwrap().clone();
    job.status = osler_core::record::JobState::Pending { since: Millis(1), not_before: Millis(u64::MAX) };
    let lost = seen.record.jobs[&osler_core::plan::train_key(&StageName::new("domain").unwrap())].past[0].clone();
    let mut fault = lost.fault.clone().unwrap();
    (fault.message, fault.origin, fault.log_tail) = (evil(), Some(evil()), vec![evil(), "short".into()]);
    job.past = vec![osler_core::record::PastAttempt { fault: Some(fault), others: BTreeMap::from([(evil(), evil())]), ..lost }];
    seen.record.jobs.insert(key.clone(), job);
    seen.record.state = osler_core::record::RunState::Failing(evil());
    seen.record.spec.description = evil();
    seen.record.events[0].message = evil();
    seen.waiting = vec![(key, reason)];
    seen
}

fn hostile_report(report: &mut Report) {
    report.description = evil();
    report.reason = Some(evil());
    let words = |n: usize| -> BTreeMap<String, u64> { (0..n).map(|i| (format!("{}-{i}", evil()), u64::MAX)).collect() };
    for stage in &mut report.stages {
        stage.name = StageName::new(long('s')).unwrap();
        (stage.steps, stage.planned_steps, stage.tokens, stage.skipped_steps) = (u64::MAX, u64::MAX, u64::MAX, u64::MAX / 2);
        stage.final_loss = Some(f64::MAX);
        stage.losses.iter_mut().for_each(|point| point.loss = 1e30);
        stage.epochs = (0..9).map(|i| (CorpusName::new(format!("{}{i}", &long('c')[..60])).unwrap(), 1e12)).collect();
        stage.rewinds.iter_mut().for_each(|rewind| (rewind.to, rewind.reason) = (u64::MAX, evil()));
        for exam in &mut stage.exams {
            exam.task = ExamName::new(long('e')).unwrap();
            exam.protocol = evil();
            (exam.n, exam.truncated) = (u64::MAX, u64::MAX);
            exam.perplexity = exam.perplexity.map(|_| 1e300);
        }
        if let Some(cost) = &mut stage.cost {
            cost.devices.iter_mut().for_each(|device| device.name = evil());
            cost.no_utilisation = Some(evil());
            cost.peak_memory = Some(u64::MAX);
            cost.energy.iter_mut().for_each(|e| (e.joules, e.readings[0].source) = (1e18, evil()));
        }
    }
    for gate in &mut report.gates {
        (gate.exam, gate.evidence) = (long('e'), evil());
    }
    for corpus in report.corpora.values_mut() {
        (corpus.documents, corpus.words, corpus.removed, corpus.identity) = (u64::MAX, u64::MAX, words(5), "f".repeat(64));
    }
    for failure in &mut report.failures {
        (failure.job, failure.fault) = (format!("exam/{}/gguf-q8_0/{}", long('s'), long('e')), evil());
    }
    let failure = report.failures[0].clone();
    report.failures.extend(std::iter::repeat_n(failure, 30));
    report.audit.skipped = u64::MAX;
}

/// Pages by name: the first of each pair with usual contents.
fn pages() -> Vec<(&'static str, Page)> {
    let (record, manifests) = fixture::finished();
    let report = build(&record, &manifests);
    let mut hostile = report.clone();
    hostile_report(&mut hostile);
    let mut audit = build(&record, &manifests);
    audit.stages.iter_mut().for_each(|stage| stage.audit.mismatched_steps = (0..50).collect());
    let (usual, evil_seen) = (fixture::running(), seen());
    let finished = Seen::of_record(record.clone());
    let around = || {
        let line = |run: &str, reason: &str| QueueLine {
            run: run.into(),
            job: format!("train/{}", long('s')),
            ranks: u32::MAX,
            priority: i32::MIN,
            team: long('t'),
            reason: reason.into(),
        };
        let queue = vec![line(&long('r'), &evil()), line("other", "1 of 2 slots free")];
        Around { live: true, workers: schemas::nodes(), queue, quotas: vec![QuotaLine { team: long('t'), slots: Some(1), used: 2 }] }
    };
    let mut nodes = schemas::nodes();
    nodes[1].worker = long('w');
    (nodes[1].host, nodes[1].why) = (evil(), Some(evil()));
    nodes[1].strikes = nodes[0].strikes.clone();
    nodes[1].strikes[0].message = evil();
    let run = |run: &str, reason: &str| RunLine {
        run: run.into(),
        state: "running".into(),
        reason: reason.into(),
        stage: long('s'),
        step: u64::MAX,
        planned_steps: u64::MAX,
        submitted_at: Millis(1_795_410_000_000),
    };
    let runs = ps::Runs {
        coordinator: false,
        alarm: Some(long('a')),
        runs: vec![run(&long('r'), &evil()), run("quickstart", "")],
        workers: nodes.clone(),
    };
    let call = LogEntry {
        at: Millis(1_795_410_000_000),
        epoch: Epoch(1),
        number: 1,
        who: Some(long('n')),
        role: Some(osler_core::access::Role::Operator),
        peer: evil(),
        method: "PinCheckpoint".into(),
        what: evil(),
        outcome: evil(),
        times: u64::MAX,
        follows: None,
        ended: vec![],
    };
    let token = TokenLine {
        name: long('n'),
        role: "operator".into(),
        worker: Some(long('w')),
        created_at: Millis(1),
        created_by: evil(),
        revoked_at: Some(Millis(2)),
    };
    let corpora = BTreeMap::from([(CorpusName::new(long('c')).unwrap(), vec![("/data/general.jsonl".into(), u64::MAX)])]);
    let mut resolved = Resolved { spec: fixture::spec(), problems: vec![evil()], warnings: vec![evil()], corpora, vocab: None };
    resolved.spec.description = evil();
    let machine = Machine { cores: 1, available_memory: Some(1), free_disk: None, no_port: Some(evil()) };
    let explained = |seen: &Seen, job: Option<&JobKey>| explain::page(&Explanation::of(seen, around(), job).unwrap());
    let job = evil_seen.waiting[0].0.clone();
    let mut events = Page::new();
    evil_seen.record.events.iter().for_each(|event| {
        events.line(crate::watch::event_line(event));
    });
    let list = ckpt::list(&record);
    let evidence = || Evidence { objects: 9, findings: vec![Finding { path: evil(), why: evil() }], ..Evidence::default() };
    vec![
        ("report", text::page(&report)),
        ("report, hostile", text::page(&hostile)),
        ("audit", audit::page(&audit::audited(&record, audit, 3, evidence()))),
        ("status", status::page(&usual.record, &Status::of(&usual, true))),
        ("status, hostile", status::page(&evil_seen.record, &Status::of(&evil_seen, false))),
        ("describe", describe::page(&finished, true)),
        ("describe, hostile", describe::page(&evil_seen, false)),
        ("cause", cause::of_job(&evil_seen.record, &job, &evil_seen.record.jobs[&job]).unwrap()),
        ("explain", explained(&usual, None)),
        ("explain, hostile", explained(&evil_seen, None)),
        ("explain a job, hostile", explained(&evil_seen, Some(&job))),
        ("ps", ps::page(&runs)),
        ("nodes", node::list(&nodes)),
        ("node", node::looked(&nodes[0])),
        ("calls", cluster::calls(vec![call])),
        ("tokens", token::list(&[token])),
        ("checkpoints", ckpt::listed(&list)),
        ("rm", rm::page(&schemas::removal(true))),
        ("rm, hostile", rm::page(&hostile_removal())),
        ("fsck", fsck::page(&schemas::fsck_check())),
        ("fsck, hostile", fsck::page(&hostile_check())),
        ("plan", plan::page(&planned(&resolved, None, machine))),
        ("events", events),
        ("failure", crate::failure::failed(evil()).hint(evil()).page()),
    ]
}

fn hostile_removal() -> rm::Removal {
    let mut removal = schemas::removal(false);
    let first = &mut removal.runs[0];
    (first.run, first.state, first.pinned) = (RunName::new(long('r')).unwrap(), evil(), vec![evil(), evil()]);
    removal
}

fn hostile_check() -> fsck::Check {
    let mut check = schemas::fsck_check();
    for finding in &mut check.findings {
        (finding.object, finding.found, finding.costs, finding.way_out) = (evil(), evil(), evil(), evil());
    }
    check
}

#[test]
fn every_screen_fits_and_nothing_steers_it() {
    for columns in [120, 80, 60, 40] {
        for (name, page) in pages() {
            let shown = page.render(View::columns(columns));
            for line in shown.lines() {
                assert!(width(line) <= columns, "{name} in {columns} columns: {} in\n{line:?}", width(line));
                assert!(!line.ends_with(' '), "{name}: spaces at the end of\n{line:?}");
            }
            assert!(shown.chars().all(|c| c == '\n' || !(c.is_control() || c == '\u{202e}')), "{name}:\n{shown:?}");
        }
    }
}

#[test]
fn with_usual_contents_eighty_columns_lose_little_and_say_what() {
    let lost = |name: &str| {
        let shown = pages().into_iter().find(|(page, _)| *page == name).map(|(_, page)| page.render(View::columns(80))).unwrap();
        shown.lines().filter_map(|line| line.strip_prefix("left out: ")).map(str::to_owned).collect::<Vec<_>>()
    };
    for name in ["status", "describe", "audit", "explain", "node", "events", "rm", "fsck"] {
        assert_eq!(lost(name), [] as [&str; 0], "{name}");
    }
    assert!(lost("report").iter().all(|line| line.contains("-o json") || line.contains("wider")), "{:?}", lost("report"));
}

#[test]
fn no_word_is_broken_that_has_room() {
    let usual = ["report", "status", "describe", "audit", "explain"];
    for (name, page) in pages().into_iter().filter(|(name, _)| usual.contains(name)) {
        let whole = page.render(View::PLAIN);
        let known: std::collections::BTreeSet<&str> = whole.split_whitespace().collect();
        for line in page.render(View::columns(80)).lines().filter(|line| !line.starts_with("left out: ") && !line.starts_with("  ")) {
            for word in line.split_whitespace() {
                assert!(known.contains(word) || word.contains('…') || "with -o json)".contains(word), "{name}: {word:?} in\n{line}");
            }
        }
    }
}

#[test]
fn colour_marks_what_failed() {
    let (record, manifests) = fixture::finished();
    let mut report = build(&record, &manifests);
    report.gates[0].passed = false;
    report.state = "failed".into();
    let shown = text::page(&report).render(View { width: Some(80), colour: true });
    assert!(shown.contains("\u{1b}[31mfailed\u{1b}[0m") && shown.contains("\u{1b}[31mFAILED\u{1b}[0m"), "{shown:?}");
    assert!(shown.contains("\u{1b}[33mat chance\u{1b}[0m"), "{shown:?}");
    assert_eq!(crate::terminal::state("NOT CLEAN"), Style::Bad);
}
