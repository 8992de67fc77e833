//! What `osler fsck --repair` does. Records are the coordinator's: what is damaged is told to the one that lives, or to one that is started
//! for as long as it takes.

use super::{Args, Check, Finding, Kind, Mend, checks, objects};
use crate::client::Coordinator;
use crate::commands::Context;
use crate::daemons::Alone;
use crate::failure::{Outcome, no_room, usage};
use crate::source::Source;
use crate::stored;
use osler_core::access::TokenBook;
use osler_core::ids::Epoch;
use osler_core::paths;
use osler_runtime::store::Store;
use std::time::Duration;
use tokio::time::sleep;

const POLL: Duration = Duration::from_millis(100);

pub(super) async fn all(store: &Store, source: &mut Source, args: &Args, cx: &Context, check: &mut Check) -> Outcome {
    if let Source::Waiting { alarm, .. } = source {
        return Err(no_room(alarm.clone()));
    }
    let needs = |check: &Check, mend: Mend| check.findings.iter().any(|finding| finding.mend == mend);
    if args.forget_tokens && needs(check, Mend::Forget) {
        forget_tokens(store, source, check).await?;
    }
    // No coordinator starts on a damaged book.
    let blocked = check.findings.iter().any(|f| !f.repaired && f.kind == Kind::Tokens);
    match source {
        Source::Live(coordinator) => doubt_all(store, coordinator, check).await?,
        _ if blocked || !(needs(check, Mend::Start) || needs(check, Mend::Doubt)) => {}
        _ => {
            let (mut alone, mut coordinator) = Alone::start(&cx.access).await?;
            let done = doubt_all(store, &mut coordinator, check).await;
            let ended = alone.end().await;
            done.and(ended)?;
            started(store, check).await?;
        }
    }
    for finding in check.findings.iter_mut().filter(|finding| finding.mend == Mend::Delete) {
        store.sweep(&finding.object).await?;
        finding.repaired = true;
    }
    Ok(())
}

/// Puts an empty book after the damaged one. The name of a version is taken once: whoever else writes one is not overwritten.
async fn forget_tokens(store: &Store, source: &Source, check: &mut Check) -> Outcome {
    if source.is_live() {
        let hint = "it knows all tokens, and writes a new version of the book when one is made or revoked: `osler token create`";
        return Err(usage("a coordinator leads this store").hint(hint));
    }
    for finding in check.findings.iter_mut().filter(|finding| finding.mend == Mend::Forget) {
        let version = paths::number_of(&finding.object).unwrap_or(0) + 1;
        let book = TokenBook { version, ..TokenBook::empty(Epoch(0)) };
        store.create(&paths::tokens(version), serde_json::to_vec(&book)?.into()).await?;
        finding.repaired = true;
        finding.way_out = "an empty book is in its place: make new tokens with `osler token create`".to_owned();
    }
    Ok(())
}

/// Has the coordinator read what was found damaged, and waits until it has.
async fn doubt_all(store: &Store, coordinator: &mut Coordinator, check: &mut Check) -> Outcome {
    let doubted = |finding: &Finding| finding.run.clone().filter(|_| finding.mend == Mend::Doubt);
    for finding in &mut check.findings {
        // Refused if the record does not name it any more, or the run cannot be read: the finding stays, with the reason.
        if let Some(run) = doubted(finding)
            && let Err(why) = coordinator.doubt(run.as_str(), &finding.object).await
        {
            finding.found = format!("{}; {}", finding.found, why.message());
            finding.mend = Mend::ByHand;
        }
    }
    for finding in &mut check.findings {
        let Some(run) = doubted(finding) else { continue };
        while coordinator.doubted(run.as_str()).await?.contains(&finding.object) {
            sleep(POLL).await;
        }
        let Some(now) = stored::newest_record(store, &run).await? else { continue };
        if !objects::needs(&now, &finding.object) {
            finding.repaired = true;
            finding.way_out = match now.state.is_live() {
                true => "it is being had again".to_owned(),
                false => format!("`osler resume {run}` goes on"),
            };
        }
    }
    Ok(())
}

/// What a coordinator mends by starting.
async fn started(store: &Store, check: &mut Check) -> Outcome {
    let mut again = Check { quick: true, ..Check::default() };
    let mut runs: Vec<_> = check.findings.iter().filter(|f| f.mend == Mend::Start).filter_map(|f| f.run.clone()).collect();
    runs.dedup();
    checks::whole_store(store, true, false, &mut again).await?;
    for run in &runs {
        checks::run(store, run, true, &mut again).await?;
    }
    for finding in check.findings.iter_mut().filter(|finding| finding.mend == Mend::Start) {
        finding.repaired = !again.findings.iter().any(|still| still.kind == finding.kind && still.run == finding.run);
    }
    Ok(())
}
