//! The report for a terminal.

use super::exams::verdict;
use super::{causes, cost};
use crate::show::{self, Grid, bytes, count, maybe, short};
use osler_core::job::ExamSummary;
use osler_core::report::{Report, StageReport};

pub fn render(report: &Report) -> String {
    let sections = [
        head(report),
        stages(report),
        warnings(report),
        guarded(report),
        goodput(report),
        time(report),
        efficiency(report),
        energy(report),
        marks(report),
        held_out(report),
        gates(report),
        quantized(report),
        checkpoints(report),
        corpora(report),
        losses(report),
        failures(report),
        audit(report),
    ];
    sections.into_iter().filter(|section| !section.is_empty()).collect::<Vec<_>>().join("\n")
}

fn section(grid: &Grid) -> String {
    if grid.is_empty() { String::new() } else { grid.text() }
}

fn head(report: &Report) -> String {
    let mut text = format!("RUN {}: {}\n", report.run, report.state);
    for line in [Some(&report.description).filter(|d| !d.is_empty()), report.reason.as_ref()].into_iter().flatten() {
        text.push_str(&format!("{}\n", show::clean(line)));
    }
    text.push_str(&format!("submitted {}, run file sha256 {}\n", show::time(report.submitted_at), report.spec_digest));
    text
}

fn stages(report: &Report) -> String {
    let mut grid = Grid::new(&["stage", "state", ">steps", ">tokens", ">first loss", ">last loss", ">tok/s", "epochs"]);
    for stage in &report.stages {
        let epochs: Vec<String> = stage.epochs.iter().map(|(corpus, passes)| format!("{corpus} {passes:.2}")).collect();
        grid.row([
            stage.name.to_string(),
            stage.state.to_owned(),
            format!("{}/{}", count(stage.steps), count(stage.planned_steps)),
            count(stage.tokens),
            maybe(stage.losses.first().map(|p| p.loss), 4),
            maybe(stage.final_loss, 4),
            stage.time.map_or_else(|| "-".into(), |t| short(t.tokens_per_second)),
            epochs.join(", "),
        ]);
    }
    section(&grid)
}

/// What a reader should know before believing a stage's numbers.
fn warnings(report: &Report) -> String {
    let of_stage =
        |stage: &StageReport| stage.warnings.iter().map(|w| format!("WARNING: {}: {}\n", stage.name, show::clean(w))).collect::<String>();
    report.stages.iter().map(of_stage).collect()
}

/// What the guard kept from the weights: skipped updates, and returns to an earlier step.
fn guarded(report: &Report) -> String {
    let mut grid = Grid::new(&["guard", ">updates skipped", ">went back to step", ">steps given up", ">sequences left out", "why"]);
    for stage in &report.stages {
        if stage.skipped_steps > 0 {
            let skipped = format!("{} ({:.2} %)", count(stage.skipped_steps), 100.0 * stage.skipped_share);
            grid.row([stage.name.to_string(), skipped, "-".into(), "-".into(), "-".into(), "osler events".into()]);
        }
        for rewind in &stage.rewinds {
            let numbers = [rewind.to, rewind.abandoned_steps, rewind.left_out_sequences].map(count);
            grid.cells([stage.name.to_string(), "-".into()].into_iter().chain(numbers).chain([show::clean(&rewind.reason)]));
        }
    }
    section(&grid)
}

/// The whole run's time; causes that took nothing are left out.
fn goodput(report: &Report) -> String {
    let Some(goodput) = &report.goodput else { return String::new() };
    let mut grid = Grid::new(&["goodput", ">time", ">share"]);
    for (cause, seconds) in goodput.causes.iter().filter(|(_, seconds)| *seconds > 0.0) {
        grid.row([(*cause).to_owned(), show::duration(*seconds), share(*seconds, goodput.wall)]);
    }
    grid.row(["in all".into(), show::duration(goodput.wall), share(goodput.wall, goodput.wall)]);
    section(&grid)
}

/// Causes that took nothing in any stage are left out.
fn time(report: &Report) -> String {
    let stages: Vec<_> = report.stages.iter().filter_map(|s| Some((s, s.time?))).collect();
    let took = |cause: &str| stages.iter().any(|(_, time)| causes(time).iter().any(|(name, seconds)| *name == cause && *seconds > 0.0));
    let shown: Vec<&str> = causes(&Default::default()).map(|(cause, _)| cause).into_iter().filter(|cause| took(cause)).collect();
    let header: Vec<String> = shown.iter().map(|cause| format!(">{cause}")).collect();
    let mut grid = Grid::new(&["time", ">wall"].into_iter().chain(header.iter().map(String::as_str)).collect::<Vec<_>>());
    for (stage, time) in &stages {
        let shares = causes(time).into_iter().filter(|(cause, _)| shown.contains(cause)).map(|(_, seconds)| share(seconds, time.wall));
        grid.cells([stage.name.to_string(), show::duration(time.wall)].into_iter().chain(shares));
    }
    section(&grid)
}

fn efficiency(report: &Report) -> String {
    let mut grid = Grid::new(&["efficiency", ">tok/s", ">mfu %", ">hfu %", ">stepping tok/s", ">mfu %", ">hfu %", ">memory a rank", "on"]);
    let mut notes = String::new();
    for (stage, time, cost) in report.stages.iter().filter_map(|s| Some((s, s.time?, s.cost.as_ref()?))) {
        let [mfu, hfu, mfu_stepping, hfu_stepping] = cost::shares(cost);
        grid.row([
            stage.name.to_string(),
            short(time.tokens_per_second),
            mfu,
            hfu,
            short(time.tokens_per_second_stepping),
            mfu_stepping,
            hfu_stepping,
            cost.peak_memory.map_or_else(|| "-".into(), bytes),
            cost::devices(&cost.devices),
        ]);
        if let Some(why) = &cost.no_utilisation {
            notes.push_str(&format!("{}: no MFU: {}\n", stage.name, show::clean(why)));
        }
    }
    section(&grid) + &notes
}

fn energy(report: &Report) -> String {
    let mut grid = Grid::new(&["energy", ">kWh", ">joules", ">joules a 1k tokens", ">of seconds", "basis"]);
    for (stage, energy) in report.stages.iter().filter_map(|s| Some((s, s.cost.as_ref()?.energy.as_ref()?))) {
        grid.row([
            stage.name.to_string(),
            format!("{:.6}", energy.kilowatt_hours),
            count(energy.joules as u64),
            format!("{:.2}", energy.joules_per_1k_tokens),
            count(energy.covers_seconds as u64),
            cost::energy_basis(energy),
        ]);
    }
    section(&grid)
}

fn share(seconds: f64, wall: f64) -> String {
    if wall > 0.0 { show::percent(seconds / wall) } else { "-".to_owned() }
}

fn marks(report: &Report) -> String {
    let mut grid =
        Grid::new(&["exam", "after", "variant", "protocol", ">n", ">accuracy %", ">± stderr", ">majority %", ">vs full", ">truncated", ""]);
    for (stage, exam) in exams(report).into_iter().filter(|(_, exam)| exam.accuracy.is_some()) {
        grid.row([
            exam.task.to_string(),
            stage.name.to_string(),
            exam.variant.to_string(),
            exam.protocol.clone(),
            count(exam.n),
            maybe(exam.accuracy, 2),
            maybe(exam.stderr, 2),
            maybe(exam.majority_baseline, 2),
            exam.paired.as_ref().map_or_else(|| "-".into(), |p| show::signed(p.delta, 2)),
            count(exam.truncated),
            verdict(exam).unwrap_or_default().to_owned(),
        ]);
    }
    section(&grid)
}

fn held_out(report: &Report) -> String {
    let mut grid = Grid::new(&["held-out text", "after", "variant", ">documents", ">perplexity", ">bits a byte", ">vs full"]);
    for (stage, exam) in exams(report).into_iter().filter(|(_, exam)| exam.accuracy.is_none()) {
        grid.row([
            exam.task.to_string(),
            stage.name.to_string(),
            exam.variant.to_string(),
            count(exam.n),
            maybe(exam.perplexity, 3),
            maybe(exam.bits_per_byte, 4),
            exam.perplexity_increase.map_or_else(|| "-".into(), |i| format!("{} %", show::signed(100.0 * i, 2))),
        ]);
    }
    section(&grid)
}

/// The variants of one exam stand together, the full model first.
fn exams(report: &Report) -> Vec<(&StageReport, &ExamSummary)> {
    let mut all: Vec<_> =
        report.stages.iter().enumerate().flat_map(|(i, stage)| stage.exams.iter().map(move |exam| (i, stage, exam))).collect();
    all.sort_by_key(|(i, _, exam)| (*i, exam.task.clone(), exam.variant));
    all.into_iter().map(|(_, stage, exam)| (stage, exam)).collect()
}

fn gates(report: &Report) -> String {
    let mut grid = Grid::new(&["gate", "after", "variant", "outcome", "evidence"]);
    for gate in &report.gates {
        let outcome = if gate.passed { "passed" } else { "FAILED" };
        grid.row([gate.exam.clone(), gate.stage.to_string(), gate.variant.to_string(), outcome.into(), gate.evidence.clone()]);
    }
    section(&grid)
}

fn quantized(report: &Report) -> String {
    let mut grid = Grid::new(&["quantized", "after", ">tensors", ">kept", ">before", ">now", ">bits a weight"]);
    for q in &report.quantized {
        grid.row([
            q.method.clone(),
            q.stage.to_string(),
            count(q.tensors),
            count(q.kept),
            bytes(q.bytes_before),
            bytes(q.bytes_after),
            format!("{:.2}", q.bits_per_weight),
        ]);
    }
    section(&grid)
}

fn checkpoints(report: &Report) -> String {
    let mut grid = Grid::new(&["checkpoints", ">published", ">kept", "kept steps", "newest manifest"]);
    for stage in report.stages.iter().filter(|s| !s.checkpoints.is_empty()) {
        let kept: Vec<String> = stage.checkpoints.iter().filter(|c| !c.retired).map(|c| c.step.to_string()).collect();
        let newest = stage.checkpoints.last().map(|c| format!("sha256 {}", c.digest.get(..12).unwrap_or(&c.digest))).unwrap_or_default();
        grid.row([stage.name.to_string(), stage.checkpoints.len().to_string(), kept.len().to_string(), kept.join(" "), newest]);
    }
    section(&grid)
}

fn corpora(report: &Report) -> String {
    let mut grid = Grid::new(&["corpus", ">sources", ">documents", ">held out", ">words", ">tokens", "identity", "removed"]);
    for (name, corpus) in &report.corpora {
        let removed: Vec<String> =
            corpus.removed.iter().filter(|(_, n)| **n > 0).map(|(rule, n)| format!("{rule} {}", count(*n))).collect();
        let tokens: Vec<String> = corpus.packed.iter().map(|(length, packed)| format!("{} (by {length})", count(packed.tokens))).collect();
        grid.row([
            name.to_string(),
            corpus.sources.len().to_string(),
            count(corpus.documents),
            count(corpus.held_out),
            count(corpus.words),
            tokens.join(", "),
            format!("sha256 {}", corpus.identity.get(..12).unwrap_or(&corpus.identity)),
            if removed.is_empty() { "nothing".into() } else { removed.join(", ") },
        ]);
    }
    section(&grid)
}

/// What did not come through whole: lines that could not be read, and characters that the tokenizer does not know.
fn losses(report: &Report) -> String {
    let mut lines = String::new();
    for (name, corpus) in &report.corpora {
        for line in &corpus.bad_lines {
            lines.push_str(&format!("bad line of {name}, left out: {}\n", show::clean(line)));
        }
        // Every length is packed from the same text.
        if let Some(packed) = corpus.packed.values().find(|packed| !packed.unknown.is_nothing()) {
            lines.push_str(&format!("corpus {name}: {}\n", packed.unknown));
        }
    }
    lines
}

fn failures(report: &Report) -> String {
    let shown = 20;
    let mut grid = Grid::new(&["failures", ">generation", "at", "what"]);
    for failure in report.failures.iter().take(shown) {
        grid.row([failure.job.clone(), failure.generation.to_string(), show::time(failure.at), failure.fault.clone()]);
    }
    let mut text = section(&grid);
    if report.failures.len() > shown {
        text.push_str(&format!("and {} more: `osler describe {}`\n", report.failures.len() - shown, report.run));
    }
    text
}

fn audit(report: &Report) -> String {
    let a = &report.audit;
    let verdict = match (a.expected, a.is_clean()) {
        (0, _) => "nothing published yet",
        (_, true) => "clean",
        _ => "NOT CLEAN: see `osler audit`",
    };
    format!(
        "audit: {verdict}; {} samples expected, {} seen, {} repeated, {} skipped\n",
        count(a.expected),
        count(a.seen),
        count(a.repeated),
        count(a.skipped)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use osler_core::report::build;

    fn rendered() -> String {
        let (record, manifests) = fixture::finished();
        render(&build(&record, &manifests))
    }

    #[test]
    fn the_report_says_what_a_reader_asks_first() {
        let shown = rendered();
        for line in [
            "RUN tiny: finished\n",
            "general  succeeded    4/4     128      6.0000     1.5000   3.20  general 0.32\n",
            "domain   succeeded  10/10     320      6.0000     0.6000   5.33  domain 0.60, general 0.20\n",
            "seen  general  full     cloze     400       27.00      2.22       26.25        -          0  at chance\n",
            "seen  domain   int8     cloze     400       96.50      0.92       26.25    -0.25          0\n",
            "domain-text    domain   int8            60      12.500       1.3750  +0.12 %\n",
            "domain                1                  -               -                   -  osler events\n",
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
        let shown = render(&build(&record, &crate::manifests::Manifests::new()));
        assert!(shown.contains("audit: nothing published yet"), "{shown}");
        assert!(shown.contains("0/10"), "{shown}");
    }

    #[test]
    fn the_goodput_ledger_accounts_for_every_second() {
        let (record, manifests) = fixture::finished();
        let report = osler_core::report::build(&record, &manifests);
        let goodput = report.goodput.as_ref().unwrap();
        let sum: f64 = goodput.causes.iter().map(|(_, seconds)| seconds).sum();
        assert!((sum - goodput.wall).abs() < 1e-6 && goodput.wall > 0.0, "{goodput:?}");
        let shown = render(&report);
        assert!(shown.contains("steps") && shown.contains("recovering"), "{shown}");
    }
}
