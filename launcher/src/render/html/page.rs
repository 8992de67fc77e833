//! The page: its order is the order of a reader's questions.

use super::markup::{Html, Table, escape};
use super::{bars, loss};
use crate::render::cost;
use crate::render::exams::verdict;
use crate::show::{self, bytes, count, maybe, short};
use osler_core::job::ExamSummary;
use osler_core::report::{CostReport, Report, StageReport};
use osler_core::stop::waived;
use std::collections::BTreeMap;

pub fn page(report: &Report) -> String {
    let style = include_str!("style.css");
    let head = head(report);
    let body: Html = [
        section("Exams", exams(report)),
        section("Gates", gates(report)),
        report.stages.iter().map(|stage| section(&format!("Stage {}", stage.name), stage_body(stage))).collect(),
        section("Compressed models", quantized(report)),
        section("Corpora", corpora(report)),
        section("Failures on the way", failures(report)),
        section("Audit", audit(report)),
    ]
    .into_iter()
    .collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n<title>Osler: {}</title>\n<style>\n{style}</style>\n</head>\n<body>\n{head}<main>\n{body}</main>\n</body>\n</html>\n",
        escape(&report.run)
    )
}

fn section(title: &str, body: Html) -> Html {
    if body.is_empty() { body } else { Html::of(format_args!("<section>\n<h2>{}</h2>\n{body}</section>\n", escape(title))) }
}

fn head(report: &Report) -> Html {
    let class = match report.state.as_str() {
        "finished" => "good",
        "failed" | "failing" => "bad",
        _ => "open",
    };
    let mut head = Html::default();
    head.push(format_args!("<header>\n<h1>{} <span class=\"badge {class}\">{}</span></h1>\n", escape(&report.run), escape(&report.state)));
    if let Some(gates) = waived(&report.gates) {
        head.push(format_args!("<p class=\"open\">{}</p>\n", escape(gates)));
    }
    for line in [Some(&report.description).filter(|d| !d.is_empty()), report.reason.as_ref()].into_iter().flatten() {
        head.push(format_args!("<p class=\"lead\">{}</p>\n", escape(line)));
    }
    head.push(format_args!("<dl class=\"facts\">\n"));
    let tokens: u64 = report.stages.iter().map(|s| s.tokens).sum();
    let steps: u64 = report.stages.iter().map(|s| s.steps).sum();
    let wall: f64 = report.stages.iter().filter_map(|s| s.time).map(|t| t.wall).sum();
    let audit = match (report.audit.expected, report.audit.is_clean()) {
        (0, _) => "nothing published yet",
        (_, true) => "clean",
        _ => "NOT CLEAN",
    };
    for (name, value) in [
        ("Tokens trained", short(tokens as f64)),
        ("Steps", count(steps)),
        ("Training time", if wall > 0.0 { show::duration(wall) } else { "-".into() }),
        ("Goodput", report.goodput.as_ref().map_or_else(|| "-".into(), |goodput| show::percent(goodput.goodput))),
        ("Audit", audit.into()),
        ("Submitted", show::time(report.submitted_at)),
    ] {
        head.push(format_args!("<div><dt>{name}</dt><dd>{}</dd></div>\n", escape(value)));
    }
    head.push(format_args!("</dl>\n<p class=\"fine\">Run identity <code>{}</code></p>\n</header>\n", escape(&report.spec_digest)));
    head
}

fn exams(report: &Report) -> Html {
    let mut by_task: BTreeMap<&str, Vec<(&str, &ExamSummary)>> = BTreeMap::new();
    for stage in &report.stages {
        for exam in &stage.exams {
            by_task.entry(exam.task.as_str()).or_default().push((stage.name.as_str(), exam));
        }
        // The full model first; stages stay in their order.
        by_task.values_mut().for_each(|rows| sort_last(rows, stage.name.as_str()));
    }
    let mut body = Html::default();
    for (task, rows) in &by_task {
        let bars = bars::marks(task, rows);
        if !bars.is_empty() {
            body.push(format_args!("<h3>{}</h3>\n{bars}", escape(task)));
        }
    }
    if !body.is_empty() {
        body.push(format_args!("<p class=\"fine\">Whiskers are ± 2 standard errors; the dashed mark is what the most frequent answer alone would score. Grey: at chance.</p>\n"));
    }
    let mut table = Table::new(&[
        "exam",
        "after",
        "variant",
        "protocol",
        ">n",
        ">accuracy %",
        ">± stderr",
        ">majority %",
        ">vs full",
        ">truncated",
        "",
    ]);
    let mut text = Table::new(&["held-out text", "after", "variant", ">documents", ">perplexity", ">bits a byte", ">vs full"]);
    for (task, rows) in &by_task {
        for (stage, exam) in rows {
            let common = [escape(task), escape(stage), escape(exam.variant)];
            match exam.accuracy {
                Some(accuracy) => {
                    let [a, b, c] = common;
                    let paired = exam.paired.as_ref().map_or_else(|| "-".into(), |p| show::signed(p.delta, 2));
                    let cells = [
                        escape(&exam.protocol),
                        escape(count(exam.n)),
                        escape(format!("{accuracy:.2}")),
                        escape(maybe(exam.stderr, 2)),
                        escape(maybe(exam.majority_baseline, 2)),
                        escape(paired),
                        escape(count(exam.truncated)),
                        escape(verdict(exam).unwrap_or_default()),
                    ];
                    let [d, e, f, g, h, i, j, k] = cells;
                    table.row([a, b, c, d, e, f, g, h, i, j, k]);
                }
                None => {
                    let [a, b, c] = common;
                    let increase = exam.perplexity_increase.map_or_else(|| "-".into(), |i| format!("{} %", show::signed(100.0 * i, 2)));
                    text.row([
                        a,
                        b,
                        c,
                        escape(count(exam.n)),
                        escape(maybe(exam.perplexity, 3)),
                        escape(maybe(exam.bits_per_byte, 4)),
                        escape(increase),
                    ]);
                }
            }
        }
    }
    [body, table.html("Marks"), text.html("Held-out text")].into_iter().collect()
}

/// Orders the rows of the stage that was added last.
fn sort_last(rows: &mut [(&str, &ExamSummary)], stage: &str) {
    let from = rows.iter().position(|(name, _)| *name == stage).unwrap_or(rows.len());
    if let Some(last) = rows.get_mut(from..) {
        last.sort_by_key(|(_, exam)| exam.variant);
    }
}

fn gates(report: &Report) -> Html {
    let mut table = Table::new(&["gate", "after", "variant", "outcome", "evidence"]);
    for gate in &report.gates {
        let (class, word) = match (gate.passed, &gate.waived) {
            (true, _) => ("good", "passed"),
            (false, None) => ("bad", "failed"),
            (false, Some(_)) => ("open", "waived"),
        };
        let waiver = gate.waived.as_ref().map(|w| format!("; waived by {}, {}: {}", w.by, show::time(w.at), w.reason));
        table.row([
            escape(&gate.exam),
            escape(&gate.stage),
            escape(gate.variant),
            Html::of(format_args!("<span class=\"badge {class}\">{word}</span>")),
            escape(format!("{}{}", gate.evidence, waiver.unwrap_or_default())),
        ]);
    }
    table.html("Gates")
}

fn stage_body(stage: &StageReport) -> Html {
    let mut body = Html::default();
    let epochs: Vec<String> = stage.epochs.iter().map(|(corpus, passes)| format!("{corpus} {passes:.2}")).collect();
    let epochs = if epochs.is_empty() { String::new() } else { format!("; epochs: {}", epochs.join(", ")) };
    let loss = stage.final_loss.map(|loss| format!("; last loss {loss:.4}")).unwrap_or_default();
    body.push(format_args!(
        "<p>{}: {} of {} steps published, {} tokens{}{}.</p>\n",
        stage.state,
        count(stage.steps),
        count(stage.planned_steps),
        count(stage.tokens),
        escape(loss),
        escape(epochs)
    ));
    if stage.skipped_steps > 0 {
        let share = 100.0 * stage.skipped_share;
        body.push(format_args!("<p>The guard skipped {} ({share:.2} % of the steps).</p>\n", show::plural(stage.skipped_steps, "update")));
    }
    for warning in &stage.warnings {
        body.push(format_args!("<p class=\"warning\">Warning: {}</p>\n", escape(warning)));
    }
    for rewind in &stage.rewinds {
        body.push(format_args!(
            "<p>Went back to step {}; {} given up, {} left out: {}.</p>\n",
            count(rewind.to),
            show::plural(rewind.abandoned_steps, "published step"),
            show::plural(rewind.left_out_sequences, "sequence"),
            escape(&rewind.reason)
        ));
    }
    body.push(format_args!("{}", loss::curve(stage)));
    if let Some(time) = &stage.time {
        body.push(format_args!("{}", bars::time(stage.name.as_str(), time)));
    }
    if let Some(cost) = &stage.cost {
        body.push(format_args!("{}", stage_cost(cost)));
    }
    let mut table = Table::new(&["checkpoint", ">generation", "state", "manifest", "sha256"]);
    for c in &stage.checkpoints {
        let state = if c.retired { "retired" } else { "kept" };
        let digest = c.digest.get(..16).unwrap_or(&c.digest);
        table.row([
            escape(format!("step {}", c.step)),
            escape(c.generation),
            escape(state),
            escape(&c.manifest),
            Html::of(format_args!("<code title=\"{}\">{}</code>", escape(&c.digest), escape(digest))),
        ]);
    }
    let table = table.html("Checkpoints");
    if !table.is_empty() {
        body.push(format_args!(
            "<details><summary>{}</summary>\n{table}</details>\n",
            show::plural(stage.checkpoints.len() as u64, "published checkpoint")
        ));
    }
    body
}

fn stage_cost(cost: &CostReport) -> Html {
    let [mfu, hfu, mfu_stepping, hfu_stepping] = cost::shares(cost);
    let mut table = Table::new(&["cost", ">value", "basis"]);
    let on = cost::devices(&cost.devices);
    match &cost.no_utilisation {
        Some(why) => table.row([escape("MFU"), escape("-"), escape(why)]),
        None => {
            table.row([escape("MFU, HFU from the first step to the last"), escape(format!("{mfu} %, {hfu} %")), escape(&on)]);
            table.row([escape("MFU, HFU while stepping"), escape(format!("{mfu_stepping} %, {hfu_stepping} %")), escape(&on)]);
        }
    }
    if let Some(energy) = &cost.energy {
        let value = format!(
            "{:.6} kWh, {:.2} J a 1,000 tokens, over {}",
            energy.kilowatt_hours,
            energy.joules_per_1k_tokens,
            show::duration(energy.covers_seconds)
        );
        table.row([escape("Energy"), escape(value), escape(cost::energy_basis(energy))]);
    }
    if let Some(memory) = cost.peak_memory {
        table.row([escape("Memory of a rank at most"), escape(bytes(memory)), escape("the kernel's peak resident set")]);
    }
    table.html("Cost")
}

fn quantized(report: &Report) -> Html {
    let mut table = Table::new(&["method", "after", ">tensors", ">kept", ">before", ">now", ">bits a weight"]);
    for q in &report.quantized {
        table.row([
            escape(&q.method),
            escape(&q.stage),
            escape(count(q.tensors)),
            escape(count(q.kept)),
            escape(bytes(q.bytes_before)),
            escape(bytes(q.bytes_after)),
            escape(format!("{:.2}", q.bits_per_weight)),
        ]);
    }
    table.html("Compressed models")
}

fn corpora(report: &Report) -> Html {
    let mut table = Table::new(&["corpus", ">documents", ">held out", ">words", "tokens", "removed by rule", "identity"]);
    let mut details = Html::default();
    for (name, corpus) in &report.corpora {
        let removed: Vec<String> =
            corpus.removed.iter().filter(|(_, n)| **n > 0).map(|(rule, n)| format!("{rule} {}", count(*n))).collect();
        let tokens: Vec<String> = corpus
            .packed
            .iter()
            .map(|(length, p)| format!("{} in {} sequences of {length}", count(p.tokens), count(p.sequences)))
            .collect();
        let identity = corpus.identity.get(..16).unwrap_or(&corpus.identity);
        let removed = if removed.is_empty() { "nothing".to_owned() } else { removed.join(", ") };
        table.row([
            escape(name),
            escape(count(corpus.documents)),
            escape(count(corpus.held_out)),
            escape(count(corpus.words)),
            escape(tokens.join("; ")),
            escape(removed),
            Html::of(format_args!("<code title=\"{}\">{}</code>", escape(&corpus.identity), escape(identity))),
        ]);
        let mut sources = Table::new(&["source", ">size", ">documents", "sha256"]);
        for s in &corpus.sources {
            let digest = s.digest.get(..16).unwrap_or(&s.digest);
            sources.row([
                escape(&s.path),
                escape(bytes(s.bytes)),
                escape(count(s.documents)),
                Html::of(format_args!("<code title=\"{}\">{}</code>", escape(&s.digest), escape(digest))),
            ]);
        }
        let unknown = corpus.packed.values().map(|packed| packed.unknown).find(|unknown| !unknown.is_nothing());
        for loss in corpus.bad_lines.iter().map(|line| format!("bad line, left out: {line}")).chain(unknown.map(|u| u.to_string())) {
            details.push(format_args!("<p>{}: {}</p>\n", escape(name), escape(loss)));
        }
        let n = show::plural(corpus.sources.len() as u64, "source file");
        details.push(format_args!(
            "<details><summary>{}: {n}</summary>\n{}</details>\n",
            escape(name),
            sources.html(&format!("Sources of {name}"))
        ));
    }
    [table.html("Corpora"), details].into_iter().collect()
}

fn failures(report: &Report) -> Html {
    let mut table = Table::new(&["job", ">generation", "at", "what"]);
    for f in &report.failures {
        table.row([escape(&f.job), escape(f.generation), escape(show::time(f.at)), escape(&f.fault)]);
    }
    table.html("Failures")
}

fn audit(report: &Report) -> Html {
    let a = &report.audit;
    let (class, verdict) = match (a.expected, a.is_clean()) {
        (0, _) => ("open", "nothing published yet"),
        (_, true) => ("good", "clean"),
        _ => ("bad", "not clean"),
    };
    Html::of(format_args!(
        "<p><span class=\"badge {class}\">{verdict}</span> {} samples expected, {} seen, {} repeated, {} skipped; {} steps consumed other samples than the order predicts.</p>\n",
        count(a.expected),
        count(a.seen),
        count(a.repeated),
        count(a.skipped),
        a.mismatched_steps.len()
    ))
}
