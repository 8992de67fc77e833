//! `osler fsck`: whether a store is whole. Each finding says what it costs and what the way out is; `--repair` does what is safe: it has a
//! coordinator mend what is damaged, by the coordinator's own rules, and deletes what is nobody's.

mod checks;
mod objects;
mod repair;

use super::Context;
use crate::failure::{Outcome, failed, usage};
use crate::show;
use crate::source::Source;
use crate::terminal::{Line, Page, Style};
use osler_core::ids::RunName;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these [default: all, and the cluster's own records].
    runs: Vec<RunName>,
    /// Compare sizes only, and read no object but manifests.
    #[arg(long)]
    quick: bool,
    /// Do what is safe: have damaged objects made again or given up for what was before, and delete what is nobody's.
    #[arg(long)]
    repair: bool,
    /// With --repair: put an empty book in the place of a damaged book of tokens, so that a coordinator can start. All tokens but the
    /// owner's have to be made again.
    #[arg(long, requires = "repair")]
    forget_tokens: bool,
}

/// What a check found.
#[derive(Debug, Default, Serialize)]
pub(super) struct Check {
    /// Whether nothing is left that costs anything.
    pub ok: bool,
    pub quick: bool,
    pub runs: u64,
    pub objects: u64,
    pub bytes: u64,
    pub findings: Vec<Finding>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Finding {
    pub kind: Kind,
    pub run: Option<RunName>,
    pub object: String,
    pub found: String,
    pub costs: String,
    pub way_out: String,
    /// It costs space only, and is no reason to fail.
    pub harmless: bool,
    pub repaired: bool,
    #[serde(skip)]
    pub mend: Mend,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    Record,
    ClusterRecord,
    Tokens,
    CallLog,
    Output,
    Checkpoint,
    /// Of a checkpoint whose parts are gone already.
    RetiredManifest,
    /// A page of a run's events.
    Events,
    Leftover,
    /// Of a run that was removed.
    Removed,
    Temporary,
    Foreign,
}

/// How a finding is repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mend {
    ByHand,
    Delete,
    /// A coordinator does it when it starts.
    Start,
    /// A coordinator is told which object is damaged.
    Doubt,
    Forget,
}

impl Finding {
    fn new(kind: Kind, run: Option<&RunName>, object: &str, found: impl Into<String>) -> Self {
        let (costs, way_out) = (String::new(), String::new());
        Self {
            kind,
            run: run.cloned(),
            object: object.to_owned(),
            found: found.into(),
            costs,
            way_out,
            harmless: false,
            repaired: false,
            mend: Mend::ByHand,
        }
    }

    fn costs(self, costs: impl Into<String>) -> Self {
        Self { costs: costs.into(), ..self }
    }

    fn way_out(self, mend: Mend, way_out: impl Into<String>) -> Self {
        Self { mend, way_out: way_out.into(), ..self }
    }

    /// Nothing but space.
    fn harmless(self, mend: Mend) -> Self {
        let way_out = match mend {
            Mend::Delete => "`osler fsck --repair` deletes that",
            _ => "move that elsewhere, if nobody needs it here",
        };
        Self { costs: "space only".to_owned(), way_out: way_out.to_owned(), harmless: true, mend, ..self }
    }
}

pub async fn run(args: &Args, cx: &Context) -> Outcome {
    let mut source = Source::find(&cx.access).await?;
    let store = cx.access.open_store()?;
    let mut check = Check { quick: args.quick, ..Check::default() };
    let all = checks::runs(&store).await?;
    if let Some(unknown) = args.runs.iter().find(|run| !all.contains(run)) {
        return Err(usage(format!("the store holds nothing of a run {:?}", unknown.as_str())).hint("`osler ps` lists the runs"));
    }
    let chosen = if args.runs.is_empty() { &all } else { &args.runs };
    if args.runs.is_empty() {
        checks::whole_store(&store, args.quick, source.is_live(), &mut check).await?;
    }
    for run in chosen {
        checks::run(&store, run, args.quick, &mut check).await?;
    }
    if args.repair {
        repair::all(&store, &mut source, args, cx, &mut check).await?;
    }
    answer(check, args, cx)
}

fn answer(mut check: Check, args: &Args, cx: &Context) -> Outcome {
    let open = check.findings.iter().filter(|finding| !finding.harmless && !finding.repaired).count();
    check.ok = open == 0;
    cx.terminal().answer("check", &check, || cx.access.page(page(&check)))?;
    if check.ok {
        return Ok(());
    }
    let found = failed(format!("the store is not whole: {}", show::plural(open as u64, "finding")));
    Err(if args.repair { found } else { found.hint("`osler fsck --repair` does what is safe") })
}

pub(super) fn page(check: &Check) -> Page {
    let mut page = Page::new();
    let extent = format!("{}, {}, {}", show::plural(check.runs, "run"), show::plural(check.objects, "object"), show::bytes(check.bytes));
    let how = if check.quick { "looked at" } else { "read" };
    let verdict = match (check.findings.is_empty(), check.ok) {
        (true, _) => ": nothing is wrong".to_owned(),
        (false, true) => ": nothing is lost".to_owned(),
        (false, false) => String::new(),
    };
    page.line(format!("{how} {extent}{verdict}"));
    let (harmless, bad): (Vec<&Finding>, Vec<&Finding>) = check.findings.iter().partition(|finding| finding.harmless);
    for finding in &bad {
        let style = if finding.repaired { Style::Good } else { Style::Bad };
        let state = if finding.repaired { "repaired: " } else { "" };
        let line = Line::from("- ").styled(format!("{state}{}", finding.object), style);
        page.line(line.then(format!(" {}; costs {}: {}", finding.found, finding.costs, finding.way_out)).hang(2));
    }
    if !harmless.is_empty() {
        page.blank().line("costs space only:");
    }
    let mut alike: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for finding in harmless {
        let what = if finding.repaired { "deleted" } else { &finding.way_out };
        alike.entry((&finding.found, what)).or_default().push(&finding.object);
    }
    for ((found, what), objects) in alike {
        page.line(Line::from(format!("- {} {found}: {what}", show::plural(objects.len() as u64, "object"))).hang(2));
        for object in objects {
            page.line(Line::from(format!("  {object}")).hang(4));
        }
    }
    page
}

#[cfg(test)]
mod tests;
