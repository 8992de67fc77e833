//! The report for a terminal.

use super::exams::verdict;
use super::{causes, cost, gates};
use crate::show::{self, bytes, count, maybe, short};
use crate::terminal::{Cell, Column, Line, Page, Style, Table, name, number, prose, state};
use osler_core::job::ExamSummary;
use osler_core::report::{Report, StageReport, TimeReport};
use osler_core::stop::waived;

pub fn page(report: &Report) -> Page {
    let mut page = head(report);
    page.section(stages(report));
    for (stage, why) in report.stages.iter().flat_map(|stage| stage.warnings.iter().map(move |why| (stage, why))) {
        page.line(Line::default().styled("WARNING: ", Style::Careful).styled(format!("{}: {why}", stage.name), Style::Plain));
    }
    page.section(guarded(report)).section(goodput(report)).section(time(report));
    page.section(efficiency(report));
    for (stage, why) in report.stages.iter().filter_map(|s| Some((s, s.cost.as_ref()?.no_utilisation.as_ref()?))) {
        page.line(format!("{}: no MFU: {why}", stage.name));
    }
    page.section(energy(report)).section(marks(report)).section(held_out(report)).section(gates::table(&report.gates));
    page.section(quantized(report)).section(checkpoints(report)).section(corpora(report));
    losses(report).iter().for_each(|line| {
        page.text(line);
    });
    page.section(failures(report));
    if report.failures.len() > FAILURES {
        page.line(format!("and {} more: `osler describe {}`", report.failures.len() - FAILURES, report.run));
    }
    page.blank().line(audit(report));
    page
}

fn head(report: &Report) -> Page {
    let mut page = Page::new();
    let head = Line::default().styled(format!("RUN {}: ", report.run), Style::Strong).styled(report.state.clone(), state(&report.state));
    page.line(match waived(&report.gates) {
        Some(gates) => head.then("; ").styled(gates, Style::Careful),
        None => head,
    });
    for line in [Some(&report.description).filter(|d| !d.is_empty()), report.reason.as_ref()].into_iter().flatten() {
        page.text(line);
    }
    page.line(format!("submitted {}", show::time(report.submitted_at)));
    page.line(format!("run identity {}", report.spec_digest));
    page
}

fn stages(report: &Report) -> Table {
    let mut table = Table::new([
        name("stage", 0),
        name("state", 0),
        number("steps", 0),
        number("tokens", 2),
        number("first loss", 3),
        number("last loss", 1),
        number("skipped", 1),
        number("tok/s", 2),
        prose("epochs", 4),
    ]);
    for stage in &report.stages {
        let epochs: Vec<String> = stage.epochs.iter().map(|(corpus, passes)| format!("{corpus} {passes:.2}")).collect();
        table.row([
            stage.name.as_str().into(),
            Cell::state(stage.state),
            format!("{}/{}", count(stage.steps), count(stage.planned_steps)).into(),
            count(stage.tokens).into(),
            maybe(stage.losses.first().map(|p| p.loss), 4).into(),
            maybe(stage.final_loss, 4).into(),
            skipped(stage),
            stage.time.map_or_else(|| "-".into(), |t| short(t.tokens_per_second)).into(),
            epochs.join(", ").into(),
        ]);
    }
    table
}

/// The share of a stage's updates that the guard did not apply.
fn skipped(stage: &StageReport) -> Cell {
    if stage.steps == 0 {
        return "-".into();
    }
    let style = if stage.skipped_steps > 0 { Style::Careful } else { Style::Plain };
    Cell::new(show::percent(stage.skipped_share), style)
}

/// What the guard kept from the weights: skipped updates, and returns to an earlier step.
fn guarded(report: &Report) -> Table {
    let mut table = Table::new([
        name("guard", 0),
        number("updates skipped", 0),
        number("went back to step", 1),
        number("steps given up", 2),
        number("sequences left out", 3),
        prose("why", 1),
    ]);
    for stage in &report.stages {
        if stage.skipped_steps > 0 {
            let none = || Cell::from("-");
            let skipped = format!("{} ({:.2} %)", count(stage.skipped_steps), 100.0 * stage.skipped_share);
            table.row([stage.name.as_str().into(), skipped.into(), none(), none(), none(), "osler events".into()]);
        }
        for rewind in &stage.rewinds {
            let numbers = [rewind.to, rewind.abandoned_steps, rewind.left_out_sequences].map(|n| Cell::from(count(n)));
            let why = [Cell::from(rewind.reason.as_str())];
            table.cells([stage.name.as_str().into(), "-".into()].into_iter().chain(numbers).chain(why));
        }
    }
    table
}

/// The whole run's time; causes that took nothing are left out.
fn goodput(report: &Report) -> Table {
    let mut table = Table::new([name("goodput", 0), number("time", 0), number("share", 0)]);
    let Some(goodput) = &report.goodput else { return table };
    for (cause, seconds) in goodput.causes.iter().filter(|(_, seconds)| *seconds > 0.0) {
        table.row([(*cause).into(), show::duration(*seconds).into(), share(*seconds, goodput.wall).into()]);
    }
    table.row(["in all".into(), show::duration(goodput.wall).into(), share(goodput.wall, goodput.wall).into()]);
    table
}

/// Causes that took nothing in any stage are left out. Where there is too little room for all, those that took least go first.
fn time(report: &Report) -> Table {
    let stages: Vec<(&StageReport, TimeReport)> = report.stages.iter().filter_map(|s| Some((s, s.time?))).collect();
    let most = |cause: &str| {
        let of = |time: &TimeReport| causes(time).iter().find(|(name, _)| *name == cause).map_or(0.0, |(_, seconds)| seconds / time.wall);
        stages.iter().map(|(_, time)| of(time)).fold(0.0, f64::max)
    };
    let mut shown: Vec<(&str, f64)> = causes(&Default::default()).map(|(cause, _)| (cause, most(cause))).to_vec();
    shown.retain(|(_, share)| *share > 0.0);
    let rank = |share: f64| shown.iter().filter(|(_, other)| *other > share).count() as u8 + 1;
    let columns = shown.iter().map(|(cause, share)| number(cause, rank(*share)));
    let mut table = Table::new([name("time", 0), number("wall", 0)].into_iter().chain(columns).collect::<Vec<Column>>());
    for (stage, time) in &stages {
        let shares = causes(time).into_iter().filter(|(cause, _)| shown.iter().any(|(name, _)| name == cause));
        let shares = shares.map(|(_, seconds)| Cell::from(share(seconds, time.wall)));
        table.cells([stage.name.as_str().into(), show::duration(time.wall).into()].into_iter().chain(shares));
    }
    table
}

fn efficiency(report: &Report) -> Table {
    let mut table = Table::new([
        name("efficiency", 0),
        number("tok/s", 0),
        number("mfu %", 0),
        number("hfu %", 3),
        number("stepping tok/s", 2),
        number("mfu %", 2),
        number("hfu %", 4),
        number("memory a rank", 1),
        prose("on", 1),
    ]);
    for (stage, time, cost) in report.stages.iter().filter_map(|s| Some((s, s.time?, s.cost.as_ref()?))) {
        let [mfu, hfu, mfu_stepping, hfu_stepping] = cost::shares(cost).map(Cell::from);
        table.row([
            stage.name.as_str().into(),
            short(time.tokens_per_second).into(),
            mfu,
            hfu,
            short(time.tokens_per_second_stepping).into(),
            mfu_stepping,
            hfu_stepping,
            cost.peak_memory.map_or_else(|| "-".into(), bytes).into(),
            cost::devices(&cost.devices).into(),
        ]);
    }
    table
}

fn energy(report: &Report) -> Table {
    let mut table = Table::new([
        name("energy", 0),
        number("kWh", 1),
        number("joules", 0),
        number("joules a 1k tokens", 0),
        number("of seconds", 2),
        prose("basis", 0),
    ]);
    for (stage, energy) in report.stages.iter().filter_map(|s| Some((s, s.cost.as_ref()?.energy.as_ref()?))) {
        table.row([
            stage.name.as_str().into(),
            format!("{:.6}", energy.kilowatt_hours).into(),
            count(energy.joules as u64).into(),
            format!("{:.2}", energy.joules_per_1k_tokens).into(),
            count(energy.covers_seconds as u64).into(),
            cost::energy_basis(energy).into(),
        ]);
    }
    table
}

fn share(seconds: f64, wall: f64) -> String {
    if wall > 0.0 { show::percent(seconds / wall) } else { "-".to_owned() }
}

fn marks(report: &Report) -> Table {
    let mut table = Table::new([
        name("exam", 0),
        name("after", 0),
        name("variant", 0),
        name("protocol", 4),
        number("n", 2),
        number("accuracy %", 0),
        number("± stderr", 1),
        number("majority %", 1),
        number("vs full", 2),
        number("truncated", 5),
        name("", 0),
    ]);
    for (stage, exam) in exams(report).into_iter().filter(|(_, exam)| exam.accuracy.is_some()) {
        table.row([
            exam.task.as_str().into(),
            stage.name.as_str().into(),
            exam.variant.to_string().into(),
            exam.protocol.as_str().into(),
            count(exam.n).into(),
            maybe(exam.accuracy, 2).into(),
            maybe(exam.stderr, 2).into(),
            maybe(exam.majority_baseline, 2).into(),
            exam.paired.as_ref().map_or_else(|| "-".into(), |p| show::signed(p.delta, 2)).into(),
            count(exam.truncated).into(),
            Cell::state(verdict(exam).unwrap_or_default()),
        ]);
    }
    table
}

fn held_out(report: &Report) -> Table {
    let mut table = Table::new([
        name("held-out text", 0),
        name("after", 0),
        name("variant", 0),
        number("documents", 2),
        number("perplexity", 0),
        number("bits a byte", 1),
        number("vs full", 1),
    ]);
    for (stage, exam) in exams(report).into_iter().filter(|(_, exam)| exam.accuracy.is_none()) {
        table.row([
            exam.task.as_str().into(),
            stage.name.as_str().into(),
            exam.variant.to_string().into(),
            count(exam.n).into(),
            maybe(exam.perplexity, 3).into(),
            maybe(exam.bits_per_byte, 4).into(),
            exam.perplexity_increase.map_or_else(|| "-".into(), |i| format!("{} %", show::signed(100.0 * i, 2))).into(),
        ]);
    }
    table
}

/// The variants of one exam stand together, the full model first.
fn exams(report: &Report) -> Vec<(&StageReport, &ExamSummary)> {
    let mut all: Vec<_> =
        report.stages.iter().enumerate().flat_map(|(i, stage)| stage.exams.iter().map(move |exam| (i, stage, exam))).collect();
    all.sort_by_key(|(i, _, exam)| (*i, exam.task.clone(), exam.variant));
    all.into_iter().map(|(_, stage, exam)| (stage, exam)).collect()
}

fn quantized(report: &Report) -> Table {
    let mut table = Table::new([
        name("quantized", 0),
        name("after", 0),
        number("tensors", 2),
        number("kept", 3),
        number("before", 1),
        number("now", 0),
        number("bits a weight", 0),
    ]);
    for q in &report.quantized {
        table.row([
            q.method.as_str().into(),
            q.stage.as_str().into(),
            count(q.tensors).into(),
            count(q.kept).into(),
            bytes(q.bytes_before).into(),
            bytes(q.bytes_after).into(),
            format!("{:.2}", q.bits_per_weight).into(),
        ]);
    }
    table
}

fn checkpoints(report: &Report) -> Table {
    let columns = [name("checkpoints", 0), number("published", 0), number("kept", 0), prose("kept steps", 1), name("newest manifest", 2)];
    let mut table = Table::new(columns);
    for stage in report.stages.iter().filter(|s| !s.checkpoints.is_empty()) {
        let kept: Vec<String> = stage.checkpoints.iter().filter(|c| !c.retired).map(|c| c.step.to_string()).collect();
        let newest = stage.checkpoints.last().map(|c| format!("sha256 {}", c.digest.get(..12).unwrap_or(&c.digest))).unwrap_or_default();
        let [published, numbers] = [stage.checkpoints.len(), kept.len()].map(|n| Cell::from(n.to_string()));
        table.row([stage.name.as_str().into(), published, numbers, kept.join(" ").into(), newest.into()]);
    }
    table
}

fn corpora(report: &Report) -> Table {
    let mut table = Table::new([
        name("corpus", 0),
        number("sources", 3),
        number("documents", 0),
        number("held out", 1),
        number("words", 2),
        prose("tokens", 1),
        name("identity", 4),
        prose("removed", 0),
    ]);
    for (name, corpus) in &report.corpora {
        let removed: Vec<String> =
            corpus.removed.iter().filter(|(_, n)| **n > 0).map(|(rule, n)| format!("{rule} {}", count(*n))).collect();
        let tokens: Vec<String> = corpus.packed.iter().map(|(length, packed)| format!("{} (by {length})", count(packed.tokens))).collect();
        table.row([
            name.as_str().into(),
            corpus.sources.len().to_string().into(),
            count(corpus.documents).into(),
            count(corpus.held_out).into(),
            count(corpus.words).into(),
            tokens.join(", ").into(),
            format!("sha256 {}", corpus.identity.get(..12).unwrap_or(&corpus.identity)).into(),
            if removed.is_empty() { "nothing".into() } else { removed.join(", ").into() },
        ]);
    }
    table
}

/// What did not come through whole: lines that could not be read, and characters that the tokenizer does not know.
fn losses(report: &Report) -> Vec<String> {
    let mut lines = vec![];
    for (name, corpus) in &report.corpora {
        lines.extend(corpus.bad_lines.iter().map(|line| format!("bad line of {name}, left out: {line}")));
        // Every length is packed from the same text.
        if let Some(packed) = corpus.packed.values().find(|packed| !packed.unknown.is_nothing()) {
            lines.push(format!("corpus {name}: {}", packed.unknown));
        }
    }
    lines
}

/// Failures that are shown.
const FAILURES: usize = 20;

fn failures(report: &Report) -> Table {
    let mut table = Table::new([name("failures", 0), number("generation", 3), name("at", 1), prose("what", 0)]);
    for failure in report.failures.iter().take(FAILURES) {
        let [generation, at] = [failure.generation.to_string(), show::time(failure.at)].map(Cell::from);
        table.row([failure.job.as_str().into(), generation, at, failure.fault.as_str().into()]);
    }
    table
}

fn audit(report: &Report) -> Line {
    let a = &report.audit;
    let verdict = match (a.expected, a.is_clean()) {
        (0, _) => "nothing published yet",
        (_, true) => "clean",
        _ => "NOT CLEAN: see `osler audit`",
    };
    let [expected, seen, repeated, skipped] = [a.expected, a.seen, a.repeated, a.skipped].map(count);
    Line::from("audit: ")
        .styled(verdict, state(verdict))
        .then(format!("; {expected} samples expected, {seen} seen, {repeated} repeated, {skipped} skipped"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::terminal::View;
    use osler_core::report::build;

    fn rendered() -> String {
        let (record, manifests) = fixture::finished();
        page(&build(&record, &manifests)).render(View::PLAIN)
    }

    #[test]
    fn the_report_says_what_a_reader_asks_first() {
        let shown = rendered();
        for line in [
            "RUN tiny: finished\n",
            "general  succeeded    4/4     128      6.0000     1.5000    0.0 %   3.20  general 0.32\n",
            "domain   succeeded  10/10     320      6.0000     0.6000   10.0 %   5.33  domain 0.60, general 0.20\n",
            "seen  general  full     cloze     400       27.00      2.22       26.25        -          0  at chance\n",
            "seen  domain   int8     cloze     400       96.50      0.92       26.25    -0.25          0\n",
            "domain-text    domain   int8            60      12.500       1.3750  +0.12 %\n",
            "domain      1 (10.00 %)                  -               -                   -  osler events\n",
            "domain                -                  5               0                   8  spikes <b>\n",
            "seen  domain  full     passed   accuracy 96.50 %, at least 90 %\n",
            "audit: clean; 56 samples expected, 56 seen, 0 repeated, 0 skipped\n",
        ] {
            assert!(shown.contains(line), "{line:?} is missing from\n{shown}");
        }
    }

    #[test]
    fn what_was_lost_of_a_corpus_is_said() {
        let (record, manifests) = fixture::finished();
        let mut report = build(&record, &manifests);
        let render = |report: &Report| page(report).render(View::PLAIN);
        assert!(!render(&report).contains("unknown"));
        for corpus in report.corpora.values_mut() {
            corpus.bad_lines = vec!["a.jsonl: line 7: not JSON".into()];
            for packed in corpus.packed.values_mut() {
                packed.unknown = osler_core::job::Unknown { tokens: 2, characters: 5, of_characters: 20, documents: 1 };
            }
        }
        let shown = render(&report);
        assert!(shown.contains("bad line of general, left out: a.jsonl: line 7: not JSON\n"), "{shown}");
        let unknown = "corpus general: 5 of 20 characters (25.00 %) are unknown to the tokenizer, in 1 documents; 2 unknown tokens";
        assert!(shown.contains(unknown), "{shown}");
    }

    #[test]
    fn a_stage_that_did_not_begin_has_no_numbers() {
        let seen = fixture::running();
        let mut record = seen.record;
        record.checkpoints.clear();
        let shown = page(&build(&record, &crate::manifests::Manifests::new())).render(View::PLAIN);
        assert!(shown.contains("audit: nothing published yet"), "{shown}");
        assert!(shown.contains("0/10"), "{shown}");
    }

    #[test]
    fn a_missing_manifest_is_named_with_the_steps_that_it_proves() {
        let (record, mut manifests) = fixture::finished();
        assert!(!rendered().contains("the ledger between"));
        manifests.get_mut(&record.spec.stages[1].name).unwrap().remove(0);
        let shown = page(&build(&record, &manifests)).render(View::PLAIN);
        for part in ["WARNING: domain: the ledger between steps 0 and 5 is missing", ": m5 is not there", "osler audit tiny", "NOT CLEAN"] {
            assert!(shown.contains(part), "{part} is missing from\n{shown}");
        }
    }

    #[test]
    fn the_goodput_ledger_accounts_for_every_second() {
        let (record, manifests) = fixture::finished();
        let report = osler_core::report::build(&record, &manifests);
        let goodput = report.goodput.as_ref().unwrap();
        let sum: f64 = goodput.causes.iter().map(|(_, seconds)| seconds).sum();
        assert!((sum - goodput.wall).abs() < 1e-6 && goodput.wall > 0.0, "{goodput:?}");
        let shown = page(&report).render(View::PLAIN);
        assert!(shown.contains("steps") && shown.contains("recovering"), "{shown}");
    }
}
