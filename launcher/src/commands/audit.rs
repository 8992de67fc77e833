//! `osler audit`: every published ledger against what the order predicts, and every version of records against the one before it. Exit
//! code 1 when anything was repeated, skipped, swapped or changed.

use super::Context;
use crate::evidence::Examiner;
use crate::failure::{Outcome, failed};
use crate::manifests;
use crate::show;
use crate::source::Source;
use crate::terminal::{Cell, Line, Page, Table, name, number, prose, state};
use osler_core::audit::Audit;
use osler_core::evidence::Evidence;
use osler_core::ids::RunName;
use osler_core::record::{RunRecord, RunState};
use osler_core::report::{Report, build};
use serde::Serialize;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run; without one the records of all runs, the book of tokens and the log of calls are looked at, and no ledgers.
    run: Option<RunName>,
    /// Verify signatures too: the public half of the coordinators' --signing-key, in PEM form. What is not signed counts as changed.
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
}

/// The evidence of a whole store.
#[derive(Serialize)]
pub(super) struct Examined {
    /// Nothing is missing or changed.
    pub whole: bool,
    #[serde(flatten)]
    pub evidence: Evidence,
}

#[derive(Serialize)]
pub(super) struct Audited {
    run: RunName,
    state: String,
    clean: bool,
    #[serde(flatten)]
    total: Audit,
    stages: Vec<AuditedStage>,
    /// Manifests that were read and whose digests are right.
    manifests: usize,
    /// The versions of the run's record.
    evidence: Evidence,
}

#[derive(Serialize)]
struct AuditedStage {
    name: String,
    /// Published, and therefore audited.
    steps: u64,
    /// Of a run that says that it finished: planned steps that nobody published. Osler writes no such record.
    missing_steps: u64,
    #[serde(flatten)]
    audit: Audit,
}

pub async fn run(args: &Args, cx: &Context) -> Outcome {
    let store = cx.access.open_store()?;
    let examiner = Examiner::new(&store, args.public_key.as_deref())?;
    match &args.run {
        Some(run) => one(run, &examiner, cx).await,
        None => all(&examiner, cx).await,
    }
}

async fn all(examiner: &Examiner<'_>, cx: &Context) -> Outcome {
    let evidence = examiner.all().await?;
    let examined = Examined { whole: evidence.is_whole(), evidence };
    cx.terminal().answer("evidence", &examined, || examined_page(&examined))?;
    if examined.whole { Ok(()) } else { Err(failed("something in this store is missing or was changed")) }
}

async fn one(run: &RunName, examiner: &Examiner<'_>, cx: &Context) -> Outcome {
    let store = examiner.store;
    let mut evidence = examiner.run(run).await?;
    let mut source = Source::find(&cx.access).await?;
    let record = source.run(run).await?.record;
    let (manifests, missing) = manifests::read_all(store, &record).await?;
    evidence.findings.extend(missing);
    let read = manifests.values().map(Vec::len).sum();
    if read == 0 && evidence.is_whole() {
        return Err(failed(format!("run {run} has published no checkpoint yet: there is nothing to audit")));
    }
    // Without the order there is no prediction, and nothing could be called clean.
    for stage in record.spec.stages.iter().filter(|stage| record.published_steps(&stage.name) > 0) {
        record.order(stage).map_err(|e| failed(format!("stage {}: its order cannot be computed: {e}", stage.name)))?;
    }
    let audited = audited(&record, build(&record, &manifests), read, evidence);
    cx.terminal().answer("audit", &audited, || page(&audited))?;
    if audited.clean { Ok(()) } else { Err(failed(format!("the audit of run {run} found differences"))) }
}

pub(super) fn audited(record: &RunRecord, report: Report, manifests: usize, evidence: Evidence) -> Audited {
    let finished = record.state == RunState::Finished;
    let stages = report.stages.into_iter().map(|stage| AuditedStage {
        name: stage.name.to_string(),
        steps: stage.steps,
        missing_steps: if finished { stage.planned_steps.saturating_sub(stage.steps) } else { 0 },
        audit: stage.audit,
    });
    let stages: Vec<_> = stages.collect();
    Audited {
        run: record.name().clone(),
        state: report.state,
        clean: report.audit.is_clean() && stages.iter().all(|stage| stage.missing_steps == 0) && evidence.is_whole(),
        total: report.audit,
        stages,
        manifests,
        evidence,
    }
}

pub(super) fn page(audited: &Audited) -> Page {
    let mut table = Table::new([
        name("stage", 0),
        number("steps", 3),
        number("expected", 1),
        number("seen", 1),
        number("repeated", 1),
        number("skipped", 1),
        prose("other samples at steps", 2),
    ]);
    for AuditedStage { name, steps, audit, .. } in &audited.stages {
        let shown = 10;
        let mut mismatched: Vec<String> = audit.mismatched_steps.iter().take(shown).map(ToString::to_string).collect();
        if audit.mismatched_steps.len() > shown {
            mismatched.push(format!("and {} more", audit.mismatched_steps.len() - shown));
        }
        let [steps, expected, seen, repeated, skipped] =
            [*steps, audit.expected, audit.seen, audit.repeated, audit.skipped].map(|n| Cell::from(show::count(n)));
        let mismatched = if mismatched.is_empty() { "none".into() } else { mismatched.join(" ") };
        table.row([name.as_str().into(), steps, expected, seen, repeated, skipped, mismatched.into()]);
    }
    let verdict = if audited.clean { "clean: every sample of the published steps was consumed once, as predicted" } else { "NOT CLEAN" };
    let mut page = Page::new();
    page.table(table).blank().line(format!("{} manifests read and verified", audited.manifests));
    for AuditedStage { name, missing_steps, .. } in audited.stages.iter().filter(|stage| stage.missing_steps > 0) {
        page.line(format!("stage {name}: the run says that it finished, but {} steps were never published", show::count(*missing_steps)));
    }
    add_evidence(&mut page, &audited.evidence);
    page.line(Line::default().styled(verdict, state(verdict)));
    page
}

pub(super) fn examined_page(examined: &Examined) -> Page {
    let mut page = Page::new();
    add_evidence(&mut page, &examined.evidence);
    let verdict = if examined.whole { "clean: nothing is missing between them, and none was changed" } else { "NOT CLEAN" };
    page.line(Line::default().styled(verdict, state(verdict)));
    page
}

fn add_evidence(page: &mut Page, evidence: &Evidence) {
    let Evidence { objects, chained, signed, findings } = evidence;
    page.line(format!(
        "{} of records and logs: {chained} name the one before, {signed} are signed",
        show::plural(*objects as u64, "version")
    ));
    for finding in findings {
        page.line(Line::from(format!("  {}: {}", finding.path, finding.why)).hang(4));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::terminal::View;

    #[test]
    fn the_totals_stand_at_the_top_of_the_document() {
        let (record, manifests) = fixture::finished();
        let document = serde_json::to_value(audited(&record, build(&record, &manifests), 3, Evidence::default())).unwrap();
        // 4 + 10 steps of 4 sequences.
        for (key, value) in [("expected", 56), ("seen", 56), ("repeated", 0), ("skipped", 0), ("manifests", 3)] {
            assert_eq!(document[key], value, "{key}");
        }
        assert_eq!((document["clean"].as_bool(), document["mismatched_steps"].as_array().map(Vec::len)), (Some(true), Some(0)));
        assert_eq!(document["stages"][1]["seen"], 40);
    }

    #[test]
    fn a_run_that_finished_too_early_is_not_clean() {
        let (mut record, manifests) = fixture::finished();
        let domain = record.spec.stages[1].name.clone();
        record.checkpoints.get_mut(&domain).unwrap().pop();
        let manifests = manifests.into_iter().map(|(stage, all)| (stage, all.into_iter().take(1).collect())).collect();
        let finished = audited(&record, build(&record, &manifests), 2, Evidence::default());
        assert!(!finished.clean && finished.total.is_clean(), "{}", page(&finished).render(View::columns(80)));
        assert!(page(&finished).render(View::columns(80)).contains("were never published"));
        record.state = RunState::Stopped;
        assert!(audited(&record, build(&record, &manifests), 2, Evidence::default()).clean, "a run that has stopped may go on");
    }

    #[test]
    fn a_missing_manifest_is_not_clean() {
        let (record, mut manifests) = fixture::finished();
        manifests.values_mut().last().unwrap().remove(0);
        let audited = audited(&record, build(&record, &manifests), 2, Evidence::default());
        assert!(!audited.clean && audited.total.skipped > 0);
        assert!(page(&audited).render(View::columns(80)).contains("NOT CLEAN"));
    }
}
