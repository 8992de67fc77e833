//! The live display: a progress bar on a terminal, plain lines elsewhere. Everything goes to standard error.

use super::lines::{beside, event_line, exam_line, stage_text, worth_saying};
use crate::client::Seen;
use crate::show;
use crate::status::Status;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use osler_core::job::{JobKey, Summary};
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Between two plain lines that only say how far training is.
const LINE_EVERY: Duration = Duration::from_secs(5);

pub struct Display {
    bar: Option<ProgressBar>,
    /// The newest event that was said.
    event: u64,
    marked: BTreeSet<JobKey>,
    first: bool,
    said: String,
    said_at: Option<Instant>,
}

impl Display {
    /// `history`: also say what happened before the first view.
    pub fn new(history: bool) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr_with_hz(8));
            let style = ProgressStyle::with_template("{spinner} {bar:24} {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style);
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Self { bar, event: 0, marked: BTreeSet::new(), first: !history, said: String::new(), said_at: None }
    }

    pub fn update(&mut self, seen: &Seen, live: bool) {
        self.say_news(seen);
        let status = Status::of(seen, live);
        let Some(stage) = status.current_stage() else { return };
        let trains = stage.state == "running" || stage.step > 0;
        let mut text = if trains { stage_text(stage) } else { format!("{}  preparing", status.run) };
        let beside = beside(&status);
        if !beside.is_empty() {
            text = format!("{text}  |  {beside}");
        }
        if status.state != "running" {
            text = format!("[{}] {text}", status.state);
        }
        let text = show::clean(&text);
        match &self.bar {
            Some(bar) => {
                bar.set_length(stage.planned_steps.max(1));
                bar.set_position(stage.step);
                bar.set_message(text);
            }
            None => {
                let due = self.said_at.is_none_or(|at| at.elapsed() >= LINE_EVERY);
                if due && text != self.said {
                    self.say(&text);
                    (self.said, self.said_at) = (text, Some(Instant::now()));
                }
            }
        }
    }

    fn say_news(&mut self, seen: &Seen) {
        let silent = std::mem::take(&mut self.first);
        let newest = seen.record.events.last().map_or(0, |event| event.id);
        for event in seen.record.events.iter().filter(|e| e.id > self.event && !silent && worth_saying(e)) {
            self.say(&event_line(event));
        }
        self.event = self.event.max(newest);
        for (key, job) in &seen.record.jobs {
            let Some(Summary::Exam(exam)) = job.status.result().map(|result| &result.summary) else { continue };
            if self.marked.insert(key.clone()) && !silent {
                let stage = job.planned.kind.stage().map(|s| s.as_str()).unwrap_or_default();
                self.say(&exam_line(stage, exam));
            }
        }
    }

    /// A line that stays, above the bar.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => show::note(line),
        }
    }

    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.end();
    }
}
