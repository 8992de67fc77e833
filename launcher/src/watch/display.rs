//! What is shown while a run goes on: for people a progress bar on a terminal and plain lines elsewhere, all on standard error; for
//! programs a status a line, on standard output.

use super::lines::{event_line, exam_line, run_text, worth_saying};
use crate::client::Seen;
use crate::failure::Outcome;
use crate::status::Status;
use crate::terminal::{Page, Terminal};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use osler_core::job::{JobKey, Summary};
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Between two plain lines that only say how far training is.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Columns of the bar itself, and of what stands before the text beside it.
const BAR: usize = 16;
const BEFORE_TEXT: usize = 2 + BAR + 1;

pub struct Display {
    terminal: Terminal,
    bar: Option<ProgressBar>,
    /// The newest event that was said.
    event: u64,
    marked: BTreeSet<JobKey>,
    first: bool,
    said: String,
    said_at: Option<Instant>,
    alarm: bool,
}

impl Display {
    /// `history`: also say what happened before the first view.
    pub fn new(terminal: Terminal, history: bool) -> Self {
        let bar = (!terminal.is_json() && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr_with_hz(8));
            let template = format!("{{spinner}} {{bar:{BAR}}} {{msg}}");
            let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style);
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Self { terminal, bar, event: 0, marked: BTreeSet::new(), first: !history, said: String::new(), said_at: None, alarm: false }
    }

    pub fn update(&mut self, seen: &Seen, live: bool) -> Outcome {
        let status = Status::of(seen, live);
        if self.terminal.is_json() {
            return self.terminal.json_line("status", &status);
        }
        if self.alarm != seen.alarm.is_some() {
            self.alarm = seen.alarm.is_some();
            self.say(seen.alarm.as_deref().unwrap_or("the store can be written again"));
        }
        self.say_news(seen);
        let Some(stage) = status.current_stage() else { return Ok(()) };
        match &self.bar {
            Some(bar) => {
                bar.set_length(stage.planned_steps.max(1));
                bar.set_position(stage.step);
                let most = self.terminal.err.width.map(|width| width.saturating_sub(BEFORE_TEXT + 1));
                bar.set_message(run_text(&status, stage, most));
            }
            None => {
                let text = run_text(&status, stage, None);
                let due = self.said_at.is_none_or(|at| at.elapsed() >= LINE_EVERY);
                if due && text != self.said {
                    self.say(text.as_str());
                    (self.said, self.said_at) = (text, Some(Instant::now()));
                }
            }
        }
        Ok(())
    }

    fn say_news(&mut self, seen: &Seen) {
        let silent = std::mem::take(&mut self.first);
        let newest = seen.record.events.last().map_or(0, |event| event.id);
        for event in seen.record.events.iter().filter(|e| e.id > self.event && !silent && worth_saying(e)) {
            self.say(event_line(event));
        }
        self.event = self.event.max(newest);
        for (key, job) in &seen.record.jobs {
            let Some(Summary::Exam(exam)) = job.status.result().map(|result| &result.summary) else { continue };
            if self.marked.insert(key.clone()) && !silent {
                let stage = job.planned.kind.stage().map(|s| s.as_str()).unwrap_or_default();
                self.say(exam_line(stage, exam));
            }
        }
    }

    /// Lines that stay, above the bar.
    pub fn say(&self, text: impl Into<Page>) {
        let page = text.into();
        match &self.bar {
            Some(bar) => bar.println(page.render(self.terminal.err).trim_end()),
            None => self.terminal.note(page),
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
